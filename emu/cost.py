"""What an event costs in virtual cycles, by default."""

from __future__ import annotations

from attrs import frozen


@frozen
class Costs:
    """Cycles for each kind of event; docs/architecture.md says where each figure comes from.

    WRPKRU: ERIM, Xeon 6142.  SYSCALL, SYSRET, SWAPGS, CR3: SkyBridge, Skylake.  INVLPG: LKML 2015.  #PF and IRET: Haswell.
    `block` is what each translated block costs while a timer is armed: one cycle for each instruction, as with the exact clock, and
    the operations of `lat` run 4.3 to 5.6 instructions a block.
    """

    wrpkru: int = 28
    syscall: int = 82
    sysret: int = 75
    swapgs: int = 26
    cr3: int = 186
    invlpg: int = 240
    exception: int = 715
    interrupt: int = 715
    iret: int = 330
    walk: int = 40
    rdtsc: int = 25
    port: int = 250
    msr: int = 100
    cpuid: int = 100
    hlt: int = 10
    trap: int = 4
    block: int = 4


DEFAULT = Costs()

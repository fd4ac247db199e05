"""One side of a virtual machine as a value: what a VM entry or exit takes from the processor and gives it, and what TCG makes of it.

A side that is gone back to unchanged costs a few stores: its mode, its translations and what is known of its code (`Known`) are kept.  One
that is made from a VMCS's fields is derived anew.  General registers but RSP, CR2, DR0 to DR6, PKRU, XCR0 and most MSRs belong to neither
side, and stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..mmu.registers import CR0, EFER
from . import layout
from .contexts import NOT_SLOT, SLOT_FLAGS, SMAP_SLOT
from .layout import HF_GUEST
from .mode import HF_8086, HF_OURS, sync_control, tcg_segment
from .msr_index import IA32_DEBUGCTL, IA32_PAT, IA32_SYSENTER_CS, IA32_SYSENTER_EIP, IA32_SYSENTER_ESP, PAT_RESET
from .registers import AC, HFLAGS, RIP, RSP, VM

if TYPE_CHECKING:
    from ..mmu.second import SecondStage
    from .cpu import Cpu
    from .descriptors import Segment, Table
    from .known import Known

# The bits of CR0 that entries and exits load (SDM "Loading Guest Control Registers …", "Loading Host Control Registers …").
CR0_LOADED: Final = sum(CR0.fields[name].mask for name in ("PE", "MP", "EM", "TS", "NE", "WP", "AM", "PG"))
LMA_LME: Final = EFER.LMA.mask | EFER.LME.mask
CR0_KEPT: Final = ~CR0_LOADED
_PE: Final = CR0.PE.mask
SEGMENTS: Final = slice(layout.SEGMENTS, layout.SEGMENTS + 144)
TCG_CR0, TCG_CR4 = layout.CR >> 3, layout.CR + 32 >> 3
_OURS: Final = HF_OURS | HF_GUEST
NOT_OURS: Final = NOT_SLOT & ~_OURS
# MSRs that entries and exits may load, and what they hold where nobody has written them.
SWITCHED_MSRS: Final = {
    IA32_SYSENTER_CS: 0,
    IA32_SYSENTER_ESP: 0,
    IA32_SYSENTER_EIP: 0,
    IA32_PAT: PAT_RESET,
    IA32_DEBUGCTL: 0,
}
_new: Final = tuple.__new__
_MSRS: Final = tuple(SWITCHED_MSRS.items())


class Registers(NamedTuple):
    """What a side has as `Cpu` has it."""

    cr0: int
    cr3: int
    cr4: int
    efer: int
    pdptes: tuple[int, int, int, int]
    pkrs: int
    cpl: int
    gdtr: Table
    idtr: Table
    ldtr: Segment
    tr: Segment


class World:
    """One side, but for RIP, RSP and RFLAGS, which are in the VMCS.

    Attributes:
        guest: it is the guest's.
        vpid, second: what its translations are tagged with, and the second stage that they have, or None.
        registers: control registers and the like.
        dr7: DR7.
        msrs: the values of `SWITCHED_MSRS`.
        loads: which of these are loaded; DR7 is where the last, IA32_DEBUGCTL, is.
        segments: ES, CS, SS, DS, FS and GS; where `raw` is given, that has what has changed since without a trap.
        raw: the six as TCG holds them.
        code64: it runs 64-bit code.
        hflags: TCG's bits for the mode.
        control: TCG's CR4.
        space: the state of translation (`Translation.space`); empty where all that is derived must be derived anew.
        slot_by_pkru: its translation contexts at this privilege level.
        known: what is known of its code and transitions.
        forgotten: `Translation.forgotten` when the side was left.
        epoch: `Cpu.epoch` when it was gone to.

    """

    __slots__ = (
        "code64",
        "control",
        "dr7",
        "epoch",
        "forgotten",
        "guest",
        "hflags",
        "known",
        "loads",
        "msrs",
        "raw",
        "registers",
        "second",
        "segments",
        "slot_by_pkru",
        "space",
        "vpid",
    )  # fmt: skip

    registers: Registers
    dr7: int
    msrs: tuple[int, ...]
    loads: tuple[bool, ...]
    segments: tuple[Segment, ...]
    code64: bool
    hflags: int
    control: int
    slot_by_pkru: dict[int, int]

    def __init__(self, known: Known, *, guest: bool, vpid: int = 0, second: SecondStage | None = None) -> None:
        self.guest, self.vpid, self.second = guest, vpid, second
        self.known = known
        self.raw = b""
        self.space: tuple[Any, ...] = ()
        self.forgotten = 0
        self.epoch = -1


def switched_msrs(cpu: Cpu) -> tuple[int, ...]:
    """Give what `SWITCHED_MSRS` hold; the processor keeps it until one of them is written."""
    get = cpu.msr.get
    found = cpu.switched_msrs = tuple([get(which, default) for which, default in _MSRS])
    return found


def signature(side: Cpu | Registers) -> tuple[Any, ...]:
    """Give what translations, closures and transitions of a side, or of the one that runs, were worked out from."""
    return (
        side.cr0 & CR0_LOADED, side.cr3, side.cr4, side.efer, side.pkrs, side.gdtr[0], side.idtr[0], side.ldtr, side.tr
    )  # fmt: skip


def capture(cpu: Cpu, world: World) -> None:
    """Take the side that runs out of the processor."""
    translation = cpu.translation
    # Not by the class's own constructor, which takes twice as long.
    world.registers = _new(
        Registers,
        (cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer, cpu.pdptes, cpu.pkrs, cpu.cpl, cpu.gdtr, cpu.idtr, cpu.ldtr, cpu.tr),
    )
    world.dr7, world.msrs = cpu.dr[7], cpu.switched_msrs or switched_msrs(cpu)
    world.segments, world.raw = tuple(cpu.segments), bytes(cpu.engine.raw[SEGMENTS])
    world.code64, world.hflags, world.control = cpu.code64, cpu.d[HFLAGS] & _OURS, cpu.q[TCG_CR4]
    world.space, world.slot_by_pkru = translation.space(), translation.slot_by_pkru
    world.forgotten, world.known = translation.forgotten, cpu.known


def put(cpu: Cpu, world: World, rip: int, rsp: int, rflags: int) -> None:
    """Give the processor a side.  CR0 keeps the bits that entries and exits do not load."""
    q, d, translation = cpu.q, cpu.d, cpu.translation
    (
        cr0, cpu.cr3, cpu.cr4, cpu.efer, cpu.pdptes, cpu.pkrs, cpu.cpl, cpu.gdtr, cpu.idtr, cpu.ldtr, cpu.tr
    ) = world.registers  # fmt: skip
    cpu.cr0 = cpu.cr0 & CR0_KEPT | cr0 & CR0_LOADED
    cpu.segments[:] = world.segments
    if world.msrs != cpu.switched_msrs:
        _load_msrs(cpu, world)
    if world.known is not cpu.known:
        cpu.take_known(world.known)
    q[RIP], q[RSP] = rip, rsp
    cpu.v86 = bool(rflags & VM)  # so that `store_flags` derives nothing
    cpu.store_flags(rflags)
    if world.space and translation.take_space(world.space):
        cpu.engine.raw[SEGMENTS] = world.raw
        q[TCG_CR0], q[TCG_CR4] = cpu.cr0 | _PE, world.control
        cpu.emulates_8086 = world.hflags & HF_8086 != 0
        slot_by_pkru = world.slot_by_pkru
        number = slot_by_pkru.get(cpu.pkru)
        if number is None or (number == SMAP_SLOT and rflags & AC):
            translation.switch()
            number = translation.current_slot
        else:
            translation.enter(number, translation.slots[number].table, slot_by_pkru)
        d[HFLAGS] = d[HFLAGS] & NOT_OURS | world.hflags | SLOT_FLAGS[number]
        if cpu.emulates_8086 or cpu.limits.pages:
            cpu.limits.update()
    else:
        for number, segment in enumerate(world.segments):
            tcg_segment(cpu, number, segment)
        d[HFLAGS] = d[HFLAGS] & ~HF_GUEST | (HF_GUEST if world.guest else 0)
        translation.take_second_stage(world.vpid, world.second)
        sync_control(cpu)
        # TCG's words may have been replaced before, and with them the slot that it believes itself in.
        d[HFLAGS] = d[HFLAGS] & NOT_SLOT | SLOT_FLAGS[translation.current_slot]
    world.epoch = cpu.epoch
    if world.loads[-1] and cpu.dr[7] != world.dr7:
        cpu.dr[7] = world.dr7
        cpu.breakpoints.update()


def _load_msrs(cpu: Cpu, world: World) -> None:
    for (which, _), value, loaded in zip(_MSRS, world.msrs, world.loads, strict=True):
        if loaded:
            cpu.msr[which] = value
    cpu.switched_msrs = world.msrs if all(world.loads) else None

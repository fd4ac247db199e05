"""The attacks on a container kernel and on the host, each with the defence that stops it and a control without that defence.

An attack on the container kernel is a program (``guest/attacks/``); one on the host is a container kernel of its own
(``guest/attacks/host/``, for PVM's host ``pvm/``, for RunV's ``runv/``) that runs beside a container with a secret.  Either is *refused*
if no secret was read or changed, the host and the other container went on, and the control *succeeds* if something of that
happened with the defence switched off.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from .emu.devices import NoConsole
from .emu.stop import Reason
from .guest import shipped
from .guest.elf import parse
from .guest.rootfs import PATH, Rootfs, init_block
from .host_variables import HOST_BASE
from .machine import Machine
from .runtimes import PARACELL, PVM, RUNV, Runtime
from .signals import stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .emu.cost import Costs
    from .emu.stop import Stop
    from .guest.multiboot import Module

HOST: Final = PARACELL.boots
KERNEL: Final = PARACELL.kernel or ""
MEMORY: Final = 64 << 20
KERNEL_SECRET: Final = 0x5EC2E7C0FFEE0001  # pku/xgate/main.c
HOST_SECRET: Final = 0x5EC2E7C0FFEE0003  # guest/host/core/main.c
_SECRETS: Final = "5ec2e7c0ffee"  # how all of them begin
_PAGE: Final = 4096
_KILLED: Final = 125  # the exit status of a container that its host ended
_WELL: Final = "victim: all is well"
_PATIENCE: Final = 20.0  # seconds until a machine that makes no progress counts as lost
_HOSTILE: Final = {PARACELL.name: "hostile.elf", PVM.name: "pvm-hostile.elf", RUNV.name: "runv-hostile.elf"}

# What a control may bring about, beside a secret read or changed.
_TAKEN: Final = "secret was"
_END: Final = "came to its end"
_PANIC: Final = "gave up"
_STOPPED: Final = "the machine stopped"
_OTHER: Final = "the other container did not come through"
_NOBODY: Final = "nobody else came to run"


@frozen
class Attack:
    """One attack.

    Attributes:
        name: of the program in ``guest/attacks/``, or of the case in ``guest/attacks/host/hostile.c``.
        says: what it does.
        off: the defences without which it succeeds: one, or two where both stand in its way.
        symbols: of the container kernel or the host, whose addresses it gets.
        shows: what its control must bring about: any of these, as part of one of `Outcome.harm`.
        on_host: whether a container kernel attacks the host.
        order: which containers run, for attacks on the host: h(ostile), v(ictim).
        runtime: whose host or container kernel is attacked.
        options: more for the host's command line.

    """

    name: str
    says: str
    off: tuple[str, ...]
    symbols: tuple[str, ...] = ("gk_secret",)
    shows: tuple[str, ...] = field(default=(_TAKEN,), kw_only=True)
    on_host: bool = field(default=False, kw_only=True)
    order: str = field(default="hv", kw_only=True)
    runtime: Runtime = field(default=PARACELL, kw_only=True)
    options: str = field(default="", kw_only=True)

    @property
    def endless(self) -> bool:
        """Whether the attacker runs for ever."""
        return self.name.endswith("-endless")

    @property
    def case(self) -> str:
        """What the hostile container kernel calls it."""
        return self.name.partition("-")[2]


def _host(
    name: str, says: str, off: str, symbol: str = "", *shows: str, order: str = "hv", options: str = ""
) -> Attack:
    return _on(PARACELL, f"host-{name}", says, off, symbol, *shows, order=order, options=options)


def _pvm(name: str, says: str, off: str, symbol: str = "", *shows: str, order: str = "hv", options: str = "") -> Attack:
    return _on(PVM, f"pvm-{name}", says, off, symbol, *shows, order=order, options=options)


def _runv(name: str, says: str, off: str, *shows: str, order: str = "hv", options: str = "") -> Attack:
    return _on(RUNV, f"runv-{name}", says, off, "", *shows, order=order, options=options)


def _on(
    runtime: Runtime, name: str, says: str, off: str, symbol: str, *shows: str, order: str, options: str = ""
) -> Attack:
    return Attack(
        name,
        says,
        tuple(off.split()),
        (symbol,) if symbol else (),
        shows=shows or (_TAKEN,),
        on_host=True,
        order=order,
        runtime=runtime,
        options=options,
    )


_HYPERALLOC: Final = " policy=hyperalloc"
_BALLOON: Final = " policy=balloon"
_KEPT: Final = "gk_secret"
PREFIXES: Final = "prefixes"  # a defence of the processor's: without it, the machine has a flaw
_NEVER_RAN: Final = frozenset({126, 127})
ATTACKS: Final = (
    Attack("direct", "read and write the container kernel's memory", ("keys",)),
    Attack("gadget", "call a function of the container kernel's", ("keys",), (_KEPT, "memset")),
    Attack("past", "jump into the gate behind its check", ("keys",), (_KEPT, "xgate_stack")),
    Attack("event", "enter where only the host does, with a forged frame", ("keys",), (_KEPT, "gk_event_entry")),
    Attack(
        "jump",
        "jump to the gate's WRPKRU with EAX of one's own",
        ("check",),
        (_KEPT, "xgate_exit_wrpkru", "xgate_scratch"),
    ),
    Attack("stack", "enter the gate with RSP in the kernel's memory", ("stack",), (_KEPT, "xgate_entry")),
    Attack("base", "enter the gate with forged GS and FS bases", ("gs",), (_KEPT, "xgate_entry"), shows=(_END,)),
    Attack("wrpkru", "run a WRPKRU in fresh executable memory", ("scan",)),
    Attack("rwx", "ask for memory that is writable and executable", ("scan",)),
    Attack("toggle", "change code after it was looked through", ("scan",)),
    Attack("split", "WRPKRU over the border of two pages", ("border",)),
    Attack("hidden", "WRPKRU inside another instruction", ("bytes",)),
    Attack("remap", "two halves of WRPKRU moved together by mremap", ("move",)),
    Attack("xrstor", "load PKRU by XRSTOR, component 9", ("xrstor",)),
    Attack("double", "write the file behind code that was looked through", ("copy",)),
    Attack("discard", "change the file behind such code, and have it read again", ("copy",)),
    Attack("shared", "shared memory, mapped to write and to run", ("shared",)),
    Attack("patch", "WRPKRU in a jump that the kernel writes", ("patch",)),
    Attack("emulate", "a WRPKRU that the kernel stands for", ("emulate",)),
    Attack("sigframe", "a signal frame with a forged PKRU", ("sigreturn",)),
    Attack("raw", "SYSCALL with the arguments of a hypercall", ("caller",)),
    Attack("int80", "INT 80h with the arguments of a hypercall", ("int80",)),
    Attack("pointers", "a kernel address as each argument of each system call", ("usercopy",)),
    Attack("nested", "kernel addresses inside what system calls are given", ("usercopy",), shows=(_END,)),
    Attack(
        "mapping",
        "map, protect or move the kernel's and the gate's pages",
        ("range", "half"),
        (_KEPT, "xgate_entry"),
        shows=(_END, _TAKEN),  # the gate's page is another one: who comes to it next decides
    ),
    Attack("prefix", "SYSCALL with a LOCK prefix", (PREFIXES,), ("host_secret",), shows=(_PANIC, _TAKEN)),
    _host("number", "a hypercall that does not exist", "number", "", _PANIC),
    _host("handle", "an address space that is not its own", "handle", "", _PANIC),
    _host("pages", "every page of the host's memory, by its address", "gpa"),
    _host("half", "a mapping in the host's half", "half", "host_secret"),
    _host("return", "the same with a return, which takes entries as well", "half", "host_secret"),
    _host("pointer", "a hypercall argument in the host's memory", "pointer", "host_secret"),
    _host("hoststack", "an event stack in the host's memory", "pointer", "host_secret"),
    _host("canonical", "a return to an address that is not canonical", "canonical", "", _PANIC),
    _host("sysret", "the same, where the host may return by SYSRET", "canonical", "", _PANIC),
    _host("flags", "a return with IOPL 3", "flags", "", _OTHER),
    _host("selectors", "a return with selectors of ring 0", "selectors", "", _PANIC),
    _host("endless", "a loop that no virtual interrupt can end", "preempt", "", _NOBODY),
    _host("leftovers", "memory as the one before left it", "zero", order="vvh"),
    _host("glutton", "page tables until there is no memory", "quota", "", _OTHER),
    _host("stale", "a page that was unmapped, by the TLB", "flush"),
    _host("mapped", "a page that was given back and is still mapped", "mapped"),
    _host("pager-stale", "a page that was given back, by the TLB", "flush"),
    _host("pager-mapped", "pages that were given back and are still mapped", "mapped"),
    _host("pager-leftovers", "what the one before has left in pages that are bound", "zero", order="vvh"),
    _host("balloon-stale", "a page that the balloon has, by the TLB", "flush", options=_BALLOON),
    _host("balloon-stale-report", "a page that was reported free, by the TLB", "flush", options=" policy=report-4k"),
    _host("balloon-mapped", "pages that the balloon has and that are still mapped", "mapped", options=_BALLOON),
    _host("balloon-leftovers", "what the one before has left, from the balloon", "zero", order="vvh", options=_BALLOON),
    _host("balloon-others", "numbers of pages that others have", "queue", "", _PANIC, _OTHER, options=_BALLOON),
    _host(
        "balloon-ring",
        "a used ring in memory that others have",
        "queue",
        "",
        _TAKEN,
        _PANIC,
        _STOPPED,
        options=_BALLOON,
    ),
    _host("llfree-words", "words of LLFree's in the host's memory", "words", "host_secret", options=_HYPERALLOC),
    _host(
        "llfree-mapped",
        "frames that are called free and are still mapped",
        "mapped",
        order="hvhv",
        options=_HYPERALLOC,
    ),
    _host("llfree-leftovers", "what the one before has left in frames", "zero", order="vvh", options=_HYPERALLOC),
    _pvm("flags", "a PVCS with IOPL 3", "flags", "", _OTHER),
    _pvm("selectors", "a PVCS with selectors of ring 0", "selectors", "", _PANIC),
    _pvm("canonical", "a PVCS with a return to an address that is not canonical", "canonical", "", _PANIC),
    _pvm("entry", "an entry for system calls that is not canonical", "canonical", "", _PANIC),
    _pvm("border", "SYSCALL as the last bytes of the lower half", "canonical", "", _PANIC, _STOPPED),
    _pvm("event", "an entry for the kernel's events that is not canonical", "canonical", "", _PANIC, _STOPPED),
    _pvm("half", "a page fault in the host's half, mapped before the return", "half"),
    _pvm("invlpg", "INVLPG of a host address", "half", "host_secret", _PANIC, _STOPPED),
    _pvm("pvcs", "a PVCS in the host's memory", "pvcs", "host_secret"),
    _pvm("given-pvcs", "a PVCS whose page is given back", "kept"),
    _pvm("llfree-pvcs", "a PVCS in a frame that is called free", "kept", options=_HYPERALLOC),
    _pvm("pointer", "a string instruction with bytes in the host's memory", "pointer", "host_secret"),
    _pvm("pages", "page tables that lead out of its memory", "frame"),
    _pvm("cr3", "a CR3 that is no memory, and one that is no table", "frame"),
    _pvm("store", "a store to a page table", "protect"),
    _pvm("alias", "a store to a page table through another mapping", "alias"),
    _pvm("recycled", "a page of data that becomes a table, by the TLB", "flush"),
    _pvm("endless", "a loop that no virtual interrupt can end", "preempt", "", _NOBODY),
    _pvm("outs-endless", "REP OUTSB of 128 TiB", "preempt", "", _NOBODY),
    _pvm("leftovers", "memory as the one before left it", "zero", order="vvh"),
    _runv("port", "a port that is not its own", "ports", _STOPPED),
    _runv("msr", "an MSR that is not its own", "msrs", _PANIC, _NOBODY, _OTHER),
    _runv("pages", "every page of the host's memory, by its address", "gpa"),
    _runv("large", "one page of 2 MiB, given back and read", "split", options=" ept=2m"),
    _runv("shadow-store", "a store to a page table", "protect", options=" mmu=spt"),
    _runv("xsetbv", "an XCR0 that no processor takes", "xcr0", _PANIC),
    _runv("realmode", "an exception with an error code in real mode", "event entry", _PANIC),
    _runv("rip", "an emulated instruction at the end of what 32-bit code sees", "rip entry", _PANIC),
    _runv("stale", "what another one had at an address, by the TLB", "invept", order="vvh"),
    _runv("endless", "a loop that no virtual interrupt can end", "preempt", _NOBODY),
    _runv("leftovers", "memory as the one before left it", "zero", order="vvh"),
    _pvm("glutton", "shadow tables until there is no memory", "quota", "", _OTHER, _NOBODY, options=" eager=1"),
)


class _Listener(NoConsole):
    """A console that tells when the victim has come through, for an attack that never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.done: Callable[[], None] | None = None

    def write(self, stream: int, data: bytes) -> None:
        super().write(stream, data)
        if self.done and _WELL.encode() in self.sent[0]:
            self.done()


@frozen
class Outcome:
    """What came of one run.

    Attributes:
        stop: how the machine ended.
        out: what the containers wrote to their standard outputs.
        err: what kernels and host had to say.
        harm: what the attack reached, in a few words each; empty if it was refused.

    """

    stop: Stop
    out: str
    err: str
    harm: tuple[str, ...]


@frozen
class Row:
    """A line of the table: an attack, whether it was refused, and whether it succeeds without its defence."""

    name: str
    refused: bool
    control_succeeds: bool
    defence: str
    says: str
    harm: tuple[str, ...]


def symbols_of(name: str) -> Mapping[str, int]:
    """Give the symbols of a shipped image."""
    return {s.name: s.address for s in parse(shipped.image(name).read_bytes(), name).symbols()}


def container_modules(
    program: str, arguments: Sequence[str], kernel: str | None = None, runtime: Runtime = PARACELL
) -> tuple[Module, ...]:
    """Make the modules of one container, with the container kernel or with another in its place."""
    rootfs = Rootfs()
    rootfs.complete()
    rootfs.add_program(program, shipped.image(f"attacks/{program}").read_bytes())
    block = init_block([f"/bin/{program}", *arguments], [f"PATH={PATH}"])
    return runtime.modules(rootfs.to_tar(), block, kernel=kernel)


def _modules(attack: Attack) -> tuple[list[Module], str]:
    """Make what stands beside the host, and its command line."""
    if not attack.on_host:
        known = {**symbols_of(HOST), **symbols_of(KERNEL)}
        return [*container_modules(attack.name, [f"{known[s]:x}" for s in attack.symbols])], ""
    runtime = attack.runtime
    host, hostile = symbols_of(runtime.boots), _HOSTILE[runtime.name]
    target = "".join(f" at={host[s]:x}" for s in attack.symbols)
    modules = [
        m for who in attack.order for m in container_modules("victim", (), hostile if who == "h" else None, runtime)
    ]
    return modules, f"attack={attack.case}{target}{attack.options}"


def _page_of(secret: int) -> bytes:
    return secret.to_bytes(8, "little") + bytes(_PAGE - 8)


def _secret_is_whole(machine: Machine, symbol: str, value: int) -> bool:
    """Tell whether the page at a secret's address holds what it held, by the tables that the machine ended with.

    In a virtual machine those are the guest's: the secret is the host's, in memory where it was loaded.
    """
    guest = machine.inner.cpu.guest
    in_guest = guest is not None and not guest.of_l0
    page = machine.symbols[symbol] - HOST_BASE if in_guest else machine.translate(machine.symbols[symbol])
    return page is not None and machine.memory[page : page + _PAGE] == _page_of(value)


def run(attack: Attack, off: Sequence[str] = (), costs: Costs | None = None) -> Outcome:
    """Run an attack, with some defences off."""
    modules, line = _modules(attack)
    console = _Listener()
    switches = [f"off={d}" for d in off if d != PREFIXES]
    machine = Machine.boot(
        attack.runtime.load(),
        modules=modules,
        append=" ".join([line, *switches]).strip(),
        memory=MEMORY * (3 if len(attack.order) > 2 else 1),
        runtime=attack.runtime,
        costs=costs,
        console=console,
    )
    with machine:
        if PREFIXES in off:
            machine.inner.traps.plant_flaw()
        if attack.endless:
            console.done = machine.inner.request_stop
        watchdog = threading.Timer(_PATIENCE, machine.inner.request_stop)
        watchdog.daemon = True
        watchdog.start()
        try:
            with stopping(machine.inner.request_stop):
                stop = machine.inner.run()
        finally:
            watchdog.cancel()
        out, err = (bytes(s).decode(errors="backslashreplace") for s in console.sent[:2])
        return Outcome(stop, out, err, tuple(_harm(attack, machine, stop, bytes(console.sent[0]), err)))


def _harm(attack: Attack, machine: Machine, stop: Stop, out: bytes, err: str) -> list[str]:
    harm = []
    secrets = [s.to_bytes(8, "little")[2:] for s in (KERNEL_SECRET, HOST_SECRET)]
    if _SECRETS.encode() in out or any(s in out for s in secrets):
        harm.append("a secret was read")
    if stop.reason is Reason.INTERRUPTED and _WELL.encode() not in out:
        harm.append(_NOBODY)
    elif stop.reason not in {Reason.EXIT, Reason.INTERRUPTED}:
        harm.append(f"{_STOPPED}: {stop.reason}")
    elif "panic" in err:
        harm.append("a kernel or the host gave up")
    if not _secret_is_whole(machine, "host_secret", HOST_SECRET):
        harm.append("the host's secret was changed")
    if attack.on_host:
        if stop.reason is Reason.EXIT and _WELL.encode() not in out:
            harm.append(_OTHER)
    elif stop.reason is Reason.EXIT and stop.value in _NEVER_RAN:
        harm.append("the attack never ran")
    elif stop.reason is Reason.EXIT and stop.value == _KILLED:
        harm.append("the container kernel came to its end")
    elif not _secret_is_whole(machine, _KEPT, KERNEL_SECRET):
        harm.append("the container kernel's secret was changed")
    return harm


def shows(attack: Attack, control: Outcome) -> bool:
    """Tell whether a control did what only the missing defence explains."""
    return any(what in harm for what in attack.shows for harm in control.harm)


def measure(attack: Attack, costs: Costs | None = None) -> Row:
    """Run an attack and its control."""
    refused = run(attack, (), costs)
    control = run(attack, attack.off, costs)
    return Row(attack.name, not refused.harm, shows(attack, control), " ".join(attack.off), attack.says, control.harm)

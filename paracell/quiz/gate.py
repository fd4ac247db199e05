"""The way into a kernel and back: what a system call crosses under each runtime, and jumps into the middle of a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..container import Container
from ..emu.events import Kind
from .question import Answer, Question
from .runs import lines, more, run

if TYPE_CHECKING:
    from random import Random

    from ..emu.events import Event

_KINDS: Final = (Kind.SYSCALL, Kind.SYSRET, Kind.WRPKRU, Kind.CR3_LOAD, Kind.SWAPGS)
_COSTS: Final = ("syscall", "sysret", "wrpkru", "cr3")
_WAYS: Final = {
    "native": "SYSCALL enters ring 0, SYSRET leaves it",
    "runv": "the same, inside the virtual machine: nothing exits",
    "paracell": "an XGate: one WRPKRU on the way in, one on the way out; the ring stays 3",
    "pvm": "a direct switch by the switcher, at ring 0, both ways: each loads CR3 and PKRU; one SYSCALL and one SYSRET each",
}
_SECTION: Final = 'SDM "Fast System Calls in 64-Bit Mode", "Protection Keys"; docs: PVM; Who runs where'
_LABELS: Final = {"xgate_enter_wrpkru": "xgate_stack", "xgate_exit_wrpkru": "xgate_refused"}
_STEPS: Final = 12


def ask(random: Random) -> Question:
    """Make a question."""
    return random.choice([_cycles, _jump])(random)


def _cycles(random: Random) -> Question:
    """Ask what system calls cost."""
    runtime, calls = random.choice(list(_WAYS)), random.randrange(2, 60)
    costs = {name: random.randrange(2, 40) * 10 for name in _COSTS}
    prices = ", ".join(f"{name} {cycles}" for name, cycles in costs.items())
    given = (
        f"Cycles: {prices}; nothing else costs.  Runtime {runtime}: {_WAYS[runtime]}.",
        "A program calls getpid, which the container kernel answers at once.",
    )

    def solve() -> Answer:
        extra = {"costs": costs, "runtime": runtime, "keep": lambda event: event.kind in _KINDS}
        found = more(run("null", 5, **extra), run("null", 5 + calls, **extra))  # type: ignore[arg-type]
        why = ("from two traced runs, one with so many calls more:", *lines(found))
        return Answer(f"{found.cycles} cycles", why, _SECTION)

    return Question(given, f"What do {calls} such calls cost?", solve)


def _jump(random: Random) -> Question:
    """Ask what a jump to a WRPKRU of the gate leads to."""
    label = random.choice(list(_LABELS))
    eax = random.choice(
        [0, 0xC, 0x4, 0x8, 0x55555554, 0xFFFFFFFC, random.getrandbits(32), random.getrandbits(32) | 0xC]
    )
    ecx, edx = (random.choice([0, 0, 0, 0, 1]) for _ in range(2))
    given = (
        "Runtime paracell: the container kernel's pages have key 1.  Anybody may jump into the gate, whose code is",
        *_CODE[label],
        f"A program (ring 3, PKRU 0x55555554) jumps to {label} with EAX {eax:#010x}, ECX {ecx}, EDX {edx}.",
    )

    def solve() -> Answer:
        return _jumped(label, eax, ecx, edx)

    return Question(
        given, "Which value does PKRU get, if any, and which check ends the attempt, or does it go on?", solve
    )


_CODE: Final = {
    "xgate_enter_wrpkru": (
        "  xgate_enter_wrpkru:  wrpkru",
        "                       cmp  $0, %eax",
        "  xgate_enter_check:   jne  xgate_refused      # ud2",
        "                       …                       # the kernel, with its keys",
    ),
    "xgate_exit_wrpkru": (
        "  xgate_exit_wrpkru:   wrpkru",
        "                       not  %eax",
        "                       test $0xc, %al          # AD1 and WD1",
        "  xgate_exit_check:    jne  xgate_refused      # ud2",
        "                       …  jmp *%rcx            # the program",
    ),
}


def _jumped(label: str, eax: int, ecx: int, edx: int) -> Answer:
    """Make the jump on a machine, and follow it until it is refused or is past the check."""
    with Container("hello", memory="64M") as container:
        container.run_until("hello!main")
        seen: list[Event] = container.record()
        cpu, symbols = container.cpu, container.symbols
        cpu.pkru = 0x55555554
        cpu.rax, cpu.rcx, cpu.rdx, cpu.rip = eax, ecx, edx, symbols[label]
        check = symbols[label.replace("wrpkru", "check")]
        passed = f"{int(cpu.pkru):#x}"
        way = []
        for _ in range(_STEPS):
            container.step()
            way.append(symbols.name(cpu.rip))
            fault = next((event for event in seen if event.kind is Kind.EXCEPTION), None)
            if fault is not None:
                break
            passed = f"{int(cpu.pkru):#010x}"
            if check < cpu.rip < symbols["xgate_refused"] and cpu.rip - check < 8:
                break
        wrote = any(event.kind is Kind.WRPKRU for event in seen)
    if fault is not None and not wrote:
        result = "#GP(0) at WRPKRU: PKRU stays"
    elif fault is not None:
        result = f"PKRU {passed}, and the check refuses: #UD"
    else:
        result = f"PKRU {passed}, and it goes on"
    return Answer(result, ("stepped on the machine:", *way), 'SDM "WRPKRU"; docs: Attacks')

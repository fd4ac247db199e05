"""When memory is bound: faults of a program and of the level below, and the requests of Pager."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..container import Container
from ..emu.events import Kind, Who
from ..mmu.address import PAGE
from .question import Answer, Question

if TYPE_CHECKING:
    from random import Random


_MIB: Final = 1 << 20
_DIRECT: Final = 0xFFFF_8880_0000_0000  # where a container kernel sees all its memory
_HC_PAGER: Final = 12  # pku/xgate/abi.h
_ORDER: Final = 15  # of a word of a request: pager/pager.h
_PAGE_FAULT: Final = 14
_MMAP: Final = 9
_EXITS: Final = frozenset({60, 231})  # exit, exit_group
_CALLS: Final = frozenset({Kind.SYSCALL, Kind.GATE_ENTER})
# Programs, and which of their requests are worth reading: some pages, or some of them bound and others unbound.
_REQUESTS: Final = [(("lat", "-e", "fork"), n) for n in (5, 11, 12, 13, 15)] + [
    (("touch", "1"), n) for n in range(10, 24)
]
_SECTION: Final = 'SDM "Page-Fault Exceptions", "EPT-Induced VM Exits"; docs: Pager'
_BELOW: Final = {
    "paracell": "an exception of the container kernel, which wants to clear a page that the host has not bound",
    "runv": "an EPT violation of the container kernel, which wants to clear a page that the EPT does not map",
}


def ask(random: Random) -> Question:
    """Make a question."""
    return random.choice([_faults, _faults, _request])(random)


def _faults(random: Random) -> Question:
    """Ask how many faults a first write to each page of some MiB takes."""
    runtime, policy = random.choice(list(_BELOW)), random.choice(["touch", "touch", "pager"])
    size, around = random.randrange(1, 4), random.choice([1, 2, 4, 8, 16])
    says = {
        "touch": "the host binds a page of 4 KiB when the container kernel first touches it",
        "pager": "the container kernel has its pages bound by batches of 16, before it uses them",
    }
    begin = _mapping(runtime, size)
    given = (
        f"Runtime {runtime}, memory policy {policy}: {says[policy]}.  A second-level fault is {_BELOW[runtime]}.",
        f"A page fault of a program brings in the part of the mapping that lies in the same aligned {around * PAGE >> 10} KiB.",
        f"A program writes one byte to each page of a new mapping of {size} MiB at {begin:#x}, in order; nobody has used its pages before.",
    )

    def solve() -> Answer:
        return _touched(runtime, policy, range(begin, begin + size * _MIB, PAGE), around)

    return Question(
        given,
        "How many page faults of the program does that take, and how many second-level faults for its pages?",
        solve,
    )


def _mapping(runtime: str, size: int) -> int:
    """Find out where the program gets its memory."""
    with Container("touch", str(size), runtime=runtime, memory="64M") as container:
        container.run_until(lambda e: e.kind in _CALLS and e.nr == _MMAP and e.arg1 == size * _MIB)
        end = container.run_until(Kind.SYSRET, Kind.GATE_EXIT)
        while end.event is not None and not 0 < end.event.value < 1 << 47:  # a return of the host's comes first
            end = container.run_until(Kind.SYSRET, Kind.GATE_EXIT)
        assert end.event is not None
        return end.event.value


def _touched(runtime: str, policy: str, mapping: range, around: int) -> Answer:
    """Run it, stand still where the program exits, and count the faults whose pages are the mapping's."""
    size = str(len(mapping) * PAGE // _MIB)
    with Container(
        "touch", size, runtime=runtime, memory="64M", memory_policy=policy, fault_around=around
    ) as container:
        events = container.record(Kind.EXCEPTION, Kind.EPT_VIOLATION)
        container.run_until(lambda e: e.kind in _CALLS and e.nr in _EXITS)
        exceptions = [e for e in events if e.kind is Kind.EXCEPTION and e.vector == _PAGE_FAULT]
        own = [e for e in exceptions if e.who is Who.USER and e.address // PAGE * PAGE in mapping]
        if runtime == "runv":
            pages = {walk.gpa // PAGE for at in mapping if (walk := container.walk(at, user=True)).gpa is not None}
            below = [e for e in events if e.kind is Kind.EPT_VIOLATION and e.gpa // PAGE in pages]
        else:
            pages = {found // PAGE for at in mapping if (found := container.translate(at)) is not None}
            kernels = [e for e in exceptions if e.who is Who.KERNEL]
            below = [e for e in kernels if (container.translate(e.address) or 0) // PAGE in pages]
    why = (
        f"a traced run: the program's page faults from {own[0].address:#x} to {own[-1].address:#x}: {len(own)}",
        f"the mapping has {len(pages)} pages; second-level faults whose page is one of these: {len(below)}",
    )
    return Answer(f"{len(own)} page faults, {len(below)} second-level faults", why, _SECTION)


def _request(random: Random) -> Question:
    """Ask what a request of a real run says."""
    program, which = random.choice(random.choice([_REQUESTS[:5], _REQUESTS[5:]]))
    words, unbinds = _taken(program, which)
    counts = unbinds << 32 | len(words) - unbinds
    given = (
        f"The container kernel's request number {which} in `paracell run {' '.join(program)}`, a page of words as the host copies it.",
        f"RSI is {counts:#x}: unbinds in bits 63:32, binds in bits 31:0; unbinds come first.",
        "A word: the guest-physical address in bits 63:12, the order in bits 3:0: 1 << order pages.  The words:",
        *("  " + " ".join(f"{word:#010x}" for word in words[i : i + 4]) for i in range(0, len(words), 4)),
    )

    def solve() -> Answer:
        return _read(words, unbinds)

    return Question(
        given, "How many pages does it bind, how many does it unbind, and which page is the highest?", solve
    )


def _read(words: list[int], unbinds: int) -> Answer:
    """Say what a request asks for."""
    binds = words[unbinds:]
    bound, unbound = (sum(1 << (word & _ORDER) for word in part) for part in (binds, words[:unbinds]))
    top = max(word // PAGE * PAGE + ((1 << (word & _ORDER)) - 1) * PAGE for word in words)
    orders = (
        ", ".join(f"{word:#x}: order {word & _ORDER}" for word in words if word & _ORDER) or "all words have order 0"
    )
    return Answer(f"binds {bound}, unbinds {unbound}; the highest page is {top:#x}", (orders,), _SECTION)


def _taken(program: tuple[str, ...], which: int) -> tuple[list[int], int]:
    """Run to a request and copy it: its words, and how many of them are unbinds."""
    with Container(*program, memory="64M") as container:
        for _ in range(which):
            end = container.run_until(lambda event: event.kind is Kind.HYPERCALL and event.nr == _HC_PAGER)
        assert end.event is not None
        at = container.translate(_DIRECT + end.event.arg0)
        assert at is not None
        unbinds, binds = end.event.arg1 >> 32, end.event.arg1 & 0xFFFFFFFF
        count = unbinds + binds
        return list(struct.unpack(f"<{count}Q", container.memory.read(at, 8 * count))), unbinds

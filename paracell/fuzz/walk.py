"""Page tables near the border of what a walk takes: the two walkers of the machine against a model written from the manual.

An input is a fixed record, so that every string of bytes is one: what is missing counts as 0, what is too much does not count::

    byte 0  paging mode, CR4.PSE │ 1  WP SMEP SMAP PKE PKS NXE AC │ 2  access │ 3  physical-address width
    4 PKRU (u32) │ 8 PKRS (u32) │ 12 linear address (u64) │ 20 four entries, top first (u64)

Entries that name a table are led to the next table: every walk ends, and what is wrong with one is all in its other bits.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .mistakes import chosen, planted, said
from .mistakes_walk import WALK
from .model.paging import BITS32, LEVEL4, PAE, PS, RW, SHIFTS, US, XD, A, Access, D, P, State, bits, is_page, translate
from .model.tables import TABLES, Tables
from .target import Found, Options, Target

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from .chance import Chance
    from .target import Tell

_RECORD: Final = struct.Struct("<BBBBIIQ4Q")
SIZE: Final = _RECORD.size
_MODES: Final = (LEVEL4, LEVEL4, PAE, BITS32)
_ACCESSES: Final = tuple(
    Access(write, fetch, user, implicit)
    for user, implicit in ((False, False), (True, False), (False, True))
    for write, fetch in ((False, False), (True, False), (False, True))
    if not (implicit and fetch)  # the processor fetches nothing for its tables
)
_WIDTHS: Final = range(36, 53)
_OPEN: Final = P | RW | US
_PAE_REGISTER: Final = P | 0x18  # of a PDPTE, beside its address: what MOV to CR3 takes ("PAE Paging")
_LOW: Final = 0xFFF


@frozen
class Question:
    """What is asked of model and walkers."""

    state: State
    access: Access
    linear: int
    entries: tuple[int, ...]

    def __str__(self) -> str:
        """Say it in a line."""
        state = " ".join(f"{n}={v:#x}" if n.startswith("pkr") else f"{n}={v}" for n, v in self.state._asdict().items())
        access = " ".join(n for n, v in self.access._asdict().items() if v) or "read"
        return f"{access} of {self.linear:#x} by {' '.join(f'{e:#x}' for e in self.entries)} with {state}"


def decode(data: bytes) -> Question:
    """Make the question that an input asks."""
    kind, control, which, width, pkru, pkrs, linear, *raw = _RECORD.unpack(data[:SIZE].ljust(SIZE, b"\0"))
    mode = _MODES[kind & 3]
    wp, smep, smap, pke, pks, nxe, ac = (bool(control >> i & 1) for i in range(7))
    state = State(
        mode,
        wp=wp, smep=smep, smap=smap, pke=pke and mode == LEVEL4, pks=pks and mode == LEVEL4, nxe=nxe,
        pse=mode != BITS32 or bool(kind & 4), ac=ac, pkru=pkru, pkrs=pkrs, maxphyaddr=_WIDTHS[width % len(_WIDTHS)],
    )  # fmt: skip
    linear = (
        linear & bits(46, 0) | (bits(63, 47) if linear >> 47 & 1 else 0) if mode == LEVEL4 else linear & bits(31, 0)
    )
    entries = tuple(_led(state, at, entry) for at, entry in zip(range(len(SHIFTS[mode])), raw, strict=False))
    return Question(state, _ACCESSES[which % len(_ACCESSES)], linear, entries)


def _led(state: State, at: int, entry: int) -> int:
    """Give an entry that leads to the next table if it leads to one."""
    shift = SHIFTS[state.mode][at]
    if state.mode == BITS32:
        entry &= bits(31, 0)
        return entry if is_page(state, shift, entry) else entry & _LOW | TABLES[at + 1]
    if state.mode == PAE and at == 0:
        return TABLES[1] | entry & _PAE_REGISTER
    if is_page(state, shift, entry):
        return entry
    return entry & ~bits(state.maxphyaddr - 1, 12) | TABLES[at + 1]


class WalkTarget(Target):
    """The target `walk`."""

    name = "walk"
    switches = said(WALK)
    max_len = SIZE

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008
        super().__init__(options)
        self._mistakes = chosen(WALK, options.off)

    def generate(self, chance: Chance) -> bytes:
        """Make an input: most entries permit everything but for a bit or two, so that walks come far."""
        return _RECORD.pack(
            chance.below(8), chance.getrandbits(7), chance.below(256), chance.below(256),
            *(_keys(chance) for _ in range(2)), chance.getrandbits(48), *(_entry(chance) for _ in range(4)),
        )  # fmt: skip

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Turn a bit or two over, or take an entry of another's: nearly every bit of an input means something."""
        record, theirs = bytearray(data[:SIZE].ljust(SIZE, b"\0")), other[:SIZE].ljust(SIZE, b"\0")
        if chance.random() < 0.2:
            at = 20 + 8 * chance.below(4)
            record[at : at + 8] = theirs[at : at + 8]
        for _ in range(1 + chance.below(3)):
            record[chance.below(SIZE)] ^= 1 << chance.below(8)
        return bytes(record)

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Ask model and walkers; what they disagree in, or None."""
        question = decode(data)
        self._seen = _shape(question)
        expected = translate(question.state, question.access, question.linear, question.entries)
        if tell:
            tell(str(question))
            tell(f"the model says {expected}")
        with planted(self._mistakes):
            for quick in (False, True) if question.state.mode == LEVEL4 else (False,):
                tables = Tables(question.state.mode, question.linear)
                got = tables.outcome(question.state, question.access, question.entries, quick=quick)
                if got != expected:
                    return Found(f"{'walker' if quick else 'walk'} says {got}, the model {expected}: {question}")
        self._seen = (*self._seen, expected.error)
        return None

    def features(self) -> Iterable[Hashable]:
        """Give which question it was, in short, and its answer."""
        return (self._seen,)

    def describe(self, data: bytes) -> str:
        """Give the question."""
        return str(decode(data))


def _shape(question: Question) -> tuple[Hashable, ...]:
    """Give what kind of question it is: mode and access, and which of an entry's bits stand out."""
    usual = _OPEN | A | D
    return (
        question.state.mode,
        question.access,
        tuple(
            (e ^ usual) & (usual | PS) or bool(e & bits(51, question.state.maxphyaddr)) << 12 for e in question.entries
        ),
    )


def _keys(chance: Chance) -> int:
    return chance.pick((0, 0xFFFFFFFF, 0x55555554, chance.getrandbits(32)))


def _entry(chance: Chance) -> int:
    usual = _OPEN | A | chance.pick((0, D)) | chance.getrandbits(4) << 59
    page = chance.pick((0, 0, PS)) | chance.getrandbits(6 if chance.random() < 0.8 else 22) << 30
    spoilt = chance.pick((0, 0, 0, P, RW, US, A, XD, 1 << chance.below(64), chance.getrandbits(64)))
    return (usual | page) ^ spoilt

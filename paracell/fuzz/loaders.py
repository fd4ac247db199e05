"""Files that a user gives: each loader takes one or refuses it, by its own error, in bounded time and memory.

An input's first byte names the loader, the rest is the file.  A loader that takes a file must have understood it: what it would put into
memory lies there, in pieces that do not meet, each of them bytes of the file as its headers say; a tar that was read and written is the
same to read again; a snapshot that was restored can be saved.
"""

from __future__ import annotations

import io
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ..emu.devices import NoConsole
from ..emu.machine import Machine
from ..emu.snapshot import BadSnapshot
from ..guest import elf as elf_file
from ..guest.archive import from_bytes
from ..guest.elf import BadImage
from ..guest.image import Kind, parse_image
from ..guest.loader import plan
from ..guest.node import BadRootfs
from ..guest.program import check_program
from ..guest.rootfs import Rootfs
from . import image_files
from .bounded import TooLong, Watched
from .mistakes import chosen, planted, said
from .mistakes_loaders import LOADERS
from .mutate import mutate_bytes
from .target import Found, Options, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from .chance import Chance
    from .target import Tell

_MEMORY: Final = 64 << 20
_REGIONS: Final = ((0, _MEMORY),)
_LINES, _LINES_A_BYTE = 100_000, 40  # a loader that looks at each byte some times is well below
_BYTES, _BYTES_A_BYTE = 24 << 20, 200
_SNAPSHOT_MEMORY: Final = 1 << 20
_PATH: Final = "input"


class Wrong(Exception):
    """A loader took a file and did not understand it."""


class ImagesTarget(Target):
    """The target `images`.

    Attributes:
        watched: what the last try took.

    """

    name = "images"
    switches = said(LOADERS)
    max_len = 1 << 16

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008
        super().__init__(options)
        self._mistakes = chosen(LOADERS, options.off)
        self.watched = Watched(("/guest/", "/emu/snapshot.py", "/emu/state.py"))
        machine = Machine(_SNAPSHOT_MEMORY, NoConsole())
        file = io.BytesIO()
        machine.save(file)
        machine.close()
        self._snapshot = file.getvalue()
        self._loaders: tuple[tuple[Callable[[Chance], bytes], Callable[[bytes], None], type[Exception]], ...] = (
            (image_files.elf, _program, BadImage),
            (self._kernel, _image, BadImage),
            (image_files.tar, _tar, BadRootfs),
            (lambda chance: image_files.snapshot(self._snapshot, chance), _restore, BadSnapshot),
        )

    @staticmethod
    def _kernel(chance: Chance) -> bytes:
        kind = chance.below(4)
        if kind < 2:
            return image_files.elf(chance)
        return image_files.linux(chance) if kind == 2 else image_files.multiboot(chance, 4 * chance.below(8))

    def generate(self, chance: Chance) -> bytes:
        """Make a file for one of the loaders, well-formed but for a number or two."""
        which = chance.pick((0, 0, 1, 1, 1, 2, 2, 3))
        data = self._loaders[which][0](chance)
        return bytes((which,)) + (image_files.damaged(data, chance) if chance.random() < 0.3 else data)

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Damage a file, or a number of a snapshot's."""
        if not data:
            return self.generate(chance)
        which = data[0] % len(self._loaders)
        if which == 2 and chance.random() < 0.5:
            return data[:1] + image_files.spoilt(data[1:], chance)
        if which == 3 and chance.random() < 0.8:
            return data[:1] + self._loaders[3][0](chance)
        if which < 3 and chance.random() < 0.3:
            return data[:1] + mutate_bytes(data[1:], other[1:], self.dictionary, self.max_len - 1, chance)
        return data[:1] + image_files.damaged(data[1:], chance)

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Give a file to its loader; what is wrong with what came of it, or None."""
        with planted(self._mistakes):
            wrong = self._run(data, tell or (lambda _: None))
        return Found(wrong) if wrong else None

    def features(self) -> Iterable[Hashable]:
        """Give the pairs of lines of the loaders that have followed each other."""
        return self.watched.edges

    def describe(self, data: bytes) -> str:
        """Name the loader, and show the beginning of the file."""
        which = data[0] % len(self._loaders) if data else 0
        return f"for {self._loaders[which][1].__name__.strip('_')}: {super().describe(data[1:])}"

    def _run(self, data: bytes, tell: Tell) -> str | None:
        which = data[0] % len(self._loaders) if data else 0
        file = data[1:]
        _, load, error = self._loaders[which]
        name = load.__name__.strip("_")
        try:
            self.watched.run(lambda: load(file), _LINES + _LINES_A_BYTE * len(file))
            tell(f"{name}: taken")
        except error as refusal:
            tell(f"{name}: refused: {refusal}")
            if "\n" in str(refusal):
                return f"{name}: more than a line: {refusal}"
        except TooLong:
            return f"{name}: more than {_LINES + _LINES_A_BYTE * len(file)} lines of Python for {len(file)} bytes"
        except Exception as other:  # noqa: BLE001  (whatever it is, it is what this looks for)
            return f"{name}: {type(other).__name__}: {other}"
        if self.watched.peak > _BYTES + _BYTES_A_BYTE * len(file):
            return f"{name}: {self.watched.peak >> 20} MiB of memory for {len(file)} bytes"
        return None


def _program(data: bytes) -> None:
    taken = elf_file.parse(data, _PATH)
    names = taken.symbols()
    if any(not 0 <= s.address < 1 << 64 or not s.name for s in names):
        raise Wrong("a symbol without a name, or beyond 64 bits")
    list(taken.notes())
    _check_segments(data, taken)
    check_program(data, _PATH, _MEMORY)


def _check_segments(data: bytes, taken: elf_file.Elf) -> None:
    """Read the program headers once more, as the ELF specification has them, and compare."""
    wide = data[4] == 2
    start, size, count = (*struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)) if wide else (
        *struct.unpack_from("<I", data, 28), *struct.unpack_from("<HH", data, 42))  # fmt: skip
    expected = []
    for n in range(count):
        words = struct.unpack_from("<IIQQQQQQ" if wide else "<8I", data, start + n * size)
        kind, flags, offset, vaddr, paddr, in_file, in_memory = words[:7] if wide else (
            words[0], words[6], words[1], words[2], words[3], words[4], words[5])  # fmt: skip
        if kind == 1 and in_memory:
            part = data[offset : offset + in_file]
            if len(part) != in_file or in_file > in_memory:
                raise Wrong(f"segment {n} is not in the file, or larger there than in memory, and was taken")
            expected.append((paddr, vaddr, part, in_memory, flags & 7))
    got = [(s.paddr, s.vaddr, bytes(s.data), s.memsz, s.flags) for s in taken.segments]
    if got != expected:
        raise Wrong(f"segments {[g[:2] for g in got]}, and the headers say {[e[:2] for e in expected]}")


def _image(data: bytes) -> None:
    image = parse_image(data, _PATH)
    boot = plan(image, _REGIONS, "quiet")
    if image.kind is not Kind.ELF64 and not any(s.paddr <= image.entry < s.end for s in image.segments):
        raise Wrong(f"its entry point {image.entry:#x} is not in the image")
    spans = sorted([(s.paddr, s.memsz) for s in image.segments])
    placed = sorted((p.paddr, len(p.data)) for p in boot.pieces if p.data)
    for what in (spans, placed):
        for (at, size), (then, _) in pairwise(what):
            if at + size > then:
                raise Wrong(f"what goes to {at:#x} and {then:#x} meets")
        if what and what[-1][0] + what[-1][1] > _MEMORY:
            raise Wrong(f"{what[-1][0]:#x} is not in memory")
    beside = [(at, size) for at, size in placed if not any(a <= at < a + n for a, n in spans)]
    for at, size in beside:
        if any(at < a + n and a < at + size for a, n in spans):
            raise Wrong(f"what the loader tells at {at:#x} lies in the image")
    if boot.end > _MEMORY:
        raise Wrong(f"it ends at {boot.end:#x}, behind the end of memory")


def _tar(data: bytes) -> None:
    first = Rootfs(_PATH)
    first.fill(from_bytes(data, _PATH, _MEMORY))
    again = Rootfs(_PATH)
    again.fill(from_bytes(first.to_tar(), _PATH, _MEMORY))
    told, repeated = (
        {name: (n.kind, n.mode, n.uid, n.gid, n.data, n.target, n.device) for name, n in each.entries.items()}
        for each in (first, again)
    )
    if told != repeated:
        names = sorted(name for name in told.keys() | repeated.keys() if told.get(name) != repeated.get(name))
        raise Wrong(f"{names[:3]} are not the same when what was read is written and read again")


def _restore(data: bytes) -> None:
    machine = Machine.restore(io.BytesIO(data), NoConsole())
    try:
        machine.save(io.BytesIO())
    finally:
        machine.close()

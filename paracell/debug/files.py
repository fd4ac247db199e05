"""What gdb may read of the guest's software: the images that run, or, where they were built, the same with line information."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..guest import shipped
from ..guest.elf import MAGIC, Type, parse

if TYPE_CHECKING:
    from ..container import Container
    from ..runtimes import Runtime

LINES: Final = shipped.IMAGES / "debug"  # what ``guest/build.py --debug`` builds; a wheel has it
_SOURCES: Final = "sources"  # below it, in a wheel
_EXECUTE: Final = 1  # in a segment's flags
_TREE: Final = shipped.IMAGES.resolve().parent.parent  # which the names of sources begin at, in a checkout
_QUIET: Final = ("set confirm off", "set confirm on")
_FRAMES: Final = Path(__file__).parent / "gdb_frames.py"
_GATES: Final = "paracell-kernel.elf"  # the container kernel that writes stubs
_STUBS: Final = "xgate-stubs.elf"  # what they look like
_GUARD, _LEAST_ROOM, _PAGE = 4096, 16 * 4096, 4096  # as pku/xgate/stubs.c has them


@frozen
class Files:
    """What has symbols, for gdb: the program, and the images under it."""

    program: Path | None
    images: tuple[Path, ...] = ()
    stubs: int | None = None  # where the container kernel puts those of the program

    @classmethod
    def of_kernel(cls, path: str) -> Files:
        """Give those of a kernel of the user's own; only an ELF file has any."""
        with Path(path).open("rb") as file:
            return cls(Path(path) if file.read(len(MAGIC)) == MAGIC else None)

    @classmethod
    def of_container(cls, container: Container, folder: Path) -> Files:
        """Give those of a container; the program, which may come out of an image, is written into `folder`."""
        name, data = container.program
        images = cls.of_runtime(container.runtime).images
        if not data.startswith(MAGIC):
            return cls(None, images)
        file = _with_lines(f"programs/{name}", data)
        if file is None:
            file = folder / name
            file.write_bytes(data)
        gates = container.runtime.kernel == _GATES and (LINES / _STUBS).is_file()
        return cls(file, images, _below(data) if gates else None)

    @classmethod
    def of_runtime(cls, runtime: Runtime) -> Files:
        """Give those of a runtime alone."""
        return cls(None, tuple(_with_lines(image.name, image.read_bytes()) or image for image in runtime.images))

    def commands(self) -> list[str]:
        """Give the gdb commands that load them, each at the addresses that it is linked for."""
        before, behind = _QUIET
        lines = [f"file {self.program}"] if self.program else []
        lines += [f"add-symbol-file {image}" for image in self.images]
        if self.stubs is not None:
            lines.append(f"add-symbol-file {LINES / _STUBS} -o {self.stubs:#x}")
        sources = LINES / _SOURCES
        more = [
            f"directory {sources if sources.is_dir() else _TREE}",
            "set backtrace past-main on",
            f"source {_FRAMES}",
        ]
        return [before, *more, *lines, behind]


def _with_lines(name: str, data: bytes) -> Path | None:
    """Give the image with line information whose code is that of `data`, or None: it was not built, or from other sources."""
    path = LINES / name
    return path if path.is_file() and _code(path.read_bytes()) == _code(data) else None


def _below(data: bytes) -> int | None:
    """Give where the stubs of a program begin, as ``pku/xgate/stubs.c`` puts them: below it; None where it may lie anywhere."""
    image = parse(data, "")
    code = [segment for segment in image.segments if segment.flags & _EXECUTE]
    if image.type is not Type.EXEC or len(code) != 1:
        return None
    start = min(segment.vaddr for segment in image.segments) & -_PAGE
    size = (code[0].vaddr + code[0].memsz + _PAGE - 1 & -_PAGE) - (code[0].vaddr & -_PAGE)
    room = max(_LEAST_ROOM, size // 32 + _PAGE - 1 & -_PAGE)
    return start - _GUARD - room


def _code(data: bytes) -> list[tuple[int, bytes]]:
    """Give what is executed of an ELF file, by address."""
    return [(s.vaddr, bytes(s.data)) for s in parse(data, "").segments if s.flags & _EXECUTE]

"""What gdb may read of the guest's software: the images that run, or, where they were built, the same with line information."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..guest import shipped
from ..guest.elf import MAGIC, parse

if TYPE_CHECKING:
    from ..container import Container

LINES: Final = shipped.IMAGES / "debug"  # what ``guest/build.py --debug`` builds
_EXECUTE: Final = 1  # in a segment's flags
_TREE: Final = shipped.IMAGES.resolve().parent.parent  # which the names of sources begin at
_QUIET: Final = ("set confirm off", "set confirm on")


@frozen
class Files:
    """What has symbols, for gdb: the program, and the images under it."""

    program: Path | None
    images: tuple[Path, ...] = ()

    @classmethod
    def of_kernel(cls, path: str) -> Files:
        """Give those of a kernel of the user's own; only an ELF file has any."""
        with Path(path).open("rb") as file:
            return cls(Path(path) if file.read(len(MAGIC)) == MAGIC else None)

    @classmethod
    def of_container(cls, container: Container, folder: Path) -> Files:
        """Give those of a container; the program, which may come out of an image, is written into `folder`."""
        name, data = container.program
        images = tuple(_with_lines(image.name, image.read_bytes()) or image for image in container.runtime.images)
        if not data.startswith(MAGIC):
            return cls(None, images)
        file = _with_lines(f"programs/{name}", data)
        if file is None:
            file = folder / name
            file.write_bytes(data)
        return cls(file, images)

    def commands(self) -> list[str]:
        """Give the gdb commands that load them, each at the addresses that it is linked for."""
        before, behind = _QUIET
        lines = [f"file {self.program}"] if self.program else []
        lines += [f"add-symbol-file {image}" for image in self.images]
        return [before, f"directory {_TREE}", *lines, behind]


def _with_lines(name: str, data: bytes) -> Path | None:
    """Give the image with line information whose code is that of `data`, or None: it was not built, or from other sources."""
    path = LINES / name
    return path if path.is_file() and _code(path.read_bytes()) == _code(data) else None


def _code(data: bytes) -> list[tuple[int, bytes]]:
    """Give what is executed of an ELF file, by address."""
    return [(s.vaddr, bytes(s.data)) for s in parse(data, "").segments if s.flags & _EXECUTE]

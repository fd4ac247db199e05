"""Tar archives of any compression, as names and nodes of a root file system."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from .node import BadRootfs, Node, node_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZSTD: Final = b"\x28\xb5\x2f\xfd"  # RFC 8878, "Zstandard Frames"
# What a file of each compression begins with: RFC 1952, "Member header and trailer"; bzip2; "The .xz File Format", "Header Magic Bytes".
_PACKED: Final = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0", "lzma": b"\x5d\0\0", "zst": ZSTD}
_MODES: Final[dict[str, Literal["r", "r:", "r:gz", "r:bz2", "r:xz"]]] = {
    "": "r:", "gz": "r:gz", "bz2": "r:bz2", "xz": "r:xz", "lzma": "r:xz", "zst": "r",
}  # fmt: skip
_LONGEST: Final = max(map(len, _PACKED.values()))
_CHUNK: Final = 1 << 20


def from_tar(path: Path, limit: int) -> Iterator[tuple[str, Node]]:
    """Read a tar file whose contents may take `limit` bytes; `BadRootfs` or `OSError`."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadRootfs(str(path), "neither a directory nor a tar file")
    with path.open("rb") as file:
        yield from from_stream(file, str(path), limit)


def from_bytes(data: bytes, source: str, limit: int) -> Iterator[tuple[str, Node]]:
    """Read a tar that is in memory."""
    yield from from_stream(io.BytesIO(data), source, limit)


def from_stream(file: BinaryIO, source: str, limit: int) -> Iterator[tuple[str, Node]]:
    """Read a tar from a file that can seek."""
    with _refused(file, source) as packed, _open(file, packed) as tar:
        room = limit
        for info in tar:
            if info.isreg():
                room -= info.size
            if room < 0:
                raise too_large(source, sum(member.size for member in tar if member.isreg()))
            contents = tar.extractfile(info) if info.isreg() else None
            yield info.name, node_of(info, contents.read() if contents else b"")
        _check_end(tar, source)


def too_large(source: str, size: int) -> BadRootfs:
    """Say what so many bytes of files need that do not fit."""
    what = (
        f"{-(-size >> 20)} MiB of files do not fit into memory, --memory {-(-least_memory(size) >> 20)}M is the least"
    )
    return BadRootfs(source, what)


def least_memory(files: int) -> int:
    """Give the memory in bytes that a machine needs to start a small program beside so many bytes of files.

    Measured for both runtimes with 10 to 400 MiB of files: at most 5 MiB for images, first tables and the program, and 1.3 % of the
    files for lists of pages and tables that map them.
    """
    return max(files + files // 64 + (5 << 20), 8 << 20)


def _open(file: BinaryIO, packed: str) -> tarfile.TarFile:
    """Open a tar of one compression; `tarfile` would try each on anything, and take memory as the bytes at random say."""
    return tarfile.open(fileobj=file, mode=_MODES[packed], encoding="utf-8", errors="surrogateescape")


@contextmanager
def _refused(file: BinaryIO, source: str) -> Iterator[str]:
    """Give the name of the compression, and say in one line why a tar is refused."""
    start = file.read(_LONGEST)
    file.seek(0)
    packed = next((name for name, magic in _PACKED.items() if start.startswith(magic)), "")
    try:
        yield packed
    except (
        tarfile.TarError,
        EOFError,
        gzip.BadGzipFile,
        lzma.LZMAError,
        zlib.error,
        ValueError,
        OverflowError,
        MemoryError,  # a dictionary of LZMA that there is no memory for
    ) as error:
        if isinstance(error, BadRootfs):
            raise
        if packed == "zst":
            raise BadRootfs(source, "compressed with zstd, which Python's tarfile reads from 3.14 on") from error
        raise BadRootfs(source, f"not a tar that can be read ({' '.join(str(error).split())})") from error


def _check_end(tar: tarfile.TarFile, source: str) -> None:
    """Refuse an archive that was cut between two entries, or damaged there: `tarfile` takes both for the end.

    Two blocks of zeros end an archive (POSIX, "ustar Interchange Format"); GNU tar accepts one.
    """
    file = tar.fileobj
    assert file is not None
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise BadRootfs(source, "truncated tar: its end is missing")
    if any(block):
        raise BadRootfs(source, f"damaged tar: no header at offset {tar.offset}")
    while file.read(_CHUNK):  # the checksum of what is compressed comes last
        pass

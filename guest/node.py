"""One file of a root file system, and what is refused."""

from __future__ import annotations

import tarfile
from typing import Final

from attrs import define

KINDS: Final = (
    *(tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE),
    *(tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
)
_MAX_ID: Final = (1 << 32) - 2  # the last one stands for "no change"
_MAX_TIME: Final = (1 << 33) - 1  # eleven octal digits


class BadRootfs(ValueError):
    """A root file system that is refused.

    Attributes:
        source: the directory or tar.
        what: what is wrong.
        name: the entry, or "".

    """

    def __init__(self, source: str, what: str, name: str = "") -> None:
        super().__init__(f"{what}: {source}" + (f" ({name})" if name else ""))
        self.source = source
        self.what = what
        self.name = name


@define(eq=False)
class Node:
    """A file of a root file system; each of its names leads to the same one.

    Attributes:
        kind: one of tar's types, `KINDS`; a hard link's is no node's.
        mode: the permission bits, with set-user-ID, set-group-ID and sticky.
        uid: its owner.
        gid: its group.
        mtime: when it was changed, in seconds since 1970.
        data: the contents of a regular file.
        target: where a symbolic link leads, or the file that a hard link names.
        device: major and minor number of a device.

    """

    kind: bytes
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    data: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == tarfile.REGTYPE

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind == tarfile.DIRTYPE

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.kind == tarfile.SYMTYPE


def node_of(info: tarfile.TarInfo, data: bytes = b"") -> Node:
    """Make the node that a tar's header and contents describe; `ValueError` for numbers that Linux does not have."""
    if not (0 <= info.uid <= _MAX_ID and 0 <= info.gid <= _MAX_ID):
        raise ValueError(f"owner {info.uid}:{info.gid} of {info.name}")
    kind = tarfile.REGTYPE if info.isreg() else info.type
    target = "" if info.isreg() else info.linkname
    node = Node(kind, info.mode & 0o7777, info.uid, info.gid, min(int(info.mtime), _MAX_TIME), data, target)
    if info.isdev() and not info.isfifo():
        if not (0 <= info.devmajor < 1 << 12 and 0 <= info.devminor < 1 << 20):
            raise ValueError(f"device {info.devmajor}:{info.devminor} of {info.name}")
        node.device = info.devmajor, info.devminor
    return node

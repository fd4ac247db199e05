"""A directory of this computer, as names and nodes of a root file system."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .archive import too_large
from .files import read_regular
from .node import BadRootfs, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

# File systems whose files are made as they are read: some never end, and none can be copied.
_MADE_UP: Final = frozenset({
    *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs"),
    *("fusectl", "mqueue", "nfsd", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs"),
})  # fmt: skip
_KINDS: Final = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
}  # fmt: skip


def from_directory(root: Path, limit: int, left_out: list[str]) -> Iterator[tuple[str, Node]]:
    """Read a directory whose files may take `limit` bytes; `BadRootfs` or `OSError`.

    Args:
        root: the directory.
        limit: bytes.
        left_out: gets a line for each thing that cannot be taken over: a socket, which is nothing without who listens.

    """
    device = root.stat().st_dev
    check_file_system(root)
    first: dict[tuple[int, int], str] = {}  # device and inode of files with several names
    room = limit
    yield ".", node_at(root)
    for parent, directories, files in os.walk(root, onerror=_raise):
        directories.sort()
        for base in sorted(directories + files):
            path = Path(parent, base)
            name, status = path.relative_to(root).as_posix(), path.lstat()
            if stat.S_ISSOCK(status.st_mode):
                left_out.append(f"socket: {path}")
                continue
            if stat.S_ISDIR(status.st_mode) and status.st_dev != device:
                raise BadRootfs(str(root), "another file system is mounted in the rootfs", name)
            inode = status.st_dev, status.st_ino
            if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1 and inode in first:
                yield name, Node(tarfile.LNKTYPE, target=first[inode])
                continue
            first[inode] = name
            room -= status.st_size if stat.S_ISREG(status.st_mode) else 0
            if room < 0:
                raise too_large(str(root), _size(root))
            yield name, node_at(path)


def node_at(path: Path) -> Node:
    """Make the node of one file, with its contents; `OSError`."""
    status = path.stat(follow_symlinks=False)
    node = Node(
        _KINDS[stat.S_IFMT(status.st_mode)],
        stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime),
    )  # fmt: skip
    if node.is_file:
        node.data = read_regular(path)
    elif node.is_link:
        node.target = os.readlink(path)  # noqa: PTH115 -- Path would normalise it
    elif node.kind in {tarfile.CHRTYPE, tarfile.BLKTYPE}:
        node.device = os.major(status.st_rdev), os.minor(status.st_rdev)
    return node


def check_file_system(root: Path) -> None:
    """Refuse a directory of a file system that the host's kernel makes up; `BadRootfs`."""
    status = root.stat()
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except OSError:  # no /proc, so nothing of the kind
        return
    for line in mounts:
        before, _, behind = line.partition(" - ")
        if before.split()[2] == number and behind.split()[0] in _MADE_UP:
            raise BadRootfs(str(root), f"a {behind.split()[0]} file system cannot be a rootfs")


def _size(root: Path) -> int:
    return sum(
        status.st_size
        for parent, _, files in os.walk(root)
        for status in (Path(parent, name).lstat() for name in files)
        if stat.S_ISREG(status.st_mode)
    )


def _raise(error: OSError) -> None:
    raise error

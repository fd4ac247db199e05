"""Volumes: files of this computer that a container gets at its start, and what it changed when it has ended well.

What comes back is the archive that `guest/kernel/fs/volume.c` writes.  All of it is checked and written beside its place before
the first file is replaced; then each file is replaced by a rename.  If that fails half-way, or somebody interrupts it, what was
done is undone.  A file that has changed on this computer meanwhile is no longer ours to replace: then nothing is written.
"""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from .guest.archive import too_large
from .guest.tree import from_directory, node_at
from .problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .guest.node import Node
    from .guest.rootfs import Rootfs


@frozen
class Volume:
    """What ``--volume HOST:GUEST[:ro]`` says.

    Attributes:
        host: a directory or file of this computer.
        guest: the absolute path that it has in the container.
        read_only: the container cannot change it.

    """

    host: Path
    guest: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Volume:
        """Parse it; ``ValueError``."""
        host, _, rest = text.partition(":")
        guest, _, mode = rest.partition(":")
        if not host or not guest.startswith("/") or mode not in {"", "ro", "rw"}:
            raise ValueError(f"{text!r} is no HOST:GUEST[:ro] with an absolute GUEST")
        return cls(Path(host), posixpath.normpath(guest), mode == "ro")


@frozen
class Mark:
    """What tells whether a file is still the one that was carried in."""

    kind: int
    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Mark:
        """Look at it."""
        status = path.lstat()
        return cls(stat.S_IFMT(status.st_mode), status.st_ino, status.st_size, status.st_mtime_ns)


@define
class Carried:
    """A volume in a container.

    Attributes:
        volume: what was asked for.
        place: its path in the container with links followed, without the first slash; "." is the root.
        modes: the permission bits of each directory in it.
        marks: each name in it, "." for itself, and what it was.
    """

    volume: Volume
    place: str = ""
    modes: dict[str, int] = field(factory=dict)
    marks: dict[str, Mark] = field(factory=dict)

    def cover(self, place: str) -> None:
        """Note that something is mounted at a path of the container, without its first slash: what is below is not ours."""
        inside = (
            place
            if self.place == "."
            else place.removeprefix(f"{self.place}/")
            if place.startswith(f"{self.place}/")
            else ""
        )
        if inside:
            for name in [n for n in self.marks if n == inside or n.startswith(f"{inside}/")]:
                del self.marks[name]
                self.modes.pop(name, None)


def carry_in(rootfs: Rootfs, volume: Volume, limit: int) -> Carried:
    """Put a volume's files into a root file system.

    Raises:
        Problem: it cannot be a volume.
        BadRootfs: its files cannot be taken over, or its place is none.
        OSError: something cannot be read.

    """
    status = volume.host.stat()
    carried = Carried(volume)
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise Problem(f"neither a directory nor a file: {volume.host}")
    if not volume.read_only and not os.access(_staging_place(volume), os.W_OK):
        raise Problem(f"cannot be written, so it must end in :ro: {volume.host}")
    carried.place = rootfs.mount(volume.guest, _entries(rootfs, carried, limit))[1:]
    return carried


def carry_all(rootfs: Rootfs, volumes: Sequence[Volume], limit: int) -> list[Carried]:
    """Carry in several, in order; a later one may lie in an earlier one."""
    done: list[Carried] = []
    for volume in volumes:
        carried = carry_in(rootfs, volume, limit)
        for earlier in done:
            earlier.cover(carried.place)
        done.append(carried)
    return done


def _staging_place(volume: Volume) -> Path:
    """Give the directory that files are written into before they take their places: on the same file system."""
    real = volume.host.resolve()
    return real if real.is_dir() else real.parent


def _entries(rootfs: Rootfs, carried: Carried, limit: int) -> Iterator[tuple[str, Node]]:
    host = carried.volume.host.resolve()
    if not host.is_dir():
        if host.stat().st_size > limit:
            raise too_large(str(host), host.stat().st_size)
        carried.marks["."] = Mark.of(host)
        yield ".", node_at(host)
        return
    for name, node in from_directory(host, limit, rootfs.left_out):
        carried.marks[name] = Mark.of(host / name)
        if node.is_directory:
            carried.modes[name] = node.mode
        yield name, node


def carry_root(rootfs: Rootfs, root: Path, limit: int) -> Carried:
    """Fill an empty root file system from a directory whose changes come back, as those of a volume do."""
    carried = Carried(Volume(root, "/"), ".")
    rootfs.fill(_entries(rootfs, carried, limit))
    return carried


def settings(volumes: list[Carried]) -> list[str]:
    """Give what the container kernel is told of its volumes."""
    told = [f"mounted=/{c.place}" for c in volumes]
    return told + [f"readonly=/{c.place}" if c.volume.read_only else f"volume=/{c.place}" for c in volumes]

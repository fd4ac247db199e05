"""The root file system of a container, as the GNU-format tar that the container kernel unpacks into its tmpfs.

Nothing is unpacked on this computer: names are keys of a dictionary, and links are followed inside of it, so that no ``..``, absolute
name or link can lead to a file of the host.  The result depends on names, modes, contents and times only, never on the order of a
directory.
"""

from __future__ import annotations

import io
import os
import posixpath
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .archive import from_tar
from .node import KINDS, BadRootfs, Node
from .tree import from_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["PATH", "SKELETON", "WHO_IS_WHO", "BadRootfs", "Node", "Rootfs", "init_block"]
SKELETON: Final = ("bin", "dev", "etc", "proc", "tmp")
WHO_IS_WHO: Final = {"etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", "etc/group": b"root:x:0:\n"}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_LINKS: Final = 40  # as Linux's MAXSYMLINKS
_MAX_NAME: Final = 255  # as Linux's NAME_MAX
_MAX_PATH: Final = 4095  # as Linux's PATH_MAX, without the NUL


class Rootfs:
    """The files of a container, by name (``bin/hello``: relative, normalised).

    Attributes:
        source: what they were read from, for messages.
        entries: the node that each name has; "." is the root itself, where something is known of it.
        left_out: what could not be taken over, a line each.

    """

    def __init__(self, source: str = "default rootfs") -> None:
        self.source = source
        self.entries: dict[str, Node] = {}
        self.left_out: list[str] = []
        self._parents: dict[str, str] = {}  # directories as they are written → as they are, links followed

    @classmethod
    def default(cls) -> Rootfs:
        """Make the root file system of a container that is given none: nothing but the name of its user."""
        rootfs = cls()
        for name, data in WHO_IS_WHO.items():
            rootfs.add(name, Node(tarfile.REGTYPE, 0o644, data=data))
        return rootfs

    @classmethod
    def read(cls, path: str | Path, limit: int) -> Rootfs:
        """Read a directory or a tar of any compression, of `limit` bytes at most; `BadRootfs` or `OSError`."""
        rootfs = cls(os.fspath(path))
        is_directory = Path(path).is_dir()
        rootfs.fill(from_directory(Path(path), limit, rootfs.left_out) if is_directory else from_tar(Path(path), limit))
        return rootfs

    def fill(self, entries: Iterable[tuple[str, Node]]) -> None:
        """Add many names, in order; `BadRootfs`."""
        for name, node in entries:
            self.add(name, node)

    def complete(self) -> None:
        """Add the directories of `SKELETON` that are missing."""
        for name in SKELETON:
            if name not in self.entries:
                self.add(name, Node(tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755))

    # ---- changing it ------------------------------------------------------------------------------------------

    def add(self, original: str, node: Node) -> None:
        """Give a node a name, as unpacking an archive does; what had the name is gone.

        A directory that is missing on the way is made, and a link on the way is followed.  A node whose kind is tar's hard link is
        one more name of what its target names.

        Raises:
            BadRootfs: a name that is none, or that leads to somewhere that is no directory.

        """
        name = self._place(original)
        if node.kind == tarfile.LNKTYPE:
            node = self._linked(original, node.target)
        elif node.kind not in KINDS:
            raise BadRootfs(self.source, "an entry that is no file, directory, link, pipe or device", original)
        elif node.is_link and not 0 < len(os.fsencode(node.target)) <= _MAX_PATH:
            raise BadRootfs(self.source, "a symbolic link to nowhere, or too long", original)
        old = self.entries.get(name)
        if old is not None:
            if old.is_directory and not node.is_directory:
                raise BadRootfs(self.source, "a file where a directory is", original)
            if old.is_link or node.is_link:
                self._parents.clear()
        elif node.is_link:
            self._parents.clear()
        self.entries[name] = node

    def replace(self, original: str, node: Node) -> None:
        """Give a node a name as `add` does, but in the place of whatever had it, a whole directory too."""
        name = self._place(original)
        old = self.entries.get(name)
        if old is not None and old.is_directory and not node.is_directory:
            self.remove(name)
        self.add(original, node)

    def remove(self, name: str) -> None:
        """Remove a name and, for a directory, all below it; a name that is not there is no error."""
        gone = self.entries.pop(name, None)
        if gone is not None and not gone.is_file:
            for below in self.below(name):
                del self.entries[below]
            self._parents.clear()

    def mount(self, path: str, entries: Iterable[tuple[str, Node]]) -> str:
        """Put a tree of files at an absolute path, in the place of what is there, and give the path with links followed.

        Raises:
            BadRootfs: it is the root, or cannot be reached.

        """
        place = self.resolve(path)
        if place in {None, "."}:
            raise BadRootfs(self.source, "nothing can be mounted there", path)
        assert place is not None
        self.remove(place)
        for name, node in entries:
            if node.kind == tarfile.LNKTYPE:  # it names a file of the tree
                node.target = f"{place}/{node.target}"
            self.add(place if name == "." else f"{place}/{name}", node)
        return f"/{place}"

    def below(self, name: str) -> list[str]:
        """Give all names below a directory."""
        before = f"{name}/"
        return [n for n in self.entries if n.startswith(before)]

    def add_program(self, name: str, data: bytes) -> None:
        """Put a program at ``/bin/NAME``, whatever stood there."""
        place = self._place(f"bin/{name}")
        self.remove(place)
        self.add(place, Node(tarfile.REGTYPE, 0o755, data=data))

    def _place(self, original: str) -> str:
        """Check a name, and give the one that it has once the links on its way are followed."""
        if original.startswith("/"):
            raise BadRootfs(self.source, "absolute name in the rootfs", original)
        parts = [part for part in original.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise BadRootfs(self.source, "name with .. in the rootfs", original)
        if len(os.fsencode(original)) > _MAX_PATH or any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
            raise BadRootfs(self.source, "a name longer than Linux allows", original[:_MAX_NAME])
        if not parts:
            return "."
        parent = "/".join(parts[:-1])
        return f"{self._parent(parent, original)}/{parts[-1]}" if parent else parts[-1]

    def _parent(self, parent: str, original: str) -> str:
        found = self._parents.get(parent)
        if found is None:
            found = self._through_links(parent)
            if found is None:
                raise BadRootfs(self.source, "more links than Linux follows on the way to an entry", original)
            self._make_directories(found, original)
            self._parents[parent] = found
        return found

    def _make_directories(self, name: str, original: str) -> None:
        parts = name.split("/")
        for n in range(1, len(parts) + 1):
            node = self.entries.setdefault("/".join(parts[:n]), Node(tarfile.DIRTYPE))
            if not node.is_directory:
                raise BadRootfs(self.source, "entry below something that is no directory", original)

    def _linked(self, original: str, target: str) -> Node:
        shown = f"{original} -> {target}"
        if target.startswith("/") or ".." in target.split("/"):
            raise BadRootfs(self.source, "hard link that leads out of the rootfs", shown)
        parent, last = posixpath.split(posixpath.normpath(target))
        found = self._through_links(parent)
        node = None if found is None else self.entries.get(posixpath.join(found, last))
        if node is None or node.is_directory:
            raise BadRootfs(self.source, "hard link to nothing", shown)
        return node

    # ---- looking into it --------------------------------------------------------------------------------------

    def find(self, program: str, search: str = PATH, cwd: str = "/") -> str | None:
        """Give the absolute path that `program` has in here, through $PATH if it has no slash; None if there is none."""
        if "/" in program:
            candidates = [posixpath.normpath(posixpath.join("/", cwd, program))]
        else:
            candidates = [posixpath.join("/", d, program) for d in search.split(":")]
        for candidate in candidates:
            found = self.lookup(candidate)
            if found is not None and found.is_file:
                return candidate
        return None

    def lookup(self, path: str) -> Node | None:
        """Give the node at an absolute path with all links followed, or None."""
        name = self.resolve(path)
        return self.entries.get(name) if name is not None else None

    def resolve(self, path: str) -> str | None:
        """Give the name that an absolute path has with all links followed, inside of the root; None for a loop."""
        name = self._through_links(path)
        return name if name is None else name or "."

    def _through_links(self, name: str) -> str | None:
        """Follow `name` from the root; ".." ends there, and an absolute link begins there.

        Links are counted as Linux counts them (path_resolution(7)): all that are met on the way, wherever they stand in each other.
        """
        done, links = "", 0
        parts = name.split("/")[::-1]
        while parts:
            part = parts.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            here = f"{done}/{part}" if done else part
            entry = self.entries.get(here)
            if entry is None or not entry.is_link:
                done = here
                continue
            if links == _MAX_LINKS:
                return None
            links += 1
            if entry.target.startswith("/"):
                done = ""
            parts += entry.target.split("/")[::-1]
        return done

    # ---- handing it over --------------------------------------------------------------------------------------

    def to_tar(self) -> bytes:
        """Write everything as a GNU tar, parents before children and a node's first name before the others."""
        out = io.BytesIO()
        first: dict[int, str] = {}
        with tarfile.open(
            fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for name in sorted(self.entries):
                node = self.entries[name]
                known = None if node.is_directory else first.setdefault(id(node), name)
                info = _header(name, node)
                if known is not None and known != name:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, known, 0
                tar.addfile(info, io.BytesIO(node.data))
        return out.getvalue()


def _header(name: str, node: Node) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = node.kind, node.mode, node.uid, node.gid
    info.mtime, info.size, info.linkname = max(node.mtime, 0), len(node.data), node.target
    info.devmajor, info.devminor = node.device
    return info


def init_block(argv: Sequence[str], environment: Sequence[str], settings: Sequence[str] = ()) -> bytes:
    """Give the container kernel its first program.

    How many arguments and variables there are, in decimal, then each, then settings as ``name=value`` (`guest/kernel/task/first.c`
    lists them); all ended by NUL.

    Raises:
        BadRootfs: a string holds a NUL.

    """
    strings = [str(len(argv)), str(len(environment)), *argv, *environment, *settings]
    encoded = [os.fsencode(s) for s in strings]
    if any(b"\0" in s for s in encoded):
        raise BadRootfs("init block", "an argument or a variable holds a NUL")
    return b"".join(s + b"\0" for s in encoded)

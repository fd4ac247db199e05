"""The root file system of a container, as the GNU-format tar that the container kernel unpacks into its tmpfs.

What a directory or tar holds is checked here, where it can be refused in one line: no name with ``..``, no absolute name, no
link that leads out, no device.  The result depends on names, modes, contents and times only, never on the order of a directory.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import posixpath
import stat
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SKELETON: Final = ("bin", "dev", "etc", "proc", "tmp")
WHO_IS_WHO: Final = {"etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", "etc/group": b"root:x:0:\n"}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_LINKS: Final = 40  # as Linux's MAXSYMLINKS


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


class Rootfs:
    """The files of a container, by name (``bin/hello``: relative, normalised), each with its tar header and contents."""

    def __init__(self, source: str = "default rootfs") -> None:
        self.source = source
        self.entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    @classmethod
    def default(cls) -> Rootfs:
        """Make the root file system of a container that is given none: nothing but the name of its user."""
        rootfs = cls()
        for name, data in WHO_IS_WHO.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o644, len(data)
            rootfs.entries[name] = (info, data)
        return rootfs

    @classmethod
    def read(cls, path: str | Path, limit: int) -> Rootfs:
        """Read a directory or a tar of any compression, of `limit` bytes at most; `BadRootfs` or `OSError`."""
        rootfs = cls(os.fspath(path))
        entries = _from_directory if Path(path).is_dir() else _from_tar
        for info, data in entries(Path(path), limit):
            rootfs._accept(info, data)
        rootfs._check_links()
        return rootfs

    def complete(self) -> None:
        """Add the directories of `SKELETON` that are missing."""
        for name in SKELETON:
            if name not in self.entries:
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                self.entries[name] = (info, b"")

    def add_program(self, name: str, data: bytes) -> None:
        """Put a program at ``/bin/NAME``, whatever stood there."""
        at = self._through_links("bin", 0)
        info = tarfile.TarInfo(f"{at or 'bin'}/{name}")
        info.mode, info.size = 0o755, len(data)
        self.entries[info.name] = (info, data)

    def find(self, program: str, search: str = PATH) -> str | None:
        """Give the absolute path that `program` has in here, through $PATH if it has no slash; None if there is none."""
        if "/" in program:
            candidates = [posixpath.normpath("/" + program.lstrip("/"))]
        else:
            candidates = [posixpath.join("/", d, program) for d in search.split(":")]
        for candidate in candidates:
            found = self.lookup(candidate)
            if found is not None and found[0].isreg():
                return candidate
        return None

    def lookup(self, path: str) -> tuple[tarfile.TarInfo, bytes] | None:
        """Give the entry at an absolute path with all links followed, or None."""
        name = self._through_links(path.strip("/"), 0)
        entry = self.entries.get(name) if name is not None else None
        if entry is not None and entry[0].islnk():
            return self.entries.get(_normal(entry[0].linkname))
        return entry

    def to_tar(self) -> bytes:
        """Write everything as a GNU tar, parents before children."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            hard = []
            for name in sorted(self.entries):
                info, data = self.entries[name]
                if info.islnk():
                    hard.append(info)
                else:
                    tar.addfile(info, io.BytesIO(data))
            for info in hard:  # behind what they point at
                tar.addfile(info)
        return out.getvalue()

    def _through_links(self, name: str, depth: int) -> str | None:
        done = ""
        for part in name.split("/"):
            here = posixpath.normpath(posixpath.join(done, part)) if part else done
            entry = self.entries.get(here)
            if entry is not None and entry[0].issym():
                if depth == _MAX_LINKS:
                    return None
                target = entry[0].linkname
                base = "" if target.startswith("/") else done
                followed = self._through_links(posixpath.normpath(posixpath.join(base, target.lstrip("/"))), depth + 1)
                if followed is None:
                    return None
                here = followed
            done = here
        return done

    def _accept(self, info: tarfile.TarInfo, data: bytes) -> None:
        original = info.name
        if original.startswith("/"):
            raise BadRootfs(self.source, "absolute name in the rootfs", original)
        if ".." in original.split("/"):
            raise BadRootfs(self.source, "name with .. in the rootfs", original)
        if not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
            raise BadRootfs(self.source, "device or pipe in the rootfs", original)
        if info.islnk() and (info.linkname.startswith("/") or ".." in info.linkname.split("/")):
            raise BadRootfs(self.source, "hard link that leads out of the rootfs", f"{original} -> {info.linkname}")
        if info.issym() and _escapes(original, info.linkname):
            raise BadRootfs(self.source, "link that leads out of the rootfs", f"{original} -> {info.linkname}")
        name = _normal(original)
        if name == ".":
            return
        plain = tarfile.TarInfo(name)
        plain.type = tarfile.REGTYPE if info.isreg() else info.type
        plain.mode, plain.uid, plain.gid = info.mode & 0o7777, info.uid, info.gid
        plain.mtime, plain.size, plain.linkname = int(info.mtime), len(data), info.linkname
        if info.islnk():
            plain.linkname = _normal(info.linkname)
        self.entries[name] = (plain, data)

    def _check_links(self) -> None:
        for name, (info, _) in self.entries.items():
            if info.islnk() and info.linkname not in self.entries:
                raise BadRootfs(self.source, "hard link to nothing", f"{name} -> {info.linkname}")
            parent = posixpath.dirname(name)
            while parent:
                entry = self.entries.get(parent)
                if entry is not None and not entry[0].isdir():
                    raise BadRootfs(self.source, "entry below something that is no directory", name)
                parent = posixpath.dirname(parent)


def init_block(argv: Sequence[str], environment: Sequence[str]) -> bytes:
    """Give the container kernel its first program: how many arguments and variables, in decimal, then each; all ended by NUL.

    Raises:
        BadRootfs: a string holds a NUL.

    """
    strings = [str(len(argv)), str(len(environment)), *argv, *environment]
    encoded = [os.fsencode(s) for s in strings]
    if any(b"\0" in s for s in encoded):
        raise BadRootfs("init block", "an argument or a variable holds a NUL")
    return b"".join(s + b"\0" for s in encoded)


def _normal(name: str) -> str:
    return posixpath.normpath(name)


def _escapes(name: str, target: str) -> bool:
    if target.startswith("/"):
        return True
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target)).split("/")[0] == ".."


def _from_tar(path: Path, limit: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    source = str(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadRootfs(source, "neither a directory nor a tar file")
    try:
        with tarfile.open(path) as tar:
            for info in tar:
                limit -= _checked(info.size if info.isreg() else 0, limit, source)
                file = tar.extractfile(info) if info.isreg() else None
                yield info, file.read() if file else b""
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, ValueError) as error:
        if isinstance(error, BadRootfs):
            raise
        raise BadRootfs(source, f"not a tar that can be read ({error})") from error


def _checked(size: int, limit: int, source: str) -> int:
    if not 0 <= size <= limit:
        raise BadRootfs(source, "rootfs larger than the memory of the container")
    return size


def _from_directory(root: Path, limit: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    first: dict[tuple[int, int], str] = {}  # device and inode of files with several names
    for parent, directories, files in os.walk(root, onerror=_raise):
        directories.sort()
        for base in sorted(directories + files):
            path = Path(parent, base)
            status = path.lstat()
            info = tarfile.TarInfo(path.relative_to(root).as_posix())
            info.mode, info.uid, info.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
            info.mtime = int(status.st_mtime)
            data = b""
            if stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)  # noqa: PTH115 -- Path would normalise it
            elif stat.S_ISDIR(status.st_mode):
                info.type = tarfile.DIRTYPE
            elif stat.S_ISREG(status.st_mode):
                inode = status.st_dev, status.st_ino
                if status.st_nlink > 1 and inode in first:
                    info.type, info.linkname = tarfile.LNKTYPE, first[inode]
                else:
                    first[inode] = info.name
                    limit -= _checked(status.st_size, limit, str(root))
                    data = path.read_bytes()
            else:
                info.type = tarfile.CHRTYPE
            yield info, data


def _raise(error: OSError) -> None:
    raise error

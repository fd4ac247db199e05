"""What a container changed in its volumes goes back to this computer: all of it, or nothing."""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import signal
import stat
import tarfile
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

from .problem import FAILED, Problem
from .volumes import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .volumes import Carried

_DUMPDIR: Final = b"D"  # GNU tar's manual, "Dumpdir"
_BOOT: Final = 1767225600  # when every container boots: guest/kernel/time/time.c
_KEPT: Final = 0o1777  # a file never brings the rights of its owner with it


@define
class Returned:
    """What one volume has become.

    Attributes:
        directories: its directories by name, "." itself; each with its header.
        files: what is new or changed: header, contents, and of which of these names it is another one.
        unchanged: the files that are as they came.

    """

    directories: dict[str, tarfile.TarInfo] = field(factory=dict)
    files: dict[str, tuple[tarfile.TarInfo, bytes, str]] = field(factory=dict)
    unchanged: set[str] = field(factory=set)


def write_back(archive: bytes, volumes: Sequence[Carried], seconds: float) -> None:
    """Write what came back.

    Args:
        archive: what the container kernel sent.
        volumes: those that were carried in.
        seconds: how long the container ran, in its own time.

    Raises:
        Problem: the archive is no good, or a file has changed on this computer meanwhile.
        OSError: something cannot be written.
        KeyboardInterrupt: and then, as with the others, all files are as they were.

    """
    changeable = [c for c in volumes if not c.volume.read_only]
    if not changeable:
        return
    returned = _read(archive, changeable)
    for one in returned.values():
        for info, _, _ in one.files.values():
            if _BOOT <= info.mtime <= _BOOT + seconds + 1:  # the container's clock is not ours, and make(1) compares
                info.mtime = time.time()
    with ExitStack() as stack:
        changes = [_Change(carried, returned[carried.place], stack) for carried in changeable]
        for change in changes:
            change.check()
            change.stage()
        with _unsignalled():
            _commit(changes, stack)


@contextmanager
def _unsignalled() -> Iterator[None]:
    """Let signals that end us wait: renames take no time to speak of."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _commit(changes: list[_Change], stack: ExitStack) -> None:
    undo: list[Callable[[], object]] = []
    try:
        for change in changes:
            change.commit(undo)
    except BaseException as error:
        left = 0
        for step in reversed(undo):
            try:
                step()
            except FileNotFoundError:  # its operation is the one that failed
                pass
            except OSError:
                left += 1
        if left:
            stack.pop_all()  # the old files stay where somebody can find them
            what = f"{left} files could not be restored; they are in .paracell-* beside them"
            raise _bad(what, str(changes[0].host)) from error
        raise


# ---- reading ----------------------------------------------------------------------------------------------------


def _bad(what: str, name: str = "") -> Problem:
    return Problem(f"volumes are not written back: {what}" + (f": {name}" if name else ""), FAILED)


def _read(archive: bytes, volumes: list[Carried]) -> dict[str, Returned]:
    found = {c.place: Returned() for c in volumes}
    expected: dict[str, set[str]] = {c.place: {"."} for c in volumes}  # that must follow
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                place, name = _split(found, info.name)
                if name not in expected[place]:
                    raise _bad("an entry that no directory lists", info.name)
                expected[place].discard(name)
                if info.type == _DUMPDIR:
                    found[place].directories[name] = info
                    _list(_contents(tar, info), name, found[place].unchanged, expected[place])
                else:
                    found[place].files[name] = (info, _contents(tar, info) if info.isreg() else b"", "")
            end = archive[tar.offset :]
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        raise _bad(f"the container kernel's archive cannot be read ({error})") from error
    if len(end) < 2 * tarfile.BLOCKSIZE or any(end):
        raise _bad("the container kernel's archive is incomplete")
    for carried in volumes:
        _complete(carried, found, expected[carried.place])
    return found


def _contents(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    return file.read() if file else b""


def _split(found: dict[str, Returned], name: str) -> tuple[str, str]:
    """Give the innermost volume of a name, and the name in it."""
    name = name.rstrip("/")
    inside = [
        place for place in found if name == place or name.startswith(f"{place}/")
    ]  # the root's names begin with "./"
    if not inside:
        raise _bad("an entry outside of the volumes", name)
    place = max(inside, key=len)
    return place, name[len(place) + 1 :] or "."


def _list(dumpdir: bytes, directory: str, unchanged: set[str], expected: set[str]) -> None:
    if dumpdir != b"\0" and not dumpdir.endswith(b"\0\0"):
        raise _bad("a list of names without its end", directory)
    for line in dumpdir[:-2].split(b"\0") if dumpdir != b"\0" else ():
        mark, base = line[:1], os.fsdecode(line[1:])
        if mark not in {b"Y", b"N", b"D"} or base in {"", ".", ".."} or "/" in base:
            raise _bad("a name that is none", directory)
        (unchanged if mark == b"N" else expected).add(base if directory == "." else f"{directory}/{base}")


def _complete(carried: Carried, found: dict[str, Returned], missing: set[str]) -> None:
    """Check one volume, and resolve the hard links in it."""
    here = found[carried.place]
    if not here.directories and not here.files:  # a file that has not changed
        here.unchanged.add(".")
        missing.discard(".")
    unknown = {name for name in here.unchanged if name not in carried.marks}
    if missing or unknown:
        raise _bad("a name without what it stands for", min(missing | unknown))
    for name, (info, _, _) in list(here.files.items()):
        if not info.islnk():
            continue
        place, first = _split(found, info.linkname)
        original = found[place].files.get(first)
        if original is None or original[0].islnk():
            raise _bad("a hard link to nothing", name)
        here.files[name] = (original[0], original[1], first if place == carried.place else "")


# ---- writing ----------------------------------------------------------------------------------------------------


class _Change:
    """What is to be done to one volume."""

    def __init__(self, carried: Carried, returned: Returned, stack: ExitStack) -> None:
        self.carried = carried
        self.returned = returned
        self.host = carried.volume.host.resolve()
        self._stack = stack
        self._staging = Path()
        self._staged: dict[str, Path] = {}
        gone = set(carried.marks) - set(returned.directories) - set(returned.files) - returned.unchanged
        turned = {n for n in carried.modes if n in returned.files} | {
            n for n in carried.marks if n in returned.directories and n not in carried.modes
        }
        # A directory that goes takes with it what is in it.
        self.removed = sorted(n for n in gone | turned if posixpath.dirname(n) not in gone | turned)
        self._all_removed = gone | turned

    def _path(self, name: str) -> Path:
        return self.host / name

    def check(self) -> None:
        """See that what will be replaced or removed is what was carried in, and that nothing is in the way."""
        for name in sorted(self._all_removed | set(self.returned.files)):
            path, mark = self._path(name), self.carried.marks.get(name)
            if mark is None:
                if os.path.lexists(path):
                    raise _bad("it has come into being on this computer meanwhile", str(path))
            elif not os.path.lexists(path) or not _same(Mark.of(path), mark):
                raise _bad("it has changed on this computer meanwhile", str(path))
        for name in self._all_removed & set(self.carried.modes):
            for entry in self._path(name).iterdir():
                if posixpath.normpath(posixpath.join(name, entry.name)) not in self._all_removed:
                    raise _bad("it is not empty on this computer", str(self._path(name)))
        for name in self.returned.directories:
            path, mark = self._path(name), self.carried.marks.get(name)
            if (mark is None) == os.path.lexists(path) or (mark is not None and not _same(Mark.of(path), mark)):
                raise _bad("it has changed on this computer meanwhile", str(path))

    def stage(self) -> None:
        """Write the new files beside their places."""
        beside = self.host if self.host.is_dir() else self.host.parent
        self._staging = Path(tempfile.mkdtemp(prefix=".paracell-", dir=beside))
        self._stack.callback(shutil.rmtree, self._staging, ignore_errors=True)
        later = []
        for number, (name, (info, data, first)) in enumerate(self.returned.files.items()):
            staged = self._staged[name] = self._staging / f"new{number}"
            if first and first != name:
                later.append((name, first))
            else:
                _make(staged, info, data)
        for name, first in later:
            os.link(self._staged[first], self._staged[name], follow_symlinks=False)

    def commit(self, undo: list[Callable[[], object]]) -> None:
        """Put everything into its place; each step first adds to `undo` what takes it back."""
        for number, name in enumerate(self.removed):
            self._move(self._path(name), self._staging / f"old{number}", undo)
        for name in sorted(self.returned.directories):
            info, path = self.returned.directories[name], self._path(name)
            if name not in self.carried.modes:
                undo.append(path.rmdir)
                path.mkdir()
                _own(path, info)
                path.chmod(info.mode & _KEPT)
            elif info.mode & 0o7777 != self.carried.modes[name]:
                undo.append(partial(path.chmod, self.carried.modes[name]))
                path.chmod(info.mode & _KEPT)
        for number, (name, staged) in enumerate(self._staged.items()):
            path = self._path(name)
            if os.path.lexists(path):
                kept = self._staging / f"kept{number}"
                os.link(path, kept, follow_symlinks=False)  # so that the name is never without a file
                undo.append(partial(kept.replace, path))
            else:
                undo.append(path.unlink)
            staged.replace(path)

    @staticmethod
    def _move(path: Path, to: Path, undo: list[Callable[[], object]]) -> None:
        undo.append(partial(to.rename, path))
        path.rename(to)


def _same(now: Mark, then: Mark) -> bool:
    """Compare; a directory's size and time change with what is in it, which is compared by itself."""
    return (now.kind, now.inode) == (then.kind, then.inode) and (now.kind == stat.S_IFDIR or now == then)


def _make(path: Path, info: tarfile.TarInfo, data: bytes) -> None:
    if info.issym():
        path.symlink_to(info.linkname)
        _own(path, info)
        return
    if info.isfifo():
        os.mkfifo(path)
    elif info.isreg():
        path.write_bytes(data)
    else:
        raise _bad("an entry that is no file, directory, link or pipe", info.name)
    _own(path, info)
    path.chmod(info.mode & _KEPT)
    os.utime(path, (info.mtime, info.mtime))


def _own(path: Path, info: tarfile.TarInfo) -> None:
    """Give a file its owner, where that is allowed."""
    if os.geteuid() == 0:
        os.chown(path, info.uid, info.gid, follow_symlinks=False)

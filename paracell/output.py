"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from _typeshed import ReadableBuffer


class Output(io.FileIO):
    """An unbuffered file whose errors name the path that the user gave, and whose writes are complete."""

    def __init__(self, descriptor: int, path: str, *, closefd: bool = True) -> None:
        super().__init__(descriptor, "wb", closefd=closefd)
        self._path = path

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`."""
        view: memoryview[Any] = memoryview(data).cast("B")
        size = len(view)
        with _naming(self._path):
            while view:
                view = view[super().write(view) :]
        return size


@contextmanager
def whole_file(path: str) -> Iterator[Output]:
    """Open a new file beside `path` that takes its place when the block ends well, and is gone when it does not.

    A device or pipe is written directly: nothing can be renamed over it.

    Raises:
        OSError: at once if the place cannot be written, later if the disk is full; it carries `path`.

    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with Output(os.open(path, os.O_WRONLY | os.O_CLOEXEC), path) as file:
            yield file
        return
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    import tempfile

    with _naming(path):
        descriptor, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with Output(descriptor, path) as file:
            yield file
            os.fchmod(descriptor, 0o666 & ~_umask())
        with _naming(path):
            Path(part).replace(target)
    finally:
        with suppress(FileNotFoundError):
            Path(part).unlink()


def check_place(path: str) -> None:
    """Raise the `OSError` that `whole_file` would raise at once: before a long job that may have nothing to write."""
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Give the name of a new file beside `path` that takes its place when the block ends well, and is gone when it does not.

    A device or pipe is written directly: nothing can be renamed over it.  `OSError` at once if the place cannot be written.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with open(os.open(path, os.O_WRONLY), "wb"):  # noqa: PTH123 -- os.open refuses a directory by its name
            yield path
        return
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(13, os.strerror(13), path)
    try:
        handle, part = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    try:
        os.close(handle)
        yield part
        umask = os.umask(0)
        os.umask(umask)
        Path(part).chmod(0o666 & ~umask)
        Path(part).replace(target)
    except OSError as error:
        if error.filename == part:
            raise OSError(error.errno, error.strerror, path) from error
        raise
    finally:
        with suppress(FileNotFoundError):
            Path(part).unlink()

"""What a container is made of: a kernel to boot, and modules that hold its files and its first program."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .guest import shipped
from .guest.files import read_regular
from .guest.program import check_program
from .guest.rootfs import PATH, Rootfs, init_block
from .problem import NOT_EXECUTABLE, NOT_FOUND, Problem

MEMORY: Final = 256 << 20  # bytes, of a container's machine unless it is told otherwise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .guest.elf import Symbol
    from .guest.multiboot import Module
    from .runtimes import Runtime


@frozen
class Bundle:
    """A container that is ready to boot.

    Attributes:
        runtime: how it runs; its image is what the machine boots.
        modules: what the boot loader puts beside the image, in order.
        program: the name of the first program's file, and a function that gives its symbols.

    """

    runtime: Runtime
    modules: tuple[Module, ...]
    program: tuple[str, Callable[[], tuple[Symbol, ...]]]


def prepare(
    runtime: Runtime,
    program: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    root: str | None = None,
    memory: int = MEMORY,
) -> Bundle:
    """Make a container; `Problem`, `BadImage`, `BadRootfs` or `OSError` for what cannot be run.

    Args:
        runtime: how it runs.
        program: looked up in the root file system, then among the shipped programs, then on this computer.
        arguments: for the program, its own name excluded.
        environment: added to PATH and HOME.
        root: a directory or tar, or None for the default root file system.
        memory: bytes of memory of the machine.

    """
    rootfs = Rootfs.read(root, memory) if root is not None else Rootfs.default()
    rootfs.complete()
    variables = {"PATH": PATH, "HOME": "/"} | dict(environment or {})
    path, data = _place(rootfs, program, variables["PATH"])
    shown = path if root is None else f"{root}:{path}"
    program_symbols = (lambda: ()) if data.startswith(b"#!") else check_program(data, shown, memory).symbols
    block = init_block([path, *arguments], [f"{k}={v}" for k, v in variables.items()])
    modules = runtime.modules(rootfs.to_tar(), block)
    return Bundle(runtime, modules, (posixpath.basename(path), program_symbols))


def _place(rootfs: Rootfs, program: str, search: str) -> tuple[str, bytes]:
    """Find the program, put it into the root file system if it is not there, and give its path in there and its bytes."""
    inside = rootfs.find(program, search)
    if inside is not None:
        found = rootfs.lookup(inside)
        assert found is not None
        if not found[0].mode & 0o111:
            raise Problem(f"Permission denied: {rootfs.source}:{inside}", NOT_EXECUTABLE)
        return inside, found[1]
    if (entry := rootfs.lookup(program)) is not None and program.startswith("/") and entry[0].isdir():
        raise Problem(f"Is a directory: {rootfs.source}:{program}", NOT_EXECUTABLE)
    name = posixpath.basename(program)
    data = read_regular(shipped.program(program) or _on_host(program))
    rootfs.add_program(name, data)
    return f"/bin/{name}", data


def _on_host(program: str) -> Path:
    path = Path(program) if "/" in program else Path(shutil.which(program) or "")
    try:
        mode = path.stat().st_mode if program and path != Path() else None
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except ValueError as error:  # a NUL in the name
        raise Problem(f"not a path: {program!r}", NOT_FOUND) from error
    if mode is None:
        where = "No such file or directory" if "/" in program else "no such program in the rootfs, shipped, or in $PATH"
        raise Problem(f"{where}: {program}", NOT_FOUND)
    if stat.S_ISDIR(mode):
        raise Problem(f"Is a directory: {program}", NOT_EXECUTABLE)
    if not os.access(path, os.X_OK):
        raise Problem(f"Permission denied: {program}", NOT_EXECUTABLE)
    return path

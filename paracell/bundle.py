"""What a container is made of: a kernel to boot, and modules that hold its files and its first program."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from .guest import shipped
from .guest.archive import least_memory, too_large
from .guest.files import read_regular
from .guest.node import Node
from .guest.oci_image import Defaults
from .guest.oci_image import read as read_root
from .guest.program import check_program
from .guest.rootfs import PATH, Rootfs, init_block
from .guest.users import User, user_of
from .problem import NOT_EXECUTABLE, NOT_FOUND, Problem
from .volumes import Carried, Volume, carry_all, settings

MEMORY: Final = 256 << 20  # bytes, of a container's machine unless it is told otherwise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .guest.elf import Elf, Symbol
    from .guest.multiboot import Module
    from .runtimes import Runtime


@frozen
class First:
    """The first process of a container.

    Attributes:
        argv: the absolute path of its program in the container, and the arguments.
        environment: ``NAME=VALUE``.
        cwd: its working directory, which is made if it is missing.
        user: whose it is.
        settings: what else the container kernel is told: `guest/kernel/task/settings.h`.
        name: what the program sees as its first argument; "" for its path.

    """

    argv: tuple[str, ...]
    environment: tuple[str, ...]
    cwd: str = "/"
    user: User = field(factory=User)
    settings: tuple[str, ...] = ()
    name: str = ""

    def block(self) -> bytes:
        """Give the init block."""
        told = [f"group={group}" for group in self.user.groups]
        told += [f"gid={self.user.gid}"] if self.user.gid else []
        told += [f"uid={self.user.uid}"] if self.user.uid else []
        told += [f"cwd={self.cwd}"] if self.cwd != "/" else []
        told += [f"program={self.argv[0]}"] if self.name else []
        argv = (self.name or self.argv[0], *self.argv[1:])
        return init_block(argv, self.environment, [*told, *self.settings])


@frozen
class Bundle:
    """A container that is ready to boot.

    Attributes:
        runtime: how it runs; its image is what the machine boots.
        modules: what the boot loader puts beside the image, in order.
        program: the name of the first program's file, and a function that gives its symbols.
        volumes: what may come back when it has run.
        left_out: what its root file system lacks, a line each.
        least_memory: what a machine for it needs at least, in bytes.
        data: the bytes of the first program's file.

    """

    runtime: Runtime
    modules: tuple[Module, ...]
    program: tuple[str, Callable[[], tuple[Symbol, ...]]]
    volumes: tuple[Carried, ...] = ()
    left_out: tuple[str, ...] = ()
    least_memory: int = 0
    data: bytes = b""


def prepare(
    runtime: Runtime,
    program: str | None,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    root: str | None = None,
    memory: int = MEMORY,
    volumes: Sequence[Volume] = (),
    user: str | None = None,
    cwd: str | None = None,
) -> Bundle:
    """Make a container; `Problem`, `BadImage`, `BadRootfs` or `OSError` for what cannot be run.

    Args:
        runtime: how it runs.
        program: looked up in the root file system, then among the shipped programs, then on this computer; None for what an
            image says.
        arguments: for the program, its own name excluded.
        environment: added to PATH and HOME, and to what an image says.
        root: a directory, tar or image, or None for the default root file system.
        memory: bytes of memory of the machine.
        volumes: files of this computer to carry in.
        user: whose the process is, by the container's own /etc/passwd; None for what an image says, or root.
        cwd: its working directory; None for what an image says, or the root.

    """
    rootfs, wanted = read_root(root, memory) if root is not None else (Rootfs.default(), None)
    rootfs.complete()
    carried = carry_all(rootfs, volumes, memory)
    image = wanted or Defaults()
    who = user_of(rootfs, image.user if user is None else user)
    variables = {"PATH": PATH, "HOME": who.home or "/"}
    variables |= dict(pair.partition("=")[::2] for pair in image.environment) | dict(environment or {})
    if program is None:
        program, *arguments = [*image.entrypoint, *image.command] or [""]
        if not program:
            raise Problem(f"no program to run, and {root or 'the default rootfs'} names none")
    where = make_directory(rootfs, image.cwd if cwd is None else cwd)
    held = root is not None and rootfs.find(program, variables["PATH"], where) is not None
    path, data = _place(rootfs, program, variables["PATH"], where)
    first = First(
        (path, *arguments), tuple(f"{k}={v}" for k, v in variables.items()), where, who, tuple(settings(carried))
    )
    shown = f"{root}:{path}" if held else program
    return evolve(assemble(runtime, rootfs, first, data, shown, memory), volumes=tuple(carried))


def assemble(runtime: Runtime, rootfs: Rootfs, first: First, data: bytes, shown: str, memory: int | None) -> Bundle:
    """Put together what is complete.

    Args:
        runtime: how it runs.
        rootfs: all its files.
        first: its first process.
        data: the bytes of the program.
        shown: its name in messages.
        memory: bytes of the machine; None if it will have what the files need.

    """
    files = rootfs.to_tar()
    least = least_memory(len(files))
    if memory is not None and least > memory:
        raise too_large(rootfs.source, len(files))
    room = least if memory is None else memory
    if data.startswith(b"#!"):
        _check_interpreter(rootfs, data, shown)
    program_symbols = (lambda: ()) if data.startswith(b"#!") else _check(rootfs, data, shown, room).symbols
    return Bundle(
        runtime,
        runtime.modules(files, first.block()),
        (posixpath.basename(first.argv[0]), program_symbols),
        left_out=tuple(rootfs.left_out),
        least_memory=least,
        data=data,
    )


def _check_interpreter(rootfs: Rootfs, script: bytes, shown: str) -> None:
    """Find the interpreter of a script: the container's kernel does not know the name that the user gave."""
    words = script[2:].split(b"\n", 1)[0].split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if interpreter.startswith("/") and rootfs.lookup(interpreter) is None:
        raise Problem(f"no interpreter {interpreter} in the root file system: {shown}", NOT_FOUND)


def make_directory(rootfs: Rootfs, path: str) -> str:
    """Make a working directory if it is missing; gives it normalised."""
    if not path.startswith("/"):
        raise Problem(f"a working directory is an absolute path: {path}")
    path = posixpath.normpath("/" + path.lstrip("/"))
    found = rootfs.lookup(path)
    if found is None and path != "/":
        name = rootfs.resolve(path)
        if name is None:
            raise Problem(f"Too many levels of symbolic links: {rootfs.source}:{path}")
        rootfs.add(name, Node(tarfile.DIRTYPE))
    elif found is not None and not found.is_directory:
        raise Problem(f"Not a directory: {rootfs.source}:{path}")
    return path


def _check(rootfs: Rootfs, data: bytes, shown: str, memory: int) -> Elf:
    elf = check_program(data, shown, memory)
    if elf.interpreter and rootfs.lookup(elf.interpreter) is None:
        what = f"dynamically linked program, and its loader {elf.interpreter} is not in its root file system"
        raise Problem(f"{what}: {shown} (give one with --rootfs)", NOT_FOUND)
    return elf


def _place(rootfs: Rootfs, program: str, search: str, cwd: str) -> tuple[str, bytes]:
    """Find the program, put it into the root file system if it is not there, and give its path in there and its bytes."""
    inside = find_inside(rootfs, program, search, cwd)
    if inside is not None:
        return inside
    name = posixpath.basename(program)
    data = read_regular(shipped.program(program) or _on_host(program))
    rootfs.add_program(name, data)
    return f"/bin/{name}", data


def find_inside(rootfs: Rootfs, program: str, search: str, cwd: str) -> tuple[str, bytes] | None:
    """Find the program in the root file system: its absolute path and its bytes, or None."""
    inside = rootfs.find(program, search, cwd)
    if inside is not None:
        found = rootfs.lookup(inside)
        assert found is not None
        if not found.mode & 0o111:
            raise Problem(f"Permission denied: {rootfs.source}:{inside}", NOT_EXECUTABLE)
        return inside, found.data
    if (entry := rootfs.lookup(program)) is not None and program.startswith("/") and entry.is_directory:
        raise Problem(f"Is a directory: {rootfs.source}:{program}", NOT_EXECUTABLE)
    return None


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

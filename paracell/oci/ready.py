"""From a bundle's configuration to a container that is ready to boot."""

from __future__ import annotations

import math
import os
import posixpath
import stat
import tarfile
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from .. import runtimes
from ..bundle import MEMORY, Bundle, First, assemble, find_inside, make_directory
from ..guest.node import Node
from ..guest.rootfs import PATH, Rootfs
from ..problem import Problem
from ..settings import LEAST_MEMORY
from ..volumes import carry_root
from .config import ANNOTATION, Config, Process
from .mounts import LIMIT, Mounted, mount
from .problem import OciProblem

if TYPE_CHECKING:
    from pathlib import Path

    from .read import Table

_KINDS: Final = {"c": tarfile.CHRTYPE, "u": tarfile.CHRTYPE, "b": tarfile.BLKTYPE, "p": tarfile.FIFOTYPE}
_KNOWN: Final = {"null", "zero", "full", "random", "urandom", "tty", "console"}  # that the container kernel has in /dev
_GRAIN: Final = 1 << 20


@frozen
class Ready:
    """A container before its machine is made.

    Attributes:
        bundle: what the machine boots, beside its modules.
        memory: bytes of the machine.
        cpu: the processor, as ``--cpu`` names it; "" for the default.
        append: the container kernel's command line.
        terminal: whether its streams are one terminal.
        size: lines and columns of that, or None.
        warnings: what is not honoured.

    """

    bundle: Bundle
    memory: int
    cpu: str
    append: str
    terminal: bool
    size: tuple[int, int] | None
    warnings: tuple[str, ...]


def make_ready(config: Config, place: Path) -> Ready:
    """Read the files of a bundle.

    Args:
        config: its configuration.
        place: its directory.

    Raises:
        Problem: the program is not there, or something that is asked for cannot be.
        BadRootfs, BadImage: files that cannot be taken over.
        OSError: something cannot be read.

    """
    if config.process is None:
        raise OciProblem("config.json: process is missing")
    if not config.root.is_dir():
        raise OciProblem(f"config.json: root.path is no directory: {config.root}")
    rootfs, done = _root(config)
    for table in config.mounts:
        mount(rootfs, table, place, done)
    for table in config.devices:
        _add_device(rootfs, table, done)
    for name in ("dev", "proc"):
        if name not in rootfs.entries:
            rootfs.add(name, Node(tarfile.DIRTYPE))
    done.take("/dev")  # the container kernel puts its devices there
    _hide(rootfs, config, done)
    process, settings = config.process, [*config.process.settings, *done.settings, "leave=1", "init=1"]
    if config.hostname:
        settings.append(f"hostname={config.hostname}")
    path, data, where = _find(rootfs, process)
    home = _home(rootfs, process.user.uid)
    env = process.env if any(pair.startswith("HOME=") for pair in process.env) else (*process.env, f"HOME={home}")
    first = First((path, *process.args[1:]), env, where, process.user, tuple(settings), process.args[0])
    own = {
        key.removeprefix(ANNOTATION): value for key, value in config.annotations.items() if key.startswith(ANNOTATION)
    }
    if unknown := set(own) - {"runtime", "cpu", "append"}:
        raise OciProblem(f"config.json: annotations: no such setting: {ANNOTATION}{min(unknown)}")
    runtime = runtimes.named(own.get("runtime", runtimes.DEFAULT))
    spare = max(config.memory or MEMORY, LEAST_MEMORY)
    bundle = assemble(runtime, rootfs, first, data, path, None)
    memory = math.ceil((bundle.least_memory + spare) / _GRAIN) * _GRAIN
    return Ready(
        evolve(bundle, volumes=tuple(done.carried)), memory, own.get("cpu", ""), own.get("append", ""), process.terminal,
        process.size, (*config.warnings, *done.told(), *(f"left out, {line}" for line in rootfs.left_out)),
    )  # fmt: skip


def _root(config: Config) -> tuple[Rootfs, Mounted]:
    """Read the root; what changes in it comes back, as what a container of this computer's kernel writes is there."""
    if config.read_only:
        return Rootfs.read(config.root, LIMIT), Mounted(settings=["readonly=/"])
    rootfs = Rootfs(str(config.root))
    if not os.access(config.root, os.W_OK):
        rootfs.fill(Rootfs.read(config.root, LIMIT).entries.items())
        return rootfs, Mounted(warnings=[f"what changes in the root is lost, for it cannot be written: {config.root}"])
    carried = carry_root(rootfs, config.root, LIMIT)
    carried.cover("dev")
    carried.cover("proc")
    return rootfs, Mounted([carried], ["volume=/"])


def _find(rootfs: Rootfs, process: Process) -> tuple[str, bytes, str]:
    """Give the program's path and bytes, and the working directory."""
    name = process.args[0]
    search = next((pair.removeprefix("PATH=") for pair in process.env if pair.startswith("PATH=")), PATH)
    where = make_directory(rootfs, process.cwd)
    try:
        found = find_inside(rootfs, name, search, where)
    except Problem as problem:
        raise OciProblem(f'exec: "{name}": {problem.line}') from problem
    if found is None:
        raise OciProblem(
            f'exec: "{name}": '
            + ("stat: no such file or directory" if "/" in name else "executable file not found in $PATH")
        )
    return *found, where


def _add_device(rootfs: Rootfs, table: Table, done: Mounted) -> None:
    path, kind = table.get("path", str), table.get("type", str)
    if kind not in _KINDS or not path.startswith("/"):
        raise OciProblem(f"config.json: {table.place} is no device with an absolute path")
    numbers = (table.number("major", 0, 0xFFF), table.number("minor", 0, 0xFFFFF))
    mode, owner = table.number("fileMode", 0o666, 0o177777), (table.number("uid", 0), table.number("gid", 0))
    name = rootfs.resolve(path)
    if name in {None, "."}:
        raise OciProblem(f"config.json: {table.name('path')} cannot be made: {path}")
    assert name is not None
    rootfs.remove(name)
    rootfs.add(name, Node(_KINDS[kind], stat.S_IMODE(mode), *owner, device=numbers if kind != "p" else (0, 0)))
    if not name.startswith("dev/"):
        done.take(f"/{name}")
    if kind != "p" and posixpath.basename(path) not in _KNOWN:
        done.warnings.append(
            f"{table.place}: {path} can be seen, but not opened: the container kernel has no such device"
        )


def _hide(rootfs: Rootfs, config: Config, done: Mounted) -> None:
    """Empty what is to be masked, and protect what is to be protected, in the files; /proc is the container kernel's own."""
    for path in config.hidden:
        name = rootfs.resolve(path)
        node = rootfs.entries.get(name) if name is not None else None
        if name is None or node is None:
            continue
        rootfs.remove(name)
        rootfs.add(
            name, Node(tarfile.DIRTYPE, 0o755) if node.is_directory else Node(tarfile.CHRTYPE, 0o666, device=(1, 3))
        )
        done.take(f"/{name}")
        done.settings.append(f"readonly=/{name}")
    done.settings += [f"readonly={path}" for path in config.protected if rootfs.lookup(path) is not None]


def _home(rootfs: Rootfs, uid: int) -> str:
    passwd = rootfs.lookup("/etc/passwd")
    for line in passwd.data.decode("utf-8", "surrogateescape").splitlines() if passwd is not None else ():
        row = line.split(":")
        if len(row) >= 7 and row[2] == str(uid):
            return row[5] or "/"
    return "/"

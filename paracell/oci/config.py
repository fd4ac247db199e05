"""A bundle's config.json: what of it a container of ours has, and what it has not.

Source: OCI Runtime Specification 1.2, "Configuration" and "Linux Container Configuration".
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..guest.users import User
from .problem import OciProblem
from .read import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLDEST, NEWEST = "1.0.0", "1.2.0"
# Linux's numbers of the resources that the specification names.
RLIMITS: Final = (
    *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING"),
    *("MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
)
HOOKS: Final = ("prestart", "createRuntime", "poststart", "poststop")
_INSIDE: Final = ("createContainer", "startContainer")  # hooks that run in the container
NAMESPACES: Final = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
ANNOTATION: Final = "org.paracell."  # and runtime, cpu or append
_UNLIMITED: Final = (1 << 64) - 1


@frozen
class Hook:
    """A program of this computer that runs at one moment of a container's life."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@frozen
class Process:
    """The first process: args are as they were written, and nobody has looked for the program yet."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: User
    terminal: bool
    size: tuple[int, int] | None
    settings: tuple[str, ...]


@frozen
class Config:
    """What is honoured.

    Attributes:
        version: the specification's, that the file names.
        process: the first process; None where there is none, which cannot be started.
        root: the directory of the root file system.
        read_only: the root cannot be changed.
        mounts: as they stand in the file.
        hostname: its name; "" for the container kernel's own.
        memory: bytes that it may use besides its files, or None.
        devices: what is to be made in the root file system: path, kind, numbers, mode and owner.
        hidden: paths whose contents must not be seen.
        protected: paths that must not be changed.
        hooks: by their moment, `HOOKS`.
        annotations: as they stand in the file.
        warnings: a line for each thing that is not honoured.

    """

    version: str
    process: Process | None
    root: Path
    read_only: bool
    mounts: tuple[Table, ...]
    hostname: str
    memory: int | None
    devices: tuple[Table, ...]
    hidden: tuple[str, ...]
    protected: tuple[str, ...]
    hooks: dict[str, tuple[Hook, ...]]
    annotations: dict[str, str]
    warnings: tuple[str, ...]


def read(bundle: Path) -> Config:
    """Read a bundle's configuration; `OciProblem` or `OSError`."""
    top = Table.load(bundle / "config.json")
    version = top.get("ociVersion", str)
    if not re.fullmatch(r"1\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?", version):
        raise OciProblem(f"config.json: ociVersion {version!r} is not supported, only 1.x.y is")
    for platform in ("solaris", "windows", "vm", "zos", "freebsd"):
        if top.get(platform, dict, {}):
            raise OciProblem(f"config.json: {platform} is for other platforms than Linux")
    warnings: list[str] = []
    linux = top.table("linux")
    root = top.table("root")
    annotations = top.table("annotations").value
    if not all(isinstance(value, str) for value in annotations.values()):
        raise OciProblem("config.json: annotations: a value is no string")
    process = _process(top.table("process"), warnings) if top.get("process", dict, {}) else None
    memory = _memory(linux.table("resources"), warnings)
    path, read_only = root.get("path", str), root.get("readonly", bool, False)
    mounts, devices = tuple(top.tables("mounts")), tuple(linux.tables("devices"))
    hidden, protected = tuple(linux.strings("maskedPaths")), tuple(linux.strings("readonlyPaths"))
    hostname, hooks = top.get("hostname", str, ""), dict(_hooks(top.table("hooks")))
    _namespaces(linux, warnings)
    linux.get("rootfsPropagation", str, "")  # nobody shares its mounts
    warnings += [f"{name} has no effect" for name in [*linux.rest(), *root.rest(), *top.rest()]]
    return Config(
        version, process, bundle / path, read_only, mounts, hostname, memory, devices, hidden, protected, hooks,
        annotations, tuple(warnings),
    )  # fmt: skip


def _process(table: Table, warnings: list[str]) -> Process:
    args, env, cwd = table.strings("args"), table.strings("env"), table.get("cwd", str)
    if not args:
        raise OciProblem("config.json: process.args is empty")
    if not cwd.startswith("/"):
        raise OciProblem("config.json: process.cwd is no absolute path")
    if any("\0" in text for text in (*args, *env, cwd)):
        raise OciProblem("config.json: process: a text holds a NUL")
    who = table.table("user")
    user = User(who.number("uid", 0), who.number("gid", 0), tuple(_numbers(who, "additionalGids")))
    settings = [f"umask={who.number('umask', 0o22, 0o777)}", *_limits(table)]
    terminal = table.get("terminal", bool, False)
    if table.get("noNewPrivileges", bool, False):
        settings.append("nonewprivs=1")
    size = table.table("consoleSize")
    given = (size.number("height", 0, 0xFFFF), size.number("width", 0, 0xFFFF))
    if table.get("capabilities", dict, {}):
        warnings.append(
            "process.capabilities has no effect: the container kernel has none, and root may do everything inside"
        )
    warnings += [f"{name} has no effect" for name in [*who.rest(), *table.rest()]]
    return Process(
        tuple(args), tuple(env), posixpath.normpath("/" + cwd.lstrip("/")), user,
        terminal, given if all(given) else None, tuple(settings),
    )  # fmt: skip


def _numbers(table: Table, key: str) -> Iterator[int]:
    for n, value in enumerate(table.get(key, list, [])):
        yield Table({key: value}, f"{table.name(key)}[{n}]").number(key, 0)


def _limits(process: Table) -> Iterator[str]:
    seen = set()
    for limit in process.tables("rlimits"):
        name = limit.get("type", str)
        if name.removeprefix("RLIMIT_") not in RLIMITS or not name.startswith("RLIMIT_"):
            raise OciProblem(f"config.json: {limit.name('type')} is no resource: {name}")
        if name in seen:
            raise OciProblem(f"config.json: {limit.place}: {name} comes twice")
        seen.add(name)
        soft, hard = (limit.number(key, -1, _UNLIMITED) for key in ("soft", "hard"))
        if soft > hard:
            raise OciProblem(f"config.json: {limit.place}: soft is above hard")
        yield f"rlimit={RLIMITS.index(name.removeprefix('RLIMIT_'))}:{soft}:{hard}"


def _memory(resources: Table, warnings: list[str]) -> int | None:
    memory = resources.table("memory")
    limit = memory.get("limit", int, -1)
    resources.get("devices", list, [])  # no device of this computer is in reach
    warnings += [f"{name} has no effect" for name in [*memory.rest(), *resources.rest()]]
    return limit if limit > 0 else None


def _hooks(table: Table) -> Iterator[tuple[str, tuple[Hook, ...]]]:
    for moment in _INSIDE:
        if table.get(moment, list, []):
            raise OciProblem(
                f"config.json: hooks.{moment} cannot run: there is no program of this computer in the container"
            )
    for moment in HOOKS:
        hooks = []
        for one in table.tables(moment):
            timeout, path = one.get("timeout", int, 0), one.get("path", str)
            if not path.startswith("/"):
                raise OciProblem(f"config.json: {one.name('path')} is no absolute path")
            if "timeout" in one.value and timeout <= 0:
                raise OciProblem(f"config.json: {one.name('timeout')} is not above 0")
            hooks.append(Hook(path, tuple(one.strings("args")), tuple(one.strings("env")), timeout or None))
        yield moment, tuple(hooks)


def _namespaces(linux: Table, warnings: list[str]) -> None:
    there = {}
    for one in linux.tables("namespaces"):
        kind = one.get("type", str)
        if kind not in NAMESPACES:
            raise OciProblem(f"config.json: {one.name('type')} is no namespace: {kind}")
        if kind in there:
            raise OciProblem(f"config.json: {one.place}: {kind} comes twice")
        there[kind] = one.get("path", str, "")
    joined = sorted(kind for kind, path in there.items() if path)
    if joined:
        warnings.append(f"linux.namespaces: none of this computer's can be joined: {', '.join(joined)}")
    if there and "network" not in there:
        warnings.append("linux.namespaces: the network of this computer cannot be shared")
    mapped = [key for key in ("uidMappings", "gidMappings") if linux.get(key, list, [])]
    warnings += [f"linux.{key} has no effect: files keep the numbers of their owners" for key in mapped]

"""Mounts of a config.json, put into the root file system one after the other."""

from __future__ import annotations

import posixpath
import re
import stat
import tarfile
from typing import TYPE_CHECKING, Final

from attrs import define, field

from ..guest.node import Node
from ..volumes import Carried, Volume, carry_in
from .problem import OciProblem

if TYPE_CHECKING:
    from pathlib import Path

    from ..guest.rootfs import Rootfs
    from .read import Table

_OURS: Final = {"/proc": "proc"}  # what the container kernel has there by itself
_ABSENT: Final = {"devpts", "mqueue", "sysfs", "cgroup", "cgroup2", "proc"}
# A copy has no other mounts below, and no one to share with, so these have nothing to change.
_HONOURED: Final = {
    *("bind", "rbind", "rw", "defaults", "private", "rprivate", "slave", "rslave", "unbindable", "runbindable"),
    *("dev", "exec", "suid", "async"),
}
_MODE: Final = re.compile(r"mode=0*([0-7]{1,4})")
_OWNER: Final = re.compile(r"(uid|gid)=([0-9]{1,10})")
OPTIONS: Final = ("bind", "mode", "private", "rbind", "ro", "rprivate", "rslave", "rw", "slave")
LIMIT: Final = 1 << 34  # bytes of files


@define
class Mounted:
    """What became of the mounts.

    Attributes:
        carried: the root, if its changes come back, and binds.
        settings: what the container kernel is told of them, in order.
        warnings: what is not honoured.

    """

    carried: list[Carried] = field(factory=list)
    settings: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    without_effect: list[str] = field(factory=list)
    absent: list[str] = field(factory=list)

    def take(self, place: str) -> None:
        """Note that something is mounted at a path of the container, so that it is no part of what is below."""
        self.settings.append(f"mounted={place}")
        for carried in self.carried:
            carried.cover(place[1:])

    def told(self) -> list[str]:
        """Give all warnings, a line for each kind."""
        options = (
            [f"options of mounts that have no effect: {'; '.join(self.without_effect)}"] if self.without_effect else []
        )
        empty = [
            f"directories that are empty, for the container kernel has no such file system: {', '.join(self.absent)}"
        ]
        return [*self.warnings, *options, *(empty if self.absent else [])]


def mount(rootfs: Rootfs, table: Table, bundle: Path, done: Mounted) -> None:
    """Do one mount; `OciProblem`, `BadRootfs` or `OSError`."""
    target, kind = table.get("destination", str), table.get("type", str, "")
    options, source = table.strings("options"), table.get("source", str, "")
    if not target.startswith("/"):
        target = f"/{target}"  # deprecated, but allowed: from the root
    target = posixpath.normpath("/" + target.lstrip("/"))
    read_only = "ro" in options
    ignored = [o for o in options if o not in _HONOURED and o != "ro" and not (kind == "tmpfs" and _known_to_tmpfs(o))]
    if _OURS.get(target) == kind:
        pass
    elif kind in {"bind", "none", ""} or {"bind", "rbind"} & set(options):
        if kind != "bind" and not {"bind", "rbind"} & set(options):
            raise OciProblem(f"config.json: {table.place} has neither a type nor the option bind")
        _bind(rootfs, target, bundle / source, read_only=read_only, done=done)
    elif kind == "tmpfs" or kind in _ABSENT:
        _empty(rootfs, target, options, read_only=read_only, done=done)
        if kind in _ABSENT:
            done.absent.append(f"{target} ({kind})")
    else:
        raise OciProblem(f"config.json: {table.place}: mounts of type {kind!r} are not supported")
    if ignored:
        done.without_effect.append(f"{target} {','.join(ignored)}")
    done.warnings += [f"{name} has no effect" for name in table.rest()]


def _known_to_tmpfs(option: str) -> bool:
    return bool(_MODE.fullmatch(option) or _OWNER.fullmatch(option))


def _empty(rootfs: Rootfs, target: str, options: list[str], *, read_only: bool, done: Mounted) -> None:
    node = Node(tarfile.DIRTYPE, 0o1777)
    for option in options:
        if mode := _MODE.fullmatch(option):
            node.mode = int(mode[1], 8)
        elif owner := _OWNER.fullmatch(option):
            setattr(node, owner[1], int(owner[2]))
    place = rootfs.mount(target, [(".", node)])
    done.take(place)
    done.settings.append(f"readonly={place}" if read_only else f"writable={place}")


def _bind(rootfs: Rootfs, target: str, source: Path, *, read_only: bool, done: Mounted) -> None:
    mode = source.stat().st_mode
    if stat.S_ISCHR(mode) and target.startswith("/dev/"):
        return  # the container kernel has its own, or none
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        done.warnings.append(f"{source} is neither a directory nor a file, so {target} is not there")
        return
    carried = carry_in(rootfs, Volume(source, target, read_only), LIMIT)
    done.take(f"/{carried.place}")
    done.carried.append(carried)
    done.settings.append(f"{'readonly' if read_only else 'writable'}=/{carried.place}")
    if not read_only:
        done.settings.append(f"volume=/{carried.place}")

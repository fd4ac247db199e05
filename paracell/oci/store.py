"""The containers of one ``--root``: a directory for each, which outlives the command that made it.

::

    ROOT/ID/state.json   what `State` holds
    ROOT/ID/exec.fifo    there until `start`: the container's process waits at it
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen

from ..output import whole_file
from .problem import OciProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID: Final = re.compile(r"[\w+.-]{1,1024}", re.ASCII)
_STATE, _FIFO = "state.json", "exec.fifo"
CREATING, CREATED, RUNNING, STOPPED = "creating", "created", "running", "stopped"


@frozen
class State:
    """What is known of a container.

    Attributes:
        version: of the specification, as config.json names it.
        id: its name.
        pid: its process, the machine that it runs in.
        began: when that process began, in clock ticks since boot, so that another with its number is not taken for it.
        bundle: the directory of its config.json.
        rootfs: the directory of its files.
        created: when it was made, in RFC 3339.
        owner: the user who made it.
        annotations: as config.json has them.
        poststop: hooks that are still to run.

    """

    version: str
    id: str
    pid: int
    began: int
    bundle: str
    rootfs: str
    created: str
    owner: str
    annotations: dict[str, str]
    poststop: list[dict[str, Any]]

    def described(self, status: str) -> dict[str, Any]:
        """Give what the specification calls the state of a container, with what runc adds."""
        return {
            "ociVersion": self.version, "id": self.id, "pid": 0 if status == STOPPED else self.pid, "status": status,
            "bundle": self.bundle, "rootfs": self.rootfs, "created": self.created, "owner": self.owner,
            **({"annotations": self.annotations} if self.annotations else {}),
        }  # fmt: skip


class Store:
    """The directory of all containers.

    Args:
        root: where; made with its parents when a container is.

    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, name: str) -> Path:
        """Take a name; gives the container's directory.  `OciProblem` if it is taken, or no name."""
        place = self._place(name)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            place.mkdir(mode=0o711)
        except FileExistsError:
            raise OciProblem(f"container with given ID already exists: {name}") from None
        os.mkfifo(place / _FIFO, 0o600)
        return place

    def write(self, state: State) -> None:
        """Keep a state."""
        with whole_file(str(self._place(state.id) / _STATE)) as file:
            file.write(json.dumps(asdict(state)).encode())

    def read(self, name: str) -> State:
        """Give a container's state; `OciProblem` for one that there is not."""
        try:
            return State(**json.loads((self._place(name) / _STATE).read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            raise OciProblem(f"container does not exist: {name}") from None
        except (ValueError, TypeError) as error:
            raise OciProblem(f"damaged: {self._place(name) / _STATE} ({error})") from error

    def names(self) -> Iterator[str]:
        """Name all containers."""
        if self.root.is_dir():
            yield from sorted(path.parent.name for path in self.root.glob(f"*/{_STATE}"))

    def fifo(self, name: str) -> Path:
        """Say where a container's process waits."""
        return self._place(name) / _FIFO

    def status(self, state: State) -> str:
        """Look whether it still runs."""
        if not is_alive(state.pid, state.began):
            return STOPPED
        return CREATED if self.fifo(state.id).exists() else RUNNING

    def remove(self, name: str) -> None:
        """Forget a container."""
        shutil.rmtree(self._place(name))

    def _place(self, name: str) -> Path:
        if not _ID.fullmatch(name) or name in {".", ".."}:
            raise OciProblem(f"invalid ID format: {name!r}")
        return self.root / name


def default_root() -> Path:
    """Give the directory that is used without ``--root``."""
    if directory := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(directory) / "paracell"
    if os.geteuid() == 0:
        return Path("/run/paracell")
    raise OciProblem("no place for the states of containers: give --root, or set XDG_RUNTIME_DIR")


def began(pid: int) -> int:
    """Say when a process began, in clock ticks since boot; 0 if it is gone or a zombie.  Source: proc(5), /proc/PID/stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])


def is_alive(pid: int, since: int) -> bool:
    """Tell whether the process that began then still runs."""
    return began(pid) == since != 0

"""What a runtime does with containers: the operations of runtime-spec, "Lifecycle" and "Operations"."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import asdict, define

from ..output import whole_file
from .config import Hook, read
from .hooks import run_anyhow, run_hooks
from .launch import launch, release, wait_for
from .problem import OciProblem
from .ready import make_ready
from .store import CREATED, CREATING, RUNNING, STOPPED, State, Store, began, is_alive

if TYPE_CHECKING:
    from .log import Log
    from .ready import Ready

_PATIENCE: Final = 10.0  # seconds that a killed process may take to go
_POLL: Final = 0.02


@define
class Options:
    """What `create` and `run` are told on the command line.

    Attributes:
        bundle: the directory of config.json.
        console_socket: where the terminal's master goes, or None.
        pid_file: where the number of the container's process is written, or None.
        detached: the process is to live on without us.

    """

    bundle: Path
    console_socket: str | None = None
    pid_file: str | None = None
    detached: bool = True


def create(store: Store, name: str, options: Options, log: Log) -> State:
    """Make a container, whose process then waits for `start`; nothing is left of it if that fails."""
    bundle = options.bundle.absolute()
    store.make(name)
    pid = 0

    def prepare() -> Ready:
        ready = make_ready(config, bundle)
        for line in ready.warnings:
            log.warning(line)
        return ready

    try:
        config = read(bundle)
        if config.process is not None:
            _check_console(options, terminal=config.process.terminal)
        launched = launch(prepare, store.fifo(name), options.console_socket, detached=options.detached)
        pid = launched.pid
        state = State(
            config.version, name, pid, began(pid), str(bundle), str(config.root.resolve()),
            dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z"), _owner(), config.annotations,
            [asdict(hook) for hook in config.hooks["poststop"]],
        )  # fmt: skip
        store.write(state)
        for moment in ("prestart", "createRuntime"):
            run_hooks(moment, config.hooks[moment], state.described(CREATING))
        launched.finish()
        if options.pid_file is not None:
            with whole_file(options.pid_file) as file:
                file.write(str(pid).encode())
    except BaseException:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        store.remove(name)
        raise
    return state


def _check_console(options: Options, *, terminal: bool) -> None:
    if options.console_socket is not None and not terminal:
        raise OciProblem("cannot use a console socket: process.terminal is false")
    if terminal and options.detached and options.console_socket is None:
        raise OciProblem("cannot allocate a terminal for a detached container without --console-socket")


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def start(store: Store, name: str, log: Log) -> None:
    """Let a container run that has been created."""
    state = store.read(name)
    status = store.status(state)
    if status == STOPPED:
        raise OciProblem(f"cannot start a container that has stopped: {name}")
    if status != CREATED:
        raise OciProblem(f"cannot start an already running container: {name}")
    release(store.fifo(name), state.pid, state.began)
    hooks: tuple[Hook, ...] = ()
    with contextlib.suppress(OciProblem, OSError):  # the bundle may have gone
        hooks = read(Path(state.bundle)).hooks["poststart"]
    run_anyhow("poststart", hooks, state.described(RUNNING), log)


def run(store: Store, name: str, options: Options, log: Log, *, keep: bool = False) -> int:
    """Make a container and let it run; give its exit status, or 0 if it is detached."""
    state = create(store, name, options, log)
    try:
        start(store, name, log)
    except BaseException:
        delete(store, name, log, force=True)
        raise
    if options.detached:
        return 0
    status = wait_for(state.pid)
    if not keep:
        delete(store, name, log)
    return status


def kill(store: Store, name: str, number: int) -> None:
    """Send a container's first process a signal."""
    state = store.read(name)
    if store.status(state) == STOPPED:
        raise OciProblem(f"container not running: {name}")
    os.kill(state.pid, number)


def delete(store: Store, name: str, log: Log, *, force: bool = False) -> None:
    """Forget a container that has stopped, or, with `force`, any."""
    try:
        state = store.read(name)
    except OciProblem:
        if force:
            return
        raise
    status = store.status(state)
    if status != STOPPED and not force:
        raise OciProblem(f"cannot delete container {name} that is not stopped: {status}")
    if status != STOPPED:
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, signal.SIGKILL)
        _wait_for_end(state)
    hooks = [Hook(**{**hook, "args": tuple(hook["args"]), "env": tuple(hook["env"])}) for hook in state.poststop]
    store.remove(name)
    run_anyhow("poststop", hooks, state.described(STOPPED), log)


def _wait_for_end(state: State) -> None:
    until = time.monotonic() + _PATIENCE
    while is_alive(state.pid, state.began):
        if time.monotonic() > until:
            raise OciProblem(f"the process of container {state.id} does not go: {state.pid}")
        time.sleep(_POLL)


def signal_number(text: str) -> int:
    """Give the number of a signal: ``9``, ``KILL`` or ``SIGKILL``; `OciProblem` for what is none."""
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= max(signal.valid_signals()):
        return int(text)
    name = text.upper()
    for number in signal.Signals:
        if name in {number.name, number.name.removeprefix("SIG")}:
            return number
    raise OciProblem(f"unknown signal: {text!r}")

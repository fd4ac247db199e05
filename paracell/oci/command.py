"""What the OCI verbs share on the command line: errors with status 1, as runc has it, and in the log too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..problem import explain
from .problem import OciProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .log import Log
    from .store import Store

_T = TypeVar("_T")


def settings(context: click.Context) -> tuple[Store, Log]:
    """Give the store and the log that the options before the verb name."""
    from .log import Log
    from .store import Store, default_root

    options: dict[str, Any] = context.find_root().obj or {}
    path, root = options.get("log"), options.get("root")
    log = Log(None if path is None else Path(path), str(options.get("log_format", "text")))
    if options.get("systemd_cgroup"):
        log.warning("--systemd-cgroup has no effect: there are no cgroups")
    return Store(default_root() if root is None else Path(root)), log


class OciCommand(click.Command):
    """A verb whose errors have status 1 and go to the log."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; what is wrong with the words has the same status."""
        try:
            return super().parse_args(ctx, args)
        except click.ClickException as error:
            raise OciProblem(error.format_message()) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        return logged(ctx, lambda: super(OciCommand, self).invoke(ctx))


def logged(context: click.Context, action: Callable[[], _T]) -> _T:
    """Do something, and put a problem into the log."""
    try:
        return action()
    except Exception as error:
        problem = explain(error)
        if problem is None:
            raise
        _, log = settings(context)
        log.failure(problem.line)
        raise OciProblem(problem.line) from error


def bundle_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `create` and `run` have in common."""
    for option in (
        click.option("--preserve-fds", type=int, default=0, hidden=True, help="As runc has it; only 0 can be done."),
        click.option("--no-pivot", is_flag=True, hidden=True, help="As runc has it; no root is pivoted."),
        click.option("--no-new-keyring", is_flag=True, hidden=True, help="As runc has it; there are no keyrings."),
        click.option("--pid-file", metavar="FILE", help="Write the number of the container's process to FILE."),
        click.option(
            "--console-socket", metavar="SOCKET", help="Send the terminal's master through this AF_UNIX socket."
        ),
    ):
        function = option(function)
    return function


def run_bundle(
    context: click.Context,
    name: str,
    bundle: str,
    console_socket: str | None,
    pid_file: str | None,
    preserve_fds: int,
    *,
    detach: bool = True,
    keep: bool = True,
    start: bool = True,
) -> int:
    """Do what `create` and ``run --bundle`` do."""
    from .verbs import Options, create, run

    if preserve_fds:
        raise OciProblem("--preserve-fds: descriptors of this computer cannot be had in the container")
    store, log = settings(context)
    options = Options(Path(bundle), console_socket, pid_file, detach)
    if start:
        return run(store, name, options, log, keep=keep)
    create(store, name, options, log)
    return 0

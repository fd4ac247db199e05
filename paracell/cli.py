"""The command line: commands, each in a module of its own that is imported when it is used."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from . import __version__
from .problem import FAILED, SIGNALLED, explain
from .signals import Interrupted, raising

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS: Final = {
    "run": "Run a Linux program in a container.",
    "boot": "Boot a kernel image.",
    "debug": "Run a program in a container under gdb.",
    "create": "Make an OCI container from a bundle.",
    "start": "Let an OCI container run.",
    "state": "Show the state of an OCI container.",
    "kill": "Send an OCI container a signal.",
    "delete": "Forget an OCI container.",
    "list": "List OCI containers.",
    "spec": "Write a config.json to begin with.",
    "features": "Show what is known of the OCI specification.",
    "show": "Draw a trace or a snapshot as one HTML file.",
    "walk": "Explain a page walk in a snapshot.",
    "lab": "Labs for a course, checked against the machine.",
    "quiz": "Ask questions that can be answered by hand, and answer them.",
    "attack": "Attack the container kernel and the host.",
    "fuzz": "Give a target inputs by chance, until one is a finding.",
    "replay": "Run a finding of the fuzzer again, event by event.",
    "diff": "Compare two runs of a program, from their traces.",
    "compare": "Compare the runtimes and memory policies with what was published.",
    "bench": "Measure the speed table.",
}
COMPLETE: Final = "_PARACELL_COMPLETE"  # set by a shell that asks for completions, as click's scripts have it


class LazyGroup(click.Group):
    """Imports ``paracell.commands.NAME`` when NAME is asked for: a start must not pay for the other commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the manual."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f".commands.{cmd_name}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=LazyGroup, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="paracell")
@click.option(
    "--root", metavar="DIR", help="Where the states of OCI containers are.  [default: $XDG_RUNTIME_DIR/paracell]"
)
@click.option("--log", metavar="FILE", help="Add warnings and errors of the OCI verbs to FILE.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Of --log.")
@click.option("--debug", is_flag=True, hidden=True, help="As runc has it; there is nothing more to tell.")
@click.option("--systemd-cgroup", is_flag=True, hidden=True, help="As runc has it; there are no cgroups.")
@click.pass_context
def paracell(context: click.Context, /, **options: object) -> None:
    """Secure containers on an emulated x86-64 machine, every boundary crossing shown."""
    context.obj = options  # for the OCI verbs: paracell/oci/command.py


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit status; what goes wrong is one line on stderr."""
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(paracell, {}, "paracell", COMPLETE, os.environ[COMPLETE])
    with raising():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        # Not paracell.main(): it turns a broken pipe into an exit of its own.
        with paracell.make_context("paracell", list(arguments)) as context:
            status = paracell.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f" (try {where.command_path} --help)" if where else ""
        return _say(error.format_message().replace("\n", " ") + hint, error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        return SIGNALLED + (error.number if isinstance(error, Interrupted) else signal.SIGINT)
    except BrokenPipeError:
        _forget_stdout()
        return SIGNALLED + signal.SIGPIPE
    except Exception as error:
        problem = explain(error)
        if problem is None:
            if os.environ.get("PARACELL_DEBUG"):
                raise
            line = f"internal error, set PARACELL_DEBUG=1 to see where: {type(error).__name__}: {error}"
            return _say(line, FAILED)
        return _say(problem.line, problem.status)
    return status if isinstance(status, int) else 0


def _say(line: str, status: int) -> int:
    with suppress(OSError):  # the status tells, too
        sys.stderr.write("paracell: " + " ".join(line.split()) + "\n")
    return status


def _forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

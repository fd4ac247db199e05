"""Option values that click does not know."""

from __future__ import annotations

import shlex
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from .completion import files, models
from .problem import Problem
from .settings import memory_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from .debug.transport import Place
    from .emu.features import Features
    from .volumes import Volume


class Size(click.ParamType[int]):
    """A size of memory: ``256M``, ``1G``, or a number of bytes; whole pages."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it."""
        try:
            return memory_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SizeOrNone(Size):
    """A size of memory, or 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it."""
        return 0 if str(value) == "0" else super().convert(value, param, ctx)


class Variable(click.ParamType[str]):
    """An environment variable, ``NAME=VALUE``."""

    name = "k=v"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it."""
        text = str(value)
        if not text.partition("=")[0] or "=" not in text:
            self.fail(f"{text!r} is no NAME=VALUE", param, ctx)
        return text


class Words(click.ParamType["tuple[str, ...]"]):
    """A program and its arguments in one text, quoted as for a shell."""

    name = "program"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split it."""
        if isinstance(value, tuple):
            return value
        try:
            words = tuple(shlex.split(str(value)))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return words or self.fail("no program", param, ctx)


class VolumeType(click.ParamType["Volume"]):
    """Files to carry in, ``HOST:GUEST[:ro]``."""

    name = "volume"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Volume:
        """Parse it."""
        from .volumes import Volume

        try:
            return value if isinstance(value, Volume) else Volume.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Number(click.ParamType[int]):
    """A number in the notations of C and Python."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it; below 2^64."""
        try:
            number = value if isinstance(value, int) else int(value, 0)
        except ValueError:
            try:
                number = int(value, 16)  # addresses are often pasted without 0x
            except ValueError:
                self.fail(f"{value!r} is no number", param, ctx)
        if not 0 <= number < 1 << 64:
            self.fail(f"{value!r} does not fit into 64 bits", param, ctx)
        return number


class ListenType(click.ParamType["Place"]):
    """Where a debugger comes in: ``unix:PATH``, ``[HOST]:PORT`` or ``stdio``."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Parse it."""
        from .debug.transport import Place

        try:
            return value if isinstance(value, Place) else Place.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Cpu(click.ParamType["Features"]):
    """A processor: ``MODEL[,+FEATURE][,-FEATURE][,maxphyaddr=BITS]``; ``help`` lists them and ends the command."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Features:
        """Parse it."""
        from .emu import features

        if isinstance(value, features.Features):
            return value
        if value == "help":
            click.echo(features.listing())
            raise click.exceptions.Exit(0)
        try:
            return features.parse(value)
        except features.BadFeatures as error:
            self.fail(str(error), param, ctx)


def cost_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--costs`` and ``--cost``; the function gets them as one `Costs`, `costs`."""

    @wraps(function)
    def with_costs(*, costs: str | None, changes: tuple[str, ...], **options: Any) -> Any:
        from .emu.cost import DEFAULT, Costs

        try:
            base = DEFAULT if costs is None else Costs.from_toml(costs)
            wanted = base.with_settings(changes)
        except ValueError as error:
            raise Problem(str(error)) from error
        return function(costs=wanted, **options)

    one = click.option(
        *("--cost", "changes"),
        multiple=True,
        metavar="NAME=CYCLES",
        help="Charge so many virtual cycles for an event; more than once if needed.",
    )
    file = click.option(
        "--costs",
        metavar="FILE",
        shell_complete=files,
        help="Read such charges from a TOML file, NAME = CYCLES a line.",
    )
    return file(one(with_costs))


def beside_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Name the programs of more containers; the function gets a tuple of words for each."""
    return click.option(
        "--beside",
        type=Words(),
        multiple=True,
        metavar="'PROGRAM [ARG]…'",
        help="Run this in one more container on the same host, with an equal share of the memory; up to three.",
    )(command)


def history_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Say how much memory a debugger's way back may take."""
    return click.option(
        "--history",
        type=SizeOrNone(),
        default="256M",
        show_default=True,
        metavar="SIZE",
        help="Memory for the way back, about; with 0, execution does not run backwards, and the machine is faster.",
    )(command)


def machine_options(memory: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that `run` and `boot` share."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--snapshot", metavar="FILE", shell_complete=files, help="Save the whole machine to FILE when it stops."
            ),
            click.option("--stats", is_flag=True, help="End with a table of the boundary events on stderr."),
            click.option(
                "--clock",
                type=click.Choice(["blocks", "exact", "steady"]),
                default="blocks",
                show_default=True,
                help="What takes time while a timer is armed: blocks of code, or, six times slower, each instruction; or, always, blocks.",
            ),
            click.option(
                "--trace", metavar="FILE", shell_complete=files, help="Write every event to FILE (.jsonl or .pftrace)."
            ),
            click.option(
                "--trace-detail",
                "detail",
                is_flag=True,
                help="Keep registers, call stack, page walks and changed VMCS fields in a .jsonl trace, for show.",
            ),
            click.option(
                "--cpu",
                type=Cpu(),
                default="pks",
                show_default=True,
                metavar="MODEL[,+F][,-F]",
                shell_complete=models,
                is_eager=True,
                help="Processor, with features added and taken away; 'help' lists them.",
            ),
            click.option(
                "--nested",
                is_flag=True,
                help="Run everything in a virtual machine of an outermost hypervisor, as a cloud's customer does.",
            ),
            click.option("--append", default="", metavar="S", help="Kernel command line."),
            click.option(
                "--memory",
                type=Size(),
                default=memory,
                show_default=True,
                metavar="SIZE",
                help="Memory of the machine.",
            ),
        ):
            function = option(function)
        return cost_options(function)

    return decorate

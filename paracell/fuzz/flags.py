"""The command line of ``paracell fuzz``: flags as libFuzzer has them, ``-name=value`` or ``--name=value``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from attrs import field, fields, frozen

from .target import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

_SWITCHES: Final = frozenset({"merge", "minimize_crash", "nested"})


def _flag(default: object, says: str) -> Any:
    return field(default=default, metadata={"says": says})


@frozen
class Flags:
    """The flags, with their defaults."""

    runs: int = _flag(-1, "tries to make; -1: until a finding; 0: only run the inputs of the corpus")
    seed: int = _flag(1, "the same seed, the same run")
    max_len: int = _flag(0, "bytes of the longest input; 0: what the target says")
    max_total_time: int = _flag(0, "seconds; 0: no end")
    jobs: int = _flag(1, "processes; the run is the same with any number of them")
    artifact_prefix: str = _flag("", "beginning of a finding's path  [default: the first folder's crashes/]")
    exact_artifact_path: str = _flag("", "the whole path of a finding")
    dict: str = _flag("", "a file of words, as libFuzzer and AFL have it")
    merge: int = _flag(0, "1: take from the other folders what adds something to the first")
    minimize_crash: int = _flag(0, "1: make a finding's input shorter")
    off: str = _flag("", "defences that are switched off, mistakes that are planted; commas between them")
    runtime: str = _flag("", "for targets that run a program")
    nested: int = _flag(0, "1: the same under an outermost hypervisor")
    differential: str = _flag("", "two runtimes, A,B: an input must come to the same under both")
    oracle: str = _flag("", "more rules, FILE.py:RULE; commas between them")
    verbosity: int = _flag(1, "0: only findings and the last line")

    def options(self) -> Options:
        """Give how the target is to be made."""
        return Options(
            off=_list(self.off),
            runtime=self.runtime or None,
            nested=bool(self.nested),
            differential=_list(self.differential),
            oracle=_list(self.oracle),
        )


def parse(arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """Split a command line into flags and the rest; ``click.UsageError`` for a flag that is wrong."""
    known = {f.name: f for f in fields(Flags)}
    values: dict[str, Any] = {}
    rest = []
    for argument in arguments:
        if not argument.startswith("-") or argument == "-":
            rest.append(argument)
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        flag = known.get(name)
        if flag is None:
            raise click.UsageError(f"no such flag: {argument}; -help=1 lists them")
        if not equals:
            raise click.UsageError(f"-{name} needs a value: -{name}=…")
        values[name] = _number(name, value) if isinstance(flag.default, int) else value
    return Flags(**values), rest


def _number(name: str, value: str) -> int:
    least = {"runs": -1, "jobs": 1}.get(name, 0)
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if number < least:
        raise click.UsageError(f"-{name}={value}: not a number from {least} on")
    if name in _SWITCHES and number > 1:
        raise click.UsageError(f"-{name}={value}: 0 or 1")
    return number


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def wants_help(arguments: Sequence[str]) -> bool:
    """Tell whether somebody asks for help in one of the usual ways."""
    return any(a in {"-h", "--help", "-help", "-help=1", "--help=1"} for a in arguments)


def rows() -> list[tuple[str, str]]:
    """Give a row for each flag, for the help."""
    return [(f"-{f.name}={f.default if f.default != '' else '…'}", str(f.metadata["says"])) for f in fields(Flags)]

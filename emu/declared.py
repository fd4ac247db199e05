"""What `costs.toml` declares: each cost with the range that was published and its source, the services, and the named sets of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, fields, frozen

from .cost import FILE, check
from .events import FIELDS, Kind, Who

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .events import Event


@frozen
class Cost:
    """A cost as it is declared.

    Attributes:
        name: its name.
        value: its default, in cycles.
        what: what it is charged for.
        source: where the figure comes from; **ours** where nobody publishes one.
        low, high: the range that was published; None where one figure was, or none.

    """

    name: str
    value: int
    what: str
    source: str
    low: int | None = None
    high: int | None = None

    def __attrs_post_init__(self) -> None:
        for what in ("value", "low", "high"):
            given = getattr(self, what)
            if what == "value" or given is not None:
                check(f"{self.name}: {what} is", given)
        if (self.low is None) is not (self.high is None):
            raise ValueError(f"{self.name}: a range has both a low and a high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.name}: low is {self.low}, above high, {self.high}")


@frozen
class Service(Cost):
    """What the software of a production host takes for an event, besides what ours does.

    Attributes:
        runtime: the runtime whose host it is.
        event: the kind of event, in lower case.
        nested: with an outermost hypervisor, without, or, None, either way.
        who: who runs, or None: whoever does.
        equal: numbers that the event has, by name.
        bits: bits that its numbers have, by name.

    """

    runtime: str = ""
    event: str = ""
    nested: bool | None = None
    who: str | None = None
    equal: Mapping[str, int] = Factory(dict)
    bits: Mapping[str, int] = Factory(dict)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.event.upper() not in Kind.__members__:
            raise ValueError(f"{self.name}: no such event: {self.event!r}")
        if self.who is not None and self.who.upper() not in Who.__members__:
            raise ValueError(f"{self.name}: nobody is called {self.who!r}")
        known = FIELDS[self.kind]
        for field in (*self.equal, *self.bits):
            if field not in known:
                raise ValueError(f"{self.name}: {self.event} has no {field}, but {', '.join(known) or 'nothing'}")

    @property
    def kind(self) -> Kind:
        """The kind of event."""
        return Kind[self.event.upper()]

    def meets(self, event: Event) -> bool:
        """Tell whether an event is one that it is charged for."""
        if event.kind is not self.kind or self.who not in {None, event.who.name.lower()}:
            return False
        numbers = event.fields
        return all(numbers[name] == value for name, value in self.equal.items()) and all(
            numbers[name] & value == value for name, value in self.bits.items()
        )


_C = TypeVar("_C", bound=Cost)


@frozen
class Declared:
    """All that is declared; each part by name, in the order of the file."""

    hardware: dict[str, Cost]
    services: dict[str, Service]
    sets: dict[str, dict[str, int]]


def read(path: str | Path) -> Declared:
    """Read a file of the form of `costs.toml`.

    Raises:
        ValueError: it is no TOML, or declares what cannot be; the message begins with `path`.
        OSError: it cannot be read.

    """
    import tomllib  # noqa: PLC0415  (only who reads a file needs it)

    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        services = {name: _made(Service, name, row) for name, row in tables.get("service", {}).items()}
        sets = {name: dict(row["charges"]) for name, row in tables.get("sets", {}).items()}
        for name, charges in sets.items():
            for service, cycles in charges.items():
                if service not in services:
                    raise ValueError(f"{name}: no such service: {service}")  # noqa: TRY301  (the message is completed below)
                check(f"{name}: {service} is", cycles)
        return Declared(
            {name: _made(Cost, name, row) for name, row in tables.get("hardware", {}).items()}, services, sets
        )
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError among them
        raise ValueError(f"{path}: {error}") from error


def _made(kind: type[_C], name: str, row: dict[str, Any]) -> _C:
    known = {field.name for field in fields(kind)} - {"name"}
    for key in row:
        if key not in known:
            raise ValueError(f"{name}: no such key: {key}; there are {', '.join(sorted(known))}")
    for key in ("value", "what", "source"):
        if key not in row:
            raise ValueError(f"{name}: it has no {key}")
    return kind(name=name, **row)


@cache
def declared() -> Declared:
    """Give what the package declares."""
    return read(FILE)

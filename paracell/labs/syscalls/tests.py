"""Tests of lab 3: the same measurements by other methods, inside one run instead of between two."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ...container import Container
from ...emu.events import Kind, Who
from ..grade import Student, expect, test

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...emu.events import Event

_GETPID: Final = 39
_CALLS: Final = 6
_MOST_STEPS: Final = 5000


def begins(runtime: str) -> Callable[[Event], bool]:
    """Tell the first event of a getpid."""
    kind = Kind.GATE_ENTER if runtime == "paracell" else Kind.SYSCALL
    by = Who.KERNEL if runtime == "paracell" else Who.USER
    return lambda event: event.kind is kind and event.who is by and event.nr == _GETPID


def one_call(runtime: str, costs: Mapping[str, int]) -> list[Event]:
    """Give the events between two calls of one run: a whole call, from behind its begin to behind the next one's."""
    begin = begins(runtime)
    with Container("null", str(_CALLS), runtime=runtime, memory="64M", costs=costs) as c, c.record() as events:
        c.run()
    at = [number for number, event in enumerate(events) if begin(event)]
    return events[at[2] + 1 : at[3] + 1]


def ask_events(student: Student, runtime: str) -> None:
    """Compare the events of a call."""
    count, made = student.function("syscalls", "events_of_a_call"), [0]
    before = Container.__init__

    def counted(self: Container, *arguments: Any, **options: Any) -> None:
        made[0] += 1
        before(self, *arguments, **options)

    Container.__init__ = counted  # type: ignore[method-assign]  # to know that the machine ran
    try:
        got = count(runtime)
    finally:
        Container.__init__ = before  # type: ignore[method-assign]
    wanted = dict(Counter(event.kind.name.lower() for event in one_call(runtime, {})))
    expect(isinstance(got, dict), f"events_of_a_call({runtime!r}) gave {got!r}, which is no dictionary")
    expect(dict(got) == wanted, f"events_of_a_call({runtime!r}) gave {dict(got)}, and the machine counts {wanted}")
    expect(made[0] > 0, f"events_of_a_call({runtime!r}) is right, but has made no Container: count, do not recall")


@test(10, "events: native")
def native(student: Student) -> None:
    ask_events(student, "native")


@test(15, "events: paracell")
def gates(student: Student) -> None:
    ask_events(student, "paracell")


@test(15, "events: pvm")
def pvm(student: Student) -> None:
    ask_events(student, "pvm")


def prices(student: Student) -> dict[str, int]:
    """Make up prices."""
    return {name: student.random.randrange(10, 400) for name in ("wrpkru", "syscall", "sysret", "cr3")}


@test(20, "cycles: at any price", seconds=20)
def cycles(student: Student) -> None:
    measure = student.function("syscalls", "cycles_of_a_call")
    for runtime in ("native", "paracell", "pvm"):
        costs = prices(student)
        wanted = sum(event.cost for event in one_call(runtime, costs))
        got = measure(runtime, dict(costs))
        expect(got == wanted, f"cycles_of_a_call({runtime!r}, {costs}) gave {got!r}, and the machine takes {wanted}")


def walk_along(runtime: str) -> list[str]:
    """Step through a call, and note who runs."""
    with Container("null", str(_CALLS), runtime=runtime, memory="64M") as c:
        for _ in range(3):
            c.run_until(begins(runtime))
        names = ["USER", c.who.name]
        for _ in range(_MOST_STEPS):
            c.step()
            if c.who.name != names[-1]:
                names.append(c.who.name)
            if c.who is Who.USER:
                break
    return names


@test(25, "path: who runs", seconds=20)
def path(student: Student) -> None:
    ask = student.function("syscalls", "path")
    for runtime in ("native", "paracell", "pvm"):
        wanted, got = walk_along(runtime), ask(runtime)
        expect(got == wanted, f"path({runtime!r}) gave {got!r}, and in the machine run {wanted}")


@test(15, "break_even: the price of a gate", seconds=20)
def even(student: Student) -> None:
    ask = student.function("syscalls", "break_even")
    for _ in range(2):
        costs = {"syscall": 2 * student.random.randrange(10, 200), "sysret": 2 * student.random.randrange(10, 200)}
        price = ask(dict(costs))
        expect(
            isinstance(price, (int, float)) and price == int(price) >= 0,
            f"break_even({costs}) gave {price!r}, which is no price",
        )
        each = [
            sum(e.cost for e in one_call(runtime, {**costs, "wrpkru": int(price)}))
            for runtime in ("native", "paracell")
        ]
        expect(
            each[0] == each[1],
            f"break_even({costs}) gave {price}: native takes {each[0]} cycles then, and paracell {each[1]}",
        )

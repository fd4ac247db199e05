"""Tests of lab 3: the same measurements by other methods, inside one run instead of between two."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...emu.machine import Machine
from ..grade import Student, expect, test
from .measured import one_call, walk_along

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...emu.stop import Stop


@contextmanager
def ran() -> Iterator[list[int]]:
    """Count how often a machine runs: what is known by heart runs none."""
    times, before = [0], Machine.run

    def counted(self: Machine, instructions: int = 0) -> Stop:
        times[0] += 1
        return before(self, instructions)

    Machine.run = counted  # type: ignore[method-assign]
    try:
        yield times
    finally:
        Machine.run = before  # type: ignore[method-assign]


def ask_events(student: Student, runtime: str) -> None:
    """Compare the events of a call."""
    count = student.function("syscalls", "events_of_a_call")
    with ran() as times:
        got = count(runtime)
    wanted = dict(Counter(event.kind.name.lower() for event in one_call(runtime, {})))
    expect(isinstance(got, dict), f"events_of_a_call({runtime!r}) gave {got!r}, which is no dictionary")
    expect(dict(got) == wanted, f"events_of_a_call({runtime!r}) gave {dict(got)}, and the machine counts {wanted}")
    expect(times[0] > 0, f"events_of_a_call({runtime!r}) is right, but no machine has run: count, do not recall")


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
        chosen = student.random.sample(sorted(costs), student.random.randrange(1, 4))
        for part in (costs, {name: costs[name] for name in chosen}, {}):
            wanted = sum(event.cost for event in one_call(runtime, part))
            with ran() as times:
                got = measure(runtime, dict(part))
            expect(got == wanted, f"cycles_of_a_call({runtime!r}, {part}) gave {got!r}, and the machine takes {wanted}")
            text = f"cycles_of_a_call({runtime!r}, …) is right, but no machine has run: measure, do not add up"
            expect(part is not costs or times[0] > 0, text)


@test(25, "path: who runs", seconds=20)
def path(student: Student) -> None:
    ask = student.function("syscalls", "path")
    for runtime in ("native", "paracell", "pvm"):
        wanted = walk_along(runtime)
        with ran() as times:
            got = ask(runtime)
        expect(got == wanted, f"path({runtime!r}) gave {got!r}, and in the machine run {wanted}")
        expect(times[0] > 0, f"path({runtime!r}) is right, but no machine has run: look, do not recall")


@test(15, "break_even: the price of a gate", seconds=20)
def even(student: Student) -> None:
    ask = student.function("syscalls", "break_even")
    for odd in (0, 1, 1):
        costs = {name: 2 * student.random.randrange(10, 200) + odd for name in ("syscall", "sysret")}
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

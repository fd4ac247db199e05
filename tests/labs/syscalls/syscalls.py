"""Lab 3: the system call, three ways.  Each function is yours to write; `runtime` is ``native``, ``paracell`` or ``pvm``."""

from __future__ import annotations

from collections import Counter

import paracell


def run(runtime: str, calls: int, **costs: int) -> tuple[list[paracell.Event], int]:
    """Run `null` with so many calls; give all events and the cycles.  This one is written for you."""
    with paracell.Container("null", str(calls), runtime=runtime, memory="64M", costs=costs) as c, c.record() as events:
        end = c.run()
    return list(events), end.cycles


FEW = 5


def events_of_a_call(runtime: str) -> dict[str, int]:
    fewer, more = (Counter(event.kind.name.lower() for event in run(runtime, calls)[0]) for calls in (FEW, FEW + 1))
    return dict(more - fewer)


def cycles_of_a_call(runtime: str, costs: dict[str, int]) -> int:
    return run(runtime, FEW + 1, **costs)[1] - run(runtime, FEW, **costs)[1]


def path(runtime: str) -> list[str]:
    kind = paracell.Kind.GATE_ENTER if runtime == "paracell" else paracell.Kind.SYSCALL
    with paracell.Container("null", "5", runtime=runtime, memory="64M") as c:
        for _ in range(3):
            c.run_until(lambda event: event.kind is kind and event.nr == 39)
        names = ["USER"]
        while names[-1] != "USER" or len(names) == 1:
            if c.who.name != names[-1]:
                names.append(c.who.name)
            c.step()
    return names


def break_even(costs: dict[str, int]) -> int:
    return (costs["syscall"] + costs["sysret"]) // 2

"""A run priced at other costs: it is the clock of a run at those costs, to the cycle, where nobody looks at the time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from paracell import Container, runtimes
from paracell.compare import services, trace
from paracell.compare.price import Bill
from paracell.emu.cost import DEFAULT, NAMES, Costs
from paracell.emu.declared import declared
from paracell.emu.events import FIELDS, Event, Kind, Who

from .test_run import run

if TYPE_CHECKING:
    from pathlib import Path

# Each its own prime, so that one charge cannot stand for another; none is the default.
PRIMES = [n for n in range(300, 600) if all(n % d for d in range(2, n))]
ODD = Costs(**dict(zip(NAMES, PRIMES[: len(NAMES)], strict=True)))
SETUPS = [(runtime, nested) for runtime in runtimes.RUNTIMES for nested in (False, True)]
over_setups = pytest.mark.parametrize(("runtime", "nested"), SETUPS)


def recorded(
    argv: list[str], costs: Costs = DEFAULT, *, runtime: str = "native", nested: bool = False, clock: str = "blocks"
) -> tuple[list[Event], int]:
    """The events of a run, and its clock at the end."""
    with Container(*argv, runtime=runtime, nested=nested, costs=costs, clock=clock, memory="64M") as c:  # type: ignore[arg-type]
        with c.record() as events:
            c.run()
        return list(events), c.cycles


# ---- the clock ------------------------------------------------------------------------------------------------


@over_setups
@pytest.mark.parametrize("argv", [["hello"], ["null", "20"], ["touch", "40"]], ids=" ".join)
def test_a_priced_run_is_a_run_at_those_costs(runtime: str, nested: bool, argv: list[str]) -> None:
    ran = {costs: recorded(argv, costs, runtime=runtime, nested=nested) for costs in (DEFAULT, ODD)}
    assert ran[DEFAULT][1] != ran[ODD][1]
    for events, _ in ran.values():
        bill = Bill.of(events)
        assert {costs: bill.price(costs) for costs in ran} == {costs: clock for costs, (_, clock) in ran.items()}
        assert not bill.times.get("block")
        assert events[-1].kind is Kind.END


@over_setups
def test_blocks_are_priced_too(runtime: str, nested: bool) -> None:
    ran = {c: recorded(["null", "20"], c, runtime=runtime, nested=nested, clock="steady") for c in (DEFAULT, ODD)}
    bill = Bill.of(ran[DEFAULT][0])
    assert bill.times["block"]
    assert {c: bill.price(c) for c in ran} == {c: clock for c, (_, clock) in ran.items()}


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("clock", ["blocks", "exact"])
def test_what_a_program_measures_is_priced(runtime: str, clock: str) -> None:
    """`lat` reads the time, arms a timer that does not ring, and prints the difference; so only the printing depends on the costs."""

    def turns(costs: Costs) -> list[Event]:
        events, _ = recorded(["lat", "null", "20"], costs, runtime=runtime, clock=clock)
        reads = [at for at, event in enumerate(events) if event.kind is Kind.RDTSC and event.who is Who.USER]
        return events[reads[-2] : reads[-1] + 1]

    first, *rest = turns(DEFAULT)
    bill = Bill.of(rest, after=first, block=DEFAULT.block if clock == "blocks" else 0)
    assert (bill.times.get("block", 0) > 0, bill.instructions > 0) == (clock == "blocks", clock == "exact")
    for costs in (DEFAULT, ODD):
        measured = turns(costs)
        assert bill.price(costs) == measured[-1].value - measured[0].value


def test_where_a_timer_rings_the_price_drifts() -> None:
    argv = ["lat", "pipe", "200"]
    ran = {costs: recorded(argv, costs) for costs in (DEFAULT, ODD)}
    price = Bill.of(ran[DEFAULT][0]).price(ODD)
    assert price != ran[ODD][1]
    assert price == pytest.approx(ran[ODD][1], rel=0.01)


# ---- a part of a run ------------------------------------------------------------------------------------------


def test_parts_add_up() -> None:
    events, clock = recorded(["lat", "null", "5"])
    for at in (1, len(events) // 2, len(events) - 1):
        parts = Bill.of(events[:at], block=4), Bill.of(events[at:], after=events[at - 1], block=4)
        assert sum(part.price() for part in parts) == clock
        assert sum(part.price(ODD) for part in parts) == Bill.of(events).price(ODD)


def test_the_blocks_of_a_part_must_be_known() -> None:
    events, _ = recorded(["lat", "null", "5"])
    part = events[-40:-1]
    plain = part[-1].at - events[-41].at - sum(event.cost for event in part)
    assert plain > 0
    with pytest.raises(ValueError, match=f"^{plain} cycles of plain code, and no END among the events: say what"):
        Bill.of(part, after=events[-41])
    with pytest.raises(ValueError, match=f"^{plain} cycles of plain code are no blocks of 9999991$"):
        Bill.of(part, after=events[-41], block=9999991)
    assert Bill.of(part, after=events[-41], block=0).instructions == plain


def test_events_that_are_missing_are_missed() -> None:
    events, _ = recorded(["null", "5"])
    without = [event for event in events if event.kind is not Kind.WRPKRU][1:]
    with pytest.raises(
        ValueError, match=r"^the events are not all those of a run: \d+ cycles are not theirs, with 0 blocks"
    ):
        Bill.of(without)
    twice = [*events[:-1], *events[:-1], events[-1]]
    with pytest.raises(ValueError, match=r"^the events are not all those of a run: -\d+ cycles"):
        Bill.of(twice)
    with pytest.raises(ValueError, match=r"^the events are no part of a run: they take \d+ cycles more than passed"):
        Bill.of(twice[:-1])


# ---- services -------------------------------------------------------------------------------------------------


def meeting(name: str) -> Event:
    """An event that a service is charged for."""
    service = declared().services[name]
    numbers = {**service.bits, **service.equal}
    who = Who[(service.who or "host").upper()]
    return Event(service.kind, 1000, 0, 0, who, tuple(numbers.get(field, 0) for field in FIELDS[service.kind]))


@pytest.mark.parametrize("name", declared().services)
def test_each_service_meets_its_events(name: str) -> None:
    service, event = declared().services[name], meeting(name)
    assert service.meets(event)
    assert not service.meets(event._replace(kind=Kind.HLT, data=()))
    for at, field in enumerate(FIELDS[service.kind]):
        changed = (*event.data[:at], event.data[at] ^ 1, *event.data[at + 1 :])
        assert service.meets(event._replace(data=changed)) == (field not in {*service.equal, *service.bits})
    assert all(service.meets(event._replace(who=who)) == (service.who in {None, who.name.lower()}) for who in Who)


@over_setups
def test_a_service_is_what_the_run_has_of_its_events(runtime: str, nested: bool) -> None:
    events, clock = recorded(["touch", "40"], runtime=runtime, nested=nested)
    bill = Bill.of(events, services.of(runtime, nested=nested))
    wanted = {
        "native": set(),
        "paracell": set(),
        "pvm": {"pvm_fault", "pvm_write", "pvm_hypercall"},
        "runv": {"runv_violation_nested", "runv_msr_nested"} if nested else {"runv_violation", "runv_msr"},
    }[runtime]
    assert set(bill.services) == wanted
    assert bill.price(DEFAULT, services.named("as-built")) == clock
    each = {name: 10**9 * 1000**at for at, name in enumerate(sorted(wanted))}
    more = bill.price(DEFAULT, each) - clock
    assert more == sum(bill.services[name] * cycles for name, cycles in each.items())
    if runtime == "runv":  # as many as the host serves, with an outermost hypervisor or without
        assert bill.services[min(wanted & {"runv_violation", "runv_violation_nested"})] == served(runtime)


def served(runtime: str) -> int:
    events, _ = recorded(["touch", "40"], runtime=runtime)
    return sum(event.kind is Kind.VM_EXIT and event.reason == 48 for event in events)


def test_sets_of_services() -> None:
    assert set(services.named("as-built").values()) == {0}
    assert services.named("published-services", {"pvm_write": 500})["pvm_write"] == 500
    assert services.named("published-services")["runv_violation"] == 9212
    for call, message in (
        (("none", {}), "no such set of services: none; there are as-built, published-services, cki-services"),
        (("as-built", {"trap": 5}), "no such service: trap; there are runv_violation, "),
        (("as-built", {"pvm_write": -5}), "pvm_write takes a whole number of cycles from 0 to 4294967295, not -5"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            services.named(*call)


# ---- a trace --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["native", "paracell"])
def test_a_trace_is_priced_like_its_run(tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "t.jsonl"
    done = run("run", "--runtime", runtime, "--trace", str(path), "lat", "null", "5")
    assert not done.returncode
    bill = Bill.of(trace.read(path))
    events = list(trace.read(path))
    assert bill.price() == events[-1].at
    assert Bill.of(events) == bill
    assert bill.price(ODD) != bill.price()


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"kind":"trap"}', '{"kind":"hlt"}', '{"kind":"hlt","at":1,"cost":1,"rip":1,"who":"me"}']
)
def test_a_line_that_is_no_event(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"kind":"hlt","at":1,"cost":1,"rip":1,"who":"host"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}:2: no event of a trace: ")) as caught:
        list(trace.read(path))
    assert "\n" not in str(caught.value)

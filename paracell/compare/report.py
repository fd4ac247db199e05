"""The report of a comparison, as plain data: what its tables, its JSON and its pictures show.

Only this file puts what was published beside what was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..emu.clock import TSC_HZ
from ..emu.declared import declared
from . import published
from .cells import AROUND, PLACES
from .figures import COLUMNS, Measured, curve_of, memory_figures, microseconds
from .meter import saved
from .services import named
from .sweep import HEADLINES, axes, sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .cells import Cell
    from .meter import Curve
    from .published import Published
    from .sweep import Headline

_DIGITS: Final = 6
_OURS: Final = "paracell"
_KINDS: Final = ("operation", "application")


def report(results: Mapping[Cell, Mapping[str, Any]]) -> dict[str, Any]:
    """Make the report; the same results give the same report.

    Args:
        results: what `run` gave, in the order that its rows are to have.

    """
    told = published.read()
    whole = {cell: result for cell, result in results.items() if "missing" not in result}
    measured = {cell: Measured.of(cell, r) for cell, r in whole.items() if cell.kind != "memory"}
    curves = {cell: curve_of(r) for cell, r in whole.items() if cell.kind == "memory"}
    return {
        "clock_hz": TSC_HZ,
        "pages_with_a_fault": AROUND,
        "places": PLACES,
        "columns": {name: _what(name) for name in COLUMNS},
        "operations": [_row(m, measured, told) for m in measured.values() if m.cell.kind == "operation"],
        "applications": [_row(m, measured, told) for m in measured.values() if m.cell.kind == "application"],
        "memory": [_memory(cell, curve, curves, told) for cell, curve in curves.items()],
        "reductions": list(_reductions(measured)),
        "claims": [*_claims(measured, told), *_memory_claims(curves, told)],
        "missing": _missing(results),
        "notes": [dict(note) for note in told.note],
    }


def _missing(results: Mapping[Cell, Mapping[str, Any]]) -> list[str]:
    """Give each reason why cells have no result, once, with the first of them."""
    cells: dict[str, list[str]] = {}
    for cell, result in results.items():
        if "missing" in result:
            cells.setdefault(result["missing"], []).append(cell.name)
    more = {why: f" and {len(names) - 1} more" if len(names) > 1 else "" for why, names in cells.items()}
    return [f"{names[0]}{more[why]}: {why}" for why, names in cells.items()]


def _what(name: str) -> str:
    """Say what a column charges."""
    charges = declared().sets[name]
    if not charges:
        return "our hosts as they are"
    listed = ", ".join(f"{service} {cycles:,}" for service, cycles in charges.items())
    return f"besides, what was published for each system's host: {listed} cycles"


def _round(number: float) -> float:
    return round(number, _DIGITS)


# ---- operations and applications ----------------------------------------------------------------------------------------


def _row(measured: Measured, every: Mapping[Cell, Measured], told: Published) -> dict[str, Any]:
    cell = measured.cell
    ours = next((m for m in every.values() if _same(m.cell, cell) and m.cell.runtime == _OURS), None)
    row: dict[str, Any] = {"row": cell.row, "place": cell.place, "runtime": cell.runtime, "turns": measured.turns}
    row["events"] = {kind: _round(number / measured.turns) for kind, number in measured.kinds.items()}
    found = told.time(cell.row, cell.runtime, cell.place) if cell.kind == "operation" else None
    for name in COLUMNS:
        services = named(name)
        cycles = measured.cycles(services)
        row[name] = {"cycles": _round(cycles), "us": _round(microseconds(cycles))}
        row[name]["beside_paracell"] = (
            _round(cycles / ours.cycles(services)) if ours and ours.cycles(services) else None
        )
        row[name]["by_charge"] = {what: _round(share) for what, share in measured.shares(services).items()}
        row[name]["inside"] = _inside(row[name]["us"], found)
    row["published_us"] = _range(found)
    return row


def _same(one: Cell, other: Cell) -> bool:
    return (one.kind, one.row, one.place) == (other.kind, other.row, other.place)


def _range(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    secondary = found.get("secondary", False)
    return {"low": found["low"], "high": found["high"], "source": found["source"], "secondary": secondary}


def _inside(value: float, found: Mapping[str, Any] | None) -> bool | None:
    return None if found is None else bool(found["low"] <= value <= found["high"])


# ---- memory -------------------------------------------------------------------------------------------------------------


def _memory(cell: Cell, curve: Curve, every: Mapping[Cell, Curve], told: Published) -> dict[str, Any]:
    pager = _beside(cell, every, "pager")
    found = told.waste(cell.row, cell.policy)
    row: dict[str, Any] = {"row": cell.row, "policy": cell.policy, "runtime": cell.runtime, "keep": cell.keep}
    row |= {name: _round(value) for name, value in memory_figures(curve).items()}
    if pager is not None:
        gained = saved(pager, curve)
        row |= {"pager_saves_waste": _round(gained.waste), "pager_saves_bound": _round(gained.bound)}
    row["published_waste_percent"] = _range(found)
    row["inside"] = _inside(100 * (curve.waste_of_means if found and found["of"] == "means" else curve.waste), found)
    row["curve"] = [[s.at, s.bound, s.used] for s in curve.samples] + [[curve.end, *_last(curve)]]
    return row


def _last(curve: Curve) -> list[int]:
    return [curve.samples[-1].bound, curve.samples[-1].used] if curve.samples else [0, 0]


def _beside(cell: Cell, every: Mapping[Cell, Curve], policy: str) -> Curve | None:
    """Give the curve of the same workload under another policy."""
    same = (c for c in every if (c.row, c.keep, c.quick, c.policy) == (cell.row, cell.keep, cell.quick, policy))
    return next((every[c] for c in same), None)


# ---- claims -------------------------------------------------------------------------------------------------------------


def _pairs(measured: Mapping[Cell, Measured], headline: Headline, kind: str) -> dict[str, tuple[Measured, Measured]]:
    """Give each row that ours and the other system have in the headline's place."""
    here = {(c.row, c.runtime): m for c, m in measured.items() if (c.kind, c.place) == (kind, headline.place)}
    rows = [row for row, runtime in here if runtime == _OURS and (row, headline.against) in here]
    return {row: (here[row, _OURS], here[row, headline.against]) for row in rows}


def _claims(measured: Mapping[Cell, Measured], told: Published) -> Iterable[dict[str, Any]]:
    """Give each headline over operations and over applications, in each column."""
    for headline in HEADLINES:
        for kind in _KINDS:
            pairs = _pairs(measured, headline, kind)
            for name in COLUMNS if pairs else ():
                row = _swept(headline, kind, name, pairs)
                yield _beside_claim(row, told, headline.published)


def _reductions(measured: Mapping[Cell, Measured]) -> Iterable[dict[str, Any]]:
    """Give the same for each row by itself."""
    for headline in HEADLINES:
        for kind in _KINDS:
            for row, pair in _pairs(measured, headline, kind).items():
                for name in COLUMNS:
                    yield _swept(headline, kind, name, {row: pair})


def _swept(headline: Headline, kind: str, name: str, pairs: Mapping[str, tuple[Measured, Measured]]) -> dict[str, Any]:
    moving = axes((_OURS, headline.against), nested=headline.place != "bare", services=name != "as-built")
    found = sweep(pairs, name, moving)
    bars = [{"cost": cost, "at_low": _percent(low), "at_high": _percent(high)} for cost, low, high in found.bars]
    row: dict[str, Any] = {"against": headline.against, "place": headline.place, "over": kind, "column": name}
    row |= {"row": found.row, "percent": _percent(found.ours), "low": _percent(found.low), "high": _percent(found.high)}
    return row | {"bars": bars}


def _memory_claims(curves: Mapping[Cell, Curve], told: Published) -> Iterable[dict[str, Any]]:
    """Give what Pager saves of HyperAlloc's memory, by both readings, for the agent that saves most.

    It is swept over the share of files kept, at each share for the agent that saves most there.
    """
    gained: dict[tuple[str, int], Any] = {}
    for cell, curve in curves.items():
        pager = _beside(cell, curves, "pager")
        if cell.policy == "hyperalloc" and cell.row.startswith("agent-") and pager is not None:
            gained[cell.row, cell.keep] = saved(pager, curve)
    for reading in ("waste", "bound") if gained else ():
        by = {key: _percent(getattr(value, reading)) for key, value in gained.items()}
        row, keep = max((key for key in by if key[1] == _usual(by)), key=lambda key: (by[key], key[0]))
        swept = {at: max(percent for (_, its), percent in by.items() if its == at) for _, at in by}
        found: dict[str, Any] = {
            "against": "hyperalloc",
            "place": "bare",
            "over": f"memory, {reading}",
            "column": "as-built",
        }
        found |= {"row": row, "percent": by[row, keep], "low": min(swept.values()), "high": max(swept.values())}
        found["bars"] = [{"cost": "files kept", "at_low": swept[min(swept)], "at_high": swept[max(swept)]}]
        yield _beside_claim(found, told, "memory")


def _usual(gained: Iterable[tuple[str, int]]) -> int:
    """Give the share of files that workloads have by themselves, or else the least that was measured."""
    from .workloads import KEEP

    keeps = {keep for _, keep in gained}
    return KEEP if KEEP in keeps else min(keeps)


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _beside_claim(row: dict[str, Any], told: Published, name: str) -> dict[str, Any]:
    claim = told.claimed(name)
    row["published_percent"] = None if claim is None else claim["percent"]
    row["published_source"] = None if claim is None else claim["source"]
    row["inside"] = None if claim is None else bool(row["low"] <= claim["percent"] <= row["high"])
    return row

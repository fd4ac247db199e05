"""The tables of a report: a title, a sentence, a head, and rows of texts, for a terminal, a page and a spreadsheet alike."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..emu.cost import CHARGED, DEFAULT
from ..emu.events import Kind
from .figures import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHOWN: Final = 5  # kinds of events in a table, of those that cost something; JSON and CSV have all
_LABELS: Final = {"as-built": "as built", "published-services": "with services", "nested-cold": "nested, L0 cold"}
_ANSWERS: Final = {True: "inside", False: "MISS", None: "–"}
_MANY: Final = 100
_CSV: Final = (
    *("kind", "row", "place", "runtime", "policy", "keep", "column", "cycles", "us", "beside_paracell", "events"),
    *("bound_mib", "used_mib", "waste", "waste_of_means", "inner", "lag", "lists"),
    *("percent", "low", "high", "published_low", "published_high", "inside"),
)


@frozen
class Table:
    """A table of texts.

    Attributes:
        title: what it shows.
        says: how to read it.
        head: the columns; one that begins with ">" is of numbers.
        rows: texts, one for each column.

    """

    title: str
    says: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Give the tables of a report that have rows."""
    made = (
        _claims(report["claims"]),
        _times("Operations", report["operations"]),
        _times("Applications", report["applications"]),
        _memory(report["memory"]),
    )
    return [table for table in made if table.rows]


def label(name: str) -> str:
    """Give a name of ours as a table shows it."""
    return _LABELS.get(name, name)


def _claims(claims: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for claim in claims:
        told = claim["published_percent"]
        cells = [claim["against"], label(claim["place"]), claim["over"], label(claim["column"]), claim["row"]]
        cells += [_percent(claim["percent"]), f"{_percent(claim['low'])} to {_percent(claim['high'])}"]
        rows.append((*cells, "–" if told is None else _percent(told), _ANSWERS[claim["inside"]]))
    says = (
        "Cycles, or memory, that ParaCell saves beside another system, in per cent: the greatest over the rows, with costs at their "
        "defaults, and with each at its default and at the ends of its range."
    )
    head = ("against", "where", "over", "column", "greatest at", ">ours, %", ">swept", ">published", "")
    return Table("Claims", says, head, tuple(rows))


def _times(title: str, found: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for row in found:
        cells = [row["row"], label(row["place"]), row["runtime"], _events(row["events"])]
        for name in COLUMNS:
            cells += [_number(row[name]["cycles"]), _number(row[name]["us"]), _times_ours(row[name]["beside_paracell"])]
        told = row["published_us"]
        answers = dict.fromkeys(_ANSWERS[row[name]["inside"]] for name in COLUMNS)
        rows.append((*cells, "–" if told is None else _range(told), ", ".join(answers)))
    says = "Cycles and µs at 2.5 GHz of one turn; ×: beside ParaCell's; the second three with the published services of each host."
    columns = (">cycles", ">µs", ">×", ">cycles+", ">µs+", ">×+")
    return Table(title, says, ("row", "where", "runtime", "events", *columns, ">published µs", ""), tuple(rows))


def _memory(found: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for row in found:
        shares = [_percent(100 * row[name]) for name in ("waste", "waste_of_means", "inner", "lag", "lists")]
        means = [f"{row['bound_mib']:.1f}", f"{row['used_mib']:.1f}"]
        gained = [_percent(100 * row[n]) if n in row else "–" for n in ("pager_saves_waste", "pager_saves_bound")]
        told = row["published_waste_percent"]
        end = ("–" if told is None else _range(told), _ANSWERS[row["inside"]])
        rows.append((row["row"], row["policy"], row["runtime"], str(row["keep"]), *means, *shares, *gained, *end))
    says = (
        "MiB and per cent, means over virtual time.  Waste is what is bound and not used: free pages in frames partly used (inner), free "
        "frames (lag), and lists.  Pager saves: the difference of waste, and of what is bound."
    )
    head = (
        "workload",
        "policy",
        "runtime",
        ">kept %",
        ">bound",
        ">used",
        ">waste",
        ">of means",
        ">inner",
        ">lag",
        ">lists",
    )
    return Table("Memory", says, (*head, ">saves, waste", ">saves, bound", ">published", ""), tuple(rows))


def _events(events: Mapping[str, float]) -> str:
    paid = {
        kind: number for kind, number in events.items() if any(getattr(DEFAULT, n) for n in CHARGED[Kind[kind.upper()]])
    }
    first = sorted(paid.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{_number(number)} {kind.replace('_', ' ')}" for kind, number in first if number > 0.005][:_SHOWN]
    return ", ".join(told) + (" …" if len(first) > _SHOWN else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _MANY or value == int(value) else f"{value:.2f}"


def _times_ours(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def _percent(value: float) -> str:
    return f"{value:.1f}"


def _range(told: Mapping[str, Any]) -> str:
    low, high = (f"{told[end]:,g}" for end in ("low", "high"))
    mark = " (secondary)" if told["secondary"] else ""
    return (low if low == high else f"{low} to {high}") + mark


def as_csv(report: Mapping[str, Any]) -> str:
    """Give every row of a report for a spreadsheet, with all its events."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, restval="", lineterminator="\n")
    writer.writeheader()
    for kind in ("operation", "application"):
        for row in report[f"{kind}s"]:
            events = " ".join(f"{name}={number:g}" for name, number in row["events"].items())
            told = row["published_us"] or {"low": "", "high": ""}
            for name in COLUMNS:
                known = {n: row[name][n] for n in ("cycles", "us", "beside_paracell", "inside")}
                known |= {"published_low": told["low"], "published_high": told["high"], "kind": kind, "column": name}
                writer.writerow({**known, "events": events, **{n: row[n] for n in ("row", "place", "runtime")}})
    for row in report["memory"]:
        told = row["published_waste_percent"] or {"low": "", "high": ""}
        known = {n: row[n] for n in _CSV if n in row}
        writer.writerow({**known, "kind": "memory", "published_low": told["low"], "published_high": told["high"]})
    for row in report["claims"]:
        known = {n: row[n] for n in _CSV if n in row} | {"kind": f"claim against {row['against']}, {row['over']}"}
        writer.writerow(
            {**known, "published_low": row["published_percent"], "published_high": row["published_percent"]}
        )
    return out.getvalue()

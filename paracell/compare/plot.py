"""The pictures of a report, as SVG: the same report gives the same bytes.  They need matplotlib, which the extra ``plot`` brings."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from ..emu.clock import TSC_HZ
from .table import label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING: Final = "matplotlib is not installed, so there are tables only: pip install 'paracell[plot]'"
_SETTINGS: Final[Any] = {
    "svg.hashsalt": "paracell",
    "svg.fonttype": "none",  # texts stay texts
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MIB_PER_PAGE: Final = 1 / 256
_WIDTH: Final = 9.0  # inches
_OURS, _THEIRS, _DARK = "#2a78b5", "#c44e52", "#333333"


def pictures(report: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Give each picture that a report has the figures for: its title and its SVG; None without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    made = []
    with mpl.rc_context(_SETTINGS):
        for title, draw in (
            ("Each claim: ours (dot) on its sweep, and what was published (diamond)", _claims),
            ("Which cost decides: each alone, from its low to its high end", _tornado),
            ("Cycles of one turn by what they are charged for, as built", _stacks),
            ("Bound (line) over used (area), in time", _curves),
            ("Waste over the share of a tool's pages that stay as files", _kept),
        ):
            figure = Figure(figsize=(_WIDTH, 4.0), layout="constrained")
            if draw(figure, report):
                made.append((title, _svg(figure)))
    return made


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['against']}, {label(row['place'])}, {row['over']}, {label(row['column'])} ({row['row']})"


def _claims(figure: Figure, report: Mapping[str, Any]) -> bool:
    claims = report["claims"]
    figure.set_size_inches(_WIDTH, 1.2 + 0.28 * len(claims))
    axes = figure.add_subplot()
    for at, claim in enumerate(claims):
        axes.barh(at, claim["high"] - claim["low"], left=claim["low"], height=0.5, color=_OURS, alpha=0.35)
        axes.plot(claim["percent"], at, "o", color=_OURS)
        if claim["published_percent"] is not None:
            axes.plot(claim["published_percent"], at, "D", color=_THEIRS)
    _rows(axes, [_name(claim) for claim in claims])
    axes.set_xlabel("reduction, per cent")
    return bool(claims)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _tornado(figure: Figure, report: Mapping[str, Any]) -> bool:
    claims = [c for c in report["claims"] if c["bars"] and c["over"] in {"operation", "application"}]
    bars = sum(len(claim["bars"]) for claim in claims)
    figure.set_size_inches(_WIDTH, 1.2 + 0.25 * (bars + len(claims)))
    axes = figure.add_subplot()
    names: list[str] = []
    for claim in claims:
        names.append(_name(claim))
        for bar in claim["bars"]:
            low, high = sorted((bar["at_low"], bar["at_high"]))
            axes.barh(len(names), high - low, left=low, height=0.6, color=_OURS)
            names.append(bar["cost"])
        axes.plot([claim["percent"]] * 2, [len(names) - len(claim["bars"]) - 0.5, len(names) - 0.5], color=_DARK, lw=1)
    _rows(axes, names)
    axes.set_xlabel("reduction, per cent; the line: at the defaults")
    return bool(claims)


def _stacks(figure: Figure, report: Mapping[str, Any]) -> bool:
    rows = [row for row in report["operations"] if row["place"] == "bare"]
    operations = list(dict.fromkeys(row["row"] for row in rows))
    figure.set_size_inches(_WIDTH, 1.4 + 0.2 * len(rows))
    axes = figure.add_subplot()
    charges = sorted({name for row in rows for name in row["as-built"]["by_charge"]})
    colours = {name: f"C{number % 10}" for number, name in enumerate(charges)}
    for at, row in enumerate(rows):
        whole, left = row["as-built"]["cycles"], 0.0
        for name in charges:
            share = 100 * row["as-built"]["by_charge"].get(name, 0) / whole if whole else 0
            axes.barh(at, share, left=left, color=colours[name], hatch="//" if charges.index(name) > 9 else None)
            left += share
        axes.text(101, at, f"{whole:,.0f}", va="center", fontsize=7)
    _rows(axes, [f"{row['row']}, {row['runtime']}" for row in rows])
    handles = [axes.barh(0, 0, color=colours[n], hatch="//" if charges.index(n) > 9 else None) for n in charges]
    axes.legend(handles, charges, loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=6, frameon=False)
    axes.set_xlabel("per cent of the cycles at the right")
    return bool(operations)


def _curves(figure: Figure, report: Mapping[str, Any]) -> bool:
    rows = [row for row in report["memory"] if row["keep"] == _usual(report)]
    columns = 3
    lines = -(-len(rows) // columns)
    figure.set_size_inches(_WIDTH, 0.5 + 1.8 * lines)
    for number, row in enumerate(rows):
        axes = figure.add_subplot(lines, columns, number + 1)
        seconds = [at / TSC_HZ for at, _, _ in row["curve"]]
        bound, used = ([sample[which] * _MIB_PER_PAGE for sample in row["curve"]] for which in (1, 2))
        axes.fill_between(seconds, used, step="post", color=_OURS, alpha=0.4, lw=0)
        axes.step(seconds, bound, where="post", color=_DARK, lw=1)
        axes.set_title(f"{row['row']}: {row['policy']}", fontsize=8)
        axes.set_ylim(0)
        axes.tick_params(labelsize=7)
    if rows:
        figure.supxlabel("virtual seconds")
        figure.supylabel("MiB")
    return bool(rows)


def _usual(report: Mapping[str, Any]) -> int | None:
    """Give the share of files that most rows of memory have."""
    keeps = [row["keep"] for row in report["memory"]]
    return max(sorted(set(keeps)), key=keeps.count) if keeps else None


def _kept(figure: Figure, report: Mapping[str, Any]) -> bool:
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in report["memory"]:
        found.setdefault((row["row"], row["policy"]), []).append((row["keep"], 100 * row["waste"]))
    lines = {name: sorted(points) for name, points in found.items() if len(points) > 1}
    axes = figure.add_subplot()
    for (workload, policy), points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{workload}: {policy}")
        told = [
            row["published_waste_percent"]
            for row in report["memory"]
            if (row["row"], row["policy"]) == (workload, policy)
        ]
        if told[0] is not None:
            axes.axhspan(told[0]["low"], told[0]["high"], color=_THEIRS, alpha=0.5, label=f"published: {policy}")
    if lines:
        axes.legend(frameon=False)
    axes.set_xlabel("files kept, per cent of a tool's pages")
    axes.set_ylabel("waste, per cent")
    axes.set_ylim(0)
    return bool(lines)

"""The report as one page: tables and pictures, and nothing that is loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from .plot import MISSING, pictures
from .table import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .table import Table

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse; font-size: 13px } caption { caption-side: bottom; text-align: left; padding: .5rem 0 }
th, td { padding: .15rem .6rem; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } .miss { color: #b02020; font-weight: 600 }
figure { margin: 2rem 0; background: #fff } figure svg { max-width: 100%; height: auto } .scroll { overflow-x: auto }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } th, td { border-color: #444 } .miss { color: #ff8080 } }
"""


def page(report: Mapping[str, Any]) -> str:
    """Make an HTML document of a report."""
    drawn = pictures(report)
    parts = [f"<p>{escape(MISSING)}.</p>"] if drawn is None else []
    parts += [_figure(title, svg) for title, svg in drawn or ()]
    parts += [_table(table) for table in tables(report)]
    parts += [_list("Not measured", report["missing"])] if report["missing"] else []
    notes = [f"{note['says']}: {note['figure']} ({note['source']})" for note in report["notes"]]
    parts += [_list("Published besides", notes)] if notes else []
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>ParaCell compared</title>'
    return (
        f"{head}<style>{_STYLE}</style></head>\n<body>\n<h1>ParaCell compared</h1>\n{_settings(report)}\n"
        + "\n".join((*parts, "</body></html>\n"))
    )


def _settings(report: Mapping[str, Any]) -> str:
    ghz, around = report["clock_hz"] / 1e9, report["pages_with_a_fault"]
    lines = [
        f"The clock has {ghz} GHz; a page fault brings in {around} page, as on Linux; plain code is 4 cycles a block."
    ]
    lines += [f"{name}: {says}." for name, says in (report["places"] | report["columns"]).items()]
    return _items(lines)


def _items(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _list(title: str, lines: list[str]) -> str:
    return f"<h2>{escape(title)}</h2>\n{_items(lines)}"


def _figure(title: str, svg: str) -> str:
    return f"<figure><figcaption><h2>{escape(title)}</h2></figcaption>\n{svg}</figure>"


def _table(table: Table) -> str:
    numbers = [name.startswith(">") for name in table.head]
    head = "".join(
        f"<th{_class(n, '')}>{escape(name.removeprefix('>'))}</th>" for name, n in zip(table.head, numbers, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{_class(n, cell)}>{escape(cell)}</td>" for cell, n in zip(row, numbers, strict=True))
        + "</tr>"
        for row in table.rows
    )
    body = (
        f"<table><caption>{escape(table.says)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"
    )
    return f'<h2>{escape(table.title)}</h2>\n<div class="scroll">{body}</div>'


def _class(number: bool, cell: str) -> str:
    return ' class="n"' if number else ' class="miss"' if "MISS" in cell else ""

"""A difference as one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..show.page import page, table, text
from .tables import heads, notes, side_by_side, tables

if TYPE_CHECKING:
    from .difference import Difference

_ROWS: Final = 5000  # operations that are shown one by one


def as_page(made: Difference) -> str:
    """Give the document: the terminal's tables, whole, and the operations side by side."""
    told = tables(made, whole=True)
    if not made.is_same and made.rows:
        told.append(side_by_side(made, _ROWS))
    sections = [table(each.title, heads(each.head), each.rows, each.says) for each in told if each.rows]
    lines = notes(made)
    names = " and ".join(run.recorded.path for run in made.runs)
    return page("ParaCell: two runs beside each other", [*([text("Notes", *lines)] if lines else []), *sections], names)

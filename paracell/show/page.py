"""One self-contained HTML file: a title, and sections that the page's own script draws.

::

    page("…", [text(…), table(…), …])

      <style>   web/page.css …
      <script type="application/octet-stream" id="data">   base64(zlib(JSON)): {"title", "lead", "sections"}
      <script>  web/*.js, in the order of SCRIPTS

A section is a JSON object whose ``kind`` says what draws it: an entry of ``DRAW`` in the scripts.  Nothing is loaded from elsewhere, and
the same arguments give the same bytes.
"""

from __future__ import annotations

import base64
import json
import zlib
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Section: TypeAlias = "Mapping[str, Any]"
Cell: TypeAlias = "str | int | None"
SCRIPTS: Final = ("dom.js", "sections.js", "pictures.js", "model.js", "canvas.js", "timeline.js", "main.js")
STYLES: Final = ("page.css", "pictures.css", "trace.css")
# A numeric literal of JSON is a double to a browser: what may be wider goes as text.
EXACT: Final = 1 << 53


def text(title: str, *lines: str) -> Section:
    """Give a section of paragraphs."""
    return {"kind": "text", "title": title, "lines": list(lines)}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], says: str = "") -> Section:
    """Give a section that is a table, whose columns the reader can sort.

    Args:
        title: its heading.
        head: the columns' names; one that begins with ``>`` is set to the right.
        rows: the cells, row by row; an int is grouped by thousands, None is empty.
        says: one sentence under the heading.

    """
    cells = [[str(cell) if isinstance(cell, int) and abs(cell) > EXACT else cell for cell in row] for row in rows]
    return {"kind": "table", "title": title, "head": list(head), "rows": cells, "says": says}


def page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """Make the document.

    Args:
        title: its heading and the window's title.
        sections: from top to bottom.
        lead: one sentence under the heading.

    """
    data = json.dumps({"title": title, "lead": lead, "sections": sections}, separators=(",", ":"), ensure_ascii=False)
    packed = base64.b64encode(zlib.compress(data.encode("utf-8", "replace"), 6)).decode()
    style = "\n".join(_read(name) for name in STYLES)
    script = "\n".join(_read(name) for name in SCRIPTS)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The page fetches nothing, whatever its data holds.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
        "<noscript><p>This page draws itself with JavaScript; it loads nothing from elsewhere.</p></noscript>\n"
        f'<main id="page"></main>\n<script type="application/octet-stream" id="data">{packed}</script>\n'
        f'<script>\n(() => {{\n"use strict";\n{script}}})();\n</script>\n</body></html>\n'
    )


def _read(name: str) -> str:
    return files(__package__ or "paracell.show").joinpath("web", name).read_text("utf-8")

"""Results as Gradescope takes them: ``results.json`` (Gradescope, "Autograder Specifications", "Output format")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .check import Result


def results(found: Sequence[Result], visibility: str = "visible") -> str:
    """Give the text of ``results.json``: it tells no times, so the same work gives the same bytes."""
    tests = [
        {
            "name": each.test.title,
            "number": str(number),
            "score": each.score,
            "max_score": each.test.points,
            "status": "passed" if each.wrong is None else "failed",
            "output": each.output,
            "output_format": "text",
            "visibility": visibility,
        }
        for number, each in enumerate(found, start=1)
    ]
    score, most = sum(each.score for each in found), sum(each.test.points for each in found)
    whole = {
        "score": score,
        "output": f"Score: {score}/{most}",
        "output_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"

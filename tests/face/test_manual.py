"""What the manual's first page shows is what happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MOVES = re.compile(  # with every change of a kernel, or of the computer
    r"\+0x[0-9a-f]+|0x[0-9a-f]{4,}|^ +\d+ (?=user|host|kernel)|\d+(?= a second| features| inputs)"
)


def commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Give each command of a page's transcripts, with the lines that are shown below it."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield command, shown


def happens(line: str, shown: str) -> bool:
    if shown.startswith("{"):
        one, other = json.loads(line), json.loads(shown)
        names = one.keys() - {"at", "rip"}
        return one.keys() == other.keys() and all(
            MOVES.sub("…", str(one[n])) == MOVES.sub("…", str(other[n])) for n in names
        )
    return MOVES.sub("…", line) == MOVES.sub("…", shown)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this computer")
def test_the_first_page(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "paracell"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m paracell "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    asked = list(commands("index.md"))
    assert len(asked) == 11
    for line, shown in asked:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, check=False, text=True
        )
        assert done.stderr == "", line
        happened = done.stdout.splitlines()
        assert len(happened) == len(shown), (line, happened)
        for one, other in zip(happened, shown, strict=True):
            assert happens(one, other), (line, one, other)

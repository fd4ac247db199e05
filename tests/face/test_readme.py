"""What the README shows is what happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
TUTORIAL = README.parent / "docs" / "tutorial.md"


def test_the_transcript_is_what_happens() -> None:
    transcript = re.search(r"```text\n\$ paracell (.*?)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert transcript
    arguments, shown = transcript.groups()
    done = subprocess.run(
        [sys.executable, "-m", "paracell", *arguments.split()],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert _lines(done.stdout) == _lines(shown)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_tutorials_events_happen(tmp_path: Path) -> None:
    """All but the addresses and the time, which move with every change of the kernel."""
    shown = [json.loads(line) for line in TUTORIAL.read_text(encoding="utf-8").splitlines() if line.startswith('{"at"')]
    happened = []
    for options in (["--runtime", "native"], []):
        trace = tmp_path / "null.jsonl"
        subprocess.run(
            [sys.executable, "-m", "paracell", "run", *options, "--trace", str(trace), "null", "10"], check=True
        )
        happened += [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    assert len(shown) == 6
    for event in shown:
        assert any(_same(event, other) for other in happened), event


def _same(event: dict[str, object], other: dict[str, object]) -> bool:
    names = event.keys() - {"at", "rip", "arg0", "arg1", "arg2"}
    return event.keys() == other.keys() and all(_still(event[name]) == _still(other[name]) for name in names)


def _still(value: object) -> object:
    """Take the offset from a symbol."""
    return value.partition("+0x")[0] if isinstance(value, str) else value

"""The reference lists every module, and nothing that is gone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTED = set(re.findall(r"^\.\. automodule:: paracell\.(\S+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE))


def modules() -> set[str]:
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("emu", "mmu", "pku", "vmx")
        for path in (ROOT / room).rglob("*.py")
    }
    found |= {f"guest.{path.stem}" for path in (ROOT / "guest").glob("*.py") if path.stem != "build"}
    return {name for name in found if not name.endswith("__init__")}


def test_every_module_of_the_rooms_is_listed() -> None:
    assert sorted(modules() - LISTED) == []


def test_what_is_listed_is_there() -> None:
    for name in LISTED:
        place = ROOT / "paracell" / name.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), name

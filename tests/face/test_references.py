"""What the manual and the comments name is there: files, and the functions and labels that stand beside them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("docs", "emu", "guest", "mmu", "pager", "paracell", "pku", "tests", "vmx")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MADE = (
    "docs/_build",
    "guest/images",
    "paracell/emu",
    "paracell/guest",
    "paracell/mmu",
    "paracell/pager",
    "paracell/pku",
    "paracell/vmx",
)
PATH = re.compile(rf"(?<![\w/.])((?:{'|'.join(ROOMS)})/[\w./-]*\w/?)")
QUOTED = re.compile(r"`([^`\n]+)`")
BESIDE = re.compile(r"`((?:emu|guest|mmu|pager|paracell|pku|vmx)/[\w./-]+\.(?:py|c|S))` `(\w+)`")
SOURCES = {".py", ".c", ".h", ".S", ".ld", ".def"}


def missing(text: str) -> list[str]:
    return [
        path
        for path in PATH.findall(text)
        if not path.startswith(MADE)
        and re.search(r"\.\w+$|/$", path)
        and not re.search("[A-Z]{4}", path)
        and not (ROOT / path).exists()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_a_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name != "CHANGELOG.md":  # what an older version had is gone
        assert [path for quoted in QUOTED.findall(text) for path in missing(quoted)] == []
    for path, name in BESIDE.findall(text):
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"(?:\b(?:def|class) {name}\b|\b{name}\(|^{name}:|\b{name}\b)", source, re.MULTILINE), (
            path,
            name,
        )
    for target in re.findall(r"\]\((?!\w+:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


def test_files_that_sources_name() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    wrong = {}
    for name in listed.splitlines():
        source = ROOT / name
        if source.suffix in SOURCES and source.is_file() and source != Path(__file__):
            comments = re.findall(
                r"/\*.*?\*/|#.*|\"\"\".*?\"\"\"",
                source.read_text(encoding="utf-8"),
                re.DOTALL if source.suffix != ".py" else 0,
            )
            if gone := [path for comment in comments for path in missing(comment)]:
                wrong[name] = gone
    assert wrong == {}

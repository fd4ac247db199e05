"""What a start of the command line imports: each module costs every run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .test_run import ENVIRONMENT

# Capstone alone takes a fifth of the time of a run of `hello`; the others are for other commands, or for notebooks.
NEEDLESS = {
    "capstone",
    "html",
    "json",
    "subprocess",
    "tempfile",
    "textwrap",
    "tomllib",
    "paracell.bench",
    "paracell.attacks",
    "paracell.emu.snapshot",
}
PROGRAM = """
import sys
from paracell.cli import run_command
assert run_command(["run", "--runtime", sys.argv[1], "hello"]) == 0
sys.stderr.write(" ".join(sys.modules))
"""


# Not PVM: its shadow tables fill page by page, and where a fetch is refused inside a block any instruction may stand at RIP,
# whose length only Capstone knows.
@pytest.mark.parametrize("runtime", ["native", "paracell", "runv"])
def test_a_short_run_imports_what_it_needs(runtime: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, runtime], capture_output=True, check=True, env=ENVIRONMENT, text=True
    )
    assert not NEEDLESS & set(done.stderr.split())

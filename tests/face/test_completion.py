"""What a shell offers after `paracell`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paracell.cli import COMPLETE

ROOT = Path(__file__).parents[2]
CALL = "import sys; sys.argv[0] = 'paracell'; from paracell.__main__ import main; main()"


def ask(instruction: str, words: str = "") -> str:
    environment = {**os.environ, COMPLETE: instruction, "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return subprocess.run(
        [sys.executable, "-c", CALL], check=True, capture_output=True, cwd=ROOT, env=environment, text=True
    ).stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("paracell wa", ["plain,walk"]),
        ("paracell run --ru", ["plain,--runtime"]),
        ("paracell run --runtime ", ["plain,native", "plain,paracell"]),
        ("paracell run --cpu pk", ["plain,pks", "plain,pku"]),
        ("paracell run hel", ["plain,hello"]),
        ("paracell debug --runtime ", ["plain,native", "plain,paracell"]),
        ("paracell debug hel", ["plain,hello"]),
        ("paracell run ./my", ["file,./my"]),
        ("paracell attack host-p", ["plain,host-pages", "plain,host-pointer"]),
        ("paracell walk ", ["file,"]),
        ("paracell boot --module ", ["file,"]),
    ],
)
def test_what_is_offered(words: str, offered: list[str]) -> None:
    # A release may add an attack or a model; those that are named here stay.
    assert set(offered) <= set(ask("bash_complete", words).splitlines())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    assert f"{COMPLETE}={shell}_complete" in ask(f"{shell}_source")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this computer")
def test_bash_takes_the_script(tmp_path: Path) -> None:
    """A shell with the script in it completes as one at a prompt does."""
    command = tmp_path / "paracell"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m paracell "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(ask("bash_source"), encoding="utf-8")
    asked = (
        f". {script}; COMP_WORDS=(paracell run --runtime na) COMP_CWORD=3; _paracell_completion paracell; "
        'echo "${COMPREPLY[@]}"; complete -p paracell'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        check=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert done.stdout.splitlines()[0] == "native"
    assert "_paracell_completion paracell" in done.stdout


def test_an_unknown_shell_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paracell"],
        check=False,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, COMPLETE: "tcsh_source"},
        text=True,
    )
    assert done.returncode == 1

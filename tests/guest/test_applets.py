"""busybox's applets one by one: what each writes on this computer's Linux and what it writes in a container."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .kernels import OURS, run, tar_of

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")
LIST = Path(__file__).parent / "real" / "applets.txt"
DOC = Path(__file__).parents[2] / "docs" / "applets.md"
PARTS = 4


def _read() -> tuple[dict[str, str], dict[str, str]]:
    """The commands of the applets that work in a container, and the reasons why the others cannot."""
    rows = dict(line.split("\t", 1) for line in LIST.read_text(encoding="utf-8").splitlines())
    return (
        {name: text for name, text in rows.items() if not text.startswith("- ")},
        {name: text[2:] for name, text in rows.items() if text.startswith("- ")},
    )


COMMANDS, REASONS = _read()


def _script(names: list[str]) -> str:
    """Each command in a shell and a folder of its own, between two lines that tell it from the others."""
    lines = ["export LC_ALL=C HOME=/", "root=$PWD"]
    for name in names:
        quoted = COMMANDS[name].replace("'", "'\\''")
        lines += [
            f"mkdir '{name}.d'; cd '{name}.d'; echo '@@@ {name}'",
            f'busybox sh -c \'{quoted}\' </dev/null 2>&1; echo "@@@ status $?"; cd "$root"',
        ]
    return "\n".join(lines) + "\n"


def _sections(out: bytes) -> dict[str, str]:
    text = out.decode(errors="replace").replace("\r\n", "\n")
    return dict(re.findall(r"^@@@ (\S+)\n(.*?@@@ status \d+)$", text, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("machine", OURS)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_applets_do_what_they_do_on_linux(part: int, machine: str, tmp_path: Path) -> None:
    assert BUSYBOX is not None
    names = list(COMMANDS)[part::PARTS]
    host = tmp_path / "host"
    (host / "bin").mkdir(parents=True)
    (host / "bin" / "busybox").symlink_to(BUSYBOX)
    script = _script(names).encode()
    real = subprocess.run(
        [BUSYBOX, "sh", "-s"],
        input=script,
        cwd=host,
        capture_output=True,
        check=True,
        timeout=60,
        env={"PATH": f"{host}/bin:/bin"},
    )
    rootfs = tar_of({"bin/busybox": Path(BUSYBOX).read_bytes(), "work/script": script})
    ours = run(
        machine, tmp_path, rootfs, ["/bin/busybox", "sh", "-c", "cd /work; . ./script"], env=["PATH=/bin:/usr/bin"]
    )
    expected, found = _sections(real.stdout), _sections(ours.out)
    assert list(expected) == names
    assert {n: (expected[n], found.get(n)) for n in names if expected[n] != found.get(n)} == {}


def test_every_applet_is_accounted_for() -> None:
    assert BUSYBOX is not None
    offered = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True).stdout.split()
    assert set(offered) <= COMMANDS.keys() | REASONS.keys()


def test_the_docs_list_them() -> None:
    work, others = DOC.read_text(encoding="utf-8").split("## Those that work")[1].split("## Those with")
    assert set(re.findall(r"`([^`\s]+)`", work)) == COMMANDS.keys()
    assert set(re.findall(r"`([^`\s]+)`", others)) == REASONS.keys()

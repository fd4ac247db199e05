"""Debian's busybox, static and stripped, against itself on this computer."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from .kernels import MACHINES, run

BUSYBOX = Path(shutil.which("busybox") or "/bin/busybox")
ENV = ("PATH=/bin", "TZ=UTC")
WHEN = 1_000_000_000

pytestmark = [
    pytest.mark.skipif(not BUSYBOX.is_file(), reason="busybox-static is not installed"),
]


def _fill(tree: Path) -> None:
    dice = random.Random(2)
    words = ["".join(dice.choices("abcdefghij", k=dice.randint(2, 9))) for _ in range(500)]
    (tree / "bin").mkdir()
    (tree / "data" / "sub" / "deeper").mkdir(parents=True)
    (tree / "tmp").mkdir()
    (tree / "etc").mkdir()
    shutil.copy(BUSYBOX, tree / "bin" / "busybox")
    shutil.copy("/etc/passwd", tree / "etc" / "passwd")  # so that both know the same names of owners
    shutil.copy("/etc/group", tree / "etc" / "group")
    (tree / "data" / "words").write_text("".join(f"{dice.choice(words)} {dice.randint(0, 999)}\n" for _ in range(5000)))
    (tree / "data" / "big").write_bytes(dice.randbytes(10 << 20))
    (tree / "data" / "empty").touch()
    (tree / "data" / "sub" / "x").write_text("x\n")
    (tree / "data" / "sub" / "x").chmod(0o640)
    (tree / "data" / ("n" * 150)).write_text("a long name")
    (tree / "data" / "sub" / "link").symlink_to("../words")
    os.link(tree / "data" / "sub" / "x", tree / "data" / "sub" / "deeper" / "hard")
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (WHEN, WHEN), follow_symlinks=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A directory, and the same as a tar."""
    root = tmp_path_factory.mktemp("tree")
    _fill(root)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(root, ".")
    return root, out.getvalue()


def _plain(listing: bytes) -> bytes:
    """What of `ls -l` does not depend on the file system: not the sizes of directories, nor the sums of blocks."""
    lines = [re.sub(rb"^(d\S+) +\d+ +(\d+ +\d+) +\d+", rb"\1 \2", line) for line in listing.splitlines()]
    return b"\n".join(line for line in lines if not line.startswith(b"total "))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "command",
    [
        "echo hello world",
        "cat data/words",
        "cat data/none",
        "ls -lnR data",
        "ls data/none",
        "sort data/words",
        "sort -rn -k2 data/words",
        "grep -n ab.*5 data/words",
        "grep -c nothing.like.it data/words",
        "awk {sum+=$2;n[$1]++}END{print(sum,length(n))} data/words",
        "tar -cf - data/words data/sub/link",
        "gzip -c data/words",
        "gunzip -c data/words",
        "bzip2 -c data/words",
        "sha256sum data/big data/words",
        "wc data/words data/empty",
        "sed -n s/a/[&]/gp data/words",
        "dd if=data/big bs=100000 count=3 skip=2 status=none",
        "cmp data/big data/words",
        "diff data/words data/sub/x",
        "od -x data/sub/x",
        "stat -c %n:%s:%h:%a:%F:%Y data/sub/x data/sub/link data/empty",
        "readlink -f data/sub/link/../sub",
        "cp -r data/sub tmp/copy",
        "mv data/sub data/words/x",
        "env",
        "false",
        "no-such-applet",
    ],
)
def test_applet(machine: str, tree: tuple[Path, bytes], tmp_path: Path, command: str) -> None:
    root, tar = tree
    arguments = command.split()
    ours = run(machine, tmp_path, tar, ["/bin/busybox", *arguments], env=ENV)
    real = subprocess.run(
        ["/bin/busybox", *arguments], executable=BUSYBOX, cwd=root, env=dict(e.split("=") for e in ENV),
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    shutil.rmtree(root / "tmp" / "copy", ignore_errors=True)
    view = _plain if arguments[0] == "ls" else bytes
    place = (str(root).encode(), b"")
    assert view(ours.out) == view(real.stdout.replace(*place))
    assert (ours.err, ours.status) == (real.stderr, real.returncode)

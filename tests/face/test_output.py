from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paracell.output import whole_file


def test_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "trace.jsonl"
    with whole_file(str(target)) as file:
        file.write(b"ne")
        file.write(b"w")
        assert not target.exists()
        assert len(list(tmp_path.iterdir())) == 1
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["trace.jsonl"]
    assert target.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "trace"
    target.write_bytes(b"old")

    def spoil() -> None:
        with whole_file(str(target)) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["trace"]


@pytest.mark.parametrize("name", ["missing/trace", "", "file/trace"])
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / name) if name else str(tmp_path)
    with pytest.raises(OSError) as caught, whole_file(path):
        pytest.fail("the block must not run")
    assert caught.value.filename == path


def test_devices_are_written_directly() -> None:
    out, into = os.pipe()
    with whole_file(f"/dev/fd/{into}") as file:
        file.write(b"straight")
        assert os.read(out, 100) == b"straight"
    os.close(out)
    os.close(into)


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    with whole_file(str(tmp_path / "link")) as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device_is_named() -> None:
    with pytest.raises(OSError) as caught, whole_file("/dev/full") as file:
        file.write(b"x")
    assert caught.value.filename == "/dev/full"


def test_a_full_disk(tmp_path: Path) -> None:
    """A file size limit stands for the disk: the write fails half-way, and nothing stays."""
    script = """
import resource, signal, sys
from paracell.output import whole_file
from paracell.problem import explain
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with whole_file(sys.argv[1]) as file:
        while True:
            file.write(bytes(1000))
except OSError as error:
    print(explain(error).line)
"""
    target = tmp_path / "trace"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, target], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == f"File too large: {target}\n"
    assert list(tmp_path.iterdir()) == []

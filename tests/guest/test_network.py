"""Programs that talk to each other within one container."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .kernels import OURS, run, tar_of

SOURCE = Path(__file__).parent / "real" / "server.go"
GO = shutil.which("go")
HOSTS = b"127.0.0.1 localhost\n::1 localhost\n"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program of Go's."""
    if GO is None:
        pytest.skip("golang-go is not installed")
    folder = tmp_path_factory.getbasetemp().parent / "go"
    folder.mkdir(exist_ok=True)
    env = os.environ | {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": str(folder / "cache")}
    subprocess.run([GO, "build", "-o", folder / "server", SOURCE], env=env, check=True, timeout=600)
    return folder / "server"


@pytest.mark.parametrize("machine", OURS)
def test_http_tcp_udp_and_local_sockets_of_go(machine: str, server: Path, tmp_path: Path) -> None:
    real = subprocess.run([server], capture_output=True, check=False, timeout=120)
    ours = run(machine, tmp_path, tar_of({"bin/server": server.read_bytes(), "etc/hosts": HOSTS}), ["/bin/server"])
    assert ours.out.decode().splitlines() == real.stdout.decode().splitlines()
    assert ours.status == real.returncode == 0

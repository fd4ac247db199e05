"""Ten thousand random system calls with random arguments leave the kernel alive."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .kernels import OURS, run_shipped

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 10_000
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(2, 12))]


@pytest.mark.parametrize("machine", OURS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_calls_leave_the_kernel_alive(machine: str, seed: int, tmp_path: Path) -> None:
    ran = run_shipped(machine, tmp_path, "calls", str(CALLS), str(seed))
    said = ran.out.decode(errors="replace")
    counted = re.search(r"(\d+) calls from seed \d+, (\d+) of them known, .*\nalive\n$", said)
    assert counted, said[-500:] + ran.err.decode(errors="replace")[-500:]
    assert int(counted[1]) >= CALLS
    assert int(counted[2]) > CALLS // 4
    assert ran.status == 0

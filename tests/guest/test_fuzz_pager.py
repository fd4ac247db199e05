"""The target `pager`: what a random container kernel asks for is answered rightly, and bugs of a host, each planted once, are found."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from paracell.fuzz import Chance, Options
from paracell.fuzz.pager import PagerTarget
from paracell.fuzz.work import Work

from .test_fuzz import run

if TYPE_CHECKING:
    from pathlib import Path

TRIES: Final = 150


def test_a_host_as_it_is_answers_rightly() -> None:
    with closing(PagerTarget()) as target:
        assert not any(r.found for r in Work(target, 1, target.max_len).tries(range(TRIES)))
        assert target.bindings.requests > 5 * TRIES


@pytest.mark.parametrize(
    ("off", "says"),
    [
        ("zero", "is not cleared"),
        ("mapped", "is not bound to who runs"),
        ("bound-check", "was bound twice"),
        ("free-list", "was bound to a page of another container"),
    ],
)
def test_a_mistake_is_found_and_found_again(off: str, says: str) -> None:
    with closing(PagerTarget(Options((off,)))) as target:
        result = Work(target, 1, target.max_len).tries(range(TRIES))[-1]
        assert result.found
        assert says in result.found.what
        for _ in range(2):
            assert target.run(result.data) == result.found


def test_a_finding_is_replayed(tmp_path: Path) -> None:
    found = run("fuzz", "pager", "-off=zero", f"-runs={TRIES}", f"-artifact_prefix={tmp_path}/")
    assert found.returncode == 77
    (path,) = tmp_path.iterdir()
    again = run("replay", path)
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1] in found.stdout


def test_scripts_differ() -> None:
    with closing(PagerTarget()) as target:
        made = [target.generate(Chance(n)) for n in range(100)]
        assert len({*made}) == 100
        assert made[5] == target.generate(Chance(5))
        changed = [target.mutate(made[n], made[n - 1], Chance(n)) for n in range(100)]
        assert sum(a != b for a, b in zip(made, changed, strict=True)) > 90
        assert all(len(data) <= target.max_len for data in changed)

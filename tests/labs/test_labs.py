"""Each lab: the skeleton does not pass, the solution does, and a planted mistake is noticed by the test that is there for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paracell.labs.attempt import attempt
from paracell.labs.catalogue import labs
from paracell.labs.folder import contents

if TYPE_CHECKING:
    from paracell.labs.catalogue import Lab

HERE = Path(__file__).parent
LABS = labs()


def solution(lab: Lab) -> dict[str, str]:
    return {name: (HERE / lab.name / name).read_text(encoding="utf-8") for name in lab.files}


def mistakes(lab: Lab) -> tuple[tuple[str, str, str, str], ...]:
    spec = importlib.util.spec_from_file_location(f"mistakes_of_{lab.name}", HERE / lab.name / "mistakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Any = module.MISTAKES
    return tuple(found)


def failing(lab: Lab, folder: Path, files: dict[str, str], *titles: str) -> dict[str, str]:
    """What is wrong with some work, by test; in this process, which is quicker than `check`."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    wrong = {}
    for test in lab.tests():
        if (not titles or test.title in titles) and (said := attempt(test, test.student(folder))):
            wrong[test.title] = said
    return wrong


def test_the_course() -> None:
    assert [lab.number for lab in LABS] == list(range(1, len(LABS) + 1))
    for lab in LABS:
        assert sum(test.points for test in lab.tests()) == 100, lab.name
        assert len({test.title for test in lab.tests()}) == len(lab.tests())
        assert len(lab.hints) >= 3
        assert "```text" in lab.handout
        assert set(lab.files) <= set(contents(lab))
        assert len(mistakes(lab)) >= 2


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_the_skeleton(lab: Lab, tmp_path: Path) -> None:
    skeleton = {name: contents(lab)[name] for name in lab.files}
    wrong = failing(lab, tmp_path, skeleton)
    assert wrong
    assert not [said for said in wrong.values() if "the test could not use" in said]


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_the_solution(lab: Lab, tmp_path: Path) -> None:
    assert failing(lab, tmp_path, solution(lab)) == {}


@pytest.mark.parametrize(
    ("lab", "mistake"),
    [(lab, mistake) for lab in LABS for mistake in mistakes(lab)],
    ids=lambda value: value[0].replace(" ", "-") if isinstance(value, tuple) else value.name,
)
def test_a_mistake(lab: Lab, mistake: tuple[str, str, str, str], tmp_path: Path) -> None:
    _, right, wrong, title = mistake
    files = {name: text.replace(right, wrong) for name, text in solution(lab).items()}
    assert files != solution(lab)
    assert title in failing(lab, tmp_path, files, title)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "said"),
    [
        ("batch", "if len(words) > MOST:", "if False:", "Hostile is right, because it has more than 512 pages; request(["),
        ("batch", "type(page) is int and 0 <=", "isinstance(page, int) and 0 <=", "because True is no page number"),
        ("batch", "        words = unbind + bind\n", "        words = unbind + bind\n        self.bound -= set(unbind[:-1])\n",
         "an honest request was refused"),
        ("cow", "range(511 if level == 4 else 512)", "range(512)", "slot 511 of a top table leads there"),
    ],
    ids=["512", "True", "half-done", "slot-511"],
)  # fmt: skip
def test_the_reason_is_said(name: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    lab = next(lab for lab in LABS if lab.name == name)
    files = {file: text.replace(right, wrong) for file, text in solution(lab).items()}
    found = failing(lab, tmp_path, files)
    assert any(said in text for text in found.values()), found
    assert all(len(text) < 2000 for text in found.values())


def test_a_request_of_nothing_may_be_left_out(tmp_path: Path) -> None:
    lab = next(lab for lab in LABS if lab.name == "batch")
    files = {
        "batch.py": solution(lab)["batch.py"].replace(
            "if not self.idle:", "if not self.idle and (self.unbound or self.waiting):"
        )
    }
    assert files != solution(lab)
    assert failing(lab, tmp_path, files) == {}

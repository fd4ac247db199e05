"""The quiz: each answer is what a reader finds in the printed text, the questions vary, and the seed decides them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner

from paracell.commands.quiz import TOPICS, command
from paracell.quiz.question import TOPICS as DECLARED
from paracell.quiz.question import Answer, questions

from .solve import SOLVE, text

if TYPE_CHECKING:
    from collections.abc import Iterator

# How many of each: those that run containers take a moment.
_COUNTS: Final = {"walk": 300, "rights": 300, "keys": 300, "ept": 300, "gate": 7, "exits": 14, "pager": 5}


def matches(answer: str, expected: str) -> bool:
    """Compare; … stands for what only explains."""
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    return re.match(pattern, answer) is not None


def checked(topic: str, seed: int, count: int) -> Iterator[tuple[str, Answer]]:
    for question in questions(topic, seed, count):
        answer, said = question.solve(), text(question)
        assert matches(answer.result, SOLVE[topic](said)), (said, answer.result, SOLVE[topic](said))
        assert answer.section
        assert answer.why
        assert question.asked.endswith("?")
        yield said, answer


@pytest.mark.parametrize("topic", DECLARED)
def test_the_text_leads_to_the_answer(topic: str) -> None:
    asked = list(checked(topic, 7, _COUNTS[topic]))
    assert len({said for said, _ in asked}) >= len(asked) * 0.6
    assert len({answer.result for _, answer in asked}) >= min(len(asked) * 0.25, 40)


@pytest.mark.sweep
@pytest.mark.parametrize("topic", DECLARED)
def test_many_seeds(topic: str) -> None:
    for seed in range(10):
        assert list(checked(topic, 1000 + seed, _COUNTS[topic] * 3))


@pytest.mark.parametrize(
    ("topic", "kinds"),
    [
        ("walk", ("physical", "PML4E.P", "PDPTE.P", "PDE.P", "PTE.P", "PML4E has", "PDPTE has", "PDE has", "PTE has")),
        ("rights", ("allowed", ".US is 0", ".RW is 0", ".XD is 1", "CR4.SMEP", "CR4.SMAP", "reserved")),
        ("keys", ("allowed", "PKRU.AD", "PKRU.WD", "PKRS.AD", "EAX = ", "read ")),
        ("ept", ("physical", "#PF", "VM exit 48", "VM exit 49", "EPT PTE.R", "EPT PTE.W", "EPT PTE.X")),
    ],
)
def test_every_kind_of_outcome_comes(topic: str, kinds: tuple[str, ...]) -> None:
    results = [question.solve().result for question in questions(topic, 3, 300)]
    for kind in kinds:
        assert any(kind in result for result in results), kind


def test_the_seed_decides_and_more_questions_only_add() -> None:
    for topic in ("walk", "ept", "exits"):
        three, two, other = (
            [text(question) for question in questions(topic, seed, count)] for seed, count in ((5, 3), (5, 2), (6, 3))
        )
        assert three[:2] == two
        assert three != other


@pytest.mark.parametrize("topic", DECLARED)
def test_no_question_comes_twice_while_there_are_others(topic: str) -> None:
    for seed in range(20 if topic == "gate" else 3):  # some make their questions by running containers
        said = [text(question) for question in questions(topic, seed, 10)]
        assert len(set(said)) == len(said)


def test_the_answers_come_only_when_asked_for() -> None:
    runner = CliRunner()
    plain = runner.invoke(command, ["rights", "-s", "4", "-n", "2"]).output
    computed = runner.invoke(command, ["rights", "-s", "4", "-n", "2", "-c"]).output
    assert "Answer" not in plain
    assert computed.count("Answer: ") == 2
    assert computed.count('SDM "Determination of Access Rights"') == 2
    record = json.loads(runner.invoke(command, ["rights", "-s", "4", "--json", "-c"]).output)
    assert f"Answer: {record[0]['answer']}" in computed


def test_the_command_knows_the_topics() -> None:
    assert tuple(DECLARED) == TOPICS
    with pytest.raises(ValueError, match="no such topic: tlb; there are walk"):
        questions("tlb", 0, 1)


def test_the_manual_shows_what_is_printed() -> None:
    manual = (Path(__file__).parents[2] / "docs/quiz.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\$ paracell quiz ((?:walk|rights|keys|ept) .*)\n((?:.*\n)*?)```", manual, re.MULTILINE)
    assert len(shown) == 4
    for arguments, printed in shown:
        assert CliRunner().invoke(command, arguments.split()).output == printed


@pytest.mark.parametrize("arguments", [["tlb"], ["walk", "-n", "0"], ["walk", "-s", "x"], []])
def test_bad_input_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2

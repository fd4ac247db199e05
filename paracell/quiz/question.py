"""A question, its answer, and the topics that there are."""

from __future__ import annotations

import importlib
from random import Random
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

TOPICS: Final = {
    "walk": "from a linear address to a physical one, or to the page fault",
    "rights": "which entry and which bit refuses an access",
    "keys": "PKRU and PKRS: what they take away",
    "gate": "the way into a kernel and out again, counted; and jumps into the middle of it",
    "exits": "what leaves a virtual machine, and what a nested one costs",
    "ept": "two-dimensional walks, EPT violations and their exit qualification",
    "pager": "when memory is bound, and how many faults that takes",
}
_TRIES: Final = 20  # to find a question that has not come yet


@frozen
class Answer:
    """What a question's answer is.

    Attributes:
        result: the answer, in one line.
        why: what decided, line by line.
        section: the title of the section of the SDM, or the page of this manual, that has the rule.

    """

    result: str
    why: tuple[str, ...]
    section: str


@frozen
class Question:
    """One question.

    Attributes:
        given: the lines to print: all that the answer follows from.
        asked: what is asked, in one line.
        solve: computes the answer by the machine's own parts.

    """

    given: tuple[str, ...]
    asked: str
    solve: Callable[[], Answer] = field(eq=False)


def questions(topic: str, seed: int, count: int) -> list[Question]:
    """Make questions.

    Args:
        topic: one of `TOPICS`.
        seed: the same seed gives the same questions, seldom one twice, and a larger `count` only adds to them.
        count: how many.

    Raises:
        ValueError: there is no such topic.

    Example:
        >>> from paracell.quiz.question import questions
        >>> question = questions("keys", seed=1, count=1)[0]
        >>> len(question.given) > 0, question.asked.endswith("?")
        (True, True)

    """
    if topic not in TOPICS:
        raise ValueError(f"no such topic: {topic}; there are {', '.join(TOPICS)}")
    ask: Callable[[Random], Question] = importlib.import_module(f".{topic}", __package__).ask
    found: list[Question] = []
    for number in range(count):
        for again in range(_TRIES):
            question = ask(Random(f"{topic} {seed} {number}" + " again" * again))  # noqa: S311  (no secret)
            if question not in found:
                break
        found.append(question)
    return found

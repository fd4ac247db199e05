"""Mistakes that can be planted in the machine's own Python, to see that a target finds them: each is one check, a little wrong.

A mistake stands while an input runs, and is gone behind it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@frozen
class Mistake:
    """A part of the machine with a mistake in it.

    Attributes:
        says: what is wrong there, in a few words.
        owner: the module, class or dictionary that holds the part.
        name: the part's name there.
        make: makes the wrong part from the right one.

    """

    says: str
    owner: Any
    name: str
    make: Callable[[Any], Any]


def said(mistakes: Mapping[str, Mistake]) -> dict[str, str]:
    """Give what `Target.switches` tells of them."""
    return {name: f"a mistake: {mistake.says}" for name, mistake in mistakes.items()}


def chosen(mistakes: Mapping[str, Mistake], names: Sequence[str]) -> tuple[Mistake, ...]:
    """Give those of these names."""
    return tuple(mistakes[name] for name in names if name in mistakes)


@contextmanager
def planted(mistakes: Sequence[Mistake]) -> Iterator[None]:
    """Have the mistakes in their places while the block runs."""
    right = [(m.owner, m.name, getattr(m.owner, m.name)) for m in mistakes]
    for mistake, (_, _, part) in zip(mistakes, right, strict=True):
        setattr(mistake.owner, mistake.name, mistake.make(part))
    try:
        yield
    finally:
        for owner, name, part in reversed(right):
            setattr(owner, name, part)

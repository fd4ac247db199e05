"""Random attackers on the container kernel and the host, and what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attacker import Attacker
from .bindings import BindingWatch
from .encodings import ENCODINGS
from .finding import TARGETS, BadFinding, Finding, Try, finding_of
from .pager import PagerAttacker

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ENCODINGS",
    "TARGETS",
    "Attacker",
    "BadFinding",
    "BindingWatch",
    "Finding",
    "PagerAttacker",
    "Try",
    "attacker_for",
    "finding_of",
]


def attacker_for(target: str, off: Sequence[str] = ()) -> Attacker | PagerAttacker:
    """Make the attacker for one of `TARGETS`."""
    return PagerAttacker(off) if target == "pager" else Attacker(off)

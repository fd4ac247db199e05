"""Fuzzing: targets that take bytes, an engine that makes them, and what it finds."""

from __future__ import annotations

from .chance import Chance
from .encodings import ENCODINGS
from .standing import StandingTarget
from .target import BadTarget, Found, Options, Target
from .targets import TARGETS, make_target
from .tries import Try

__all__ = [
    "ENCODINGS",
    "TARGETS",
    "BadTarget",
    "Chance",
    "Found",
    "Options",
    "StandingTarget",
    "Target",
    "Try",
    "make_target",
]

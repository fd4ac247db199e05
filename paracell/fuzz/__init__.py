"""A random attacker on the container kernel and the host, and what it finds."""

from .attacker import Attacker
from .encodings import ENCODINGS
from .finding import BadFinding, Finding, Try, finding_of

__all__ = ["ENCODINGS", "Attacker", "BadFinding", "Finding", "Try", "finding_of"]

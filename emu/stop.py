"""Why and how a run of a machine ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from attrs import frozen


class Reason(StrEnum):
    """Why a run ended."""

    EXIT = "exit"
    SHUTDOWN = "shutdown"
    RESET = "reset"  # as under QEMU's -no-reboot, a reset ends the run
    HALTED = "halted"
    TRIPLE_FAULT = "triple fault"
    UNIMPLEMENTED = "unimplemented"
    INTERRUPTED = "interrupted"
    LIMIT = "limit"
    REACHED = "reached"  # what the caller waited for


ENDS: Final = frozenset({Reason.EXIT, Reason.SHUTDOWN, Reason.RESET})  # the guest has ended the machine


@frozen
class Stop:
    """How a run ended.

    Attributes:
        reason: why.
        value: what the guest wrote to the exit port.
        report: lines that describe the processor where it stopped, for reasons that need one.

    """

    reason: Reason
    value: int = 0
    report: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status that QEMU's isa-debug-exit gives: ``value << 1 | 1``."""
        return (self.value << 1 | 1) & 0xFF if self.reason is Reason.EXIT else 0

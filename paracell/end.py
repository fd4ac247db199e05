"""How a run of a machine ended, for its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from .emu.events import Event
    from .emu.stop import Reason


@frozen
class End:
    """How a run ended, or why it paused.

    Attributes:
        reason: why: EXIT, or REACHED and LIMIT where `Machine.run_until` got there.
        value: what the guest wrote to the exit port; for a container the status of its first program, 128 + n for signal n.
        cycles: virtual cycles since the machine was switched on.
        stdout: what the guest has written to its first serial line, from the beginning.
        stderr: the same for the second line.
        event: the event that `Machine.run_until` was told to wait for, or None.
        report: lines that describe the processor, where the guest did not end the run itself.

    """

    reason: Reason
    value: int
    cycles: int
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    event: Event | None = None
    report: tuple[str, ...] = field(default=(), repr=False)

    @property
    def status(self) -> int:
        """The low 8 bits of `value`: what a shell calls the exit status."""
        return self.value & 0xFF

    def __str__(self) -> str:
        """Show the reason, and the report if there is one."""
        return "\n".join([f"{self.reason}, status {self.status}, {self.cycles:,} cycles", *self.report])

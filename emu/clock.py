"""Virtual time: a count of cycles that only the machine's own doings advance."""

from __future__ import annotations

from typing import Final

TSC_HZ: Final = 2_500_000_000


class Clock:
    """The one clock that processor and devices share.

    Attributes:
        cycles: virtual cycles since reset.

    """

    def __init__(self) -> None:
        self.cycles = 0

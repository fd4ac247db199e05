"""What memory that comes and goes costs the emulator: a page bound ahead, one bound when it is touched, one that goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..bundle import prepare
from ..runtimes import PARACELL, RUNV, Runtime
from .measure import MEMORY, Pair, compare, run_bundle, slope

if TYPE_CHECKING:
    from collections.abc import Callable

_FRESH, _AGAIN = "cold", "refault"  # of `lat`: pages that nobody has used before; 256 pages that come and go
_TURNS: Final = 8_000


def page_of(runtime: Runtime, operation: str, *, ahead: bool, nested: bool = False) -> float:
    """Seconds for a page of a program's, bound ahead of its use or not."""

    def turns(count: int) -> float:
        bundle = prepare(runtime, "lat", ["-e", operation, str(count)], memory=MEMORY)
        return run_bundle(bundle, f"policy={'pager' if ahead else 'touch'} around=1", nested=nested)

    return slope(turns, 1, _TURNS)


def bound_ahead() -> Pair:
    """A page of a batch of 16, beside one that is bound when it is touched: the program's page fault is in both."""
    return compare(lambda: page_of(PARACELL, _FRESH, ahead=True), lambda: page_of(PARACELL, _FRESH, ahead=False))


def reactive(two_traps: Callable[[], float], *, nested: bool = False) -> Pair:
    """What RunV's EPT violation adds to a page: beside two bare traps."""
    return compare(
        lambda: page_of(RUNV, _FRESH, ahead=False, nested=nested) - page_of(RUNV, _FRESH, ahead=True, nested=nested),
        two_traps,
    )


def reclaimed(two_traps: Callable[[], float]) -> Pair:
    """What a page that goes back and comes again takes more than one that its container kernel keeps: beside two bare traps."""
    return compare(lambda: page_of(PARACELL, _AGAIN, ahead=True) - page_of(PARACELL, _AGAIN, ahead=False), two_traps)

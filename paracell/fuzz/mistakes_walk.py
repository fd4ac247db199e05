"""Mistakes in the walk of page tables, for the target `walk`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu import walk as walks
from .mistakes import Mistake
from .model import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..mmu.walk import Memory, Paging
    from .model.paging import State


def _narrow(right: Callable[..., Any]) -> Callable[..., Any]:
    """Take the bit above the physical-address width for one of an address."""

    def wrong(state: State, *others: Any) -> Any:
        return right(state._replace(maxphyaddr=state.maxphyaddr + 1), *others)

    return wrong


def _no_pk(right: Callable[..., int]) -> Callable[..., int]:
    def wrong(*arguments: Any) -> int:
        return right(*arguments) & ~32

    return wrong


def _never_dirty(right: Callable[..., int]) -> Callable[..., int]:
    """Have a write set the accessed flag alone."""

    def wrong(memory: Memory, paging: Paging, gva: int, need: int, table: bytes, trail: list[int] | None = None) -> int:
        class Clean:
            read64 = staticmethod(memory.read64)

            @staticmethod
            def write64(address: int, value: int) -> None:
                memory.write64(address, value & ~0x40 | memory.read64(address) & 0x40)

        return right(Clean(), paging, gva, need, table, trail)

    return wrong


WALK: Final[Mapping[str, Mistake]] = {
    "walk-width": Mistake("a reserved bit too few above the physical-address width", tables, "_registers", _narrow),
    "walk-pk": Mistake("the error code never tells of a key", tables, "error_code", _no_pk),
    "walk-dirty": Mistake("a write sets no dirty flag", tables, "walk", _never_dirty),
    "walk-used": Mistake("the quick walk takes tables for accessed that are not", walks, "USED", lambda _: 1),
}

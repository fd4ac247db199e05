"""Values that a user writes as text, on the command line or in Python: sizes of memory, costs of events."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .emu.cost import DEFAULT, Costs
from .mmu.address import PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
LEAST_MEMORY: Final = 8 << 20
MOST_MEMORY: Final = 1 << 40
FAULT_AROUND: Final = (1, 2, 4, 8, 16)


def memory_size(size: int | str) -> int:
    """Give a size of memory in bytes.

    Args:
        size: bytes, or a text such as ``256M`` or ``1G``; whole pages.

    Raises:
        ValueError: no size, no whole pages, or out of range.

    Example:
        >>> memory_size("64M")
        67108864

    """
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)(?:i?B)?", str(size).strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{size!r} is no size; write 256M or 1G")
    found = int(match[1]) * _UNITS[match[2].upper()]
    if found % PAGE or not LEAST_MEMORY <= found <= MOST_MEMORY:
        raise ValueError(f"{size!r} is not whole pages between {LEAST_MEMORY >> 20}M and {MOST_MEMORY >> 40}T")
    return found


def costs_of(costs: Costs | Mapping[str, object] | None) -> Costs:
    """Give the costs that are meant: all of them, or the defaults with those changed that a mapping names.

    Raises:
        ValueError: an unknown name, or a value that is no number of cycles.

    Example:
        >>> costs_of({"wrpkru": 60}).wrpkru
        60

    """
    return costs if isinstance(costs, Costs) else DEFAULT.replace(costs or {})


def kernel_options(
    append: str, *, seed: int | None = None, fault_around: int | None = None, policy: str | None = None
) -> str:
    """Give a container kernel's command line: what stands for a setting of its own, and what a user appends.

    Args:
        append: options as the kernel takes them.
        seed: of random numbers and places, or None.
        fault_around: one of `FAULT_AROUND`, or None.
        policy: the name of a memory policy (`pager.policies`), or None.

    Raises:
        ValueError: a number of pages that the kernel does not take.

    Example:
        >>> kernel_options("tty=7", fault_around=1, policy="pager")
        'around=1 policy=pager tty=7'

    """
    if fault_around is not None and fault_around not in FAULT_AROUND:
        raise ValueError(f"{fault_around} pages with a fault; there are {', '.join(map(str, FAULT_AROUND))}")
    known = {"seed": seed, "around": fault_around, "policy": policy}
    return " ".join([*(f"{name}={value}" for name, value in known.items() if value is not None), append]).rstrip()

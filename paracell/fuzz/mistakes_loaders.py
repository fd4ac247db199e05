"""Mistakes in what reads a user's files, for the target `images`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..emu import snapshot
from ..guest import image, multiboot, rootfs
from .mistakes import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def _one_page_more(right: Callable[[Any, Sequence[tuple[int, int]]], None]) -> Callable[..., None]:
    return lambda what, regions: right(what, [(base, size + 4096) for base, size in regions])


def _may_touch(right: Callable[[str, list[tuple[int, int]]], None]) -> Callable[..., None]:
    """Take segments that share one byte."""
    return lambda path, spans: right(path, [(at, size - 1) for at, size in spans])


LOADERS: Final[Mapping[str, Mistake]] = {
    "load-memory": Mistake("a kernel may end a page behind the memory", multiboot, "check_fits", _one_page_more),
    "load-overlap": Mistake("segments may share a byte", image, "check_overlap", _may_touch),
    "load-entry": Mistake("an entry point is not looked at", image, "_entered", lambda _: lambda taken: taken),
    "load-links": Mistake("links are followed without end", rootfs, "_MAX_LINKS", lambda _: 1 << 60),
    "load-damage": Mistake("a snapshot's wrong values are not expected", snapshot, "_DAMAGE", lambda _: (KeyError,)),
}

"""Names for addresses: several images, looked up by bisection and remembered."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Named(Protocol):
    """A symbol of an image."""

    @property
    def address(self) -> int:
        """Where it begins."""

    @property
    def size(self) -> int:
        """How many bytes it has; 0 if nobody said."""

    @property
    def name(self) -> str:
        """What it is called."""


class Symbols:
    """The symbols of several images.  An image's table is read when the first name is asked for."""

    def __init__(self) -> None:
        self._pending: list[tuple[str, Callable[[], Iterable[Named]]]] = []
        self._starts: list[int] = []
        self._entries: list[tuple[int, int, str, str]] = []
        self._cache: dict[int, str] = {}

    def add(self, image: str, symbols: Callable[[], Iterable[Named]]) -> None:
        """Add an image by name, with a function that gives its symbols."""
        self._pending.append((image.rsplit("/", 1)[-1], symbols))
        self._cache.clear()

    def _load(self) -> None:
        for image, symbols in self._pending:
            self._entries += [(s.address, s.size, s.name, image) for s in symbols()]
        self._pending.clear()
        self._entries.sort()
        self._starts = [entry[0] for entry in self._entries]

    def name(self, address: int) -> str:
        """Give ``image!symbol+0xoffset``, or the address in hexadecimal where no symbol is near."""
        found = self._cache.get(address)
        if found is None:
            found = self._cache[address] = self._find(address)
        return found

    def _find(self, address: int) -> str:
        if self._pending:
            self._load()
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return f"{address:#x}"
        start, size, name, image = self._entries[at]
        offset = address - start
        if offset >= (size or 4096):
            return f"{address:#x}"
        return f"{image}!{name}" + (f"+{offset:#x}" if offset else "")

    def address(self, name: str) -> int | None:
        """Give the address of a symbol, ``name`` or ``image!name``, or None."""
        span = self.span(name)
        return None if span is None else span.start

    def span(self, name: str) -> range | None:
        """Give the addresses that a symbol, ``name`` or ``image!name``, covers, or None."""
        if self._pending:
            self._load()
        image, _, symbol = name.rpartition("!")
        return next((range(e[0], e[0] + e[1]) for e in self._entries if e[2] == symbol and image in {"", e[3]}), None)

    def __getitem__(self, name: str) -> int:
        """Give the address of a symbol, ``name`` or ``image!name``; ``KeyError`` if there is none."""
        address = self.address(name)
        if address is None:
            raise KeyError(f"no such symbol: {name}")
        return address

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such a symbol."""
        return self.address(name) is not None

    def __iter__(self) -> Iterator[str]:
        """Give every ``image!name``, by address."""
        if self._pending:
            self._load()
        return iter([f"{image}!{name}" for _, _, name, image in self._entries])

    def __len__(self) -> int:
        """Count the symbols."""
        if self._pending:
            self._load()
        return len(self._entries)

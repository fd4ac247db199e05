"""The scanner: every place where bytes of executable memory could write PKRU.

::

    WRPKRU   0F 01 EF
    XRSTOR   0F AE /5 with a memory operand      (REX.W and prefixes before it do not matter)
    XRSTORS  0F C7 /3 with a memory operand      (ring 0 only, but container kernels at ring 0 exist)

At every byte offset, and across the border of neighbouring pages: a jump may land anywhere.  A page that becomes executable is
scanned together with its executable neighbours, or a sequence that spans their border goes unseen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MEMORY_5: Final = b"[\\x28-\\x2f\\x68-\\x6f\\xa8-\\xaf]"
_MEMORY_3: Final = b"[\\x18-\\x1f\\x58-\\x5f\\x98-\\x9f]"
_PATTERN: Final = re.compile(
    b"(?=(\\x0f\\x01\\xef|\\x0f\\xae" + _MEMORY_5 + b"|\\x0f\\xc7" + _MEMORY_3 + b"))", re.DOTALL
)
_NAMES: Final = {0x01: "wrpkru", 0xAE: "xrstor", 0xC7: "xrstors"}


class Hit(NamedTuple):
    """A dangerous sequence: the address of its first byte and what it decodes to."""

    address: int
    instruction: str


def scan(address: int, code: bytes) -> Iterator[Hit]:
    """Find the sequences in `code`, which lies at `address`."""
    for match in _PATTERN.finditer(code):
        yield Hit(address + match.start(), _NAMES[match.group(1)[1]])


def scan_pages(pages: Iterable[tuple[int, bytes]]) -> Iterator[Hit]:
    """Find the sequences in pages given in rising order of address, also where they span two neighbours."""
    expected, tail = -1, b""
    for address, code in pages:
        before = tail if address == expected else b""
        yield from scan(address - len(before), before + code)
        expected = address + len(code)
        tail = (before + code)[-2:]

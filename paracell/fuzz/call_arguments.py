"""What the words of `call_table` stand for: numbers, and places in the area of strings and structures that the program has.

The area begins at 0x10001000 (guest/attacks/caller.c); each name below has 256 bytes there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .chance import Chance

BASE: Final = 0x10001000
_SLOT: Final = 256
_ROOM: Final = BASE + 0x8000  # from here on nothing is prepared
_MEMORY: Final = 0x20000000  # where nothing is mapped at first


def _q(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}q", *words)


_PATHS: Final = (
    b"/file", b"/", b".", b"..", b"/directory", b"/directory/file", b"/link", b"/no/such/file", b"", b"/socket", b"/fifo",
    b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/shm/x", b"/proc/self/maps", b"/proc/self/fd", b"/proc/1/status", b"/proc",
    b"/tmp/a", b"//./../bin//",
)  # fmt: skip
_SLOTS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "path": _PATHS,
    "text": (b"a text\n", b"user.name", bytes(64), b"#!/bin/sh\n", b"\x7fELF", b"system.posix_acl_access"),
    "time": (_q(0, 0), _q(0, 1000), _q(0, 0, 0, 1000), _q(0, 2_000_000_000), _q(-1, 0), _q(1, 0, 1, 0)),
    "set": (_q(0), _q(-1), _q(1 << 9), _q(1 << 16)),
    "action": (_q(0, 0, 0, 0), _q(1, 0, 0, 0), _q(BASE, 0x04000004, BASE, 0), _q(1, 0x10000000, 0, -1)),
    "address": (b"\1\0/socket\0", b"\1\0\0name", struct.pack("<HH4B", 2, 0x901F, 127, 0, 0, 1), struct.pack("<H", 10) + bytes(26),
        bytes(16)),
    "vector": (_q(_ROOM, 16, _ROOM + 64, 32), _q(_ROOM, 0), _q(BASE, 8, 0, 8), _q(_ROOM, -1)),
    "message": (_q(0, 0, _ROOM, 1, 0, 0, 0), _q(_ROOM, 16, BASE + 0x6000, 2, _ROOM + 256, 64, 0)),
    "event": (struct.pack("<Iq", 1, 7), struct.pack("<Iq", 0x80000005, 1), struct.pack("<qii", 0, 10, 0) + bytes(48),
        struct.pack("<qii", 0, 10, 1) + bytes(48)),
    "fds": (struct.pack("<ihh", 0, 1, 0) + struct.pack("<ihh", 3, 5, 0), struct.pack("<ihh", -1, 1, 0)),
    "semop": (struct.pack("<Hhh", 0, 1, 0), struct.pack("<Hhh", 0, -1, 0x800), struct.pack("<Hhh", 0, 0, 0x1000)),
    "length": (struct.pack("<I", 16), struct.pack("<I", 0), struct.pack("<I", 0xFFFFFFFF)),
    "word": (struct.pack("<i", 0), struct.pack("<i", 1), _q(BASE, 0, 0)),
}  # fmt: skip


def _laid_out() -> tuple[bytes, dict[str, tuple[int, ...]]]:
    area, places = b"", {}
    for word, contents in _SLOTS.items():
        places[word] = tuple(BASE + len(area) + i * _SLOT for i in range(len(contents)))
        area += b"".join(content.ljust(_SLOT, b"\0") for content in contents)
    return area, places


AREA, PLACES = _laid_out()
_NUMBERS: Final[Mapping[str, Sequence[int]]] = {
    "size": (0, 1, 7, 8, 16, 64, 4095, 4096, 4097, 0x10000, (1 << 31) - 1, 1 << 63, (1 << 64) - 1),
    "size8": (8, 8, 8, 8, 8, 8, 0, 4, 16),
    "size24": (24, 24, 0),
    "count": (0, 1, 1, 2, 2, 3, 8, 64, 1024, (1 << 32) - 1),
    "small": (0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 18, 1030, 1031, (1 << 64) - 1),
    "open": (0, 1, 2, 0o102, 0o1102, 0o2002, 0o200000, 0o2000000, 0o4000, 0o10000000, 0o20200002),
    "mode": (0o644, 0o755, 0, 0o777, 0o4755, 0o10644, 0o140755, 0o20666),
    "flags": (0, 0, 0, 1, 2, 4, 8, 0x10, 0x40, 0x100, 0x200, 0x800, 0x1000, 0x4000, 0x80000, 0xFFFFFFFF),
    "prot": (0, 1, 3, 3, 3, 5, 7, 4),
    "map": (0x22, 0x22, 0x21, 2, 1, 0x32, 0x8022, 0x100022),
    "signal": (0, 1, 2, 9, 10, 11, 13, 14, 17, 18, 19, 23, 34, 64, 65),
    "id": (0, 0, 1, 1000, 65534, 0xFFFFFFFF),
    "ipc": (0o1666, 0o1000, 0o3666, 0o666, 0),
    "key": (0, 0, 1, 2, 0x1234),
    "family": (1, 1, 2, 10, 16, 99),
    "type": (1, 2, 5, 3, 0x801, 0x80002),
    "offset": (0, 1, 4095, 4096, 1 << 31, (1 << 63) - 1, (1 << 64) - 1),
    "fcntl": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1030, 1031, 1032, 1033, 1034),
    "request": (0x5401, 0x5402, 0x540F, 0x5410, 0x5413, 0x5414, 0x541B, 0x5421, 0x5450, 0x5451, 0x8901, 0x8912, 0x8927),
    "semcmd": (0, 1, 2, 11, 12, 13, 14, 15, 16, 17),
    "arch": (0x1001, 0x1002, 0x1003, 0x1004),
    "futex": (0, 1, 3, 4, 5, 9, 10, 128, 129, 137),
    "any": (0, 0, 1, 2, 0xFFFFFFFF, BASE, _ROOM),
    "wd": (1, 0, 2),
}  # fmt: skip
# Words for what earlier calls give, and what is taken where none has given any.
RESOURCES: Final[Mapping[str, Sequence[int]]] = {
    "fd": (0, 1, 2, 3, 3, 4, 4, 5, 6, 99, (1 << 32) - 1), "dir": (0xFFFFFF9C, 0xFFFFFF9C, 3, 4), "socket": (3, 4, 5), "epoll": (3, 4),
    "timer": (3, 4), "watch": (3, 4), "shm": (0, 1), "sem": (0, 1), "queue": (0, 1), "pid": (0, 0, 1, 2, 3, 99),
    "memory": (0,), "key": (0, 1),
}  # fmt: skip
# A resource of the second kind is one of the first, too.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "fd": ("fd", "socket", "epoll", "timer", "watch"), "dir": ("fd",), "socket": ("socket",), "epoll": ("epoll",), "timer": ("timer",),
    "watch": ("watch",), "shm": ("shm",), "sem": ("sem",), "queue": ("queue",), "pid": ("pid",), "memory": ("memory",), "key": ("key",),
}  # fmt: skip
_KERNELS: Final = (
    0xFFFF_8880_0000_0000,
    0xFFFF_FFFF_8000_0000,
    0xFFFF_FFFF_C000_0000,
    (1 << 47) - 0x1000,
    1 << 47,
    (1 << 64) - 8,
)
_WRONG: Final = 0.03


def argument(word: str, chance: Chance) -> int:
    """Give a value for an argument: one of its kind for the most part, and now and then an address of the kernel's, or anything."""
    if chance.random() < _WRONG:
        return chance.pick((*_KERNELS, chance.getrandbits(64), 1 << chance.below(64)))
    if word in PLACES:
        return chance.pick(PLACES[word]) + (chance.pick((0, 1, 250)) if chance.random() < 0.05 else 0)
    if word == "room":
        return chance.pick((_ROOM, _ROOM, _ROOM + 4096, _ROOM + 64, BASE + 0xEFF8, 0))
    if word == "memory":
        return chance.pick((0, 0, _MEMORY, _MEMORY + 4096, BASE, BASE + 4096, _ROOM))
    if word in RESOURCES:
        return chance.pick(RESOURCES[word])
    return chance.pick(_NUMBERS[word])

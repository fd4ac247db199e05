"""How gdb's remote protocol frames what is said (gdb manual, "Remote Protocol", "Overview").

::

    $ payload # checksum        the sum of the payload's bytes modulo 256, as two hexadecimal digits
    + or -                      the packet before arrived whole, or must be sent again; gone once both agree on no-ack mode
    03                          Ctrl-C; not a packet
    } byte                      in a payload: the byte is sent XOR 20H, for it would have looked like one of # $ } *
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

LIMIT: Final = 1 << 16  # bytes of a packet, frame included; `qSupported` tells gdb
_START, _END, _ESCAPE, _INTERRUPT = b"$"[0], b"#"[0], b"}"[0], 3
_ACKS: Final = b"+-"
_SPECIAL: Final = frozenset(b"#$}*")
_FLIP: Final = 0x20


class Said(Enum):
    """What a client can say."""

    PACKET = "packet"
    INTERRUPT = "interrupt"
    AGAIN = "again"  # it wants the last packet once more
    WRONG = "wrong"  # a packet whose checksum is not its own, or one without an end


class Item(NamedTuple):
    """One thing that a client has said: what, and of a packet the payload without escapes."""

    said: Said
    payload: bytes = b""


class Framer:
    """Takes a stream of bytes apart."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Item]:
        """Take what has arrived; gives what that completes."""
        self._bytes += data
        found = []
        while self._bytes:
            first = self._bytes[0]
            if first == _START:
                item = self._packet()
                if item is None:
                    break
                found.append(item)
                continue
            del self._bytes[0]
            if first == _INTERRUPT:
                found.append(Item(Said.INTERRUPT))
            elif first == _ACKS[1]:
                found.append(Item(Said.AGAIN))
            # A plus, and noise between packets, say nothing.
        return found

    def _packet(self) -> Item | None:
        """Take the packet that the bytes begin with; None while its end has not come."""
        end = self._bytes.find(b"#", 1)
        if end < 0 and len(self._bytes) > LIMIT:
            self._bytes.clear()
            return Item(Said.WRONG)
        if end < 0 or len(self._bytes) < end + 3:
            return None
        body, told = bytes(self._bytes[1:end]), bytes(self._bytes[end + 1 : end + 3])
        del self._bytes[: end + 3]
        if told.lower() != checksum(body):
            return Item(Said.WRONG, body)
        return Item(Said.PACKET, unescape(body))


def checksum(body: bytes) -> bytes:
    """Give the two digits behind ``#``."""
    return b"%02x" % (sum(body) & 0xFF)


def frame(payload: bytes) -> bytes:
    """Make a packet."""
    body = escape(payload)
    return b"$" + body + b"#" + checksum(body)


def escape(payload: bytes) -> bytes:
    """Give a payload as it is sent."""
    if _SPECIAL.isdisjoint(payload):
        return payload
    return b"".join(bytes((_ESCAPE, byte ^ _FLIP)) if byte in _SPECIAL else bytes((byte,)) for byte in payload)


def unescape(body: bytes) -> bytes:
    """Give a payload as it was meant."""
    if _ESCAPE not in body:
        return body
    first, *rest = body.split(b"}")
    return first + b"".join(bytes((part[0] ^ _FLIP,)) + part[1:] if part else b"" for part in rest)

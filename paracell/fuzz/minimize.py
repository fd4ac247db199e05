"""A shorter input that comes to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .target import Target


def minimize(target: Target, data: bytes, runs: int = -1, stopped: Callable[[], bool] = lambda: False) -> bytes:
    """Take parts of an input out, and put zeros over what is left, as long as `target` finds the same in it.

    It takes halves first, then quarters, down to single bytes, and begins anew while that helps; `runs` (-1: no end) bounds the runs.
    """
    found = target.run(data)
    if found is None:
        return data
    left = runs

    def same(shorter: bytes) -> bool:
        nonlocal left
        if not left or stopped():
            return False
        left -= 1
        again = target.run(shorter)
        return again is not None and again.what == found.what

    for change in (_without, _zeros):
        before = None
        while before != data:
            before = data
            size = max(len(data) // 2, 1)
            while size:
                at = 0
                while at < len(data):
                    shorter = change(data, at, size)
                    if shorter != data and same(shorter):
                        data = shorter
                        at += 0 if change is _without else size
                    else:
                        at += size
                size //= 2
    return data


def _without(data: bytes, at: int, size: int) -> bytes:
    return data[:at] + data[at + size :]


def _zeros(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    return data[:at] + bytes(len(part)) + data[at + size :]

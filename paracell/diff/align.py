"""Which operation of one run is which of the other.

The program's system calls are the landmarks: they are its own doing, in the same order under every runtime, so the shortest way to change
one run's calls into the other's (Myers, "An O(ND) Difference Algorithm and Its Variations") says which belong together.  Between two
landmarks come the operations that a runtime may add or save: faults, interrupts, VM exits.  Of each kind and page the first
belongs to the first, the second to the second, as far as their order is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    Pair = tuple[int, int]
    Row = tuple[int | None, int | None]

_WORK: Final = 4_000_000  # comparisons; behind them runs are no longer much alike, and the k-th of a kind is the k-th


def align(ours: Sequence[Hashable], theirs: Sequence[Hashable], landmarks: frozenset[Hashable]) -> list[Row]:
    """Give the rows of both sequences beside each other: an index of each, or None where one has nothing there.

    Args:
        ours: what tells an operation of the first run from others.
        theirs: the same of the second.
        landmarks: those that are the program's own doing.

    Example:
        >>> align(["open", "fault 1", "read"], ["open", "read", "fault 2"], frozenset({"open", "read"}))
        [(0, 0), (1, None), (2, 1), (None, 2)]

    """
    here, there = ([i for i, key in enumerate(keys) if key in landmarks] for keys in (ours, theirs))
    found = _shortest([ours[i] for i in here], [theirs[i] for i in there])
    rows: list[Row] = []
    last = (0, 0)
    for one, other in [*((here[i], there[k]) for i, k in found), (len(ours), len(theirs))]:
        rows += _between(ours, theirs, last, (one, other))
        if one < len(ours):
            rows.append((one, other))
        last = (one + 1, other + 1)
    return rows


def _between(ours: Sequence[Hashable], theirs: Sequence[Hashable], begin: Pair, end: Pair) -> list[Row]:
    """Align what lies between two landmarks."""
    pairs = _by_turn(ours[begin[0] : end[0]], theirs[begin[1] : end[1]])
    rows: list[Row] = []
    i, k = begin
    for one, other in [*((begin[0] + x, begin[1] + y) for x, y in pairs), end]:
        rows += [(n, None) for n in range(i, one)]
        rows += [(None, n) for n in range(k, other)]
        if one < end[0]:
            rows.append((one, other))
        i, k = one + 1, other + 1
    return rows


def _shortest(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> list[Pair]:
    """Pair as many as keep their order, by the shortest edit script, where that is found with bounded work."""
    head, most = 0, min(len(ours), len(theirs))
    while head < most and ours[head] == theirs[head]:
        head += 1
    tail = 0
    while tail < most - head and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    one, other = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
    middle = _myers(one, other)
    if middle is None:
        middle = _by_turn(one, other)
    return [
        *((i, i) for i in range(head)),
        *((head + i, head + k) for i, k in middle),
        *((len(ours) - n, len(theirs) - n) for n in range(tail, 0, -1)),
    ]


def _myers(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> list[Pair] | None:
    """Pair along the greedy shortest edit script; None where it takes too much work."""
    n, m = len(ours), len(theirs)
    if not n or not m:
        return []
    reach, trail, work = {1: 0}, [], 0
    for distance in range(n + m + 1):
        trail.append(dict(reach))
        for diagonal in range(-distance, distance + 1, 2):
            x = _start(reach, diagonal, distance)
            y = x - diagonal
            while x < n and y < m and ours[x] == theirs[y]:
                x, y, work = x + 1, y + 1, work + 1
            reach[diagonal] = x
            if x >= n and y >= m:
                return _walk_back(trail, n, m)
        work += 8 * len(reach)  # the trail keeps them
        if work > _WORK:
            return None
    return None


def _start(reach: dict[int, int], diagonal: int, distance: int) -> int:
    """Give how far a diagonal begins: a step down from the one above, or to the right from the one below."""
    return reach[diagonal + 1] if _is_down(reach, diagonal, distance) else reach[diagonal - 1] + 1


def _walk_back(trail: list[dict[int, int]], x: int, y: int) -> list[Pair]:
    pairs = []
    for distance in range(len(trail) - 1, -1, -1):
        reach, diagonal = trail[distance], x - y
        begin = _start(reach, diagonal, distance)
        while x > begin and y > begin - diagonal:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        if distance:
            x, y = (x, y - 1) if _is_down(reach, diagonal, distance) else (x - 1, y)
    return pairs[::-1]


def _is_down(reach: dict[int, int], diagonal: int, distance: int) -> bool:
    return diagonal == -distance or (diagonal != distance and reach.get(diagonal - 1, -1) < reach.get(diagonal + 1, -1))


def _by_turn(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> list[Pair]:
    """Pair the k-th of each with the k-th of the other, as many as keep their order (a longest increasing subsequence)."""
    places = {key: place for place, key in enumerate(_numbered(theirs))}
    met = [(i, places[key]) for i, key in enumerate(_numbered(ours)) if key in places]
    tails: list[int] = []  # of the best sequence of each length, its last place
    ends: list[int] = []  # and where in `met` that is
    before: list[int] = []
    for n, (_, place) in enumerate(met):
        length = bisect_left(tails, place)
        before.append(ends[length - 1] if length else -1)
        if length == len(tails):
            tails.append(place)
            ends.append(n)
        else:
            tails[length], ends[length] = place, n
    pairs, at = [], ends[-1] if ends else -1
    while at >= 0:
        pairs.append(met[at])
        at = before[at]
    return pairs[::-1]


def _numbered(keys: Sequence[Hashable]) -> list[tuple[Hashable, int]]:
    seen: Counter[Hashable] = Counter()
    made = []
    for key in keys:
        made.append((key, seen[key]))
        seen[key] += 1
    return made

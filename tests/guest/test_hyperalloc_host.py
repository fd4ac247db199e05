"""HyperAlloc in the host: it goes by its own note of each frame, whatever a container's words say; guest/attacks/host/llfree.c lies."""

from __future__ import annotations

import pytest

from .test_host_memory import EBUSY, run

POLICY = "policy=hyperalloc"
FREE, EVICTED = 512, 512 | 0x8000


def test_requests_in_order() -> None:
    """A word that says "evicted" of a frame with memory, or "free" of one in use, hurts nobody but who wrote it."""
    assert run(["llfree-requests"], POLICY).said == [
        ("shared", 0),
        ("a frame that nobody has touched", EVICTED),
        ("installed", 0),
        ("its word", FREE),
        ("it holds", 0),
        ("once more", 0),
        ("its word", FREE),
        ("it holds", 7),
        ("the words given back", EBUSY),
        ("after a period", EVICTED),
        ("installed", 0),
        ("it holds", 0),
    ]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("outside", "it shares words that are not its own"),
        ("across", "it shares words that are not its own"),
        ("odd", "it shares words that are not its own"),
        ("size", "it shares words for another size of memory"),
        ("huge", "it shares words for another size of memory"),
        ("twice", "its allocator's words are shared already"),
        ("behind", "it installs a frame that it has not"),
        ("touched", "it touched a page of a frame that was taken from it"),
        ("cleared", "it touched a page of a frame that was taken from it"),
        ("used", "it touched a page of a frame that was taken from it"),
        ("shown", "a page-table entry for a page that its host has"),
    ],
)
def test_a_lie_ends_its_container_alone(case: str, why: str) -> None:
    ran = run([f"llfree-{case}", "llfree-requests"], POLICY)
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith(f"paracell: container 0 is killed: {why} (")
    assert ran.said[-1] == ("it holds", 0)


def test_there_is_no_such_hypercall_without_the_policy() -> None:
    assert run(["llfree-requests"], "policy=touch").said[0] == ("shared", -38 & 2**64 - 1)

"""Pager in the host: what it answers, and which requests end their container.  guest/attacks/host/pager.c makes them."""

from __future__ import annotations

import pytest

from .test_host_memory import run

WORDS_LEFT = "a block of memory that it has not"


def test_requests_in_order() -> None:
    assert run(["pager-requests"]).said == [
        ("nothing", 0),
        ("bound", 1),
        ("holds", 0),
        ("unbound", 0),
        ("bound again", 1),
        ("holds", 0),
        ("one for two", 2),
        ("holds", 0),
        ("a block", 1),
        ("its last page holds", 0),
        ("in pieces", 1),
        ("the request itself", 2),
        ("the request holds", 0),
    ]


def test_partial_success_is_said() -> None:
    """A host without memory binds what it can, says how much that was, and goes on."""
    ran = run(["keep", "pager-limit"], "limit=24 reserve=0")
    (_, kept), (_, pages), *others = ran.said
    assert kept > pages > 512
    assert others == [("none", 0), ("one in return", 1)]
    assert ran.err == ""


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("twice", "it binds a page that is bound"),
        ("unbound", "it gives back a page that is not bound"),
        ("overlap", "it binds a page that is bound"),
        ("behind", WORDS_LEFT),
        ("across", WORDS_LEFT),
        ("order", WORDS_LEFT),
        ("bits", WORDS_LEFT),
        ("crooked", WORDS_LEFT),
        ("image", "it gives back a page that is in use"),
        ("module", "it gives back a page that is in use"),
        ("too-long", "a list of pages that is too long"),
        ("no-list", "a list of pages that is not its own"),
        ("crooked-list", "a list of pages that is not its own"),
        ("hosts-list", "a list of pages that is not its own"),
        ("touched", "it touched a page that is not bound"),
        ("in-use", "it gives back a page that is in use"),
        ("shown", "a page-table entry for a page that is not bound"),
    ],
)
def test_a_request_that_cannot_be_done_ends_its_container_alone(case: str, why: str) -> None:
    ran = run([f"pager-{case}", "pager-requests"])
    assert [line for line in ran.err.splitlines() if line] == [
        line for line in ran.err.splitlines() if line.startswith(f"paracell: container 0 is killed: {why} (")
    ]
    assert len(ran.err.splitlines()) == 1
    assert ran.said[-1] == ("the request holds", 0)

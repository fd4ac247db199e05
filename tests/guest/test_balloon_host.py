"""The memory balloon in the host: what it answers, and which requests end their container.  guest/attacks/host/balloon.c makes them."""

from __future__ import annotations

from typing import Final

import pytest

from .test_host_memory import EINVAL, U64, run

ENOSYS: Final = -38 & U64
MUST_TELL_HOST, DEFLATE_ON_OOM, PAGE_REPORTING, HUGE, VERSION_1 = 1 << 0, 1 << 2, 1 << 5, 1 << 23, 1 << 32
BALLOON: Final = MUST_TELL_HOST | DEFLATE_ON_OOM | VERSION_1
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
READY: Final = ACKNOWLEDGE | DRIVER | FEATURES_OK
HAS_NOT: Final = "a page for its balloon that it has not"
IN_USE: Final = "it gives a page that is in use"
REPORTED: Final = "it reports a page that is in use"
TOUCHED: Final = "it touched a page that is in its balloon"
OUTSIDE: Final = "a buffer outside its memory"


def test_requests_in_order() -> None:
    assert run(["balloon-requests"], "policy=balloon").said == [
        ("offered", BALLOON),
        ("device", 5),
        ("status", READY),
        ("statsq", 0),
        ("inflateq", 64),
        ("not ready", EINVAL),
        ("driven", READY | DRIVER_OK),
        ("given", 0),
        ("used", 1),
        ("taken", 0),
        ("holds", 0),
        ("none", 0),
        ("used still", 1),
        ("actual", 3),
        ("num_pages is the host's", EINVAL),
        ("no such field", EINVAL),
        ("no such function", ENOSYS),
        ("a whole ring", 0),
        ("used all", 65),
        ("after a reset", 0),
    ]


@pytest.mark.parametrize(
    ("policy", "offered"),
    [
        ("balloon-huge", BALLOON | HUGE),
        ("report-4k", BALLOON | PAGE_REPORTING),
        ("report-2m", BALLOON | PAGE_REPORTING),
    ],
)
def test_what_each_policy_offers(policy: str, offered: int) -> None:
    assert run(["balloon-requests"], f"policy={policy}").said[0] == ("offered", offered)


def test_features_and_queues_that_cannot_be() -> None:
    said = run(["balloon-features"], "policy=balloon").said
    assert said[:10] == [("status", ACKNOWLEDGE | DRIVER), ("driven all the same", EINVAL)] * 5
    assert said[10:] == [
        ("no queue of three", EINVAL),
        ("crooked", EINVAL),
        ("behind its memory", EINVAL),
        ("across its end", EINVAL),
        ("far away", EINVAL),
        ("its own", 0),
        ("moved later", EINVAL),
    ]


def test_a_report_of_many_pages() -> None:
    assert run(["balloon-reports"], "policy=report-4k").said == [
        ("told", 0),
        ("holds", 0),
        ("not told of", 7),
        ("holds", 0),
    ]


def test_a_buffer_that_changes_while_it_waits() -> None:
    """The device writes its used ring over a descriptor: the second buffer is what it says by then, and nobody is hurt."""
    assert run(["balloon-changing"], "policy=balloon").said == [
        ("queue", 0),
        ("twice the same", 0),
        ("becomes nothing", 0),
    ]


@pytest.mark.parametrize(
    ("case", "why", "policy"),
    [
        ("behind", HAS_NOT, "balloon"),
        ("far", HAS_NOT, "balloon"),
        ("twice", "it gives a page that is in its balloon", "balloon"),
        ("not-in", "it takes a page that is not in its balloon", "balloon"),
        ("image", IN_USE, "balloon"),
        ("module", IN_USE, "balloon"),
        ("its-queue", IN_USE, "balloon"),
        ("in-use", IN_USE, "balloon"),
        ("touched", TOUCHED, "balloon"),
        ("shown", "a page-table entry for a page that its host has", "balloon"),
        ("odd", "a list of pages that is none", "balloon"),
        ("written", "a list of pages that is none", "balloon"),
        ("order", "a buffer that is read behind one that is written", "balloon"),
        ("loop", "a chain of descriptors without an end", "balloon"),
        ("indirect", "a descriptor with flags that are not negotiated", "balloon"),
        ("next", "a descriptor that its virtqueue has not", "balloon"),
        ("head", "a descriptor that its virtqueue has not", "balloon"),
        ("wild", "more available buffers than its virtqueue has", "balloon"),
        ("backwards", "more available buffers than its virtqueue has", "balloon"),
        ("outside", OUTSIDE, "balloon"),
        ("wraps", OUTSIDE, "balloon"),
        ("itself", "a virtqueue that leads to memory that it has not", "balloon"),
        ("crooked-report", "a report of what is no page", "report-4k"),
        ("read-report", "a report of what is no page", "report-4k"),
        ("queue-report", REPORTED, "report-4k"),
        ("mapped-report", REPORTED, "report-4k"),
        ("far-report", OUTSIDE, "report-2m"),
        ("crooked-huge", HAS_NOT, "balloon-huge"),
        ("cut-huge", HAS_NOT, "balloon-huge"),
        ("busy-huge", IN_USE, "balloon-huge"),
    ],
)
def test_a_request_that_cannot_be_done_ends_its_container_alone(case: str, why: str, policy: str) -> None:
    ran = run([f"balloon-{case}", "unbind"], f"policy={policy}")
    assert ran.err.startswith(f"paracell: container 0 is killed: {why} (")
    assert len(ran.err.splitlines()) == 1
    assert ran.said[-1] == ("far out of range", EINVAL)

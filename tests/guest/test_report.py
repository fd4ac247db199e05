"""Free-page reporting: what has been free for two seconds is the host's, until it is used again."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.attacks import KERNEL, symbols_of
from paracell.container import Container

from ..model.virtqueue import PAGE, REPORTING, Memory, Queues
from .test_balloon import small_rootfs
from .test_host_memory import host_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICIES: Final = ("report-4k", "report-2m")
USED_AND_FREE: Final = "/bin/touch 9; sleep {}"
FILE_AND_FREE: Final = (
    "mkdir /tmp; head -c 9000000 /dev/zero > /tmp/a; rm /tmp/a; sleep {}"  # whole frames of it become free
)
IMAGE: Final = 0xFFFFFFFF80000000  # pku/xgate/abi.h: guest-physical addresses of the container kernel's image
DIRECT: Final = 0xFFFF888000000000
FREE, MOST_ORDER = 1, 10  # guest/kernel/mm/page.h


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_rootfs(tmp_path_factory.mktemp("rootfs"))


def held(script: str, policy: str, rootfs: str, runtime: str = "paracell") -> int:
    """How many pages of host memory the container holds when its program ends."""
    with Container(
        "/bin/sh", "-c", script, rootfs=rootfs, runtime=runtime, memory_policy=policy, memory="48M"
    ) as container:
        assert container.run().status == 0
        return host_pages(container)[2]


@pytest.mark.parametrize(("policy", "runtime"), [(p, r) for p in POLICIES for r in ("paracell", "runv", "pvm")])
def test_memory_goes_back_two_seconds_after_it_is_free(rootfs: str, policy: str, runtime: str) -> None:
    script, least = (USED_AND_FREE, 2000) if policy == "report-4k" else (FILE_AND_FREE, 1000)
    early, late = (held(script.format(seconds), policy, rootfs, runtime) for seconds in (1, 3))
    assert early - late > least


def test_without_the_policy_it_stays(rootfs: str) -> None:
    early, late = (held(USED_AND_FREE.format(seconds), "touch", rootfs) for seconds in (1, 3))
    assert abs(early - late) < 8


def test_what_was_reported_is_used_again(rootfs: str) -> None:
    """Pages come back one by one, as they are touched: as many as the program needs once more."""
    once = USED_AND_FREE.format(3)
    again, before = (held(script, "report-4k", rootfs) for script in (f"{once}; /bin/touch 9", once))
    assert 2000 < again - before < 2600


def free_blocks(memory: Memory) -> Iterator[tuple[int, int, bool]]:
    """The container kernel's free lists, read from its memory: first page, order, whether it is reported."""
    known = symbols_of(KERNEL)

    def word(name: str, offset: int, size: int) -> int:
        return int.from_bytes(memory.read(known[name] - IMAGE + offset, size), "little")

    array = word("pages", 0, 8) - DIRECT
    for order in range(MOST_ORDER + 1):
        number = word("free_list", 4 * order, 4)
        while number:
            _, first, state, waits, after, _ = struct.unpack("<IBBHII", memory.read(array + 16 * number, 16))
            assert (first & 0x7F, state) == (order, FREE)
            yield number, order, bool(waits >> 15)
            number = after


@pytest.mark.parametrize("policy", POLICIES)
def test_marks_and_bindings_agree(rootfs: str, policy: str) -> None:
    """Of a block that is marked nothing is bound; of the policy's order and above all are marked, two seconds after the last was freed."""
    least, script = (0, USED_AND_FREE) if policy == "report-4k" else (9, FILE_AND_FREE)
    with Container("/bin/sh", "-c", script.format(5), rootfs=rootfs, memory_policy=policy, memory="48M") as container:
        model = Queues(container.inner)
        container.inner.add_sink(model)
        assert container.run().status == 0
        # The host's end is on another stack: the container's tables are still those in CR3.
        memory = Memory(container.inner)
        blocks = [*free_blocks(memory)]
        wrong = [
            n for n, order, marked in blocks if marked and any(memory.page((n + i) * PAGE) for i in range(1 << order))
        ]
    assert model.kicks[REPORTING] > 0
    assert not wrong
    marked = sum(1 << order for _, order, is_marked in blocks if is_marked)
    assert marked > 1000
    assert all(is_marked for _, order, is_marked in blocks if order >= max(least, 4))


def test_a_batch_has_up_to_32_blocks(rootfs: str) -> None:
    with Container(
        "/bin/sh", "-c", USED_AND_FREE.format(3), rootfs=rootfs, memory_policy="report-4k", memory="48M"
    ) as container:
        model = Queues(container.inner)
        container.inner.add_sink(model)
        assert container.run().status == 0
    (device,) = model.devices.values()
    assert device.reported > 2000
    assert 1 <= model.kicks[REPORTING] < 10
    assert max(device.queues[REPORTING].sizes) <= 32

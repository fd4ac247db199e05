"""The memory balloon: pages go to the host by its wish and come back, by queues that an independent model follows."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import define

from paracell.container import Container
from paracell.emu.events import Kind, Who
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PARACELL, RUNV

from ..model.virtqueue import (
    AVAILABLE,
    DEFLATE,
    DESCRIPTORS,
    HC_MEMORY,
    INFLATE,
    NOTIFY,
    PAGE,
    USED,
    Memory,
    Queues,
    WrongQueue,
)
from .kernels import Typed, tar_of
from .test_host_memory import host_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from paracell.emu.events import Event
    from paracell.runtimes import Runtime

BUSYBOX: Final = shutil.which("busybox")
POLICIES: Final = ("balloon", "balloon-huge", "report-4k", "report-2m")
WRITE: Final = 0x10D  # the function that tells how many pages there are in the balloon
MIB: Final = 256  # pages
SCRIPT: Final = (
    "for i in 1 2 3; do (echo $i; ls / | wc -l) | cat; done; head -c 3000000 /dev/zero > /tmp/a; wc -c /tmp/a; "
    "sleep 3; rm /tmp/a; sleep 3; echo end"
)
NAP: Final = "head -c 9000000 /dev/zero > /tmp/a; rm /tmp/a; sleep 4"


@pytest.mark.parametrize(
    ("policy", "runtime"),
    [
        *((p, "paracell") for p in POLICIES),
        ("balloon", "runv"),
        ("balloon-huge", "pvm"),
        ("report-2m", "runv"),
        ("report-4k", "pvm"),
    ],
)
def test_programs_do_not_notice(policy: str, runtime: str) -> None:
    options = "balloon=40 balloon_at=1 balloon_until=4" if "balloon" in policy else ""
    with Container(
        "busybox", "sh", "-c", SCRIPT, runtime=runtime, memory_policy=policy, append=options, memory="64M"
    ) as container:
        end = container.run()
        host_pages(container)
    lines = end.stdout.splitlines()
    assert (end.status, end.stderr, len(lines)) == (0, "", 8)
    assert lines[6:] == ["3000000 /tmp/a", "end"]


@pytest.mark.parametrize(
    ("policy", "runtime"), [("balloon", "paracell"), ("balloon-huge", "runv"), ("balloon", "runv"), ("balloon", "pvm")]
)
def test_what_is_free_goes_to_the_host(policy: str, runtime: str) -> None:
    """9 MB were used and are free: with all that is free in the balloon they are the host's; the control keeps them."""
    held = []
    for options in ("balloon=60 balloon_at=2", "balloon=0"):
        with Container(
            "busybox", "sh", "-c", NAP, runtime=runtime, memory_policy=policy, append=options, memory="64M"
        ) as container:
            assert container.run().status == 0
            held.append(host_pages(container)[2])
    assert held[1] - held[0] > (1000 if policy == "balloon-huge" else 2000)  # what is free beside used pages stays


def followed(
    policy: str, options: str, script: str, plant: Callable[[Queues], object] | None = None
) -> tuple[Queues, list[int]]:
    """Run beside the model; give it, and how many pages the driver said were in the balloon, one after the other."""
    with Container("busybox", "sh", "-c", script, memory_policy=policy, append=options, memory="48M") as container:
        model, told = Queues(container.inner), container.record(Kind.HYPERCALL)
        if plant is not None:
            container.inner.add_sink(plant(model))  # type: ignore[arg-type]
        container.inner.add_sink(model)
        assert container.run().status == 0
    return model, [e.arg2 for e in told if e.nr == HC_MEMORY and e.arg0 == WRITE]


@pytest.mark.parametrize(("policy", "kicks", "batch"), [("balloon", 8, MIB), ("balloon-huge", 1, 8 * MIB)])
def test_a_wish_is_reached_and_left(policy: str, kicks: int, batch: int) -> None:
    """By 256 numbers with a notification."""
    model, actual = followed(policy, "balloon=8 balloon_at=1 balloon_until=2", "sleep 3")
    assert model.kicks == {INFLATE: kicks, DEFLATE: kicks}
    up = [batch * n for n in range(1, kicks + 1)]
    assert actual == [*up, *reversed(up[:-1]), 0]
    assert [device.given for device in model.devices.values()] == [set()]


def test_what_cannot_be_given_is_tried_again() -> None:
    """The container keeps a part of what is free, and gives what has become free a second later."""
    script = "head -c 9000000 /dev/zero > /tmp/a; sleep 3; rm /tmp/a; sleep 2"
    _, actual = followed("balloon", "balloon=60 balloon_at=1", script)
    assert actual == sorted(actual)
    reached = next(b for a, b in pairwise(actual) if b - a < MIB)  # the last ones of the first try
    assert actual[-1] - reached > 2000
    assert actual[-1] < 48 * MIB


def small_rootfs(to: Path) -> str:
    """Give a file tree with a shell and `touch`."""
    (to / "bin").mkdir()
    for name, data in (
        ("sh", Path(BUSYBOX or "").read_bytes()),
        ("touch", shipped.image("programs/touch").read_bytes()),
    ):
        (to / "bin" / name).write_bytes(data)
        (to / "bin" / name).chmod(0o755)
    return str(to)


@pytest.mark.parametrize("policy", ["balloon", "balloon-huge"])
@pytest.mark.parametrize(("mebibytes", "status"), [(16, 0), (60, 137)])
def test_the_balloon_gives_before_a_process_is_killed(tmp_path: Path, policy: str, mebibytes: int, status: int) -> None:
    """All that is free is in it; the control wants more than there is at all."""
    shell = ("/bin/sh", "-c", f"sleep 2; /bin/touch {mebibytes}; echo $?")
    with Container(
        *shell, rootfs=small_rootfs(tmp_path), memory_policy=policy, append="balloon=60", memory="48M"
    ) as container:
        model, told = Queues(container.inner), container.record(Kind.HYPERCALL)
        container.inner.add_sink(model)
        end = container.run()
    assert end.stdout == f"{status}\n"
    assert end.stderr.count("out of memory: killed") == (status > 0)
    actual = [e.arg2 for e in told if e.nr == HC_MEMORY and e.arg0 == WRITE]
    assert max(actual) > (48 - mebibytes) * MIB  # so that the program cannot have had enough beside it
    assert model.kicks[DEFLATE] > 0


OVERCOMMITTED: Final = "limit=28 reserve=1"  # each of two may have nearly all of 32 MiB
SECRET: Final = b"SECRET-OF-A"


@define
class Pair:
    """What two containers said, what their host said, its pages, and how many pages of the second one hold what was the first one's."""

    said: list[str]
    err: str
    leaked: int


def two(policy: str, runtime: Runtime = PARACELL) -> Pair:
    """One that has used 14 MiB, with a secret in some of them, and sleeps; one that wants 16 MiB."""
    rootfs = tar_of(
        {"bin/touch": shipped.image("programs/touch").read_bytes(), "bin/busybox": Path(BUSYBOX or "").read_bytes()}
    )
    idle = (
        f"b=/bin/busybox; $b mkdir -p /tmp; /bin/touch 14; $b yes {SECRET.decode()} | $b head -c 5000000 > /tmp/a; "
        "$b rm /tmp/a; $b sleep 4; echo idle $?"
    )
    busy = "/bin/busybox sleep 2; /bin/touch 16; echo busy $?"
    modules = [
        m
        for script in (idle, busy)
        for m in runtime.modules(rootfs, init_block(["/bin/busybox", "sh", "-c", script], []))
    ]
    console, options = Typed(b""), f"policy={policy} {OVERCOMMITTED}"
    with Machine.boot(
        runtime.load(), modules=modules, append=options, memory=32 << 20, runtime=runtime, console=console
    ) as machine:
        machine.run()
        whole, free, held = host_pages(machine)
        assert free + held == whole
        pages = (machine.memory[at : at + PAGE] for at in range(0, 32 << 20, PAGE))
        leaked = sum(page[0] == 1 and SECRET in page for page in pages)
    return Pair(sorted(console.sent[0].decode().splitlines()), console.sent[1].decode(), leaked)


@pytest.mark.parametrize("runtime", [PARACELL, pytest.param(RUNV, marks=pytest.mark.sweep)], ids=["paracell", "runv"])
def test_memory_moves_from_one_that_is_idle_to_one_that_wants_it(runtime: Runtime) -> None:
    """Nothing is lost, and what the one had is cleared before the other has it; controls: nothing moves, and nothing is cleared."""
    moved, stays = two("balloon", runtime), two("touch", runtime)
    assert (moved.said, moved.err, moved.leaked) == (["busy 0", "idle 0"], "", 0)
    assert stays.said == ["idle 0"]
    assert "is killed: no host memory for a page that it touched" in stays.err


@define
class Planted:
    """A sink before the model's: once, behind a notification or before it is seen, it changes a word, as a bug would."""

    model: Queues
    part: int  # of the queue
    offset: int
    value: bytes
    before: bool  # the driver's bug, or the device's
    queue: int = INFLATE
    done: bool = False

    def emit(self, event: Event) -> None:
        """Look for the time to do it."""
        asks = (
            event.kind is Kind.HYPERCALL and event.nr == HC_MEMORY and event.arg0 == NOTIFY and event.arg1 == self.queue
        )
        answers = self.model.asked is not None and event.who is Who.HOST and event.kind is Kind.SYSRET
        if self.done or not (asks if self.before else answers):
            return
        machine = self.model.machine
        at = self.model.device().queues[self.queue].parts[self.part] + self.offset
        hpa = Memory(machine).page(at & -PAGE) + at % PAGE
        machine.memory.write(hpa, self.value)
        self.done = True

    def close(self) -> None:
        """Nothing is buffered."""


@pytest.mark.parametrize(
    ("part", "offset", "value", "before", "says"),
    [
        (DESCRIPTORS, 12, b"\4\0", True, "an indirect descriptor"),
        (DESCRIPTORS, 12, b"\1\0\0\0", True, "the chain at 0 is a loop"),
        (DESCRIPTORS, 12, b"\2\0", True, "for the device to read"),
        (AVAILABLE, 0, b"\2\0", True, "flags of an available ring"),
        (AVAILABLE, 2, b"\x64\0", True, "100 buffers more"),
        (AVAILABLE, 4, b"\x40\0", True, "descriptor 64 of 64"),
        (USED, 2, b"\0\0", False, "has not used a buffer"),
        (USED, 4, b"\3\0", False, "used a buffer at 3"),
        (USED, 8, b"\1\0", False, "wrote 1 bytes into 0"),
        (AVAILABLE, 2, b"\7\0", False, "wrote to what is the driver's"),
    ],
)
def test_a_bug_in_a_queue_is_seen(part: int, offset: int, value: bytes, before: bool, says: str) -> None:
    with pytest.raises(WrongQueue, match=says):
        followed("balloon", "balloon=1", "sleep 2", lambda model: Planted(model, part, offset, value, before))


@pytest.mark.parametrize(
    ("queue", "says"), [(INFLATE, "went to the host and is mapped"), (DEFLATE, "taken that the balloon has not")]
)
def test_a_wrong_page_is_seen(queue: int, says: str) -> None:
    """A page that is given and stays mapped; a page that is taken and was never given."""

    @define
    class Wrong(Planted):
        def emit(self, event: Event) -> None:
            if self.model.asked is not None and self.model.asked[2] and queue == INFLATE:
                self.model.asked[2].append(self.model.device().queues[INFLATE].parts[DESCRIPTORS] // PAGE)
            elif queue == DEFLATE and event.kind is Kind.HYPERCALL and event.nr == HC_MEMORY and event.arg1 == DEFLATE:
                self.model.device().given.clear()

    with pytest.raises(WrongQueue, match=says):
        followed(
            "balloon", "balloon=1 balloon_until=2", "sleep 3", lambda model: Wrong(model, USED, 0, b"", before=True)
        )

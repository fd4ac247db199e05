"""HyperAlloc: frames of 2 MiB go back to the host when they are free, and come back when they are used; LLFree in a running guest."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import define, field

from paracell.compare.guest_memory import Host
from paracell.compare.shared_frames import SharedFrames, shared_frames
from paracell.container import Container
from paracell.emu.clock import TSC_HZ
from paracell.emu.events import Kind, Who
from paracell.guest import shipped
from paracell.guest.rootfs import Rootfs, init_block
from paracell.machine import Machine
from paracell.runtimes import RUNTIMES

from ..model.llfree import wrong_counts
from .kernels import Typed
from .test_host_memory import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paracell.emu.events import Event
    from paracell.guest.multiboot import Module

BUSYBOX: Final = shutil.which("busybox")
RUNTIMES_WITH_IT: Final = ("paracell", "runv", "pvm")
MEBIBYTE: Final = 256  # pages
COMES_AND_GOES: Final = "/bin/touch 40; sleep 6; /bin/touch 20; sleep 11"


def counts(machine: Machine) -> tuple[int, int, int, int]:
    """Give how many frames the host has taken, installed, taken for good, returned."""
    at = machine.symbols["hyperalloc_counts"] - BASE
    soft, installed, hard, returned = struct.unpack("<4Q", machine.memory[at : at + 32])
    return soft, installed, hard, returned


@define
class Watch:
    """Looks at LLFree twice a second, and keeps what was wrong, and how many pages the host held.  It is a sink."""

    container: Container
    host: Host = field(init=False)
    next: int = 0
    looked: int = 0
    wrong: list[str] = field(factory=list)
    held: dict[int, int] = field(factory=dict)
    seen: list[SharedFrames] = field(factory=list)
    large: int = 0  # pages at most that entries of 2 MiB map

    def __attrs_post_init__(self) -> None:
        self.host = Host(self.container)

    def emit(self, event: Event) -> None:
        if event.who is not Who.USER and event.kind is not Kind.IDLE:
            return  # the kernel may be in the middle of a change
        pages = self.host.pages() if event.at >= self.next else None
        frames = shared_frames(pages) if pages is not None else None
        if pages is None or frames is None:
            return
        self.next = event.at + TSC_HZ // 2
        fields = struct.unpack(f"<{len(frames.fields) // 8}Q", frames.fields)
        self.wrong += wrong_counts((frames.first, frames.end), frames.children, frames.trees, fields, frames.reserved)
        self.held[event.at * 10 // TSC_HZ] = pages.held
        self.seen.append(frames)
        self.large = max(self.large, sum(bound >> 1 & 1 for bound in memoryview(pages.addresses).cast("Q")))

    def close(self) -> None:
        """Nothing is buffered."""


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    if BUSYBOX is None:
        pytest.skip("there is no busybox")
    folder = tmp_path_factory.mktemp("rootfs")
    (folder / "bin").mkdir()
    for name, data in (("sh", Path(BUSYBOX).read_bytes()), ("touch", shipped.image("programs/touch").read_bytes())):
        (folder / "bin" / name).write_bytes(data)
        (folder / "bin" / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("runtime", RUNTIMES_WITH_IT)
def test_memory_goes_back_and_comes_back(runtime: str, rootfs: str) -> None:
    """40 MiB are used and free again: within 5 s all but the processor's own trees has gone, while nothing runs."""
    with Container(
        "/bin/sh", "-c", COMES_AND_GOES, rootfs=rootfs, runtime=runtime, memory_policy="hyperalloc", memory="128M"
    ) as c:
        watch = Watch(c)
        c.inner.add_sink(watch)
        end = c.run()
        soft, installed, *_ = counts(c)
    assert (end.status, end.stderr, watch.wrong) == (0, "", [])
    held = [watch.held[at] for at in sorted(watch.held)]
    assert len(held) >= 4
    high, low = max(held), min(held[held.index(max(held)) :])
    assert high > 40 * MEBIBYTE
    assert low < high - 15 * MEBIBYTE
    assert soft >= 8
    assert installed > soft
    assert watch.large >= 40 * MEBIBYTE if runtime == "runv" else not watch.large


def test_programs_do_not_notice_the_allocator(rootfs: str) -> None:
    script = "for i in 1 2 3 4 5 6; do (echo $i; ls / | wc -l) | cat; done; /bin/touch 3; echo $?"
    said = {
        policy: Container(
            "/bin/sh", "-c", script, rootfs=rootfs, runtime="runv", memory_policy=policy, memory="48M"
        ).run()
        for policy in ("touch", "hyperalloc")
    }
    assert said["touch"].stdout == said["hyperalloc"].stdout
    assert (said["hyperalloc"].status, said["hyperalloc"].stderr) == (0, "")


@pytest.mark.parametrize("memory", ["24M", "37M", "48M"])
def test_memory_that_is_no_multiple_of_a_frame(memory: str) -> None:
    """All of it is used, and the process that wants more is told so, as with the buddy allocator."""
    said = []
    for append in ("", "policy=hyperalloc"):
        for much in ("12", "100"):
            with Container("touch", much, runtime="native", append=append, memory=memory) as c:
                end = c.run()
                said.append((end.status, end.stdout, end.stderr))
    assert said[0] == said[2]
    assert (said[0][0], said[1][0], said[3][0]) == (0, 137, 137)
    had = [int(line.split()[-2]) for _, _, line in (said[1], said[3])]
    assert 0 <= had[0] - had[1] <= 8, "but for a page or two of its own"


def _two(
    first: str, second: str, options: str, memory: int, look: Callable[[Machine], None] | None = None
) -> tuple[str, str]:
    runtime, console = RUNTIMES["runv"], Typed(b"")
    modules: list[Module] = []
    for script in (first, second):
        files = Rootfs()
        files.complete()
        assert BUSYBOX is not None
        files.add_program("sh", Path(BUSYBOX).read_bytes())
        files.add_program("touch", shipped.image("programs/touch").read_bytes())
        modules += runtime.modules(files.to_tar(), init_block(["/bin/sh", "-c", script], ["PATH=/bin"]))
    line = f"policy=hyperalloc {options}".strip()
    with Machine.boot(
        runtime.image, modules=modules, append=line, memory=memory, runtime=runtime, console=console
    ) as machine:
        machine.run()
        if look:
            look(machine)
    return console.sent[0].decode(), console.sent[1].decode()


def test_memory_moves_to_who_needs_it() -> None:
    """One has used 34 MiB and sleeps when another one wants 40 of 66: the host takes frames for good, and later returns them."""
    if BUSYBOX is None:
        pytest.skip("there is no busybox")
    found = []
    out, err = _two(
        "/bin/touch 34; sleep 12; /bin/touch 20; echo first $?",
        "sleep 1; /bin/touch 40; echo second $?",
        "limit=60 reserve=1",
        72 << 20,
        lambda machine: found.append(counts(machine)),
    )
    assert "killed" not in err
    assert "second 0" in out
    assert "first 0" in out
    _, _, hard, returned = found[0]
    assert hard >= returned > 0

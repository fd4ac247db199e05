"""Pager: pages are bound ahead of their use, so that nothing below the container kernel faults; counted in the events of runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import frozen

from paracell.container import Container
from paracell.emu.events import Kind, Who
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PARACELL, PVM
from paracell.settings import kernel_options

from .kernels import Typed, tar_of
from .test_host_memory import host_pages

if TYPE_CHECKING:
    from paracell.emu.events import Event
    from paracell.end import End
    from paracell.runtimes import Runtime

BUSYBOX: Final = shutil.which("busybox")
HC_PAGER: Final = 12
VMCALL, EPT_VIOLATION = 18, 48  # exit reasons
MEBIBYTES: Final = 8
OVERCOMMITTED: Final = "limit=60 reserve=1"  # each of two may have nearly all of 64 MiB
PAGES: Final = MEBIBYTES * 256
SCRIPT: Final = "for i in 1 2 3 4 5 6 7 8; do (echo $i; ls / | wc -l) | cat; done; find / -type f | sort | head -20"


@frozen
class Ran:
    """What a run printed; its second-level faults before the first request of Pager's and behind it; the requests."""

    status: int
    out: str
    before: int
    behind: int
    requests: list[tuple[int, int]]  # unbinds, binds


def is_second_level(event: Event, runtime: str) -> bool:
    """A fault of the container kernel's, or of the guest's physical memory, which the host resolves."""
    if runtime == "runv":
        exits = (event.kind is Kind.VM_EXIT and event.target == 0) or event.kind is Kind.REFLECTION
        return exits and event.reason == EPT_VIOLATION
    return event.kind is Kind.EXCEPTION and event.who is Who.KERNEL and event.vector == 14


def run(*program: str, runtime: str = "paracell", options: str = "", pager: bool = True, nested: bool = False) -> Ran:
    with Container(
        *program, runtime=runtime, pager=pager, append=options, fault_around=1, memory="64M", nested=nested
    ) as container:
        told = container.record(Kind.EXCEPTION, Kind.REFLECTION if nested else Kind.VM_EXIT, Kind.HYPERCALL)
        end = container.run()
    if runtime == "runv":
        calls_host = {Kind.VM_EXIT, Kind.REFLECTION}
        first = next((i for i, e in enumerate(told) if e.kind in calls_host and e.reason == VMCALL), 0)
        requests: list[tuple[int, int]] = []
    else:
        calls = [(i, e) for i, e in enumerate(told) if e.kind is Kind.HYPERCALL and e.nr == HC_PAGER]
        first = calls[0][0] if calls else 0
        requests = [(e.arg1 >> 32, e.arg1 & 0xFFFFFFFF) for _, e in calls]
    faults = [is_second_level(e, runtime) for e in told]
    assert "killed" not in end.stderr
    return Ran(end.status, end.stdout, sum(faults[:first]), sum(faults[first:]), requests)


@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
@pytest.mark.parametrize("runtime", ["paracell", "runv"])
def test_no_page_is_bound_when_it_is_touched(runtime: str, nested: bool) -> None:
    """From the first request on; the control has one such fault for each page.  Nested, what L0 gives to RunV's host counts."""
    with_pager, without = (
        run("touch", str(MEBIBYTES), runtime=runtime, pager=on, nested=nested) for on in (True, False)
    )
    assert (with_pager.status, with_pager.out) == (without.status, without.out)
    assert with_pager.behind == 0
    assert with_pager.before < 3
    assert without.before + without.behind > PAGES


@pytest.mark.parametrize("runtime", ["paracell", "runv", "pvm"])
@pytest.mark.parametrize(
    "program",
    [("hello",), ("busybox", "sh", "-c", SCRIPT), ("linux/memory",), ("linux/processes",), ("lat", "-e", "fork", "5")],
    ids=" ".join,
)
def test_programs_do_not_notice(program: tuple[str, ...], runtime: str) -> None:
    name, *arguments = program
    path = str(shipped.image(name)) if "/" in name else name
    on, off = (run(path, *arguments, runtime=runtime, pager=p) for p in (True, False))
    assert on.status == off.status
    assert on.behind == 0 or runtime == "pvm"
    if name != "lat":  # which prints times
        assert on.out == off.out


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_a_page_costs_a_part_of_a_request(batch: int) -> None:
    small, large = (run("touch", str(m), options=f"batch={batch} high={2 * batch}") for m in (4, 8))
    more = [sum(binds for _, binds in ran.requests) for ran in (small, large)]
    assert abs(more[1] - more[0] - 1024) <= 2 * batch + 8  # pages; page tables; the last batch is used in part
    calls = len(large.requests) - len(small.requests)
    assert abs(calls - 1024 / batch) <= 8  # … and the array of struct page


def test_an_unbind_goes_with_a_bind() -> None:
    """256 pages that come and go are more than the list may hold; hardly a request brings unbinds alone."""
    ran = run("lat", "-e", "refault", "2000")
    assert sum(unbinds for unbinds, _ in ran.requests) > 500
    alone = sum(unbinds > 0 and not binds for unbinds, binds in ran.requests)
    assert alone < len(ran.requests) / 20


@pytest.mark.parametrize("operation", ["fork", "exec", "thread"])
def test_what_is_used_again_before_its_unbind_has_gone_stays_bound(operation: str) -> None:
    """A kernel stack is a block, which goes by itself; the next process has it before the host hears of it."""
    few, many = (len(run("lat", "-e", operation, times).requests) for times in ("50", "200"))
    assert many - few < 5


def test_what_a_program_had_goes_back_to_the_host(tmp_path: Path) -> None:
    """8 MiB are bound for it, and unbound by the next time that nothing runs, but for what the list and the request may hold."""
    (tmp_path / "bin").mkdir()
    for name, data in (
        ("sh", Path(BUSYBOX or "").read_bytes()),
        ("touch8", shipped.image("programs/touch").read_bytes()),
    ):
        (tmp_path / "bin" / name).write_bytes(data)
        (tmp_path / "bin" / name).chmod(0o755)
    with Container(
        "/bin/sh", "-c", "/bin/touch8 8; sleep 1", rootfs=str(tmp_path), pager=True, memory="64M"
    ) as container:
        told = container.record(Kind.HYPERCALL)
        assert container.run().status == 0
    calls = [(e.arg1 >> 32, e.arg1 & 0xFFFFFFFF) for e in told if e.nr == HC_PAGER]
    unbound, bound = (sum(counts) for counts in zip(*calls, strict=True))
    assert bound > PAGES
    assert unbound > PAGES - 64


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("batch=0", "option batch=0: it is to be between 1 and 128"),
        ("batch=200", "option batch=200: it is to be between 1 and 128"),
        ("high=300", "option high=300: it is to be between 16 and 256"),
        ("low=64", "option low=64: it is to be between 0 and 63"),
    ],
)
def test_wrong_marks_are_one_line_each_and_the_defaults_hold(options: str, says: str) -> None:
    with Container("hello", runtime="paracell", pager=True, append=options) as container:
        end = container.run()
    assert end.status == 0
    assert end.stderr == f"paracell: {says}\n"


def test_native_has_no_pager() -> None:
    with pytest.raises(ValueError, match="native has no host"):
        Container("hello", runtime="native", pager=True)


def test_a_kernel_without_a_host_that_binds_goes_on_without() -> None:
    """The image of native, told to have a pager by its command line alone."""
    with Container("hello", runtime="native", append="policy=pager") as container:
        assert container.run().status == 0


@pytest.mark.parametrize("pager", [True, False])
def test_a_host_without_a_page_costs_one_process_and_no_container(pager: bool) -> None:
    """Two containers want more than there is: the kernel that gets no page kills one of its processes; the control loses all of them."""
    end, said, complained = _two_that_touch(PARACELL, 40, 64, OVERCOMMITTED, pager=pager)
    if pager:
        assert sorted(said.splitlines()) == ["status 0", "status 137"]
        assert (end.status, complained.count("out of memory: killed")) == (0, 1)
    else:
        assert said == "status 0\n"
        assert "is killed: no host memory for a page that it touched" in complained


def test_a_host_without_a_table_ends_one_container() -> None:
    """Where shadow tables are fewer than an instruction needs, each fill would drop what the one before has made, for ever."""
    _, said, complained = _two_that_touch(PVM, 20, 44, "limit=40 reserve=1", pager=False)
    assert said == "status 0\n"
    assert complained.count("is killed: no host memory for a page that it touched") == 1


def _two_that_touch(
    runtime: Runtime, mebibytes: int, memory: int, options: str, *, pager: bool
) -> tuple[End, str, str]:
    """Run two containers that each touch so many MiB on a machine of `memory` MiB; its end, and what they and the host said."""
    rootfs = tar_of(
        {"bin/touch": shipped.image("programs/touch").read_bytes(), "bin/sh": Path(BUSYBOX or "").read_bytes()}
    )
    shell = ["/bin/sh", "-c", f"/bin/touch {mebibytes}; echo status $?"]
    modules = [m for _ in range(2) for m in runtime.modules(rootfs, init_block(shell, []))]
    line, console = kernel_options(options, policy="pager" if pager else "touch"), Typed(b"")
    with Machine.boot(
        runtime.image, modules=modules, append=line, memory=memory << 20, runtime=runtime, console=console
    ) as machine:
        end = machine.run()
        if runtime is PARACELL:
            host_pages(machine)
    return end, console.sent[0].decode(), console.sent[1].decode()

"""Several containers under one host are gdb's threads: what sleeps can be looked at, and stepped."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from paracell import Container, Machine, Reason
from paracell.debug import threads
from paracell.debug.backwards import step_back
from paracell.debug.control import Control
from paracell.debug.history import History
from paracell.debug.registers import BY_NAME, TABLE
from paracell.emu.events import Kind
from paracell.emu.sinks import Listener
from paracell.guest.build import IMAGES
from paracell.host_variables import HostVariables
from paracell.tenants import Turns

from .test_debug import debug
from .test_debug_packets import Session
from .test_debug_unwind import frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paracell.emu.events import Event

HOSTS = ["paracell", "pvm", "runv"]
ENTERS = {20, 24}  # VMLAUNCH and VMRESUME, which L0 does for the host
SETUPS = [*((runtime, False) for runtime in HOSTS), ("runv", True), ("pvm", True)]


def never(_wake: int) -> bool:
    return False


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_gdb_looks_into_who_sleeps_and_steps_it(runtime: str, *, nested: bool) -> None:
    asked = (
        "break main thread 1", "continue", "delete", "break main", "continue", "delete", "info threads", "thread apply all bt",
        "thread 1", "p $rax", "p $domain", "frame function _start", "x/s *(char**)($rsp + 16)",
        "thread 2", "frame function _start", "x/s *(char**)($rsp + 16)",
        "thread 1", "set var $rsp = 0", "stepi", "info threads", "p $_thread", "stepi", "reverse-stepi", "bt",
    )  # fmt: skip
    options = ["--nested"] if nested else []
    done = debug("--runtime", runtime, *options, "--beside", "null 90001", "null", "90000", gdb=asked)
    text = done.stdout
    assert "Thread 2 hit Breakpoint 2, main" in text, done
    assert re.search(r"^  1 +Thread 1 \(container 0, asleep in the host\) +switch_context \(\)", text, re.MULTILINE)
    assert re.search(r"^\* 2 +Thread 2 \(container 1, CPU#0 \[running\]\) +main \(", text, re.MULTILINE)
    second, first = re.split(r"(?m)^Thread \d \(Thread", text)[1:3]
    assert frames(second) == ["main", "_start"]
    assert frames(first)[0] == "switch_context"
    assert frames(first)[-2:] == ["main", "_start"]
    assert {"pvm": "arch_trap", "paracell": "dispatch", "runv": "vm_left"}[runtime] in frames(first)
    # Both programs' stacks are at the same addresses, in different memory.
    assert re.findall(r'^0x\w+:\t"(\w+)"$', text, re.MULTILINE) == ["90000", "90001"]
    assert re.search(r"^\$\d = <unavailable>\n\$\d = host$", text, re.MULTILINE)
    assert "Could not write" in done.stderr
    stepped = text[text.rindex("Switching to thread 1") :]
    assert re.search(r"^\* 1 +Thread 1 \(container 0, CPU#0 \[running\]\) +switch_context \(\)", stepped, re.MULTILINE)
    assert re.search(r"^\$\d = 1$", stepped, re.MULTILINE)
    assert frames(stepped)[-2:] == ["main", "_start"]


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("runtime", HOSTS)
def test_places_in_struct_container_are_the_compilers(runtime: str) -> None:
    image = IMAGES / "debug" / f"{runtime}-host.elf"
    fields = {"host_rsp": threads.HOST_RSP, "vcpu": threads.VCPU}
    own = {
        "paracell": {"template": threads.TEMPLATE, "space": threads.SPACES, "current": threads.CURRENT},
        "pvm": {"switcher": threads.SWITCHER},
        "runv": {"vmcs": threads.VMCS},
    }[runtime]
    fields |= {f"vcpu.{name}": threads.VCPU + offset for name, offset in own.items()}
    asked = [word for name in fields for word in ("-ex", f"p (int)&((struct container*)0)->{name}")]
    gdb = shutil.which("gdb")
    assert gdb is not None
    said = subprocess.run(
        [gdb, "-q", "-batch", *asked, "-ex", "p sizeof(containers[0])", str(image)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    sizes = [int(number) for number in re.findall(r" = (\d+)", said)]
    with Container("hello", runtime=runtime) as container:
        host = HostVariables.of(container.inner)
    assert host is not None
    assert sizes == [*fields.values(), host.size]


@pytest.fixture
def two(request: pytest.FixtureRequest) -> Iterator[Session]:
    with Container("null", "90000", runtime=request.param, beside=[("null", "90001")]) as container:
        session = Session(container)
        threads = session.control.threads
        while len(threads.all()) < 2 or threads.current() != 2:
            container.inner.run(5000)
        yield session


@pytest.mark.parametrize("two", HOSTS, indirect=True)
def test_packets_of_threads(two: Session) -> None:
    assert (two.ask("qfThreadInfo"), two.ask("qsThreadInfo"), two.ask("qC")) == ("m1,2", "l", "QC2")
    assert two.ask("?").startswith("T05thread:2;")
    assert [two.ask(f"T{n}") for n in ("1", "2", "3", "5")] == ["OK", "OK", "E16", "E16"]
    assert two.ask("Hg3") == "E16"
    assert two.ask("vCont;s:3;c") == "E16"
    assert two.ask("vCont;t:1") == "E16"
    assert two.lines[0].endswith("no such thread: b'3'")
    running = two.ask("g")
    assert two.ask("Hg1") == "OK"
    sleeping = two.ask("g")
    assert len(sleeping) == len(running)
    known = {register.name for register in TABLE if "x" not in two.ask(f"p{BY_NAME[register.name]:x}")}
    assert known == {"rip", "rsp", "domain", "ring"}
    assert two.machine.symbols.name(two.register("rip")).rpartition("!")[2].startswith("switch_context+0x")
    assert (two.ask("G" + running), two.ask("P0=" + "00" * 8)) == ("E5f", "E5f")
    # What the host keeps of a sleeping container is on its stack: the pushed registers, and who called.
    stack = bytes.fromhex(two.ask(f"m{two.register('rsp'):x},38"))
    assert ".elf!" in two.machine.symbols.name(int.from_bytes(stack[-8:], "little"))
    assert two.ask("Hg-1") == "OK"
    assert two.ask("g") == running


@pytest.mark.parametrize("two", HOSTS, indirect=True)
def test_a_step_is_the_threads_own(two: Session) -> None:
    """The other one runs until its turn comes, and again where it leaves the processor."""
    of = two.control.threads
    asleep = of.asleep(1)
    assert asleep is not None
    assert two.ask("vCont;s:1;c").startswith("T05thread:1;")
    assert two.register("rip") == asleep.rip + 2  # pop %r15
    two.control.breakpoints.insert(0, of.leaves)
    while True:
        two.ask("c")
        if of.is_at_switch(1):
            break
    two.control.breakpoints.clear()
    checkpoint = two.machine.checkpoint()
    assert two.ask("vCont;s:1") == "T05thread:1;"  # it alone: it sleeps now
    assert of.current() == 2
    assert two.ask("Hg1") == "OK"
    assert two.register("rip") == of.resumes
    checkpoint.restore()
    assert two.ask("vCont;s:1;c") == "T05thread:1;"
    assert of.current() == 1
    first = of.resumes
    assert two.register("rip") == first
    assert two.ask("Hc2") == "OK"
    assert two.ask("s") == "T05thread:2;"
    assert two.ask("Hc1") == "OK"
    assert two.ask("s") == "T05thread:1;"
    checkpoint.restore()
    two.ask("vCont;s:1;c")
    assert two.ask(f"vCont;r{first:x},{first + 11:x}:1;c") == "T05thread:1;"  # it ends behind RET
    assert not first <= two.register("rip") <= first + 11


@pytest.mark.parametrize("runtime", HOSTS)
def test_back_over_a_switch(runtime: str) -> None:
    with Container("null", "90000", runtime=runtime, beside=[("null", "90001")]) as container:
        control = Control(container, lambda: False, History(container))
        of, history = control.threads, control.history
        assert history is not None
        control.breakpoints.insert(0, of.leaves)
        for _ in range(4):
            control.go_on(never)
        thread, place = of.current(), history.place
        assert of.is_at_switch(thread)
        control.breakpoints.clear()
        control.step(never)
        assert (of.current(), container.cpu.rip) == (thread, of.resumes)
        assert history.place[0] > place[0] + 100  # the other one has run
        step_back(control, history, never)
        assert (of.current(), container.cpu.rip, history.place) == (thread, of.leaves, place)


@pytest.mark.parametrize("runtime", HOSTS)
def test_on_the_boot_stack_the_first_one_runs(runtime: str) -> None:
    """The host's `self` is each container in turn while they are loaded, and no stack changes."""
    with Container("null", "1", runtime=runtime, beside=[("null", "1")]) as container:
        threads_of = Control(container, lambda: False).threads
        host, seen = threads_of.host, set[int]()
        assert host is not None
        while container.run_until(f"{host.image}!switch_context", instructions=20_000).reason is Reason.LIMIT:
            seen.add(host.turn())
            assert threads_of.current() == 1
    assert seen == {0, 1}


@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_who_has_the_processor_as_the_events_say(runtime: str, *, nested: bool) -> None:
    """Wherever the host leaves to others, the thread is the container of `self`, which `Turns` follows."""
    with Container("null", "40000", runtime=runtime, beside=[("null", "40001")], nested=nested) as container:
        control = Control(container, lambda: False)
        turns, seen = Turns(container.inner), set[int]()

        def look(event: Event) -> None:
            if turns.see(event) and turns.container is not None:
                if (
                    event.kind is Kind.VM_EXIT and event.fields["reason"] not in ENTERS
                ):  # maybe just before the switch of stacks
                    return
                assert control.threads.current() == turns.container[0] + 1
                seen.add(turns.container[0])

        container.inner.add_sink(Listener(look))
        container.run()
    assert seen == {0, 1}


def test_a_host_that_was_written_over_is_looked_at_all_the_same() -> None:
    with Container("null", "90000", beside=[("null", "90001")]) as container:
        session = Session(container)
        while session.control.threads.current() != 2:
            container.inner.run(5000)
        host = session.control.threads.host
        assert host is not None
        place = host.physical(host.place(0))
        container.memory[place + threads.HOST_RSP : place + host.size] = b"\x7e" * (host.size - threads.HOST_RSP)
        assert session.ask("Hg1") == "OK"
        assert session.register("rsp") == 0x7E7E_7E7E_7E7E_7E7E
        assert session.ask("m7fffffffe000,8") == "E0e"
        code = host.physical(container.symbols[f"{host.image}!switch_context"])
        container.memory[code : code + 64] = bytes(64)
        assert session.ask("Hg1") == "OK"
        container.memory[host.physical(host.pointer) : host.physical(host.pointer) + 8] = b"\xff" * 8
        assert session.ask("qfThreadInfo").startswith("m")


def test_a_machine_without_a_host_of_ours_is_one_thread() -> None:
    with Container("hello", runtime="native") as container:
        container.run_until("hello!main")
        session = Session(container)
        assert (session.ask("qfThreadInfo"), session.ask("qC"), session.ask("T1"), session.ask("T2")) == (
            "m1", "QC1", "OK", "E16",
        )  # fmt: skip


def test_containers_beside_the_first() -> None:
    with Container("null", "3", beside=[("hello",), ("null", "1")]) as container:
        end = container.run()
    assert end.status == 0
    assert end.stdout.count("Hello from a container.") == 1
    for wrong in ((), "null"):
        with pytest.raises(ValueError, match="by its program and arguments"):
            Container("hello", beside=[wrong])


def test_two_in_a_snapshot(tmp_path: Path) -> None:
    """The machine is in a guest of RunV's, whose kernel has the host's addresses."""
    with Container("null", "90000", runtime="runv", beside=[("null", "90001")]) as container:
        before = Control(container, lambda: False).threads
        while len(before.all()) < 2 or container.inner.cpu.guest is None:
            container.inner.run(5000)
        asleep = before.asleep(3 - before.current())
        container.save(tmp_path / "two")
    with Machine.restore(tmp_path / "two", runtime="runv") as again:
        restored = Control(again, lambda: False).threads
        assert restored.all() == [1, 2]
        assert restored.asleep(3 - restored.current()) == asleep

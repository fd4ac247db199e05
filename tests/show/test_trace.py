"""Traces as the page's data: what is read, what is refused, and that a detailed trace is an ordinary one with more in it."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from paracell import Container, Machine
from paracell.bundle import prepare
from paracell.detail import registers
from paracell.emu.events import FIELDS, Event, Kind, Who
from paracell.observers import Observers
from paracell.runtimes import RUNTIMES
from paracell.show.file import show
from paracell.show.page import EXACT, page, table, text
from paracell.show.trace import BadTrace, Timeline
from paracell.show.words import GROUPS, label, words

if TYPE_CHECKING:
    from pathlib import Path

    from paracell.runtimes import Runtime

RUNS = [("native", False), ("paracell", False), ("pvm", False), ("runv", False), ("runv", True), ("paracell", True)]


def paracell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paracell", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def line(kind: Kind = Kind.WRPKRU, at: int = 1, who: str = "user", **more: Any) -> bytes:
    numbers = dict.fromkeys(FIELDS[kind], 0)
    row = {"at": at, "cost": 1, "who": who, "kind": kind.name.lower(), "rip": 4096, "symbol": "a!b"} | numbers | more
    return json.dumps(row).encode() + b"\n"


def read(*lines: bytes) -> Timeline:
    made = Timeline("t.jsonl")
    made.read(lines)
    return made


def unpacked(html: str) -> dict[str, Any]:
    found = re.search(r'id="data">([^<]*)<', html)
    assert found is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return data


# ---- no tool changes what happens -----------------------------------------------------------------------------


def record(*program: str, runtime: str, nested: bool = False, detail: bool) -> tuple[list[str], dict[str, int]]:
    """Give the lines of a trace, and the registers that the machine stands with at the end."""
    file = io.BytesIO()
    with Container(*program, runtime=runtime, nested=nested) as container:
        inner = container.inner
        observers = Observers(inner, (".jsonl", file), stats=False, detail=detail)
        assert container.run().status == 0
        observers.finish()
        return file.getvalue().decode().splitlines(), registers(inner.cpu)


@pytest.mark.parametrize(("runtime", "nested"), RUNS)
def test_a_detailed_trace_is_the_ordinary_one_with_more_in_each_line(runtime: str, nested: bool) -> None:
    plain, _ = record("hello", runtime=runtime, nested=nested, detail=False)
    lines, end = record("hello", runtime=runtime, nested=nested, detail=True)
    assert [re.sub(r',"detail":\{.*\}\}$', "}", each) for each in lines] == plain
    events = [json.loads(each) for each in lines]
    added_up: dict[str, int] = {}
    for event in events:
        added_up |= event["detail"]["registers"]
    assert added_up == end
    assert any(len(event["detail"]["stack"]) > 3 for event in events)
    # The walk is the one that happened: its outcome is that of the event.
    walks = [event for event in events if event["kind"] == "page_walk"]
    assert walks
    for event in walks:
        found = event["detail"]["walk"]
        assert found["address"] == event["gva"]
        assert len(found["steps"]) == event["reads"]
        assert bool(found["fault"] or found["exit"]) == bool(event["refused"]), event
        if not event["refused"]:
            assert found["physical"] & ~0xFFF == event["frame"]
    for event in events:
        if event["kind"] == "exception" and event["vector"] == 14:
            assert event["detail"]["walk"]["fault"]["error"] == event["error"], event
    changes = [v["changed"] for event in events if event["kind"] == "vm_exit" for v in event["detail"]["vmcs"]]
    assert bool(changes) == (runtime == "runv" or nested)
    assert all(before != now for each in changes for before, now in each.values())
    section = read(*(each.encode() for each in lines)).section()
    assert len(section["at"]) == len(events)
    assert section["detailed"]
    assert not section["notes"]
    assert ("L0" in {lane["name"] for lane in section["lanes"]}) == nested


@pytest.mark.parametrize(
    "runtime", [RUNTIMES["paracell"], pytest.param(RUNTIMES["runv"], marks=pytest.mark.sweep)], ids=["paracell", "runv"]
)
def test_two_containers_of_one_host_have_lanes_of_their_own(runtime: Runtime) -> None:
    modules = [module for _ in range(2) for module in prepare(runtime, "null", ["3"]).modules]
    file = io.BytesIO()
    with Machine.boot(runtime.image, modules=modules, memory=256 << 20, runtime=runtime) as machine:
        observers = Observers(machine.inner, (".jsonl", file), stats=False, detail=True)
        machine.run()
        observers.finish()
    section = read(*file.getvalue().splitlines(keepends=True)).section()
    names = [lane["name"] for lane in section["lanes"]]
    assert names == ["program 0", "container kernel 0", "program 1", "container kernel 1", "host"]
    # Both programs make the same calls.
    calls = [(section["lane"][i], section["rows"][row][4]) for i, row in enumerate(section["row"])]
    kernel = names.index("container kernel 0"), names.index("container kernel 1")
    made = [[label for lane, label in calls if lane == kernel[n] and label.startswith("gate enter")] for n in (0, 1)]
    if runtime.name == "runv":
        user = names.index("program 0"), names.index("program 1")
        made = [[label for lane, label in calls if lane == user[n] and label.startswith("syscall")] for n in (0, 1)]
    assert made[0] == made[1]
    assert len(made[0]) > 3


def test_the_commands_give_the_same_bytes_again(tmp_path: Path) -> None:
    traces, pages = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], [tmp_path / "a.html", tmp_path / "b.html"]
    for trace, made in zip(traces, pages, strict=True):
        assert paracell("run", "--trace", trace, "--trace-detail", "null", "3").returncode == 0
        done = paracell("show", traces[0], "-o", made)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert traces[0].read_bytes() == traces[1].read_bytes()
    assert pages[0].read_bytes() == pages[1].read_bytes()


# ---- reading --------------------------------------------------------------------------------------------------


def test_events_are_kept_once_but_for_their_time() -> None:
    section = read(line(at=5), line(at=7), line(at=7, new=12)).section()
    assert section["at"] == [5, 2, 0]
    assert section["row"] == [0, 0, 1]
    assert [row[4] for row in section["rows"]] == ["wrpkru", "wrpkru"]
    assert section["rows"][1][5][1] == ["new", "0xc", "key 1: no access"]
    assert "not in this trace" in section["notes"][0]
    assert "--trace-detail" in section["notes"][0]


def test_lanes_are_those_that_run_and_one_for_each_container() -> None:
    names = [lane["name"] for lane in read(line(who="host"), line(who="user")).section()["lanes"]]
    assert names == ["program", "host"]
    lines = [
        line(who=who, detail={"registers": {}, "stack": [], "container": n})
        for n in (1, 0)
        for who in ("kernel", "user", "host")
    ]
    section = read(*lines).section()
    assert [lane["name"] for lane in section["lanes"]] == [
        "program 0",
        "container kernel 0",
        "program 1",
        "container kernel 1",
        "host",
    ]
    assert section["lane"] == [3, 2, 4, 1, 0, 4]


def test_a_broken_last_line_is_left_out_with_a_note() -> None:
    made = read(line(), line()[:30])
    assert made.count == 1
    assert made.notes == ["Line 2, the last one, is broken and left out: the trace was cut off."]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((line(), b"{}\n", line()), "t.jsonl:2: no event of a trace"),
        ((line(), line(at=True), line()), "t.jsonl:2: no event of a trace"),
        ((line(at=5), line(at=4), line(at=6)), "t.jsonl:2: no event of a trace"),
        ((line(), line(detail={"registers": {"rax": "x"}, "stack": []}), line()), "t.jsonl:2: no event of a trace"),
        ((line(), line(detail=7), line()), "t.jsonl:2: no event of a trace"),
        ((line(), line(detail={"registers": {}, "stack": [], "walk": {}}), line()), "t.jsonl:2: no event of a trace"),
        ((line(), b"[" * 100_000 + b"\n", line()), "t.jsonl:2: no event of a trace"),
        ((line(), line().replace(b"wrpkru", b"teleport")), "t.jsonl:2: the trace is of another version: it has 'teleport' by 'user'"),
        ((line().replace(b'"new"', b'"newer"'),), "t.jsonl:1: the trace is of another version: wrpkru is without old, new"),
        ((), "neither a .jsonl trace nor a snapshot: t.jsonl"),
        ((b"\x7fELF\x02\n",), "neither a .jsonl trace nor a snapshot: t.jsonl"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_one_line(lines: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(BadTrace) as caught:
        read(*lines)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b"", "neither a .jsonl trace nor a snapshot"),
        ("a.pftrace", b"\x0a\x0b", "a Perfetto trace is for ui.perfetto.dev or its trace_processor; show draws a .jsonl trace"),
        ("a", b"PCSNAP5\nxxxx", "not a snapshot"),
        ("a", b"PCSNAP1\n" + bytes(8), "the snapshot was made by another version of ParaCell"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_one_line(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError) as caught:
        show(str(tmp_path / name))
    assert str(caught.value) == f"{says}: {tmp_path / name}"


def test_the_command_says_so_and_writes_no_page(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nonsense")
    done = paracell("show", tmp_path / "a", "-o", tmp_path / "o.html")
    assert (done.returncode, done.stderr) == (2, f"paracell: neither a .jsonl trace nor a snapshot: {tmp_path / 'a'}\n")
    assert not (tmp_path / "o.html").exists()


def test_detail_needs_a_trace_that_can_keep_it(tmp_path: Path) -> None:
    done = paracell("run", "--trace-detail", "hello")
    assert (done.returncode, done.stderr) == (
        2,
        "paracell: --trace-detail is for a trace that is .jsonl: there is no --trace\n",
    )
    done = paracell("boot", "--trace-detail", "--trace", tmp_path / "a.pftrace", "none.elf")
    assert (done.returncode, done.stderr) == (
        2,
        f"paracell: --trace-detail is for a trace that is .jsonl: {tmp_path / 'a.pftrace'}\n",
    )


# ---- words and pages ------------------------------------------------------------------------------------------


def test_each_kind_is_in_one_group_and_has_a_label() -> None:
    assert sorted(kind for kinds in GROUPS.values() for kind in kinds) == list(Kind)
    for kind in Kind:
        for number in (0, 1, (1 << 64) - 1):
            event = Event(kind, 0, 0, 0, Who.USER, (number,) * len(FIELDS[kind]))
            assert label(event).startswith(kind.name.lower().replace("_", " "))
            assert all(isinstance(words(event, name, number), str) for name in FIELDS[kind])


def test_words_are_the_manuals() -> None:
    fault = Event(Kind.EXCEPTION, 0, 0, 0, Who.USER, (14, 0x25, 0x1000))
    assert [words(fault, name, value) for name, value in fault.fields.items()] == ["#PF", "P|U|PK", ""]
    assert label(fault) == "exception #PF"
    assert label(Event(Kind.SYSRET, 0, 0, 0, Who.USER, (-38 & (1 << 64) - 1,))) == "sysret -ENOSYS"
    assert label(Event(Kind.VM_EXIT, 0, 0, 0, Who.USER, (1, 0, 48, 0x181, 0))) == "vm exit EPT_VIOLATION"


def test_nothing_in_the_data_becomes_part_of_the_document() -> None:
    html = page("</title><script>1", [text("</script>", "<b>"), table("t", ["a"], [[EXACT + 1]])], "<i>")
    assert html.count("<script") == 2
    assert "<title>&lt;/title&gt;" in html
    data = unpacked(html)
    assert data["sections"][0] == {"kind": "text", "title": "</script>", "lines": ["<b>"]}
    assert data["sections"][1]["rows"] == [[str(EXACT + 1)]]


# ---- snapshots ------------------------------------------------------------------------------------------------


def test_a_machine_that_has_not_begun_has_no_tables_to_show(tmp_path: Path) -> None:
    with Container("hello", runtime="native") as container:
        container.save(tmp_path / "s")
    data = unpacked(show(str(tmp_path / "s")))
    sections = {section["title"]: section for section in data["sections"]}
    assert data["lead"] == "a container under native at 0 cycles"
    assert sections["Walk of RIP"]["walk"] is None
    assert sections["Walk of RIP"]["says"] == "paging is off: linear addresses are physical"
    assert sections["What the page tables map"]["lines"] == ["Nothing to list: PG disabled."]
    assert sections["VMCS"]["lines"] == ["No VMCS is current."]


def test_a_snapshot_shows_what_the_machine_has(tmp_path: Path) -> None:
    with Container("hello") as container:
        container.run_until("hello!main")
        container.save(tmp_path / "s")
        walk = container.walk(container.cpu.rip, "fetch").as_dict()
        cpu = container.cpu
        wanted = {name: hex(getattr(cpu, name)) for name in ("rip", "rsp", "cr3", "pkru", "cr4")}
    data = unpacked(show(str(tmp_path / "s")))
    sections = {section["title"]: section for section in data["sections"]}
    facts = dict(sections["Who stands where"]["rows"])
    assert (facts["who runs"], facts["ring"], facts["runtime"]) == ("program", "3", "paracell")
    state = sections["Processor"]
    assert wanted.items() <= state["registers"].items()
    assert state["pkru"] == wanted["pkru"]
    drawn = sections["Walk of RIP"]["walk"]
    assert [step["entry"] for step in drawn["steps"]] == [f"{step['entry']:#018x}" for step in walk["steps"]]
    kernel = [row for row in sections["What the page tables map"]["rows"] if row[6] == 1]
    assert kernel
    assert all(row[3] == "yes" for row in kernel)  # key 1 is the container kernel's, on user pages


def test_a_damaged_snapshot_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Container("hello") as container:
        container.save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"^the snapshot .*: ") as caught:
        show(str(path))
    assert str(caught.value).endswith(str(path))
    assert "\n" not in str(caught.value)

"""The remote protocol without gdb: framing, and what each packet does to the machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell import Container
from paracell.debug.control import Control
from paracell.debug.packets import LIMIT, Framer, Item, Said, checksum, frame
from paracell.debug.registers import BY_NAME, TABLE, target_xml
from paracell.debug.stops import parse
from paracell.debug.stub import Gone, Stub
from paracell.debug.transport import Place
from paracell.debug.watch import WRITE, Watchpoint, Watchpoints
from paracell.emu.events import Event, Kind, Who
from paracell.emu.timekeeper import NEVER

from .test_run import needs_busybox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.debug.transport import Link

# What QEMU 7.2's x86-64 target calls its registers, by their numbers, as gdb has it from that target.
QEMU = (
    "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags cs ss ds es fs gs fs_base gs_base k_gs_base "
    "cr0 cr2 cr3 cr4 cr8 efer st0 st1 st2 st3 st4 st5 st6 st7 fctrl fstat ftag fiseg fioff foseg fooff fop xmm0 xmm1 xmm2 "
    "xmm3 xmm4 xmm5 xmm6 xmm7 xmm8 xmm9 xmm10 xmm11 xmm12 xmm13 xmm14 xmm15 mxcsr"
)


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(1, 9))
def test_what_is_framed_comes_out_again(payloads: list[bytes], size: int) -> None:
    sent = b"".join(b"+" + frame(payload) for payload in payloads)
    framer = Framer()
    got = [item for i in range(0, len(sent), size) for item in framer.feed(sent[i : i + size])]
    assert got == [Item(Said.PACKET, payload) for payload in payloads]


def test_what_is_no_packet() -> None:
    assert Framer().feed(b"\x03") == [Item(Said.INTERRUPT)]
    assert Framer().feed(b"$g#68")[0].said is Said.WRONG  # 67 is right
    assert Framer().feed(b"-$g#67") == [Item(Said.AGAIN), Item(Said.PACKET, b"g")]
    assert Framer().feed(b"$" + b"a" * (LIMIT + 1)) == [Item(Said.WRONG)]
    assert checksum(b"g") == b"67"
    assert frame(b"}") == b"$}]#da"


class Heard:
    """A link that keeps what is sent."""

    closed = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def interrupted(self, wake: int) -> bool:
        del wake
        return False


class Session:
    """A stub, and what its client and the user have heard."""

    def __init__(self, container: Container) -> None:
        self.machine, self.heard, self.lines = container, Heard(), list[str]()
        link: Link = self.heard  # type: ignore[assignment]
        self.control = Control(container, lambda: False)
        self.stub = Stub(self.control, link, self.lines.append)

    def ask(self, packet: str | bytes) -> str:
        return self.stub.answer(packet.encode() if isinstance(packet, str) else packet).decode("latin-1")

    def monitor(self, command: str) -> str:
        self.heard.sent.clear()
        assert self.ask(f"qRcmd,{command.encode().hex()}") == "OK"
        return "".join(bytes.fromhex(sent[1:].decode()).decode() for sent in self.heard.sent)

    def register(self, name: str) -> int:
        return int.from_bytes(bytes.fromhex(self.ask(f"p{BY_NAME[name]:x}")), "little")


@pytest.fixture
def at_main() -> Iterator[Session]:
    with Container("hello") as container:
        container.run_until("hello!main")
        yield Session(container)


def test_registers_are_qemus_and_more() -> None:
    assert [register.name for register in TABLE][: len(QEMU.split())] == QEMU.split()
    assert list(BY_NAME)[len(QEMU.split())] == "pkru"
    description = target_xml().decode()
    assert re.findall(r'<reg name="(\w+)"', description) == list(BY_NAME)
    declared = {*re.findall(r'id="(\w+)"', description), "int64", "int32", "int", "uint32", "uint64"}
    declared |= {"data_ptr", "code_ptr", "i387_ext"}
    assert set(re.findall(r'<reg [^>]*type="(\w+)"', description)) <= declared


def test_each_register_can_be_read_and_written(at_main: Session) -> None:
    whole = at_main.ask("g")
    assert whole == "".join(at_main.ask(f"p{number:x}") for number in range(len(TABLE)))
    for number, register in enumerate(TABLE):
        value = at_main.ask(f"p{number:x}")
        wanted = "E5f" if register.write is None else "OK"
        assert at_main.ask(f"P{number:x}={value}") == wanted, register.name
    assert at_main.ask(f"G{whole}") == "OK"
    assert at_main.ask("g") == whole
    assert at_main.ask("P1=8877665544332211") == "OK"
    assert at_main.machine.cpu.rbx == 0x1122334455667788
    assert at_main.ask(f"P{BY_NAME['xmm3']:x}={bytes(range(16)).hex()}") == "OK"
    assert at_main.ask(f"P{BY_NAME['st2']:x}={bytes(range(10)).hex()}") == "OK"
    at_main.control.step(at_main.heard.interrupted)
    assert at_main.ask(f"p{BY_NAME['xmm3']:x}") == bytes(range(16)).hex()
    assert at_main.ask(f"p{BY_NAME['st2']:x}") == bytes(range(10)).hex()
    assert at_main.ask(f"p{len(TABLE):x}") == "E16"


def test_who_runs(at_main: Session) -> None:
    assert (at_main.register("ring"), at_main.register("domain"), at_main.register("vmx")) == (3, 0, 0)
    assert at_main.register("exit_reason") == 0xFFFF
    assert at_main.register("pkru") == at_main.machine.cpu.pkru != 0
    assert at_main.register("cycles") == at_main.machine.cycles


def test_memory_by_linear_and_by_physical_address(at_main: Session) -> None:
    code, secret = at_main.machine.symbols["hello!main"], at_main.machine.symbols["gk_secret"]
    there = at_main.machine.translate(secret)
    assert there is not None
    plain = at_main.machine.read(code, 4)
    assert at_main.ask(f"m{code:x},4") == plain.hex()
    assert at_main.ask(f"x{code:x},4") == "b" + plain.decode("latin-1")
    assert at_main.ask(f"m{secret:x},8") == at_main.machine.memory[there : there + 8].hex()  # whatever the keys say
    assert at_main.ask(f"M{code:x},2:90cc") == "OK"  # the page is read-only, to the program
    assert at_main.ask(f"X{code + 2:x},2:".encode() + b"\x90\x90") == "OK"
    assert at_main.machine.read(code, 4) == b"\x90\xcc\x90\x90"
    assert at_main.ask("m1234,4") == "E0e"
    assert at_main.ask("M1234,1:00") == "E0e"
    assert at_main.ask(f"X{code:x},3:ab") == "E16"
    edge = (code | 0xFFF) - 1  # the program ends with this page, or the next
    assert len(at_main.ask(f"m{edge:x},4000")) < 2 * 0x4000
    assert at_main.ask("Qqemu.PhyMemMode:1") == "OK"
    assert at_main.ask("qqemu.PhyMemMode") == "1"
    assert at_main.ask(f"m{int(there):x},8") == at_main.machine.memory[there : there + 8].hex()
    assert at_main.ask("mffffffffffff,8") == "E0e"


def test_breakpoints_are_not_in_memory(at_main: Session) -> None:
    machine = at_main.machine
    place = machine.symbols["sys_write"]
    before = at_main.ask(f"m{place:x},10"), list(machine.inner.cpu.dr)
    assert at_main.ask("qSupported:swbreak+;hwbreak+").startswith("PacketSize=")
    assert at_main.ask(f"Z0,{place:x},1") == "OK"
    assert at_main.ask("vCont;c:1") == "T05thread:1;swbreak:;"
    assert machine.cpu.rip == place
    assert (at_main.ask(f"m{place:x},10"), list(machine.inner.cpu.dr)) == before
    assert at_main.ask("?") == "T05thread:1;swbreak:;"
    assert at_main.ask(f"z0,{place:x},1") == "OK"
    assert at_main.ask(f"Z1,{place:x},1") == "OK"
    assert at_main.ask("c") == "T05thread:1;hwbreak:;"
    assert at_main.ask(f"z1,{place:x},1") == "OK"
    assert at_main.ask("c") == "W00"
    assert at_main.ask("c") == "W00"
    assert machine.stdout.startswith("Hello")


def test_thousands_of_breakpoints(at_main: Session) -> None:
    main = at_main.machine.symbols["hello!main"]
    for place in range(0x5000000, 0x5000000 + 3000):
        assert at_main.ask(f"Z0,{place:x},1") == "OK"
    assert at_main.ask("s") == "T05thread:1;"
    assert at_main.ask(f"Z0,{main:x},1") == "OK"
    assert at_main.ask("c") == "W00"


def test_steps_by_one_and_by_a_range(at_main: Session) -> None:
    machine = at_main.machine
    first = int(machine.cpu.rip)
    assert at_main.ask("s") == "T05thread:1;"
    assert 0 < machine.cpu.rip - first < 16
    assert at_main.ask(f"vCont;r{first:x},{first + 20:x}:1") == "T05thread:1;"
    assert not first <= machine.cpu.rip < first + 20
    assert at_main.ask(f"s{first:x}") == "T05thread:1;"  # the instruction at another address
    assert machine.cpu.rip == first + 1  # PUSH RBP


@needs_busybox
def test_interrupts_wait_for_single_steps() -> None:
    """As QEMU's NOIRQ has it; without it, and when the guest goes on, they come."""
    with Container("busybox", "sh", "-c", "sleep 9 & while :; do :; done", runtime="native") as container:
        session, pending = Session(container), container.inner.traps.pending
        while container.cpu.cpl != 3 or pending.deadline >= NEVER or container.cycles < 5_000_000:
            container.run_until(instructions=50_000)
        for packets, rings in (((b"s", b"s"), (3, 3)), ((b"Qqemu.sstep=1", b"s"), (3, 0))):
            container.inner.clock.cycles = max(container.cycles, pending.deadline)
            found = []
            for packet in packets:
                session.ask(packet)
                found.append(session.register("ring"))
            assert tuple(found) == rings
            assert pending.interrupt is (rings[-1] == 3)
        while container.cpu.cpl != 3:
            container.step()
        session.ask("Qqemu.sstep=3")
        container.inner.clock.cycles = max(container.cycles, pending.deadline)
        session.ask("s")
        assert pending.interrupt
        assert session.monitor("stop-on ring") == "stops on ring\n"
        before = container.cycles
        assert session.ask("c") == "T05thread:1;"
        assert session.register("ring") == 0
        assert container.cycles - before < 10_000  # at once, not with the next tick


def test_watchpoints(at_main: Session) -> None:
    machine = at_main.machine
    slot = int(machine.cpu.rsp) - 8
    assert at_main.ask(f"Z2,{slot:x},8") == "OK"
    assert at_main.ask("c") == f"T05thread:1;watch:{slot:x};"
    assert machine.cpu.rip == machine.symbols["hello!main"] + 1  # behind PUSH RBP, and nothing more has run
    assert at_main.ask(f"z2,{slot:x},8") == "OK"
    assert at_main.ask(f"Z3,{slot + 4:x},1") == "OK"
    answer = at_main.ask("c")
    assert answer == f"T05thread:1;rwatch:{slot + 4:x};"
    assert at_main.ask(f"z3,{slot + 4:x},1") == "OK"
    assert at_main.ask("c") == "W00"


def test_a_table_entry_that_the_walker_marks_is_watched() -> None:
    with Container("touch", "1", runtime="native") as container:
        container.run_until("touch!main")
        session = Session(container)
        entry = container.walk(int(container.cpu.rsp) & ~0xFFF).steps[-1]
        linear = 0xFFFF888000000000 + entry.address  # where the kernel has all memory
        assert container.translate(linear) == entry.address
        container.memory[entry.address : entry.address + 8] = (int(entry.entry) & ~0x60).to_bytes(8, "little")
        container.inner.cpu.translation.flush_all()
        assert session.ask(f"Z2,{linear:x},8") == "OK"
        assert session.ask("c").startswith("T05thread:1;watch:")
        assert container.memory.read64(entry.address) & 0x20  # A


def test_queries(at_main: Session) -> None:
    assert at_main.ask("qAttached") == "1"
    assert at_main.ask("qC") == "QC1"
    assert (at_main.ask("qfThreadInfo"), at_main.ask("qsThreadInfo"), at_main.ask("T1")) == ("m1", "l", "OK")
    assert (at_main.ask("Hg0"), at_main.ask("Hc-1"), at_main.ask("T2")) == ("OK", "OK", "E16")
    assert at_main.ask("qqemu.sstepbits") == "ENABLE=1,NOIRQ=2"
    assert at_main.ask("qOffsets") == ""
    assert [at_main.ask(packet) for packet in ("bs", "bc")] == ["", ""]  # no history is kept here
    assert (at_main.ask("Qqemu.sstep=1"), at_main.ask("qqemu.sstep")) == ("OK", "0x1")
    assert at_main.ask("Qqemu.sstep=8") == "E16"
    assert at_main.ask("qXfer:features:read:target.xml:0,20") == "m" + target_xml().decode()[:0x20]
    assert at_main.ask("qXfer:features:read:target.xml:100000,20") == "l"
    assert at_main.ask("vMustReplyEmpty") == ""
    with pytest.raises(Gone) as gone:
        at_main.ask("k")
    assert gone.value.kills
    with pytest.raises(Gone) as gone:
        at_main.ask("D")
    assert not gone.value.kills


WRONG = (
        ("m", "E16"), ("mzz,4", "E16"), ("m1,", "E16"), ("m11111111111111111,1", "E16"), ("M0,1", "E16"), ("Gabc", "E16"),
        ("G00", "E16"), ("P", "E16"), ("P0=12", "E5f"), ("p", "E16"), ("Z0", "E16"), ("Z9,0,1", ""), ("Z2,0,0", "E16"),
        ("Z2,0,ffffffff", "E16"), ("vCont;t", "E16"), ("vCont;r1", "E16"), ("H", "E16"), ("qRcmd,xyz", "E16"),
        ("qXfer:features:read:other.xml:0,1", "E16"), ("qXfer:features:read:target.xml:0", "E16"), ("sxyz", "E16"),
        ("qNothing", ""), ("!", ""), ("", ""), ("vNothing;1", ""), ("Qqemu.sstep=x", "E16"), ("qOffsets", ""),
)  # fmt: skip
TOLD = {packet for packet, answer in WRONG if answer == "E16"} - {"Z2,0,0", "Z2,0,ffffffff", "H"}


def test_wrong_packets(at_main: Session) -> None:
    before = at_main.ask("g")
    for packet, answer in WRONG:
        at_main.lines.clear()
        assert at_main.ask(packet) == answer
        assert len(at_main.lines) == (packet in TOLD), packet
        assert at_main.ask("g") == before


def test_monitor(at_main: Session) -> None:
    machine = at_main.machine
    main = machine.symbols["hello!main"]
    there = machine.translate(main)
    assert there is not None
    spans = [
        (int(a, 16), int(b, 16), c)
        for a, b, c in re.findall(r"(\w{16})-(\w{16}) \w{16} (\S{3})\n", at_main.monitor("info mem"))
    ]
    assert [rights for first, end, rights in spans if first <= main < end] == ["ur-"]
    stack = int(machine.cpu.rsp)
    assert [rights for first, end, rights in spans if first <= stack < end] == ["urw"]
    assert re.search(
        rf"^{main & ~0xFFF:016x}: {int(there) & ~0xFFF:016x} ---.A--U-$", at_main.monitor("info tlb"), re.MULTILINE
    )
    assert "key 1\n" in at_main.monitor("info tlb")
    word = int.from_bytes(machine.memory[there : there + 4], "little")
    assert at_main.monitor(f"xp /1xw {int(there):#x}") == f"{int(there):016x}: 0x{word:08x}\n"
    assert at_main.monitor(f"gva2gpa {main:#x}") == f"gpa: {int(there):#x}\n"
    assert "PTE.PKEY is 1 and PKRU.AD1 is 1" in at_main.monitor("walk gk_secret user")
    assert at_main.monitor("where").startswith("program at ring 3, VMX off")
    assert "PKRU" in at_main.monitor("info registers")
    for wrong in (
        "xp /0x 1",
        "xp /9q 1",
        "xp",
        "walk",
        "stop-on",
        "info",
        "break nowhere",
        "unbreak 5",
        "nothing",
        "xp 0xffffffffffff",
    ):
        assert at_main.monitor(wrong).count("\n") == 1, wrong


def test_a_breakpoint_in_one_address_space(at_main: Session) -> None:
    main = at_main.machine.symbols["sys_write"]
    assert at_main.monitor(f"break {main:#x} cr3") == ""
    at_main.control.breakpoints.own[main] = 0x1000  # another CR3: it does not count
    assert at_main.ask("c") == "W00"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("stdio", Place()),
        ("unix:x", Place(path="x")),
        ("/a/b", Place(path="/a/b")),
        (":12", Place(port=12)),
        ("tcp:localhost:7", Place(port=7)),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert Place.parse(text) == place


@pytest.mark.parametrize("text", ["", "x", "unix:", "unix:" + 108 * "x", "10.0.0.1:5", ":x", ":99999", "0.0.0.0:1"])
def test_wrong_places(text: str) -> None:
    with pytest.raises(ValueError):
        Place.parse(text)


def test_a_request_that_waits_ends_a_step_and_meets_nothing() -> None:
    """What is waited for counts while the machine goes on, and a step is one instruction."""
    with Container("hello", runtime="native", memory="32M") as container:
        control = Control(container, lambda: False)
        control.stop_on.waits["domain"] = parse(["domain"])
        container.inner.request_stop()
        assert control.step(lambda _fd: False).lines == ()


def test_a_watched_page_that_is_mapped_meanwhile_is_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pages are watched, of which the second one was not there when the run began: its bytes are no change."""
    with Container("hello", runtime="native", memory="32M") as container:
        watched = Watchpoints(container)
        point = Watchpoint(WRITE, 0xFFC, 8)
        watched._before = {point: (0xFFC, b"abcd")}
        monkeypatch.setattr(watched, "_bytes", lambda _point: (0xFFC, b"abcdefgh"))
        event = Event(Kind.RDTSC, 1, 0, 0, Who.KERNEL, (1,))
        watched._on_event(event)
        assert watched.seen is None
        monkeypatch.setattr(watched, "_bytes", lambda _point: (0xFFC, b"abcdeXgh"))
        watched._on_event(event)
        assert watched.seen == (point, 0x1001)

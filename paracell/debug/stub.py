"""The remote stub: what each packet of gdb's remote protocol asks of the machine (gdb manual, "Packets", "General Query Packets").

It speaks the dialect of QEMU's system emulation, so that what was written for that works: registers by QEMU's numbers; its queries
``qqemu.…``; a monitor; and no answer to ``qOffsets``, by which scripts know a machine from QEMU's user emulation.
Threads are the containers of a host (`threads`); elsewhere the processor is the only one.  A packet that is not known gets the empty answer
that the protocol has for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from . import memory
from .backwards import go_back, step_back
from .breakpoints import HARDWARE, SOFTWARE
from .control import ENABLE, NOIRQ, Control, Halt
from .monitor import Monitor
from .packets import LIMIT, Said
from .payload import Wrong, actions, digits, numbers
from .registers import G_SIZE, TABLE, target_xml
from .watch import KINDS, LONGEST, Watchpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .registers import Register
    from .threads import Asleep
    from .transport import Link

_OK: Final = b"OK"
_BAD_ADDRESS, _INVALID, _NOT_SUPPORTED = b"E0e", b"E16", b"E5f"  # EFAULT, EINVAL, EOPNOTSUPP
_PACKET: Final = LIMIT >> 1  # what gdb may send: with every byte escaped it still fits
_MOST: Final = _PACKET >> 1  # bytes of memory in one answer, two digits each
_LONGEST: Final = 1 << 20  # characters of what a monitor command says
_LOOK: Final = 0.2  # seconds between two looks whether the session is to end
_BACKWARDS: Final = "ReverseStep+;ReverseContinue+;"
_FEATURES: Final = f"QStartNoAckMode+;qXfer:features:read+;vContSupported+;{_BACKWARDS}swbreak+;hwbreak+;binary-upload+"


class Gone(Exception):
    """The client has gone, or has said farewell.

    Attributes:
        kills: it wants the guest's end.

    """

    def __init__(self, *, kills: bool = False) -> None:
        super().__init__()
        self.kills = kills


def _step_bits(_rest: bytes) -> bytes:
    return b"ENABLE=%x,NOIRQ=%x" % (ENABLE, NOIRQ)


class Stub:
    """One session with one client.

    Args:
        control: runs the machine.
        link: the client.
        tell: takes lines for whoever started the command.
        asked: whether a signal asks for the end.
        ours: we have started the debugger, so the guest ends with it.

    Attributes:
        halt: why the machine stands still.

    """

    def __init__(
        self,
        control: Control,
        link: Link,
        tell: Callable[[str], None],
        asked: Callable[[], bool] = lambda: False,
        *,
        ours: bool = False,
    ) -> None:
        self.control, self.machine, self.link = control, control.machine, link
        self.halt = Halt()
        self._tell, self._asked = tell, asked
        self._no_more_acks = False
        self._told_reasons: frozenset[str] = frozenset()
        self._physical = False
        self._threads = control.threads
        self._asleep: Asleep | None = None  # who is asked about; None for the one that runs
        self._stepped: int | None = None  # the thread that `s` steps, by Hc
        self._monitor = Monitor(control)
        self._handlers: dict[bytes, Callable[[bytes], bytes]] = {
            b"?": self._why, b"g": self._get_all, b"G": self._set_all, b"p": self._get, b"P": self._set,
            b"m": self._read, b"M": self._write, b"x": self._read_binary, b"X": self._write_binary,
            b"c": self._continue, b"C": self._continue, b"s": self._step, b"S": self._step,
            b"Z": self._insert, b"z": self._remove, b"H": self._thread, b"T": self._alive,
            b"D": self._detach, b"k": self._kill, b"b": self._back,
        }  # fmt: skip
        self._named: dict[bytes, Callable[[bytes], bytes]] = {
            b"vCont?": lambda _: b"vCont;c;C;s;S;r", b"vCont": self._resume, b"vKill": self._kill, b"vMustReplyEmpty": lambda _: b"",
            b"qSupported": self._supported, b"QStartNoAckMode": self._no_acks, b"qXfer:features:read": self._features,
            b"qAttached": lambda _: b"0" if ours else b"1", b"qC": lambda _: b"QC%x" % self._threads.current(),
            b"qfThreadInfo": lambda _: b"m" + b",".join(b"%x" % thread for thread in self._threads.all()),
            b"qsThreadInfo": lambda _: b"l",
            b"qThreadExtraInfo": self._extra, b"qSymbol": lambda _: _OK, b"qRcmd": self._command,
            b"qqemu.sstepbits": _step_bits, b"Qqemu.sstepbits": _step_bits,
            b"qqemu.sstep": self._steps, b"Qqemu.sstep": self._set_step,
            b"qqemu.PhyMemMode": lambda _: b"%d" % self._physical, b"Qqemu.PhyMemMode": self._set_physical,
        }  # fmt: skip

    # ---- the conversation -----------------------------------------------------------------------------------------------

    def serve(self) -> bool:
        """Answer until the client goes; tells whether the guest is to end with that.  `Control.release` is the caller's."""
        while True:
            item = self.link.item(_LOOK)
            if self._asked() or self.halt.asked:
                return True
            if item is None:
                if self.link.closed:
                    return False
            elif item.said is Said.WRONG:
                self._tell(f"a packet with a wrong checksum, or without an end: {item.payload[:40]!r}")
            elif item.said is Said.PACKET:
                try:
                    self.link.send(self.answer(item.payload))
                except Gone as gone:
                    return gone.kills
                if self._no_more_acks:
                    self.link.acknowledges = False

    def answer(self, payload: bytes) -> bytes:
        """Give the answer to one packet; raises `Gone` where there is none, for the client is leaving."""
        handler = None
        if payload[:1] in {b"q", b"Q", b"v"}:
            names = [name for name in self._named if payload.startswith(name)]
            name = max(names, key=len, default=b"")
            rest = payload[len(name) :]
            if name and rest[:1] in {b"", b":", b";", b",", b"="}:
                handler, rest = self._named[name], rest[1:]
        else:
            rest = payload[1:]
            handler = self._handlers.get(payload[:1])
        if handler is None:
            return b""
        try:
            return handler(rest)
        except Wrong as wrong:
            self._tell(f"a wrong packet from the debugger, {payload[:20]!r}: {wrong}")
            return _INVALID

    def _supported(self, asked: bytes) -> bytes:
        self._told_reasons = frozenset(re.findall(r"(swbreak|hwbreak)\+", asked.decode("ascii", "replace")))
        features = _FEATURES if self.control.history else _FEATURES.replace(_BACKWARDS, "")
        return f"PacketSize={_PACKET:x};{features}".encode()

    def _no_acks(self, _rest: bytes) -> bytes:
        self._no_more_acks = True
        return _OK

    def _features(self, rest: bytes) -> bytes:
        name, _, where = rest.partition(b":")
        if name != b"target.xml":
            raise Wrong(f"no such description: {name[:40]!r}")
        offset, length = numbers(where, b",")
        part = target_xml()[offset : offset + length]
        return (b"m" if offset + length < len(target_xml()) else b"l") + part

    # ---- threads ----------------------------------------------------------------------------------------------------------

    def _thread(self, rest: bytes) -> bytes:
        """Choose the thread that registers and memory are asked of, or, with ``Hc``, that ``s`` steps."""
        if rest[:1] not in {b"g", b"c"}:
            return _INVALID
        thread = self._known(rest[1:])
        if rest[:1] == b"g":
            self._asleep = self._threads.asleep(thread)
        else:
            self._stepped = thread
        return _OK

    def _known(self, number: bytes) -> int:
        """Give a thread by its number; the one that runs where the client does not say."""
        thread = self._threads.current() if number in {b"", b"0", b"-1"} else numbers(number, b"")[0]
        if thread not in self._threads.all():
            raise Wrong(f"no such thread: {number[:20]!r}")
        return thread

    def _alive(self, rest: bytes) -> bytes:
        self._known(rest)
        return _OK

    def _extra(self, rest: bytes) -> bytes:
        return self._threads.says(self._known(rest)).encode().hex().encode()

    # ---- registers ------------------------------------------------------------------------------------------------------

    def _get_all(self, _rest: bytes) -> bytes:
        return b"".join(self._shown(register) for register in TABLE)

    def _shown(self, register: Register) -> bytes:
        """Give a register; x for what a container that does not run has nowhere."""
        if self._asleep is None:
            return register.packed(self.machine).hex().encode()
        return register.kept(self._asleep).hex().encode() or b"xx" * register.size

    def _set_all(self, rest: bytes) -> bytes:
        data = digits(rest)
        if self._asleep is not None:
            return _NOT_SUPPORTED
        if len(data) != G_SIZE:
            raise Wrong(f"{len(data)} bytes of registers, not {G_SIZE}")
        at = 0
        for number, register in enumerate(TABLE):
            wanted = data[at : at + register.size]
            at += register.size
            if wanted != register.packed(self.machine) and register.write is not None:
                self._put(number, wanted)
        return _OK

    def _get(self, rest: bytes) -> bytes:
        (number,) = numbers(rest, b"")
        return self._shown(TABLE[number]) if number < len(TABLE) else _INVALID

    def _set(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        return self._put(numbers(number, b"")[0], digits(value))

    def _put(self, number: int, data: bytes) -> bytes:
        register = TABLE[number] if number < len(TABLE) else None
        if self._asleep is not None or register is None or register.write is None or len(data) != register.size:
            return _NOT_SUPPORTED
        try:
            register.write(self.machine, int.from_bytes(data, "little"))
        except ValueError as error:
            raise Wrong(str(error)) from error
        self.control.changed()
        return _OK

    # ---- memory ---------------------------------------------------------------------------------------------------------

    def _fetch(self, rest: bytes) -> bytes:
        address, size = numbers(rest, b",")
        return memory.read(self.machine, address, min(size, _MOST), physical=self._physical, asleep=self._asleep)

    def _read(self, rest: bytes) -> bytes:
        return self._fetch(rest).hex().encode() or _BAD_ADDRESS

    def _read_binary(self, rest: bytes) -> bytes:
        data = self._fetch(rest)
        return b"b" + data if data or rest.endswith(b",0") else _BAD_ADDRESS

    def _write(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._store(where, digits(data))

    def _write_binary(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._store(where, data)

    def _store(self, where: bytes, data: bytes) -> bytes:
        address, size = numbers(where, b",")
        if size != len(data):
            raise Wrong(f"{len(data)} bytes, not the {size} that are announced")
        if not memory.write(self.machine, address, data, physical=self._physical, asleep=self._asleep):
            return _BAD_ADDRESS
        self.control.changed()
        return _OK

    # ---- breakpoints ----------------------------------------------------------------------------------------------------

    def _insert(self, rest: bytes) -> bytes:
        kind, address, size = numbers(rest.partition(b";")[0], b",,")
        if kind in {SOFTWARE, HARDWARE}:
            self.control.breakpoints.insert(kind, address)
        elif kind in KINDS and 0 < size <= LONGEST:
            self.control.watchpoints.wanted.add(Watchpoint(kind, address, size))
        else:
            return b"" if kind not in KINDS else _INVALID
        return _OK

    def _remove(self, rest: bytes) -> bytes:
        kind, address, size = numbers(rest.partition(b";")[0], b",,")
        if kind in {SOFTWARE, HARDWARE}:
            self.control.breakpoints.remove(kind, address)
        else:
            self.control.watchpoints.wanted.discard(Watchpoint(kind, address, size))
        return _OK

    # ---- running --------------------------------------------------------------------------------------------------------

    def _continue(self, rest: bytes) -> bytes:
        self._jump(rest)
        return self._run(lambda: self.control.go_on(self.link.interrupted))

    def _step(self, rest: bytes) -> bytes:
        self._jump(rest)
        thread = self._stepped if self._stepped in self._threads.all() else None
        return self._run(lambda: self.control.step(self.link.interrupted, thread=thread))

    def _jump(self, rest: bytes) -> None:
        """Take the address behind ``c`` and ``s``, or the signal behind ``C`` and ``S``: no signal reaches a guest."""
        where = rest.rpartition(b";")[2] if b";" in rest else b"" if len(rest) == 2 else rest
        if where:
            self.machine.cpu.rip = numbers(where, b"")[0]
            self.control.changed()

    def _resume(self, rest: bytes) -> bytes:
        """Step the thread that an action says so of, while the others run if there is an action for them; or let all run."""
        asked = actions(rest)
        steps = [(action, thread) for action, thread in asked if action[:1] not in {b"c", b"C"}]
        if not steps:
            return self._continue(b"")
        action, number = steps[0]
        thread = self._known(number)
        within = range(*numbers(action[1:], b",")) if action[:1] == b"r" else range(0)
        alone = len(asked) == 1 and number != b""
        return self._run(lambda: self.control.step(self.link.interrupted, within, thread, alone=alone))

    def _back(self, rest: bytes) -> bytes:
        history = self.control.history
        if history is None or rest not in {b"s", b"c"}:
            return b""
        if rest == b"s":
            return self._run(lambda: step_back(self.control, history, self.link.interrupted))
        return self._run(lambda: go_back(self.control, history, self.link.interrupted))

    def _run(self, go: Callable[[], Halt]) -> bytes:
        if self.halt.ended:
            return self._why(b"")
        self._asleep = None
        self.halt = go()
        if self.link.closed:
            raise Gone
        for line in self.halt.lines:
            self.link.send(b"O" + (line + "\n").encode().hex().encode())
        return self._why(b"")

    def _why(self, _rest: bytes) -> bytes:
        """Give the stop reply of the last halt."""
        halt = self.halt
        if halt.ended:
            return b"W%02x" % (halt.stop.value & 0xFF if halt.stop else 0)
        why = halt.why
        if why.startswith(("swbreak", "hwbreak")) and why.partition(":")[0] not in self._told_reasons:
            why = ""
        return f"T{halt.signal:02x}thread:{halt.thread or self._threads.current():x};{why}".encode()

    # ---- the end --------------------------------------------------------------------------------------------------------

    def _detach(self, _rest: bytes) -> bytes:
        self.link.send(_OK)
        raise Gone

    def _kill(self, rest: bytes) -> bytes:
        if rest:  # vKill wants an answer, k none
            self.link.send(_OK)
        raise Gone(kills=True)

    # ---- QEMU's own -----------------------------------------------------------------------------------------------------

    def _steps(self, _rest: bytes) -> bytes:
        return b"0x%x" % self.control.step_bits

    def _set_step(self, rest: bytes) -> bytes:
        if not rest:  # QEMU takes this for a question
            return self._steps(rest)
        (bits,) = numbers(rest, b"")
        if bits & ~(ENABLE | NOIRQ):
            raise Wrong(f"single steps have no such bits: {bits:#x}")
        self.control.step_bits = bits
        return _OK

    def _set_physical(self, rest: bytes) -> bytes:
        self._physical = bool(numbers(rest, b"")[0])
        return _OK

    def _command(self, rest: bytes) -> bytes:
        text = self._monitor.run(digits(rest).decode("utf-8", "replace"))
        if len(text) > _LONGEST:
            text = text[: text.rindex("\n", 0, _LONGEST)] + "\n… and so on\n"
        for part in (text[i : i + 2000] for i in range(0, len(text), 2000)):
            self.link.send(b"O" + part.encode().hex().encode())
        return _OK


__all__ = ["Gone", "Stub", "Wrong"]

"""The remote stub: what each packet of gdb's remote protocol asks of the machine (gdb manual, "Packets", "General Query Packets").

It speaks QEMU's dialect, so that what was written for QEMU works: one thread, the processor; registers by QEMU's numbers; its queries
``qqemu.…``; and a monitor.  A packet that is not known gets the empty answer that the protocol has for it.
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
from .registers import G_SIZE, TABLE, target_xml
from .watch import KINDS, LONGEST, Watchpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Link

_OK: Final = b"OK"
_BAD_ADDRESS, _INVALID, _NOT_SUPPORTED = b"E0e", b"E16", b"E5f"  # EFAULT, EINVAL, EOPNOTSUPP
_PACKET: Final = LIMIT >> 1  # what gdb may send: with every byte escaped it still fits
_MOST: Final = _PACKET >> 1  # bytes of memory in one answer, two digits each
_LONGEST: Final = 1 << 20  # characters of what a monitor command says
_LOOK: Final = 0.2  # seconds between two looks whether the session is to end
_NUMBER: Final = re.compile(rb"[0-9a-fA-F]{1,16}")
_BACKWARDS: Final = "ReverseStep+;ReverseContinue+;"
_FEATURES: Final = f"QStartNoAckMode+;qXfer:features:read+;vContSupported+;{_BACKWARDS}swbreak+;hwbreak+;binary-upload+"


class Wrong(Exception):
    """A packet that does not say what it should; the answer is EINVAL."""


class Gone(Exception):
    """The client has gone, or has said farewell.

    Attributes:
        kills: it wants the guest's end.

    """

    def __init__(self, *, kills: bool = False) -> None:
        super().__init__()
        self.kills = kills


def _numbers(data: bytes, separators: bytes) -> list[int]:
    """Parse hexadecimal numbers with one of `separators` after each but the last."""
    parts = re.split(b"[" + re.escape(separators) + b"]", data) if separators else [data]
    if len(parts) != len(separators) + 1 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise Wrong(f"no numbers: {data[:40]!r}")
    return [int(part, 16) for part in parts]


def _bytes(data: bytes) -> bytes:
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError as error:
        raise Wrong(f"no hexadecimal digits: {data[:40]!r}") from error


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
            b"qAttached": lambda _: b"0" if ours else b"1", b"qC": lambda _: b"QC1", b"qfThreadInfo": lambda _: b"m1",
            b"qsThreadInfo": lambda _: b"l",
            b"qThreadExtraInfo": self._extra, b"qOffsets": lambda _: b"Text=0;Data=0;Bss=0", b"qSymbol": lambda _: _OK,
            b"qRcmd": self._command, b"qqemu.sstepbits": lambda _: b"ENABLE=%x,NOIRQ=%x" % (ENABLE, NOIRQ),
            b"qqemu.sstep": lambda _: b"0x%x" % control.step_bits, b"Qqemu.sstep": self._set_step,
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
        offset, length = _numbers(where, b",")
        part = target_xml()[offset : offset + length]
        return (b"m" if offset + length < len(target_xml()) else b"l") + part

    # ---- threads: the processor is the only one -------------------------------------------------------------------------

    def _thread(self, rest: bytes) -> bytes:
        return _OK if rest[1:] in {b"", b"0", b"1", b"-1"} and rest[:1] in {b"g", b"c"} else _INVALID

    def _alive(self, rest: bytes) -> bytes:
        return _OK if rest == b"1" else _INVALID

    def _extra(self, _rest: bytes) -> bytes:
        return f"CPU#0 [{'halted' if self.machine.inner.cpu.halted else 'running'}]".encode().hex().encode()

    # ---- registers ------------------------------------------------------------------------------------------------------

    def _get_all(self, _rest: bytes) -> bytes:
        return b"".join(register.bytes(self.machine) for register in TABLE).hex().encode()

    def _set_all(self, rest: bytes) -> bytes:
        data = _bytes(rest)
        if len(data) != G_SIZE:
            raise Wrong(f"{len(data)} bytes of registers, not {G_SIZE}")
        at = 0
        for number, register in enumerate(TABLE):
            wanted = data[at : at + register.size]
            at += register.size
            if wanted != register.bytes(self.machine) and register.write is not None:
                self._put(number, wanted)
        return _OK

    def _get(self, rest: bytes) -> bytes:
        (number,) = _numbers(rest, b"")
        return TABLE[number].bytes(self.machine).hex().encode() if number < len(TABLE) else _INVALID

    def _set(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        return self._put(_numbers(number, b"")[0], _bytes(value))

    def _put(self, number: int, data: bytes) -> bytes:
        register = TABLE[number] if number < len(TABLE) else None
        if register is None or register.write is None or len(data) != register.size:
            return _NOT_SUPPORTED
        try:
            register.write(self.machine, int.from_bytes(data, "little"))
        except ValueError as error:
            raise Wrong(str(error)) from error
        self.control.changed()
        return _OK

    # ---- memory ---------------------------------------------------------------------------------------------------------

    def _fetch(self, rest: bytes) -> bytes:
        address, size = _numbers(rest, b",")
        return memory.read(self.machine, address, min(size, _MOST), physical=self._physical)

    def _read(self, rest: bytes) -> bytes:
        return self._fetch(rest).hex().encode() or _BAD_ADDRESS

    def _read_binary(self, rest: bytes) -> bytes:
        data = self._fetch(rest)
        return b"b" + data if data or rest.endswith(b",0") else _BAD_ADDRESS

    def _write(self, rest: bytes) -> bytes:
        where, _, digits = rest.partition(b":")
        return self._store(where, _bytes(digits))

    def _write_binary(self, rest: bytes) -> bytes:
        where, _, data = rest.partition(b":")
        return self._store(where, data)

    def _store(self, where: bytes, data: bytes) -> bytes:
        address, size = _numbers(where, b",")
        if size != len(data):
            raise Wrong(f"{len(data)} bytes, not the {size} that are announced")
        if not memory.write(self.machine, address, data, physical=self._physical):
            return _BAD_ADDRESS
        self.control.changed()
        return _OK

    # ---- breakpoints ----------------------------------------------------------------------------------------------------

    def _insert(self, rest: bytes) -> bytes:
        kind, address, size = _numbers(rest.partition(b";")[0], b",,")
        if kind in {SOFTWARE, HARDWARE}:
            self.control.breakpoints.insert(kind, address)
        elif kind in KINDS and 0 < size <= LONGEST:
            self.control.watchpoints.wanted.add(Watchpoint(kind, address, size))
        else:
            return b"" if kind not in KINDS else _INVALID
        return _OK

    def _remove(self, rest: bytes) -> bytes:
        kind, address, size = _numbers(rest.partition(b";")[0], b",,")
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
        return self._run(lambda: self.control.step(self.link.interrupted))

    def _jump(self, rest: bytes) -> None:
        """Take the address behind ``c`` and ``s``, or the signal behind ``C`` and ``S``: no signal reaches a guest."""
        where = rest.rpartition(b";")[2] if b";" in rest else b"" if len(rest) == 2 else rest
        if where:
            self.machine.cpu.rip = _numbers(where, b"")[0]
            self.control.changed()

    def _resume(self, rest: bytes) -> bytes:
        action = rest.partition(b";")[0].partition(b":")[0]
        if action[:1] in {b"c", b"C"}:
            return self._continue(b"")
        if action[:1] in {b"s", b"S"}:
            return self._step(b"")
        if action[:1] == b"r":
            first, end = _numbers(action[1:], b",")
            return self._run(lambda: self.control.step(self.link.interrupted, range(first, end)))
        raise Wrong("an action that is not offered")

    def _back(self, rest: bytes) -> bytes:
        history = self.control.history
        if history is None or rest not in {b"s", b"c"}:
            return b""
        if rest == b"s":
            return self._run(lambda: step_back(history))
        return self._run(lambda: go_back(self.control, history, self.link.interrupted))

    def _run(self, go: Callable[[], Halt]) -> bytes:
        if self.halt.ended:
            return self._why(b"")
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
        return f"T{halt.signal:02x}thread:1;{why}".encode()

    # ---- the end --------------------------------------------------------------------------------------------------------

    def _detach(self, _rest: bytes) -> bytes:
        self.link.send(_OK)
        raise Gone

    def _kill(self, rest: bytes) -> bytes:
        if rest:  # vKill wants an answer, k none
            self.link.send(_OK)
        raise Gone(kills=True)

    # ---- QEMU's own -----------------------------------------------------------------------------------------------------

    def _set_step(self, rest: bytes) -> bytes:
        (bits,) = _numbers(rest, b"")
        if bits & ~(ENABLE | NOIRQ):
            raise Wrong(f"single steps have no such bits: {bits:#x}")
        self.control.step_bits = bits
        return _OK

    def _set_physical(self, rest: bytes) -> bytes:
        self._physical = bool(_numbers(rest, b"")[0])
        return _OK

    def _command(self, rest: bytes) -> bytes:
        text = self._monitor.run(_bytes(rest).decode("utf-8", "replace"))
        if len(text) > _LONGEST:
            text = text[: text.rindex("\n", 0, _LONGEST)] + "\n… and so on\n"
        for part in (text[i : i + 2000] for i in range(0, len(text), 2000)):
            self.link.send(b"O" + part.encode().hex().encode())
        return _OK


__all__ = ["Gone", "Stub", "Wrong"]

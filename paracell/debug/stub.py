"""The remote stub: what each packet of gdb's remote protocol asks of the machine (gdb manual, "Packets", "General Query Packets").

It speaks the dialect of QEMU's system emulation, so that what was written for that works: registers by QEMU's numbers; its queries
``qqemu.…``; a monitor; and no answer to ``qOffsets``, by which scripts know a machine from QEMU's user emulation.
What is asked of a machine that stands still, `inspection` answers.  A packet that is not known gets the empty answer that the
protocol has for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .backwards import go_back, step_back
from .breakpoints import HARDWARE, SOFTWARE
from .control import ENABLE, NOIRQ, Control, Halt
from .inspection import INVALID, OK, PACKET, Inspection
from .monitor import Monitor
from .packets import Said
from .payload import Wrong, actions, digits, numbers
from .registers import target_xml
from .watch import KINDS, LONGEST, Watchpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Link

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
        self._threads = control.threads
        self._inspection = Inspection(control)
        self._monitor = Monitor(control)
        self._handlers: dict[bytes, Callable[[bytes], bytes]] = {
            **self._inspection.handlers,
            b"?": self._why,
            b"c": self._continue, b"C": self._continue, b"s": self._step, b"S": self._step,
            b"Z": self._insert, b"z": self._remove,
            b"D": self._detach, b"k": self._kill, b"b": self._back,
        }  # fmt: skip
        self._named: dict[bytes, Callable[[bytes], bytes]] = {
            **self._inspection.named,
            b"vCont?": lambda _: b"vCont;c;C;s;S;r", b"vCont": self._resume, b"vKill": self._kill, b"vMustReplyEmpty": lambda _: b"",
            b"qSupported": self._supported, b"QStartNoAckMode": self._no_acks, b"qXfer:features:read": self._features,
            b"qAttached": lambda _: b"0" if ours else b"1", b"qSymbol": lambda _: OK, b"qRcmd": self._command,
            b"qqemu.sstepbits": _step_bits, b"Qqemu.sstepbits": _step_bits,
            b"qqemu.sstep": self._steps, b"Qqemu.sstep": self._set_step,
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
            return INVALID

    def _supported(self, asked: bytes) -> bytes:
        self._told_reasons = frozenset(re.findall(r"(swbreak|hwbreak)\+", asked.decode("ascii", "replace")))
        features = _FEATURES if self.control.history else _FEATURES.replace(_BACKWARDS, "")
        return f"PacketSize={PACKET:x};{features}".encode()

    def _no_acks(self, _rest: bytes) -> bytes:
        self._no_more_acks = True
        return OK

    def _features(self, rest: bytes) -> bytes:
        name, _, where = rest.partition(b":")
        if name != b"target.xml":
            raise Wrong(f"no such description: {name[:40]!r}")
        offset, length = numbers(where, b",")
        part = target_xml()[offset : offset + length]
        return (b"m" if offset + length < len(target_xml()) else b"l") + part

    # ---- breakpoints ----------------------------------------------------------------------------------------------------

    def _insert(self, rest: bytes) -> bytes:
        kind, address, size = numbers(rest.partition(b";")[0], b",,")
        if kind in {SOFTWARE, HARDWARE}:
            self.control.breakpoints.insert(kind, address)
        elif kind in KINDS and 0 < size <= LONGEST:
            self.control.watchpoints.wanted.add(Watchpoint(kind, address, size))
        else:
            return b"" if kind not in KINDS else INVALID
        return OK

    def _remove(self, rest: bytes) -> bytes:
        kind, address, size = numbers(rest.partition(b";")[0], b",,")
        if kind in {SOFTWARE, HARDWARE}:
            self.control.breakpoints.remove(kind, address)
        else:
            self.control.watchpoints.wanted.discard(Watchpoint(kind, address, size))
        return OK

    # ---- running --------------------------------------------------------------------------------------------------------

    def _continue(self, rest: bytes) -> bytes:
        self._jump(rest)
        return self._run(lambda: self.control.go_on(self.link.interrupted))

    def _step(self, rest: bytes) -> bytes:
        self._jump(rest)
        stepped = self._inspection.stepped
        thread = stepped if stepped in self._threads.all() else None
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
        thread = self._inspection.known(number)
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
        self._inspection.asleep = None
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
        self.link.send(OK)
        raise Gone

    def _kill(self, rest: bytes) -> bytes:
        if rest:  # vKill wants an answer, k none
            self.link.send(OK)
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
        return OK

    def _command(self, rest: bytes) -> bytes:
        text = self._monitor.run(digits(rest).decode("utf-8", "replace"))
        if len(text) > _LONGEST:
            text = text[: text.rindex("\n", 0, _LONGEST)] + "\n… and so on\n"
        for part in (text[i : i + 2000] for i in range(0, len(text), 2000)):
            self.link.send(b"O" + part.encode().hex().encode())
        return OK


__all__ = ["Gone", "Stub", "Wrong"]

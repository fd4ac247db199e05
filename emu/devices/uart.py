"""A 16750 UART: a 16550 (National Semiconductor PC16550D data sheet) whose FIFOs can hold 64 bytes (Texas Instruments TL16C750).

::

    offset   0 RBR/THR (DLL)  1 IER (DLM)  2 IIR/FCR  3 LCR  4 MCR  5 LSR  6 MSR  7 SCR

Bytes go out at once, so the transmitter is always empty.  With its FIFOs on, the receiver takes as many as have come; without, one, and
the next after the time that a character takes on the line.  MSR.DCD falls when the far end has hung up: the end of stdin.  With hardware
flow control the far end sends while MCR.RTS is set, so nothing that is typed while a kernel still boots gets lost.  INTR goes straight to
the interrupt controllers, as on QEMU's board, whose guests rely on it: IBM's had a gate between that MCR.OUT2 opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..clock import TSC_HZ, Clock

if TYPE_CHECKING:
    from collections.abc import Callable

_DLAB: Final = 0x80
_LOOP, _RTS = 0x10, 2  # in MCR
_DR, _THRE, _TEMT = 1, 0x20, 0x40
_DCD, _DSR, _CTS, _DDCD = 0x80, 0x20, 0x10, 0x08
_FIFO_ON, _FIFO_64 = 1, 0x20  # in FCR
_TRIGGERS: Final = {
    False: (1, 4, 8, 14),
    True: (1, 16, 32, 56),
}  # bytes, by whether the FIFOs hold 64; FCR's bits 7:6 choose
_DATA, _NOT_YET = 4, 0xC  # in IIR: as many bytes as the trigger wants are there; fewer, and the line is idle
_BITS_A_SECOND: Final = 115_200  # with a divisor of 1
_CHARACTER: Final = 10  # bits: start, eight, stop


class Uart:
    """One serial line.

    Args:
        base: its first port.
        send: takes bytes that the guest transmits.
        receive: gives up to n bytes that have arrived.
        ended: tells whether no byte will come any more.
        changed: called when its interrupt line may have changed.

    Attributes:
        flow_control: the far end sends only while MCR.RTS is set.
        due: the cycle at which the next character may have come, or None.

    """

    def __init__(
        self,
        base: int,
        send: Callable[[bytes], None],
        receive: Callable[[int], bytes],
        ended: Callable[[], bool],
        changed: Callable[[], None],
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self.due: int | None = None
        self.ports = range(base, base + 8)
        self._send, self._receive, self._ended, self._changed = send, receive, ended, changed
        self._fifo = bytearray()
        self._divisor, self._ier, self._lcr, self._mcr, self._scratch, self._fcr = 1, 0, 3, 8, 0, 0
        self._thr_interrupt = self._told_end = self.flow_control = False
        self._level = False  # of the interrupt line, as it was last told

    def _fill(self) -> None:
        sends = not self._mcr & _LOOP and (self._mcr & _RTS or not self.flow_control)
        room = self._depth() - len(self._fifo)
        if sends and room > 0 and self.due is None:
            self._fifo += self._receive(room)

    def _depth(self) -> int:
        return 1 if not self._fcr & _FIFO_ON else 64 if self._fcr & _FIFO_64 else 16

    def service(self) -> None:
        """Let the next character come, if its time is there."""
        if self.due is not None and self._clock.now >= self.due:
            self.due = None
            self._changed()

    def put(self, data: bytes) -> None:
        """Have bytes arrive from the line, as Ctrl-C does."""
        self._fifo += data
        self._changed()

    def read(self, port: int, _size: int) -> int:
        """Read a register."""
        offset = port - self.ports.start
        if offset < 2 and self._lcr & _DLAB:
            return self._divisor >> 8 * offset & 0xFF
        if offset == 0:
            self._fill()
            if not self._fifo:
                return 0
            if not self._fcr & _FIFO_ON:
                self.due = self._clock.now + _CHARACTER * max(self._divisor, 1) * TSC_HZ // _BITS_A_SECOND
                self._changed()
            value = self._fifo.pop(0)
            self._consider()
            return value
        if offset == 2:
            self._fill()
            cause = self._cause()
            if cause == 2:
                self._thr_interrupt = False
                self._changed()
            return cause | (0xC0 | self._fcr & _FIFO_64 if self._fcr & _FIFO_ON else 0)
        if offset == 5:
            self._fill()
            return _THRE | _TEMT | (_DR if self._fifo else 0)
        if offset == 6:
            return self._modem_status()
        return {1: self._ier, 3: self._lcr, 4: self._mcr, 7: self._scratch}[offset]

    def _modem_status(self) -> int:
        if self._mcr & _LOOP:
            return (self._mcr & 2) << 3 | (self._mcr & 1) << 5 | (self._mcr & 0xC) << 4
        self._fill()
        hung_up = self._ended() and not self._fifo
        changed = hung_up and not self._told_end
        self._told_end |= hung_up
        self._changed()
        return _DSR | _CTS | (0 if hung_up else _DCD) | (_DDCD if changed else 0)

    def _cause(self) -> int:
        if self._ier & 1 and self._fifo:
            trigger = _TRIGGERS[bool(self._fcr & _FIFO_64)][self._fcr >> 6]
            return _DATA if len(self._fifo) >= trigger or not self._fcr & _FIFO_ON else _NOT_YET
        if self._ier & 2 and self._thr_interrupt:
            return 2
        if self._ier & 8 and not self._told_end and self._ended() and not self._fifo:
            return 0  # modem status: DCD has fallen
        return 1

    def write(self, port: int, _size: int, value: int) -> None:
        """Write a register."""
        offset, value = port - self.ports.start, value & 0xFF
        if offset < 2 and self._lcr & _DLAB:
            shift = 8 * offset
            self._divisor = self._divisor & ~(0xFF << shift) | value << shift
        elif offset == 0:
            if self._mcr & _LOOP:
                self._fifo.append(value)
            else:
                self._send(bytes((value,)))
            self._transmitted()
        elif offset == 1:
            self._thr_interrupt = bool(value & 2)
            self._ier = value & 0xF
            self._changed()
        elif offset == 2:
            if value & 2:
                self._fifo.clear()
            size = value if self._lcr & _DLAB else self._fcr  # the size can be chosen while DLAB is set only
            self._fcr = value & ~_FIFO_64 | size & _FIFO_64 if value & _FIFO_ON else 0
        elif offset == 3:
            self._lcr = value
        elif offset == 4:
            self._mcr = value & 0x1F
            if self.flow_control:
                self._changed()
        elif offset == 7:
            self._scratch = value

    def write_block(self, data: bytes) -> bool:
        """Send a whole string that REP OUTS has for THR; False where it must go byte by byte."""
        if self._lcr & _DLAB or self._mcr & _LOOP:
            return False
        self._send(data)
        self._transmitted()
        return True

    def read_block(self, count: int) -> bytes | None:
        """Give a whole string that REP INS wants from RBR; None where it must come byte by byte.

        The line is fast: while a byte is read the next one comes in.
        """
        if self._lcr & _DLAB or not self._fcr & _FIFO_ON:
            return None
        self._fill()
        if len(self._fifo) < count and not self._mcr & _LOOP:
            self._fifo += self._receive(count - len(self._fifo))
        if len(self._fifo) < count:
            return None
        data = bytes(self._fifo[:count])
        del self._fifo[:count]
        self._consider()
        return data

    def _transmitted(self) -> None:
        self._thr_interrupt = True
        if self._ier & 2:
            self._changed()

    def line(self) -> bool:
        """Tell whether it wants an interrupt."""
        if self._ier & 9 and not self._fifo:
            self._fill()
        self._level = self._cause() != 1
        return self._level

    def _consider(self) -> None:
        """Tell of the interrupt line if it has changed: a look at all lines takes longer than the reading of a byte."""
        if self._level != self.line():
            self._changed()

    def waits_for_input(self) -> bool:
        """Tell whether a byte that arrives would interrupt."""
        return bool(self._ier & 1)

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {
            "fifo": list(self._fifo), "divisor": self._divisor, "ier": self._ier, "lcr": self._lcr, "mcr": self._mcr,
            "scratch": self._scratch, "fcr": self._fcr, "thr": self._thr_interrupt, "end": self._told_end,
            "flow": self.flow_control, "due": self.due, "level": self._level,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._fifo = bytearray(state["fifo"])
        self._divisor, self._ier, self._lcr, self._mcr = state["divisor"], state["ier"], state["lcr"], state["mcr"]
        self._scratch, self._fcr, self._thr_interrupt = state["scratch"], state["fcr"], state["thr"]
        self._told_end, self.flow_control = state["end"], state["flow"]
        self.due, self._level = state["due"], state["level"]

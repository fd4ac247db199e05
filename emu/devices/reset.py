"""Ways for a guest to reset the machine: the reset control register, system control port A, and the keyboard controller.

::

    0xcf9  2 RST_CPU, which resets when it rises  1 SYS_RST     0x92  0 fast reset, when it rises  1 A20
    0x64   status, commands                                     0x60  data

Source: Intel I/O Controller Hub 9 data sheet, "RST_CNT" and "Port 92"; IBM PS/2 Hardware Interface Technical Reference,
"Keyboard and Auxiliary Device Controller".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTROL, _PORT_A, _DATA, _COMMAND = 0xCF9, 0x92, 0x60, 0x64
_SYS_RST, _RST_CPU, _FULL_RST = 2, 4, 8
_FAST, _A20 = 1, 2
_FULL, _SYSTEM, _TO_COMMAND, _UNLOCKED = 1, 4, 8, 0x10  # in the keyboard controller's status
_NOT_RESET: Final = 1  # in its output port
_SELF_TEST_PASSED, _NO_DEVICE = 0x55, 1  # an interface test finds its clock line low


class Reset:
    """The registers that reset the machine; `end` is called with ``reset``."""

    ports: Final = (_PORT_A, _CONTROL)

    def __init__(self, end: Callable[[str, int], None]) -> None:
        self._end = end
        self._control, self._port_a = 0, _A20

    def read(self, port: int, _size: int) -> int:
        """Read back what was written."""
        return self._control if port == _CONTROL else self._port_a

    def write(self, port: int, _size: int, value: int) -> None:
        """Write one of the two; a rising reset bit resets."""
        if port == _CONTROL:
            rises = value & ~self._control & _RST_CPU
            self._control = value & (_SYS_RST | _RST_CPU | _FULL_RST)
        else:
            rises = value & ~self._port_a & _FAST
            self._port_a = value & (_FAST | _A20)
        if rises:
            self._end("reset", 0)

    def save(self) -> list[int]:
        """Give its state."""
        return [self._control, self._port_a]

    def load(self, state: list[int]) -> None:
        """Take the state that `save` gave."""
        self._control, self._port_a = state


class KeyboardController:
    """An 8042 with no keyboard and no mouse: what is sent to them gets no answer."""

    ports: Final = (_DATA, _COMMAND)

    def __init__(self, end: Callable[[str, int], None]) -> None:
        self._end = end
        self._ram = bytearray(32)  # byte 0 is the command byte
        self._output: int | None = None
        self._waits = -1  # the command that waits for a byte of data
        self._status = _SYSTEM | _UNLOCKED

    def read(self, port: int, _size: int) -> int:
        """Read the status, or the byte that waits."""
        if port == _COMMAND:
            return self._status | (0 if self._output is None else _FULL)
        value, self._output = self._output, None
        return 0 if value is None else value

    def write(self, port: int, _size: int, value: int) -> None:
        """Write a command, or its data."""
        value &= 0xFF
        if port == _COMMAND:
            self._status |= _TO_COMMAND
            self._command(value)
            return
        self._status &= ~_TO_COMMAND
        command, self._waits = self._waits, -1
        if command == 0xD1 and not value & _NOT_RESET:
            self._end("reset", 0)
        elif 0x60 <= command < 0x80:
            self._ram[command & 0x1F] = value
        elif command in {0xD2, 0xD3}:
            self._output = value

    def _command(self, value: int) -> None:
        self._waits = value if 0x60 <= value < 0x80 or 0xD1 <= value <= 0xD4 else -1
        if 0x20 <= value < 0x40:
            self._output = self._ram[value & 0x1F]
        elif value == 0xAA:
            self._output = _SELF_TEST_PASSED
        elif value in {0xA9, 0xAB}:
            self._output = _NO_DEVICE
        elif value == 0xD0:
            self._output = _NOT_RESET | _A20
        elif value >= 0xF0 and not value & _NOT_RESET:
            self._end("reset", 0)  # pulses the lines whose bits are 0

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {"ram": self._ram.hex(), "output": self._output, "waits": self._waits, "status": self._status}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._ram[:] = bytes.fromhex(state["ram"])
        self._output, self._waits, self._status = state["output"], state["waits"], state["status"]

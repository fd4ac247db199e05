"""What a debugger asks of a machine that stands still: threads, registers and memory (gdb manual, "Packets").

Threads are the containers of a host (`threads`); elsewhere the processor is the only one.  The client chooses the thread that it
asks about, with ``Hg``; a container that sleeps is read from where the host's kernel has kept it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import memory
from .packets import LIMIT
from .payload import Wrong, digits, numbers
from .registers import G_SIZE, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .control import Control
    from .registers import Register
    from .threads import Asleep

    Answer = Callable[[bytes], bytes]

OK: Final = b"OK"
BAD_ADDRESS, INVALID, NOT_SUPPORTED = b"E0e", b"E16", b"E5f"  # EFAULT, EINVAL, EOPNOTSUPP
PACKET: Final = LIMIT >> 1  # what gdb may send: with every byte escaped it still fits
_MOST: Final = PACKET >> 1  # bytes of memory in one answer, two digits each


class Inspection:
    """What is asked in one session.

    Args:
        control: runs the machine.

    Attributes:
        asleep: the container that is asked about; None for the one that runs.
        stepped: the thread that ``s`` steps, by ``Hc``.
        handlers: what answers each packet, by its letter.
        named: the same by name.

    """

    def __init__(self, control: Control) -> None:
        self.control, self.machine = control, control.machine
        self.asleep: Asleep | None = None
        self.stepped: int | None = None
        self._threads = control.threads
        self._physical = False
        self.handlers: dict[bytes, Answer] = {
            b"H": self._thread, b"T": self._alive, b"g": self._get_all, b"G": self._set_all, b"p": self._get, b"P": self._set,
            b"m": self._read, b"M": self._write, b"x": self._read_binary, b"X": self._write_binary,
        }  # fmt: skip
        self.named: dict[bytes, Answer] = {
            b"qC": lambda _: b"QC%x" % self._threads.current(),
            b"qfThreadInfo": lambda _: b"m" + b",".join(b"%x" % thread for thread in self._threads.all()),
            b"qsThreadInfo": lambda _: b"l", b"qThreadExtraInfo": self._extra,
            b"qqemu.PhyMemMode": lambda _: b"%d" % self._physical, b"Qqemu.PhyMemMode": self._set_physical,
        }  # fmt: skip

    # ---- threads ----------------------------------------------------------------------------------------------------------

    def _thread(self, rest: bytes) -> bytes:
        """Choose the thread that registers and memory are asked of, or, with ``Hc``, that ``s`` steps."""
        if rest[:1] not in {b"g", b"c"}:
            return INVALID
        thread = self.known(rest[1:])
        if rest[:1] == b"g":
            self.asleep = self._threads.asleep(thread)
        else:
            self.stepped = thread
        return OK

    def known(self, number: bytes) -> int:
        """Give a thread by its number; the one that runs where the client does not say."""
        thread = self._threads.current() if number in {b"", b"0", b"-1"} else numbers(number, b"")[0]
        if thread not in self._threads.all():
            raise Wrong(f"no such thread: {number[:20]!r}")
        return thread

    def _alive(self, rest: bytes) -> bytes:
        self.known(rest)
        return OK

    def _extra(self, rest: bytes) -> bytes:
        return self._threads.says(self.known(rest)).encode().hex().encode()

    # ---- registers ------------------------------------------------------------------------------------------------------

    def _get_all(self, _rest: bytes) -> bytes:
        return b"".join(self._shown(register) for register in TABLE)

    def _shown(self, register: Register) -> bytes:
        """Give a register; x for what a container that does not run has nowhere."""
        if self.asleep is None:
            return register.packed(self.machine).hex().encode()
        return register.kept(self.asleep).hex().encode() or b"xx" * register.size

    def _set_all(self, rest: bytes) -> bytes:
        data = digits(rest)
        if self.asleep is not None:
            return NOT_SUPPORTED
        if len(data) != G_SIZE:
            raise Wrong(f"{len(data)} bytes of registers, not {G_SIZE}")
        at = 0
        for number, register in enumerate(TABLE):
            wanted = data[at : at + register.size]
            at += register.size
            if wanted != register.packed(self.machine) and register.write is not None:
                self._put(number, wanted)
        return OK

    def _get(self, rest: bytes) -> bytes:
        (number,) = numbers(rest, b"")
        return self._shown(TABLE[number]) if number < len(TABLE) else INVALID

    def _set(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        return self._put(numbers(number, b"")[0], digits(value))

    def _put(self, number: int, data: bytes) -> bytes:
        register = TABLE[number] if number < len(TABLE) else None
        if self.asleep is not None or register is None or register.write is None or len(data) != register.size:
            return NOT_SUPPORTED
        try:
            register.write(self.machine, int.from_bytes(data, "little"))
        except ValueError as error:
            raise Wrong(str(error)) from error
        self.control.changed()
        return OK

    # ---- memory ---------------------------------------------------------------------------------------------------------

    def _fetch(self, rest: bytes) -> bytes:
        address, size = numbers(rest, b",")
        return memory.read(self.machine, address, min(size, _MOST), physical=self._physical, asleep=self.asleep)

    def _read(self, rest: bytes) -> bytes:
        return self._fetch(rest).hex().encode() or BAD_ADDRESS

    def _read_binary(self, rest: bytes) -> bytes:
        data = self._fetch(rest)
        return b"b" + data if data or rest.endswith(b",0") else BAD_ADDRESS

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
        if not memory.write(self.machine, address, data, physical=self._physical, asleep=self.asleep):
            return BAD_ADDRESS
        self.control.changed()
        return OK

    def _set_physical(self, rest: bytes) -> bytes:
        self._physical = bool(numbers(rest, b"")[0])
        return OK

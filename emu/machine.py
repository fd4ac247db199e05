"""The whole machine: processor, memory, devices, and the loop that runs them.

The loop leaves TCG only for what cannot be done inside a callback: page faults, hooked instructions, HLT, a timer that
must interrupt a loop without events, and the end.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..guest.multiboot import plan
from . import fastpath
from .clock import Clock
from .cpu import Cpu
from .descriptors import FLAT_CODE64
from .devices import Devices
from .engine import Engine
from .exceptions import deliver
from .faults import DB, TripleFault, Unimplemented
from .memory import APIC_PAGE, NOTHING, Memory
from .registers import EFLAGS, IF, RAX, RBX, RIP, RSP
from .report import describe
from .snapshot import restore, save
from .symbols import Symbols
from .traps import Traps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from ..guest.image import Image
    from ..guest.multiboot import Module
    from .devices import ConsolePorts
    from .events import Event
    from .sinks import Sink

_EXCEPTION: Final = 21  # UC_ERR_EXCEPTION: a fill was refused
_NEVER: Final = 1 << 63
_LONG: Final = (0x80000031, 0x20, 0x500)  # CR0, CR4, EFER of a loader that enters 64-bit code


class Reason(StrEnum):
    """Why a run ended."""

    EXIT = "exit"
    SHUTDOWN = "shutdown"
    HALTED = "halted"
    TRIPLE_FAULT = "triple fault"
    UNIMPLEMENTED = "unimplemented"
    INTERRUPTED = "interrupted"
    LIMIT = "limit"


@frozen
class Stop:
    """How a run ended.

    Attributes:
        reason: why.
        value: what the guest wrote to the exit port.
        report: lines that describe the processor where it stopped, for reasons that need one.

    """

    reason: Reason
    value: int = 0
    report: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status that QEMU's isa-debug-exit gives: ``value << 1 | 1``."""
        return (self.value << 1 | 1) & 0xFF if self.reason is Reason.EXIT else 0


class Machine:
    """A PC with one processor.

    Attributes:
        cpu: the processor.
        memory: guest-physical memory.
        devices: everything on the buses.
        clock: virtual time.
        symbols: names for addresses.

    """

    def __init__(self, memory: int, console: ConsolePorts | None = None) -> None:
        self.engine = Engine()
        self.memory = Memory(memory)
        self.memory.attach(self.engine)
        self.clock = Clock()
        self.cpu = Cpu(self.engine, self.memory, self.clock)
        self.devices = Devices(self.clock, console, memory)
        self.cpu.devices = self.devices
        self.cpu.sync_clock = self._sync_clock  # type: ignore[method-assign]
        self.traps = Traps(self.cpu)
        self._page_fault = fastpath.page_fault(self.cpu)
        self.traps.pending = self.devices.pending
        self.traps.service = self._service
        self.devices.on_change = self._changed
        self.devices.on_exit = self._exit
        self.symbols = Symbols()
        self._sinks: list[Sink] = []
        self._stop: Stop | None = None
        self._counted = 0
        self._exact = False
        self._stop_requested = False
        self._console_polled = False
        self._left = 0
        self._stored = False  # TCG was stopped by a store to the local APIC
        self.engine.map_mmio(APIC_PAGE, 0x1000, self._apic_read, self._apic_write)
        self.engine.map_mmio(NOTHING, 0x1000, lambda *_: (1 << 64) - 1, lambda *_: None)

    # ---- set-up -----------------------------------------------------------------------------------------------

    def load(self, image: Image, cmdline: str = "", modules: Sequence[Module] = ()) -> None:
        """Place an image as a boot loader does; raises `BadImage` where it does not fit."""
        boot = plan(image, self.memory.regions(), cmdline, modules)
        for piece in boot.pieces:
            self.memory.write(piece.paddr, bytes(piece.data))
        cpu = self.cpu
        if boot.cr3 is not None:
            cpu.cr3, cpu.cr0, cpu.cr4, cpu.efer = boot.cr3, *_LONG
            cpu.sync_control()
            cpu.set_cs(FLAT_CODE64, 0)
        cpu.q[RIP], cpu.q[RAX], cpu.q[RBX], cpu.q[RSP] = boot.entry, boot.eax, boot.ebx, boot.esp
        self.symbols.add(image.path, image.symbols)

    def add_sink(self, sink: Sink) -> None:
        """Send every event to `sink` too."""
        self._sinks.append(sink)
        sinks = tuple(self._sinks)
        if len(sinks) == 1:
            self.cpu.emit = sink.emit
            return

        def fan_out(event: Event) -> None:
            for each in sinks:
                each.emit(event)

        self.cpu.emit = fan_out

    # ---- running ----------------------------------------------------------------------------------------------

    def run(self, instructions: int = 0) -> Stop:
        """Run until the guest ends or cannot go on, or, unless that is 0, for so many retired instructions; `Stop` says which."""
        cpu = self.cpu
        self._stop = None
        self._left = instructions
        stop: Stop | None = None
        try:
            while stop is None:
                self._round()
                stop = self._stop
        except TripleFault as error:
            return self._stuck(Reason.TRIPLE_FAULT, str(error))
        except Unimplemented as error:
            return self._stuck(Reason.UNIMPLEMENTED, f"not implemented: {error}")
        finally:
            self._sync_clock()
            self._counted = self.engine.counter[0]
            cpu.failure = None
        return stop

    def _stuck(self, reason: Reason, why: str) -> Stop:
        """Give the end of a guest that cannot go on; it may have ended before, for the rest of a block still runs behind its OUT."""
        return self._stop or Stop(reason, 0, (why, *describe(self)))

    def request_stop(self) -> None:
        """Ask `run` to return soon; may be called from another thread."""
        self._stop_requested = True
        self.engine.stop_after_block()

    def poll_console(self) -> None:
        """Ask for a look at the console soon, even if the guest makes no event; may be called from another thread."""
        self._console_polled = True
        self.engine.stop_after_block()

    def _round(self) -> None:
        """Let TCG run once, and deal with what stopped it."""
        cpu, traps = self.cpu, self.traps
        if self._console_polled:
            self._console_polled = False
            self.devices.changed()
            traps.deliver_pending()  # a guest that makes no event gives no other occasion
            return
        if self._stop_requested:
            self._stop_requested = False
            self._stop = Stop(Reason.INTERRUPTED, 0, tuple(describe(self)))
            return
        if cpu.halted:
            self._idle()
            return
        if cpu.memory.stale:
            cpu.memory.drop_stale_code()
        count = self._count()
        shadow = cpu.interrupt_shadow
        if cpu.breakpoints.watching:
            cpu.interrupt_shadow = False  # one instruction now runs, and with it the shadow of the one before ends
        error = traps.run(count)
        if count:
            self._sync_clock()
            if self._left:
                self._spend()
        if cpu.failure is not None:
            failure, cpu.failure = cpu.failure, None
            raise failure
        translation = cpu.translation
        fault, translation.fault = translation.fault, None
        if fault is not None and traps.is_own(*fault):
            if not self._page_fault(*fault):
                deliver(cpu, translation.page_fault(*fault))
            if self.clock.cycles >= traps.attention_at:
                traps.deliver_pending()
            return
        stored, self._stored = self._stored, False
        if cpu.breakpoints.before:
            before, cpu.breakpoints.before = cpu.breakpoints.before, 0
            deliver(cpu, DB(before))
            traps.deliver_pending()
        elif traps.sensitive:
            traps.execute()
        elif stored:
            traps.step_over_store()
        elif error and fault is None:
            raise Unimplemented(f"Unicorn stopped with error {error}")
        else:
            if cpu.breakpoints.watching and not self.engine.counter[0]:
                cpu.interrupt_shadow = shadow  # a new block was looked through: nothing has run yet
            traps.deliver_pending()

    def _count(self) -> int:
        """How many instructions TCG may run: 0 is no limit.

        A timer that may fire while interrupts are on must be able to break a loop without events, and at a place that does not
        depend on real time: so then, and only then, retired instructions are counted, one cycle each.
        """
        deadline = self.traps.deadline
        if deadline == _NEVER and not self._exact and not self.cpu.breakpoints.watching and not self._left:
            self._counted = 0
            return 0
        watched = self.cpu.breakpoints.watching
        exact = watched or bool(self._left) or (deadline < _NEVER and (self._exact or bool(self.cpu.q[EFLAGS] & IF)))
        if exact != self._exact:
            self._exact = self.traps.exact = exact
            self.traps.request_attention()  # where IF comes back, so does the exact clock
            self.cpu.forget_transitions()  # they know hflags, in which the engine notes whether it counts
        self._counted = 0
        if watched:
            return 1
        if self._left:
            return min(max(deadline - self.clock.cycles, 1), self._left)
        return max(deadline - self.clock.cycles, 1) if exact else 0

    def _spend(self) -> None:
        """Take what was retired from what `run` was given."""
        self._left -= min(self.engine.counter[0], self._left)
        if not self._left and self._stop is None:
            self._stop = Stop(Reason.LIMIT)

    def forget_events(self) -> None:
        """Whatever was about to happen belongs to a time that is no more (`Checkpoint`)."""
        self._stop = None
        self._stop_requested = self._console_polled = self._stored = False
        self.cpu.failure = None
        self.cpu.translation.fault = None
        self.cpu.breakpoints.hits = self.cpu.breakpoints.before = 0
        self.traps.nmi_pending = self.traps.sensitive = self.traps.stepping = False
        self._changed()
        self.traps.request_attention()

    def _sync_clock(self) -> None:
        if self._exact:
            retired = self.engine.counter[0]
            if retired > self._counted:
                self.clock.cycles += retired - self._counted
            self._counted = retired

    def _idle(self) -> None:
        """HLT: time jumps to the next thing that happens, or the machine waits for input."""
        devices, traps = self.devices, self.traps
        cpu = self.cpu
        cpu.interrupt_shadow = False
        if devices.interrupt_waiting():
            traps.interrupt_pending = True
        if traps.interrupt_pending or traps.nmi_pending:
            traps.take_interrupt()
            if not cpu.halted:
                return
        deadline = devices.deadline()
        if deadline is not None:
            if cpu.interrupts_enabled and devices.input_comes_before(deadline):
                self._changed()
                return
            self.clock.cycles = max(self.clock.cycles, deadline)
            self._service()
            return
        if cpu.interrupts_enabled and devices.wait_for_input():
            self._changed()
            return
        if not self._stop_requested:
            self._stop = Stop(Reason.HALTED, 0, tuple(describe(self)))

    # ---- devices ----------------------------------------------------------------------------------------------

    def _service(self) -> None:
        self.devices.service()
        self._changed()

    def _changed(self) -> None:
        """A device's state changed: look at interrupt lines and deadlines again."""
        deadline, traps = self.devices.deadline(), self.traps
        was = traps.deadline
        traps.deadline = _NEVER if deadline is None else deadline
        traps.interrupt_pending = self.devices.interrupt_waiting()
        traps.nmi_pending |= self.devices.take_nmi()
        if traps.interrupt_pending or traps.nmi_pending or traps.deadline != was:
            traps.request_attention()

    def _exit(self, reason: str, value: int) -> None:
        if self._stop is None:  # the rest of the block still runs, and may end the machine again
            self._stop = Stop(Reason(reason), value)
        self.engine.stop_after_block()

    def _apic_read(self, _engine: int, offset: int, size: int, _user: object) -> int:
        try:
            self._sync_clock()
            return int(self.devices.mmio_read(APIC_PAGE + offset, size))
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)
            return 0

    def _apic_write(self, _engine: int, offset: int, size: int, value: int, _user: object) -> None:
        try:
            self._sync_clock()
            self.devices.mmio_write(APIC_PAGE + offset, size, value)
            if self.traps.interrupt_pending or self.traps.nmi_pending or self.traps.deadline < _NEVER:
                # Inside a block nothing can be delivered.  Unicorn leaves it with RIP still at the store, though it is done.
                self._stored = True
                self.engine.stop()
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)

    # ---- snapshots --------------------------------------------------------------------------------------------

    def save(self, file: IO[bytes]) -> None:
        """Write the whole machine to `file`; only pages that are not zero take space."""
        save(self, file)

    @classmethod
    def restore(cls, file: IO[bytes], console: ConsolePorts | None = None) -> Machine:
        """Make the machine that `save` wrote; raises `BadSnapshot`."""
        return restore(cls, file, console)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

"""The loop that runs a machine.

It leaves TCG only for what cannot be done inside a callback: hooked instructions, HLT, a timer that must interrupt a loop without
events, and the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .events import Kind
from .exceptions import deliver
from .faults import DB, AlignmentCheck, TripleFault, Unimplemented
from .memory import APIC_PAGE, HPET_PAGE, IO_APIC_PAGE
from .registers import RIP
from .report import describe
from .single_step import by_branch
from .stop import ENDS, Reason, Stop
from .timekeeper import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .machine import Machine

_EXCEPTION: Final = 21  # UC_ERR_EXCEPTION: a fill was refused


class RunLoop:
    """Runs one machine.

    Attributes:
        stop: how the run ends, once that is known.
        retired: instructions of all runs that counted them; one that faults is one, and so is the next try.
        slept: how often HLT has slept since the last of them.

    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.cpu, self.traps = machine.cpu, machine.traps
        self.engine, self.clock, self.devices = machine.engine, machine.clock, machine.devices
        self.cpu.translation.in_place = True
        self.stop: Stop | None = None
        self._stop_requested: Reason | None = None
        self._console_polled = False
        self._left = self.retired = self.slept = 0
        self._ended_at = 0
        self.devices.on_exit = self._exit
        self._map(APIC_PAGE, lambda: self.devices.lapic.page)
        self._map(IO_APIC_PAGE, lambda: IO_APIC_PAGE)
        if self.devices.hpet is not None:
            self._map(HPET_PAGE, lambda: HPET_PAGE)

    def run(self, instructions: int = 0) -> Stop:
        """Run until the guest ends or cannot go on, or, unless that is 0, for so many retired instructions; `Stop` says which."""
        stop = self._run(instructions)
        if stop.reason in ENDS:
            self.cpu.q[RIP] = self._ended_at  # how much of its block has run depends on what TCG counts
            if self.cpu.emit is not None:
                self.cpu.emit_event(Kind.END, 0, (self.clock.blocks, self.clock.instructions))
        return stop

    def _run(self, instructions: int) -> Stop:
        cpu = self.cpu
        self.stop = None
        self.traps.sites.leaving = cpu.linear_rip
        self.traps.pending.settle_resume()
        self._left = instructions
        stop: Stop | None = None
        try:
            if cpu.guest is not None:
                self.traps.pending.deliver()  # a guest of a snapshot has nothing set for its next instruction boundary
            while stop is None:
                self._round()
                stop = self.stop
        except TripleFault as error:
            return self._stuck(Reason.TRIPLE_FAULT, str(error))
        except Unimplemented as error:
            return self._stuck(Reason.UNIMPLEMENTED, f"not implemented: {error}")
        finally:
            self.clock.sync()
            cpu.failure = None
        return stop

    def _stuck(self, reason: Reason, why: str) -> Stop:
        """Return the Stop for a guest that failed.

        If it had already written the exit port, that Stop wins: TCG finishes the block after the OUT, and a failure there does not count.
        """
        cpu = self.cpu
        vmx = [*(cpu.outer.describe() if cpu.outer else ()), *(cpu.vmx.describe() if cpu.vmx else ())]
        return self.stop or Stop(reason, 0, (why, *describe(self._machine), *vmx))

    def request_stop(self, reason: Reason) -> None:
        """Ask `run` to return soon, for this reason; may be called from another thread."""
        self._stop_requested = reason
        self.engine.stop_from_outside()

    def poll_console(self) -> None:
        """Ask for a look at the console soon, even if the guest makes no event; may be called from another thread."""
        self._console_polled = True
        self.engine.stop_from_outside()

    def _round(self) -> None:
        """Let TCG run once, and deal with what stopped it."""
        cpu, traps = self.cpu, self.traps
        if self._console_polled or self._stop_requested:
            self._take_request()
            return
        if cpu.halted:
            self._idle()
            return
        if cpu.memory.stale:
            cpu.memory.drop_stale_code()
        pending = traps.pending
        aligned = cpu.checks_alignment
        one = aligned or cpu.breakpoints.watching or by_branch(cpu)
        pending.began = cpu.q[RIP]
        limit, unit, look_at = pending.time.plan(pending.deadline, 1 if one else self._left)
        pending.attention_at = min(pending.attention_at, look_at)
        shadow = cpu.interrupt_shadow
        if (
            cpu.breakpoints.watching and cpu.guest is None
        ):  # a guest's shadow ends with a single step, for exits tell of it
            cpu.interrupt_shadow = False  # one instruction now runs, and with it the shadow of the one before ends
        error = traps.alignment.run(lambda: traps.run(limit, unit)) if aligned else traps.run(limit, unit)
        self.clock.sync()
        if self._left:
            self._spend()
        if cpu.failure is not None:
            failure, cpu.failure = cpu.failure, None
            raise failure
        self._deal_with(error, shadow)

    def _deal_with(self, error: int, shadow: int) -> None:
        """Deal with what TCG was left for; `shadow` was the interrupt shadow before it ran."""
        cpu, traps, translation = self.cpu, self.traps, self.cpu.translation
        refusal, translation.refusal = translation.refusal, None
        if refusal is not None:
            traps.on_refusal(refusal)
            return
        if traps.sites.paused:
            traps.sites.paused = False
            if cpu.breakpoints.watching:
                cpu.interrupt_shadow = shadow  # the instruction has not run
            self.stop = self.stop or Stop(Reason.REACHED)
            return
        if cpu.breakpoints.before:
            before, cpu.breakpoints.before = cpu.breakpoints.before, 0
            traps.pending.end_stepping()
            deliver(cpu, DB(before))
            traps.pending.deliver()
        elif traps.alignment.undone:
            traps.alignment.undone = False
            traps.pending.end_stepping()
            deliver(cpu, AlignmentCheck())
            traps.pending.deliver()
        elif traps.sites.reached:
            traps.execute_reached()
        elif error:
            raise Unimplemented(f"Unicorn stopped with error {error}")
        else:
            if cpu.breakpoints.watching and not self.engine.counting.counter[0]:
                cpu.interrupt_shadow = shadow  # a new block was looked through: nothing has run yet
            traps.pending.deliver()

    def _take_request(self) -> None:
        """Do what was asked for from outside."""
        if self._console_polled:
            self._console_polled = False
            self.devices.changed()
            self.traps.pending.deliver()  # a guest that makes no event gives no other occasion
            return
        reason, self._stop_requested = self._stop_requested, None
        assert reason is not None
        self.stop = Stop(reason, 0, tuple(describe(self._machine)) if reason is Reason.INTERRUPTED else ())

    def _spend(self) -> None:
        """Take what was retired from what `run` was given."""
        count = self.engine.counting.counter[0]
        if count:
            self.retired += count
            self.slept = 0
            self._left -= min(count, self._left)
        if not self._left and self.stop is None:
            self.stop = Stop(Reason.LIMIT)

    def sleep(self) -> Stop | None:
        """Let a processor that is halted sleep once; gives how the run ends, if that is how."""
        self.stop = None
        self._idle()
        self.clock.sync()
        return self.stop

    def forget_events(self) -> None:
        """Whatever was about to happen belongs to a time that is no more (`Checkpoint`)."""
        self.stop = None
        self._stop_requested = None
        self._console_polled = False
        self.cpu.failure = None
        self.cpu.translation.refusal = None
        self.cpu.breakpoints.hits = self.cpu.breakpoints.before = 0
        self.traps.sites.reached = False
        self.traps.pending.forget()

    def _idle(self) -> None:
        """HLT: time jumps to the next thing that happens, or the machine waits for input."""
        devices, traps = self.devices, self.traps
        cpu = self.cpu
        cpu.interrupt_shadow = False
        self.slept += 1
        if devices.interrupt_waiting():
            traps.pending.interrupt = True
        if traps.pending.interrupt or traps.pending.nmi:
            traps.pending.take_interrupt()
            if not cpu.halted:
                if cpu.guest is not None:
                    traps.pending.deliver()
                return
        guest = cpu.guest
        takes = cpu.interrupts_enabled or (guest is not None and bool(guest.pin.EXTERNAL_INTERRUPT_EXITING))
        deadline = devices.wakes_at(interrupts=takes)
        if guest is not None and guest.expires < NEVER:
            deadline = guest.expires if deadline is None else min(deadline, guest.expires)
        if deadline is not None:
            before = self.clock.now
            typed = cpu.interrupts_enabled and devices.input_comes_before(deadline)
            if not typed:
                self.clock.cycles = max(before, deadline)
            slept = self.clock.cycles - before
            if slept and cpu.emit is not None:
                cpu.emit_event(Kind.IDLE, slept, ())
            if typed:
                self.traps.pending.devices_changed()
            else:
                traps.pending.service()
                if cpu.guest is not None:
                    traps.pending.deliver()
            return
        if cpu.interrupts_enabled and devices.wait_for_input():
            self.traps.pending.devices_changed()
            return
        if not self._stop_requested:
            self.slept -= 1
            self.stop = Stop(Reason.HALTED, 0, tuple(describe(self._machine)))

    # ---- devices ----------------------------------------------------------------------------------------------

    def _map(self, page: int, address: Callable[[], int]) -> None:
        """Have accesses to Unicorn's page `page` reach the device at the physical address `address()`."""
        self.engine.map_mmio(
            page,
            0x1000,
            lambda _engine, offset, size, _user: self._device_read(address, offset, size),
            lambda _engine, offset, size, value, _user: self._device_write(address, offset, size, value),
        )

    def _exit(self, reason: str, value: int) -> None:
        if self.stop is None:  # the rest of the block still runs, and may end the machine again
            self.stop = Stop(Reason(reason), value)
            self._ended_at = self.cpu.q[RIP]
        self.engine.stop_after_block()

    def _device_read(self, address: Callable[[], int], offset: int, size: int) -> int:
        try:
            return int(self.devices.mmio_read(address() + offset, size))
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)
            return 0

    def _device_write(self, address: Callable[[], int], offset: int, size: int, value: int) -> None:
        try:
            self.devices.mmio_write(address() + offset, size, value)
            pending = self.traps.pending
            if pending.interrupt or pending.nmi or pending.deadline < NEVER or self.clock.charging:
                self.engine.stop_after_block()  # inside it nothing can be delivered
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)

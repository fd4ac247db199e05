"""What waits for attention between two instructions: timers, interrupts, NMIs, debug traps, stale code.

A callback that has let time pass compares the clock with `Pending.attention_at`, one number, and calls `deliver` only when the
clock has come to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .exceptions import deliver, interrupt, nmi
from .faults import DB
from .registers import EFLAGS, IF, RF, RIP, TF
from .timekeeper import FAR, NEVER, Timekeeper

if TYPE_CHECKING:
    from .counting import Unit
    from .cpu import Cpu
    from .devices import Devices
    from .sensitive import SensitiveSites

_PUSHF: Final = b"\x9c"


class Pending:
    """What waits, and since when it may be delivered.

    Attributes:
        attention_at: the virtual cycle at which `deliver` has something to do.
        steady: the clock runs without a timer as it does with one: then a timer counts as armed for a moment that never comes.
        deadline: the virtual cycle at which a device wants attention, or `NEVER`.
        interrupt, nmi: an interrupt or an NMI waits.
        held: neither is taken, for a debugger has one instruction run.
        stepping: RFLAGS.TF is set for our own single step; the guest does not see it.
        stepped_from: the RIP of the instruction that it is for.
        began: the RIP at which TCG was entered; where steps are those of branches, it then runs one instruction.
        resuming: RF holds for that instruction; TCG's own RF does not last as long.
        time: the clock's rate.

    """

    def __init__(self, cpu: Cpu, sites: SensitiveSites, unit: Unit, *, steady: bool = False) -> None:
        self.cpu = cpu
        self._sites = sites
        self._devices: Devices | None = None
        self.attention_at = 0
        self.steady = steady
        self.deadline = self._none = FAR if steady else NEVER
        self.interrupt = self.nmi = self.held = False
        self.stepping = False
        self.stepped_from = self.began = 0
        self.resuming = False
        self.time = Timekeeper(cpu, unit)
        cpu.memory.on_stale = cpu.breakpoints.on_hit = cpu.request_attention = self.request_attention

    def attach(self, devices: Devices) -> None:
        """Take interrupts and deadlines from these devices."""
        self._devices = devices
        devices.on_change = self.devices_changed

    def request_attention(self) -> None:
        """Have `deliver` run at the next event, whatever the clock says."""
        self.attention_at = 0

    def devices_changed(self) -> None:
        """Look at the devices' interrupt lines and deadlines again."""
        devices = self._devices
        if devices is None:
            return
        deadline, was, guest = devices.deadline(), self.deadline, self.cpu.guest
        self.deadline = self._none if deadline is None else deadline
        if guest is not None:
            self.deadline = min(self.deadline, guest.expires)
        self.interrupt = devices.interrupt_waiting()
        self.nmi |= devices.take_nmi()
        if self.interrupt or self.nmi or self.deadline != was:
            self.request_attention()

    def service(self) -> None:
        """Let the devices do what is due."""
        if self._devices is not None:
            self._devices.service()
            self.devices_changed()

    def deliver(self) -> None:
        """Let devices and interrupts have their turn between two instructions."""
        cpu = self.cpu
        if cpu.outer is not None:
            cpu.outer.stages.stepped()
        if cpu.clock.now >= self.deadline:
            self.service()
        if cpu.guest is not None and cpu.guest.traps:
            self._trap()
        if cpu.breakpoints.hits and not cpu.interrupt_shadow:
            deliver(cpu, DB(cpu.breakpoints.take(), trap=True))
        if cpu.guest is not None and cpu.guest.expires <= cpu.clock.now:
            self._expire()
        if cpu.guest is not None and cpu.guest.windows:
            self._look_through_windows()
        if self.interrupt or self.nmi:
            self.take_interrupt()
        if cpu.guest is not None and (cpu.interrupt_shadow or cpu.guest.traps):
            self._step_guest()
        if cpu.memory.stale:
            cpu.memory.drop_stale_code()
        if cpu.engine.no_block_seen:
            cpu.engine.stop()
        look_at = self.deadline
        if cpu.clock.charging != (look_at != NEVER):
            cpu.engine.stop()  # the run loop goes on with a clock of the other rate
        elif look_at != NEVER:
            look_at = self.time.share(look_at)
        self.settle_resume()
        windows = cpu.guest is not None and cpu.guest.windows
        self.attention_at = 0 if self.interrupt or self.nmi or windows or cpu.engine.no_block_seen else look_at

    def take_interrupt(self) -> None:
        """Deliver a pending NMI or interrupt if RFLAGS and the shadow of STI or MOV SS allow it."""
        cpu = self.cpu
        if self.held:
            return
        if cpu.limits.granted:
            self._take_back_step()  # the instruction that was let through has not run: it will ask again
        if cpu.interrupt_shadow:
            self.step()  # interrupts are looked at again after one more instruction
            return
        if cpu.guest is not None and self._exits():
            return
        if self.nmi and not cpu.nmi_blocked:
            self.nmi = False
            self.wake()
            nmi(cpu)
            return
        if not cpu.q[EFLAGS] & IF or self._devices is None:
            return
        vector = self.acknowledge()
        if vector is None:
            return
        self.wake()
        interrupt(cpu, vector)

    def acknowledge(self) -> int | None:
        """Take the interrupt that waits from its controller, and give its vector."""
        vector = None if self._devices is None else self._devices.pending()
        self.interrupt = False
        return vector

    def wake(self) -> None:
        """Be ready for an event between two instructions: the processor does not halt, and our own single step is not for the handler."""
        self.cpu.halted = False
        if self.cpu.outer is not None:
            self.cpu.outer.wake()
        self._take_back_step()
        if self.cpu.guest is not None:
            self.cpu.guest.boundary = True

    def _expire(self) -> None:
        """Exit from a guest whose preemption timer is 0."""
        from .guest_events import timer_exit  # noqa: PLC0415  (most guests never come here)

        self._take_back_step()
        timer_exit(self.cpu)

    def _trap(self) -> None:
        """Exit by the monitor trap flag, where the guest has come to an instruction boundary."""
        from .pending_debug import trap_exit  # noqa: PLC0415  (most guests never come here)
        from .vmexit import leave  # noqa: PLC0415

        cpu, guest = self.cpu, self.cpu.guest
        if guest is not None and guest.boundary:
            leave(cpu, trap_exit(cpu.breakpoints.hits))

    def _step_guest(self) -> None:
        """Have the guest run one instruction, at whose end the shadow ends, or the monitor trap flag exits."""
        cpu, guest = self.cpu, self.cpu.guest
        if guest is not None and guest.traps:
            self._trap()  # an interrupt or an NMI has been delivered
            cpu.syscall_path = None
        if cpu.guest is not None and not cpu.halted:
            self.step()

    def _look_through_windows(self) -> None:
        """Exit from a guest where interrupts or NMIs could be delivered to it now, and the host wants to know."""
        from .guest_events import nmi_waits, window_exit  # noqa: PLC0415  (most guests never come here)
        from .vmexit import leave  # noqa: PLC0415

        cpu, guest = self.cpu, self.cpu.guest
        if guest is None or (self.nmi and not nmi_waits(cpu, guest) and not guest.primary.NMI_WINDOW_EXITING):
            return  # an NMI comes before an interrupt window
        exit_ = window_exit(cpu, guest)
        if exit_ is not None:
            self._take_back_step()
            leave(cpu, exit_)

    def _exits(self) -> bool:
        """Exit from a guest for the NMI or interrupt that waits, whatever RFLAGS.IF says, where its controls want that."""
        from .guest_events import interrupt_exit, nmi_exit, nmi_waits  # noqa: PLC0415  (most guests never come here)

        cpu, guest = self.cpu, self.cpu.guest
        if guest is None or self._devices is None:
            return False
        if self.nmi and guest.pin.NMI_EXITING and not nmi_waits(cpu, guest):
            self.nmi = False
            self._take_back_step()
            nmi_exit(cpu)
            return True
        if not self.interrupt or not guest.pin.EXTERNAL_INTERRUPT_EXITING:
            return False
        self._take_back_step()
        interrupt_exit(cpu, self._devices.pending() if guest.acknowledges else None)
        return True

    def step(self) -> None:
        """Have TCG run exactly one more instruction, by its own single step, which the guest does not see."""
        cpu = self.cpu
        if self.stepping or cpu.q[EFLAGS] & TF:
            return
        if cpu.code_at(cpu.q[RIP], 2).removeprefix(b"\x66")[:1] == _PUSHF:
            self._sites.hook(cpu.linear_rip)  # PUSHF would show our TF
        self.stepping = True
        self.stepped_from = cpu.q[RIP]
        cpu.q[EFLAGS] |= TF

    def _take_back_step(self) -> None:
        """Hide our own single step, whose instruction has not run."""
        if self.cpu.limits.granted:
            self.cpu.limits.revoke()
        if self.stepping:
            self.stepping = self.resuming = False
            self.cpu.q[EFLAGS] &= ~TF

    def end_stepping(self) -> None:
        """Hide our own single step: its instruction has ended, or Python is about to run it, so that the shadow and RF end with it."""
        if self.cpu.guest is not None:
            self.cpu.guest.boundary = True
        if self.cpu.limits.granted:
            self.cpu.limits.revoke()
        if self.stepping:
            self.stepping = self.resuming = False
            self.cpu.q[EFLAGS] &= ~(TF | RF)
            self.cpu.interrupt_shadow = False

    def settle_resume(self) -> None:
        """Have RFLAGS.RF end with the next instruction, or now where no instruction breakpoint asks for it."""
        cpu = self.cpu
        if cpu.q[EFLAGS] & RF:
            if cpu.breakpoints.on_code:
                self.resuming = True
                self.step()
            else:
                cpu.q[EFLAGS] &= ~RF

    def forget(self) -> None:
        """Drop what belongs to a time that is no more (`Checkpoint`)."""
        self.nmi = self.stepping = self.resuming = False
        self.devices_changed()
        self.request_attention()

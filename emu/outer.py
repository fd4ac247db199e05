"""The outermost hypervisor, L0, in Python: the machine's kernel, L1, runs in a virtual machine of it.

::

    silicon   ──leave──▶ Outer.take ──┬─▶ what L1 asked for of L2:  VMCS12's exit, and L1 goes on at its HOST_RIP
                                      └─▶ what is L0's own:  L0 does the instruction's work, and the guest goes on behind it

L0 enters and leaves guests as every hypervisor does, by `vmentry.enter` and `vmexit.leave`.  It has no registers of its own, so the guest's
stay where they are while it works, and need not be saved if the same guest goes on.  VMX instructions of L1 exit, and L0 has them
done on L1's own VMX operation, `Cpu.vmx`, by the table of handlers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ..vmx.exits import ExitReason, VmExit
from ..vmx.l1_memory import L1Memory
from ..vmx.merge import Merged, UnderL0, msr_bitmap, vmcs01
from ..vmx.nonroot import NEVER, event_info
from ..vmx.reflect import is_for_l1
from ..vmx.vpids import Vpids
from ..vmx.words import EventType
from .events import Kind, Who
from .exceptions import deliver, interrupt
from .faults import Fault
from .outer_stages import Stages, StagesState
from .registers import RCX, U32
from .table import HANDLERS
from .vmexit import exit_guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..vmx.nonroot import NonRoot
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu
    from .nesting import NestedOptions
    from .traps import Traps

    After = Callable[[], None] | None

_VM_ENTRY, _OUTER = Kind.VM_ENTRY, Who.OUTER  # a member read off the class takes 0.1 µs
L0, L1, L2 = 0, 1, 2  # in events: who leaves and who goes on
_INTERRUPTS: Final = frozenset({ExitReason.EXTERNAL_INTERRUPT, ExitReason.INTERRUPT_WINDOW})
_ALL_CONTEXTS: Final = 2  # a type of INVVPID


def _pairs(values: Iterable[Any]) -> tuple[tuple[int, int], ...]:
    return tuple((first, second) for first, second in values)


def _stages(value: StagesState | dict[str, Any] | None) -> StagesState | None:
    return StagesState(**value) if isinstance(value, dict) else value


@frozen
class OuterState:
    """L0 as a snapshot keeps it.

    Attributes:
        waits: it has an interrupt in hand for a guest that cannot take it yet.
        out: it runs itself, while its guest is halted.
        vpids: which VPID of its own stands for one of L1's, used longest ago first.
        stages: its tables; None leaves them as they are.

    """

    waits: bool = False
    out: bool = False
    vpids: tuple[tuple[int, int], ...] = field(default=(), converter=_pairs)
    stages: StagesState | None = field(default=None, converter=_stages)


class Outer:
    """L0 of one machine.

    Attributes:
        options: how it works.
        memory: physical memory as L1 sees it.
        stages: its EPTs.
        vmcs01: the VMCS by which L1 runs.
        l1: L1's stay in non-root operation.

    """

    def __init__(self, cpu: Cpu, traps: Traps, options: NestedOptions) -> None:
        self.cpu, self._traps, self.options = cpu, traps, options
        memory = cpu.memory
        self.memory = L1Memory(memory, memory.is_offered)
        region, bitmap, *rest = memory.kept_pages()
        memory.write(bitmap, msr_bitmap())
        self.stages = Stages(cpu, traps, self, rest, options)
        self.vmcs01 = vmcs01(region, bitmap, self.stages.ept01.root)
        self.l1 = UnderL0(self.vmcs01)
        self.vpids = Vpids(self._drop_vpid)
        self._waits = self._out = False
        self._prepared: NonRoot | None = None  # the guest that was prepared last, and how much had changed by then
        self._changes = 0
        self._shadows = options.shadow_vmcs

    # ---- snapshots ------------------------------------------------------------------------------------------------------

    def save(self) -> OuterState:
        """Give what a snapshot keeps."""
        stages = self.stages.save()
        return OuterState(self._waits, self._out, self.vpids.save(), stages)

    def load(self, state: OuterState | None) -> UnderL0:
        """Take what `save` gave, or begin anew; gives the guest that runs, by L1's VMX operation."""
        state = state or OuterState()
        if state.stages is not None:
            self.stages.load(state.stages)
        self._waits, self._out = state.waits, state.out
        self.vpids.load(state.vpids)
        vmx = self.cpu.vmx
        self.l1.shows_vmcs = self._shadows and vmx is not None
        self.l1.hold_interrupt(waits=self._waits)
        self._prepared = None
        if vmx is None or vmx.guest is None:
            self.l1.show_registers(self.cpu.cr0, self.cpu.cr4)
            return self.l1
        vmx.guest = guest = self.merge(vmx.the_current(), vmx.guest.expires)
        guest.hold_interrupt(waits=self._waits)
        return guest

    @property
    def sleeps(self) -> bool:
        """L0 runs itself, while its guest is halted."""
        return self._out and self.cpu.halted

    def describe(self) -> list[str]:
        """Say for a report who runs."""
        guest = self.cpu.guest
        level = L1 if guest is None else guest.level
        state = "sleeps in L0" if self.sleeps else "runs"
        held = ", and an interrupt waits for it" if self._waits else ""
        return [f"under the outermost hypervisor: L{level} {state}{held}"]

    # ---- entries --------------------------------------------------------------------------------------------------------

    def merge(self, vmcs12: Vmcs, expires: int = NEVER) -> Merged:
        """Make VMCS02 of VMCS12 for an entry."""
        guest = Merged(vmcs12, self.l1, self.memory, self.cpu.features.maxphyaddr, expires)
        self.prepare(guest, vmcs12)
        return guest

    def prepare(self, guest: NonRoot, vmcs12: Vmcs) -> None:
        """See to it that L2's VPID and EPT stand for L1's; others may have been given them since the last entry."""
        changes = self.vpids.changes + self.stages.shadow.changes
        if guest is self._prepared and changes == self._changes:
            return
        assert isinstance(guest, Merged)
        vpid, eptp = self.vpids.of(guest.vpid12), self.stages.eptp02(guest)
        self._prepared, self._changes = guest, self.vpids.changes + self.stages.shadow.changes
        if vpid != guest.vpid or eptp != guest.eptp:
            guest.vpid, guest.eptp = vpid, eptp
            vmcs12.drop_guest()

    def entered(self, guest: NonRoot) -> None:
        """L1's VMLAUNCH or VMRESUME has led into L2: the silicon's entry is by VMCS02."""
        assert isinstance(guest, Merged)
        if guest.held is not self._waits:
            guest.hold_interrupt(waits=self._waits)
        self.tell(Kind.MERGE, cost=self.cpu.costs.l0_merge)
        self._enter(L2)

    def resume(self) -> None:
        """Go on with the guest that the processor holds, unless it has been entered already, or sleeps."""
        cpu, guest = self.cpu, self.cpu.guest
        if not self._out or cpu.halted:
            return
        assert isinstance(guest, UnderL0)
        self._enter(guest.level)

    def _enter(self, level: int) -> None:
        cpu = self.cpu
        if level == L1:
            self.l1.show_registers(cpu.cr0, cpu.cr4)
        self._out = False
        self.tell(_VM_ENTRY, L0, level, cost=cpu.costs.vm_entry)

    def wake(self) -> None:
        """A guest that L0 had put to sleep is about to be given an event."""
        self.cpu.halted = False
        self.resume()

    # ---- exits ----------------------------------------------------------------------------------------------------------

    def take(self, exit_: VmExit) -> None:
        """Deal with an exit of L1's or L2's."""
        guest = self.cpu.guest
        assert isinstance(guest, UnderL0)
        inner = guest.inner
        if exit_.reason is ExitReason.EPT_VIOLATION:
            if not self.stages.take(guest, exit_):
                self._reflect(guest, exit_)
            return
        self.stages.settle()
        if inner is not None and is_for_l1(inner, exit_, self.memory, self.cpu.q[RCX] & U32):
            self._reflect(guest, exit_)
        else:
            self._handle(exit_)

    def left(self, reason: int, qualification: int, address: int) -> None:
        """Spend the time of the silicon's exit, and tell of it, if a guest was inside."""
        if self._out:
            return
        self._out = True
        cpu, guest = self.cpu, self.cpu.guest
        assert guest is not None
        cpu.event(Kind.VM_EXIT, guest.level, L0, reason, qualification, address, cost=cpu.costs.vm_exit)

    def _reflect(self, guest: UnderL0, exit_: VmExit) -> None:
        """Give L1 the exit of L2."""
        inner = guest.inner
        if exit_.reason is ExitReason.EXTERNAL_INTERRUPT and inner is not None and inner.acknowledges:
            vector = self._traps.pending.acknowledge()
            exit_.event = 0 if vector is None else event_info(EventType.EXTERNAL_INTERRUPT, vector)
            self._hold(waits=False)
        exit_guest(self.cpu, exit_)
        self.tell(Kind.REFLECTION, exit_.reason, cost=self.cpu.costs.l0_reflect)
        self.resume()

    def _handle(self, exit_: VmExit) -> None:
        """Do what the exit asks of L0, and go on with the guest."""
        self.left(exit_.reason, exit_.qualification, 0)
        after: After = None
        try:
            if exit_.reason in _INTERRUPTS:
                after = self._pass_interrupt()
            else:
                self._execute()
        except Fault as fault:
            after = partial(deliver, self.cpu, fault)
            self.cpu.halted = False
        except VmExit as met:  # an operand behind what EPT01 lacks: the instruction begins anew
            after = partial(self.take, met)
        self.resume()
        if after is not None:
            after()

    def _execute(self) -> None:
        """Do the work of the instruction that has exited, on the guest's own registers."""
        cpu, guest = self.cpu, self.cpu.guest
        _, insn = self._traps.dispatch.find()
        self._traps.perform(HANDLERS[insn.mnemonic], insn)
        if cpu.guest is guest:
            cpu.interrupt_shadow = 0  # it has run
        self.l1.shows_vmcs = self._shadows and cpu.vmx is not None

    # ---- interrupts -----------------------------------------------------------------------------------------------------

    def _pass_interrupt(self) -> After:
        """Have the guest take the interrupt that waits, if it can; else wait for a window."""
        cpu = self.cpu
        if not cpu.interrupts_enabled or cpu.interrupt_shadow:
            self._hold(waits=True)
            return None
        self._hold(waits=False)
        vector = self._traps.pending.acknowledge()
        if vector is None:
            return None
        cpu.halted = False

        def give() -> None:
            self._traps.pending.wake()
            interrupt(cpu, vector)

        return give

    def _hold(self, *, waits: bool) -> None:
        if waits == self._waits:
            return
        self._waits = waits
        guest = self.cpu.guest
        assert isinstance(guest, UnderL0)
        guest.hold_interrupt(waits=waits)
        if guest is not self.l1:
            self.l1.hold_interrupt(waits=waits)

    # ---- translations ---------------------------------------------------------------------------------------------------

    def _drop_vpid(self, vpid: int) -> None:
        self.cpu.translation.invvpid(1, vpid, 0)

    def invvpid(self, kind: int, vpid12: int, address: int) -> None:
        """Do L1's INVVPID on the VPIDs that stand for its own."""
        if kind == _ALL_CONTEXTS:
            for vpid in self.vpids.all_tagged():
                self._drop_vpid(vpid)
            return
        known = self.vpids.known(vpid12)
        if known is not None:
            self.cpu.translation.invvpid(kind, known, address)

    def invept(self, address: int | None) -> None:
        """Do L1's INVEPT of the EPT with its root there, or of all, on the EPTs that stand for its own."""
        shadow = self.stages.shadow
        for root in shadow.all_roots() if address is None else shadow.known(address):
            self.cpu.translation.invept(root)

    # ---- events ---------------------------------------------------------------------------------------------------------

    def tell(self, kind: Kind, *data: int, cost: int) -> None:
        """Spend L0's own time, and tell what for."""
        cpu = self.cpu
        cpu.clock.cycles += cost
        if cpu.emit is not None:
            cpu.emit_event(kind, cost, data, _OUTER)

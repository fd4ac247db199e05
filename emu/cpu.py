"""The processor's state: general registers live in TCG, everything privileged lives here.

The guest runs at TCG's ring 1 or 3 whatever its own privilege level is, so what TCG believes about CR0, IOPL or CPL
is only a means: this class holds the truth and derives TCG's words from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu.registers import CR0, EFER
from . import layout
from .breakpoints import Breakpoints
from .clock import Clock, Tsc
from .cost import DEFAULT
from .descriptors import FLAT_DATA32, UNUSABLE, Segment, Table
from .events import Event, Kind, Who
from .faults import GP
from .features import DEFAULT as DEFAULT_FEATURES
from .layout import HF_CS64
from .limits import Limits
from .mode import derive_mode, sync_control, tcg_segment
from .operands import Operands
from .registers import (
    AC,
    ARITHMETIC,
    CC_OP,
    CC_SRC,
    CS,
    CS_WORD,
    DF,
    DF_WORD,
    DS,
    EFLAGS,
    ES,
    FS,
    HFLAGS,
    IF,
    IOPL,
    RF,
    RIP,
    SS,
    SS_WORD,
    VM,
)
from .remembered import Remembered
from .state import State, capture, load
from .transitions import bind_take_gate, bind_take_iret
from .translation import Translation

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.walk import Memory as WalkMemory
    from ..vmx.nonroot import NonRoot
    from ..vmx.operation import Operation
    from .engine import Engine
    from .features import Features
    from .memory import Memory
    from .outer import Outer
    from .quick_vmx import Enter, Leave

_RFLAGS_ALL: Final = 0x3F7FD5
_SYSTEM_FLAGS: Final = _RFLAGS_ALL & ~(ARITHMETIC | DF | IOPL | VM)

_USER, _KERNEL = Who.USER, Who.KERNEL  # a member read off the class takes 0.1 µs
_new: Final = tuple.__new__

_EFER_LMA: Final = EFER.LMA.mask
_AM: Final = CR0.AM.mask


class Cpu(Remembered, Operands):
    """One logical processor.

    Attributes:
        q: TCG's live state as 64-bit words: ``q[RAX]`` … ``q[R15]``, ``q[RIP]``.
        tsc: the time-stamp counter.
        features: what the processor offers.
        cpl: the guest's privilege level, 0 to 3.
        request_attention: has what waits between two instructions looked at.
        v86: RFLAGS.VM, virtual-8086 mode.
        emulates_8086: real or virtual-8086 mode: a selector is a paragraph's number.
        resumed_at, resumed_rip: when and where an IRET has set RFLAGS.RF, which is kept for instruction breakpoints only.
        interrupt_shadow: `STI_SHADOW`, `MOV_SS_SHADOW` or 0: the instruction before this one holds interrupts off; outside a guest it
            stays until something asks, for plain code makes no event.
        shadow_at: RIP of the instruction that `MOV_SS_SHADOW` is about.
        emit: takes each `Event`, or None when nobody listens.
        syscall_path, sysret_path: SYSCALL and SYSRET as they were worked out the last time.
        other_syscall_path: SYSCALL from elsewhere, the time before: a program and a container kernel may take turns.
        known: what is known of the side that runs, a virtual machine's host or guest.
        gate_paths, iret_paths, transition_pages: its.
        on_other_side: called with what is known of the side that runs from now on, by those who have bound it.
        epoch: counts the changes of anything that cached transitions were worked out from.
        switched_msrs: those that belong to one side of a virtual machine (`world.SWITCHED_MSRS`); None where one may have been written.
        quick_vmx: VM entries and exits between sides that have met before, once there was an entry (`quick_vmx.bind`).
        vmx: VMX operation, or None outside it.
        guest: VMX non-root operation, or None outside it.
        outer: the outermost hypervisor, in a virtual machine of which everything runs, or None.
        software_memory: physical memory as the machine's software sees it: less what that hypervisor keeps.

    """

    iopl: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    pdptes: tuple[int, int, int, int]
    pkru: int
    pkrs: int
    xcr0: int
    xss: int
    gdtr: Table
    idtr: Table
    ldtr: Segment
    tr: Segment
    nmi_blocked: bool
    halted: bool
    tsc: Tsc
    vmx: Operation | None
    guest: NonRoot | None
    outer: Outer | None

    def __init__(self, engine: Engine, memory: Memory, clock: Clock, features: Features = DEFAULT_FEATURES) -> None:
        self.engine = engine
        self.memory = memory
        self.software_memory: WalkMemory = memory
        self.clock = clock
        self.features = features
        self.tsc = Tsc(clock)
        self.q = engine.q
        self.d = engine.d
        Remembered.__init__(self)
        self.limits = Limits(self)
        self.translation = Translation(self, engine, memory)
        self.breakpoints = Breakpoints(self)
        self.costs = DEFAULT
        self.resumed_at = self.resumed_rip = self.shadow_at = -1
        self.failure: BaseException | None = None
        self.emit: Callable[[Event], None] | None = None
        self.who_is: Callable[[Cpu], Who] | None = None
        self.devices: Any = None
        self.request_attention: Callable[[], None] = lambda: None
        self.vmx = self.guest = self.outer = None
        self.iopl = 0
        self.v86 = self.emulates_8086 = False
        self.dr = [0] * 8
        self.msr: dict[int, int] = {}
        self.switched_msrs: tuple[int, ...] | None = None
        self.quick_vmx: tuple[Enter, Leave] | None = None
        self.segments = [FLAT_DATA32] * 6
        self.reset()
        self.take_gate, self.take_iret = bind_take_gate(self), bind_take_iret(self)

    def reset(self) -> None:
        """Put the state at what a multiboot loader leaves: 32-bit flat protected mode, paging off, ring 0."""
        load(self, State(), anew=True)
        self.translation.reset()

    def state(self) -> State:
        """Give everything privileged, and the general registers, as one value."""
        return capture(self)

    def load(self, state: State) -> None:
        """Take a state; translations stay cached.  ``Unimplemented`` for an activity that is none here."""
        load(self, state)

    # ---- flags ------------------------------------------------------------------------------------------------

    @property
    def rflags(self) -> int:
        """The guest's whole RFLAGS."""
        q, d = self.q, self.d
        word = q[EFLAGS] & ~(ARITHMETIC | DF | IOPL) | self.iopl << 12
        if d[DF_WORD] != 1:
            word |= DF
        if self.v86:
            word |= VM
        return word | (q[CC_SRC] if d[CC_OP] == 1 else self.engine.flags()) & ARITHMETIC

    @rflags.setter
    def rflags(self, value: int) -> None:
        before = self.q[EFLAGS]
        self.store_flags(value)
        if (before ^ value) & AC:
            self.translation.switch()

    def store_flags(self, value: int) -> None:
        """Store RFLAGS; a change of AC is a change of context, and the caller's."""
        q, d = self.q, self.d
        q[CC_SRC] = value & ARITHMETIC
        d[CC_OP] = 1
        d[DF_WORD] = 0xFFFFFFFF if value & DF else 1
        q[EFLAGS] = value & _SYSTEM_FLAGS | 2
        if self.v86 is not bool(value & VM):
            self.set_v86(not self.v86)
        if self.iopl != value >> 12 & 3:
            self.iopl = value >> 12 & 3
            self._iopl_changed()

    @property
    def checks_alignment(self) -> bool:
        """Data accesses must be aligned: CR0.AM and RFLAGS.AC are set, and CPL is 3 (SDM "Alignment Check Exception (#AC)")."""
        return self.cpl == 3 and bool(self.cr0 & _AM and self.q[EFLAGS] & AC)

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        return bool(self.q[EFLAGS] & IF)

    def resume(self, flags: int, rip: int) -> int:
        """Give the RFLAGS that an IRET to `rip` leaves.

        RF ends with the next instruction (SDM "Instruction-Breakpoint Exception Condition").
        Where no instruction breakpoint is set, only an interrupt that comes before that instruction can tell, and asks
        `resumes`; where one is, `Pending` sees to it that RF ends.
        """
        if flags & RF:
            if self.breakpoints.on_code:
                self.breakpoints.on_hit()
            else:
                self.resumed_at, self.resumed_rip = self.clock.cycles, rip
                flags &= ~RF
        return flags

    @property
    def resumes(self) -> bool:
        """Nothing has run since an IRET that has set RFLAGS.RF."""
        return self.resumed_at == self.clock.cycles and self.resumed_rip == self.q[RIP]

    def set_system_flags(self, clear: int, put: int) -> None:
        """Clear and set bits outside the arithmetic flags, DF and IOPL (IF, AC, TF, NT, RF …)."""
        before = self.q[EFLAGS]
        self.q[EFLAGS] = after = before & ~clear | put
        if (before ^ after) & AC:
            self.translation.switch()

    def set_v86(self, on: bool) -> None:
        """Set or clear RFLAGS.VM; the segments are the caller's."""
        self.v86 = on
        derive_mode(self)

    @property
    def system_flags(self) -> int:
        """RFLAGS without the arithmetic flags, DF and IOPL: cheap to read."""
        return self.q[EFLAGS]

    # ---- segments ---------------------------------------------------------------------------------------------

    def segment(self, number: int) -> Segment:
        """Give a segment register; what the guest nulled or rebased without a trap is read back from TCG."""
        kept = self.segments[number]
        at = layout.SEGMENTS + 24 * number
        selector = self.d[at >> 2] & 0xFFFF
        if selector != kept.selector:
            kept = Segment(selector, 0, 0, UNUSABLE)  # not stored: who looks, and when, must not change what comes
        if number >= FS:
            base = self.q[at + 8 >> 3]
            if base != kept.base:
                return Segment(selector, base, kept.limit, kept.access)
        return kept

    def set_segment_base(self, number: int, base: int) -> None:
        """Set FS's or GS's base alone, as WRMSR, WRFSBASE and SWAPGS do."""
        self.q[layout.SEGMENTS + 24 * number + 8 >> 3] = base

    def set_segment(self, number: int, segment: Segment) -> None:
        """Load ES, SS, DS, FS or GS."""
        self.segments[number] = segment
        tcg_segment(self, number, segment)
        if number in {ES, SS, DS}:
            derive_mode(self)
        elif self.emulates_8086:
            self.limits.update()

    def set_cs(self, segment: Segment, cpl: int) -> None:
        """Load CS and the privilege level, and with them the mode and the translation context."""
        old = self.segments[CS]
        self.segments[CS] = segment
        self.d[layout.SEGMENTS + 24 * CS >> 2] = segment.selector
        remode = (old.access ^ segment.access) & 0x6000 or old.base != segment.base
        if remode:
            derive_mode(self)
            self.translation.forget_code()
        if remode or cpl != self.cpl:
            self.cpl = cpl
            self.translation.switch()

    def load_pair(self, code: Segment, stack: Segment, cpl: int, flags: int) -> None:
        """Load CS, SS, CPL and RFLAGS at once, as SYSCALL and its kin do: one change of context."""
        segments, d = self.segments, self.d
        old = segments[CS]
        segments[CS], segments[SS] = code, stack
        d[CS_WORD] = code.selector
        d[SS_WORD] = stack.selector
        q = self.q
        q[CC_SRC] = flags & ARITHMETIC
        d[CC_OP] = 1
        d[DF_WORD] = 0xFFFFFFFF if flags & DF else 1
        q[EFLAGS] = flags & _SYSTEM_FLAGS | 2
        if self.iopl != flags >> 12 & 3:
            self.iopl = flags >> 12 & 3
            self._iopl_changed()
        self.cpl = cpl
        # From 64-bit code to 64-bit code no mode changes: the usual case.
        if not (code.access & 0x2000 and d[HFLAGS] & HF_CS64) and (
            (old.access ^ code.access) & 0x6000 or old.base != code.base
        ):
            derive_mode(self)
            self.translation.forget_code()
        self.translation.switch()

    def _iopl_changed(self) -> None:
        self.forget_transitions()
        self.engine.drop_all_code()  # which of POPF, PUSHF, CLI and STI need a hook depends on IOPL

    def fail(self, error: BaseException) -> None:
        """Keep an exception of a callback for the run loop, and stop TCG."""
        if self.failure is None:
            self.failure = error
        self.engine.stop()

    @property
    def long_mode(self) -> bool:
        """EFER.LMA: 64-bit or compatibility mode."""
        return bool(self.efer & _EFER_LMA)

    # ---- control registers ------------------------------------------------------------------------------------

    def sync_control(self) -> None:
        """Derive everything that depends on CR0, CR4, EFER or CPL."""
        sync_control(self)

    def set_cr0(self, value: int) -> None:
        """Store CR0 and what follows from it; the checks are the instruction's."""
        self.cr0 = value
        self.sync_control()

    def set_cr4(self, value: int) -> None:
        """Store CR4 and what follows from it."""
        self.cr4 = value
        self.sync_control()

    def set_efer(self, value: int) -> None:
        """Store EFER and what follows from it."""
        self.efer = value
        self.sync_control()

    def set_pkru(self, value: int) -> None:
        """Store PKRU."""
        self.pkru = value
        self.translation.switch()

    def set_pkrs(self, value: int) -> None:
        """Store IA32_PKRS."""
        self.pkrs = value
        self.translation.switch_supervisor_keys()

    @property
    def cr8(self) -> int:
        """The task-priority register: bits 7:4 of the local APIC's TPR."""
        return int(self.devices.lapic.tpr) >> 4

    # ---- instructions -----------------------------------------------------------------------------------------

    def require_ring0(self) -> None:
        """Raise #GP(0) unless CPL is 0."""
        if self.cpl:
            raise GP(0)

    def event(self, kind: Kind, *data: int, cost: int = 0) -> None:
        """Spend `cost` virtual cycles and tell the sink, if there is one."""
        self.clock.cycles += cost
        if self.emit is not None:
            self.emit_event(kind, cost, data)

    def emit_event(self, kind: Kind, cost: int, data: tuple[int, ...], who: Who | None = None) -> None:
        """Build the event, of `who`, or whoever runs; only called when somebody listens."""
        emit = self.emit
        if emit is not None:
            if who is None:
                who = self.who_is(self) if self.who_is is not None else (_USER if self.cpl == 3 else _KERNEL)
            clock = self.clock
            if clock.charging:
                clock.sync()
            # Not by Event's own constructor, which takes twice as long.
            emit(_new(Event, (kind, clock.cycles, cost, self.q[RIP], who, data)))

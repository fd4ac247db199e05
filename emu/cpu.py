"""The processor's state: general registers live in TCG, everything privileged lives here.

The guest runs at TCG's ring 1 or 3 whatever its own privilege level is, so what TCG believes about CR0, IOPL or CPL
is only a means: this class holds the truth and derives TCG's words from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from attrs import frozen

from . import layout
from .access import LinearAccess
from .breakpoints import Breakpoints
from .cost import DEFAULT
from .events import Event, Kind, Who
from .faults import GP
from .transitions import bind_take_gate, bind_take_iret
from .translation import Translation

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock
    from .decode import Insn, Operand
    from .engine import Engine
    from .memory import Memory
    from .transitions import GatePath, IretPath, SyscallPath

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15 = range(8, 16)
RIP: Final = 16
EFLAGS: Final = layout.EFLAGS >> 3
_EFLAGS: Final = EFLAGS
_CC_SRC, _CC_OP, _DF_AT = layout.CC_SRC >> 3, layout.CC_OP >> 2, layout.DF >> 2
_HFLAGS: Final = layout.HFLAGS >> 2
ES, CS, SS, DS, FS, GS = range(6)

_ARITHMETIC: Final = 0x8D5  # CF PF AF ZF SF OF: lazy in TCG
_DF: Final = 0x400
_IOPL: Final = 0x3000
_RFLAGS_ALL: Final = 0x3F7FD5
_SYSTEM_FLAGS: Final = _RFLAGS_ALL & ~(0x8D5 | 0x400 | 0x3000)
_AC: Final = 1 << 18
_IF: Final = 1 << 9

_HF_CS32, _HF_SS32, _HF_ADDSEG, _HF_PE = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_HF_LMA, _HF_CS64, _HF_OSFXSR = 1 << 14, 1 << 15, 1 << 22
_HF_TS_EM_MP: Final = 7 << 9
_HF_OURS: Final = _HF_CS32 | _HF_SS32 | _HF_ADDSEG | _HF_PE | _HF_LMA | _HF_CS64 | _HF_OSFXSR | _HF_TS_EM_MP

_CS_AT: Final = layout.SEGMENTS + 24 * CS >> 2
_SS_AT: Final = layout.SEGMENTS + 24 * SS >> 2

_USER, _KERNEL = Who.USER, Who.KERNEL  # a member read off the class takes 0.1 µs
_new: Final = tuple.__new__

_CR0_PE, _CR0_PG = 1, 1 << 31
_CR4_OSFXSR, _CR4_FSGSBASE, _CR4_TSD = 1 << 9, 1 << 16, 1 << 2
_EFER_LMA: Final = 1 << 10


class Table(NamedTuple):
    """GDTR or IDTR: the linear base and the limit in bytes, less one."""

    base: int
    limit: int


@frozen(slots=True)
class Segment:
    """A segment register with its hidden part.

    Attributes:
        selector: the visible 16 bits.
        base: linear base address.
        limit: last valid byte, granularity applied.
        access: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16 (SDM "Segment Descriptors").

    """

    selector: int
    base: int
    limit: int
    access: int

    @property
    def dpl(self) -> int:
        """The descriptor privilege level."""
        return self.access >> 5 & 3


UNUSABLE: Final = 1 << 16
NULL: Final = Segment(0, 0, 0, UNUSABLE)
FLAT_CODE32: Final = Segment(8, 0, 0xFFFFFFFF, 0xC09B)
FLAT_DATA32: Final = Segment(16, 0, 0xFFFFFFFF, 0xC093)
FLAT_CODE64: Final = Segment(8, 0, 0xFFFFFFFF, 0xA09B)


class Cpu(LinearAccess):
    """One logical processor.

    Attributes:
        q: TCG's live state as 64-bit words: ``q[RAX]`` … ``q[R15]``, ``q[RIP]``.
        cpl: the guest's privilege level, 0 to 3.
        emit: takes each `Event`, or None when nobody listens.
        syscall_path, sysret_path: SYSCALL and SYSRET as they were worked out the last time.
        gate_paths: gates of the IDT, by vector, with bit 8 set for INT n.
        iret_paths: IRETQ, by CS and SS in the frame.

    """

    def __init__(self, engine: Engine, memory: Memory, clock: Clock) -> None:
        self.engine = engine
        self.memory = memory
        self.clock = clock
        self.q = engine.q
        self.d = engine.d
        self.syscall_path: SyscallPath | None = None
        self.sysret_path: SyscallPath | None = None
        self.gate_paths: dict[int, GatePath] = {}
        self.iret_paths: dict[int, IretPath] = {}
        self.translation = Translation(self, engine, memory)
        self.breakpoints = Breakpoints(self)
        self.costs = DEFAULT
        self.failure: BaseException | None = None
        self.emit: Callable[[Event], None] | None = None
        self.who_is: Callable[[Cpu], Who] | None = None
        self.devices: Any = None
        self.reset()
        self.take_gate, self.take_iret = bind_take_gate(self), bind_take_iret(self)

    def reset(self) -> None:
        """Put the state at what a multiboot loader leaves: 32-bit flat protected mode, paging off, ring 0."""
        self.cpl = 0
        self.iopl = 0
        self.cr0, self.cr2, self.cr3, self.cr4 = 0x11, 0, 0, 0
        self.efer = 0
        self.pkru = self.pkrs = 0
        self.pdptes = (0, 0, 0, 0)
        self.xcr0, self.xss = 1, 0
        self.dr = [0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400]
        self.msr: dict[int, int] = {}
        self.gdtr = self.idtr = Table(0, 0xFFFF)
        self.ldtr = Segment(0, 0, 0xFFFF, 0x82)
        self.tr = Segment(0, 0, 0xFFFF, 0x8B)
        self.segments: list[Segment] = [FLAT_DATA32] * 6
        self.tsc_offset = 0
        self.nmi_blocked = False
        self.interrupt_shadow = False  # the instruction after STI or MOV SS: interrupts wait
        self.halted = False
        for register in range(17):
            self.q[register] = 0
        self.rflags = 2
        for number in (ES, SS, DS, FS, GS):
            self.set_segment(number, FLAT_DATA32)
        self.set_cs(FLAT_CODE32, 0)
        self.sync_control()

    # ---- flags ------------------------------------------------------------------------------------------------

    @property
    def rflags(self) -> int:
        """The guest's whole RFLAGS."""
        q, d = self.q, self.d
        word = q[_EFLAGS] & ~(_ARITHMETIC | _DF | _IOPL) | self.iopl << 12
        if d[_DF_AT] != 1:
            word |= _DF
        return word | (q[_CC_SRC] if d[_CC_OP] == 1 else self.engine.flags()) & _ARITHMETIC

    @rflags.setter
    def rflags(self, value: int) -> None:
        q, d = self.q, self.d
        q[_CC_SRC] = value & _ARITHMETIC
        d[_CC_OP] = 1
        d[_DF_AT] = 0xFFFFFFFF if value & _DF else 1
        before = q[_EFLAGS]
        q[_EFLAGS] = value & _SYSTEM_FLAGS | 2
        if self.iopl != value >> 12 & 3:
            self.iopl = value >> 12 & 3
            self._iopl_changed()
        if (before ^ value) & _AC:
            self.translation.switch()

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        return bool(self.q[_EFLAGS] & _IF)

    def set_system_flags(self, clear: int, put: int) -> None:
        """Clear and set bits outside the arithmetic flags, DF and IOPL (IF, AC, TF, NT, RF …)."""
        before = self.q[_EFLAGS]
        self.q[_EFLAGS] = after = before & ~clear | put
        if (before ^ after) & _AC:
            self.translation.switch()

    @property
    def system_flags(self) -> int:
        """RFLAGS without the arithmetic flags, DF and IOPL: cheap to read."""
        return self.q[_EFLAGS]

    # ---- segments ---------------------------------------------------------------------------------------------

    def segment(self, number: int) -> Segment:
        """Give a segment register; what the guest nulled or rebased without a trap is read back from TCG."""
        kept = self.segments[number]
        at = layout.SEGMENTS + 24 * number
        selector = self.d[at >> 2] & 0xFFFF
        if selector != kept.selector:
            kept = Segment(selector, 0, 0, UNUSABLE)
            self.segments[number] = kept
        if number >= FS:
            base = self.q[at + 8 >> 3]
            if base != kept.base:
                kept = self.segments[number] = Segment(selector, base, kept.limit, kept.access)
        return kept

    def segment_base(self, number: int) -> int:
        """Give the live base; 0 for ES, CS, SS and DS in 64-bit mode."""
        return self.q[layout.SEGMENTS + 24 * number + 8 >> 3]

    def set_segment_base(self, number: int, base: int) -> None:
        """Set FS's or GS's base alone, as WRMSR, WRFSBASE and SWAPGS do."""
        self.q[layout.SEGMENTS + 24 * number + 8 >> 3] = base

    def set_segment(self, number: int, segment: Segment) -> None:
        """Load ES, SS, DS, FS or GS."""
        self.segments[number] = segment
        self._tcg_segment(number, segment)
        if number in {ES, SS, DS}:
            self._derive_mode()

    def _tcg_segment(self, number: int, segment: Segment) -> None:
        at = layout.SEGMENTS + 24 * number
        base = 0 if number < FS and self.segments[CS].access & 0x2000 and self.efer & _EFER_LMA else segment.base
        self.d[at >> 2] = segment.selector
        self.q[at + 8 >> 3] = base
        self.d[at + 16 >> 2] = segment.limit
        self.d[at + 20 >> 2] = (segment.access & 0xF0FF) << 8

    def set_cs(self, segment: Segment, cpl: int) -> None:
        """Load CS and the privilege level, and with them the mode and the translation context."""
        old = self.segments[CS]
        self.segments[CS] = segment
        self.d[layout.SEGMENTS + 24 * CS >> 2] = segment.selector
        remode = (old.access ^ segment.access) & 0x6000 or old.base != segment.base
        if remode:
            self._derive_mode()
            self.translation.forget_code()
        if remode or cpl != self.cpl:
            self.cpl = cpl
            self.translation.switch()

    def load_pair(self, code: Segment, stack: Segment, cpl: int, flags: int) -> None:
        """Load CS, SS, CPL and RFLAGS at once, as SYSCALL and its kin do: one change of context."""
        segments, d = self.segments, self.d
        old = segments[CS]
        segments[CS], segments[SS] = code, stack
        d[_CS_AT] = code.selector
        d[_SS_AT] = stack.selector
        q = self.q
        q[_CC_SRC] = flags & _ARITHMETIC
        d[_CC_OP] = 1
        d[_DF_AT] = 0xFFFFFFFF if flags & _DF else 1
        q[_EFLAGS] = flags & _SYSTEM_FLAGS | 2
        if self.iopl != flags >> 12 & 3:
            self.iopl = flags >> 12 & 3
            self._iopl_changed()
        self.cpl = cpl
        # From 64-bit code to 64-bit code no mode changes: the usual case.
        if not (code.access & 0x2000 and d[_HFLAGS] & _HF_CS64) and (
            (old.access ^ code.access) & 0x6000 or old.base != code.base
        ):
            self._derive_mode()
            self.translation.forget_code()
        self.translation.switch()

    def _iopl_changed(self) -> None:
        self.forget_transitions()
        self.engine.drop_all_code()  # which of POPF, PUSHF, CLI and STI need a hook depends on IOPL

    def forget_transitions(self) -> None:
        """Something has changed that crossings were worked out from."""
        self.syscall_path = self.sysret_path = None
        self.gate_paths.clear()
        self.iret_paths.clear()

    def fail(self, error: BaseException) -> None:
        """Keep an exception of a callback for the run loop, and stop TCG."""
        if self.failure is None:
            self.failure = error
        self.engine.stop()

    def sync_clock(self) -> None:
        """Bring the clock up to the instructions retired so far; the run loop replaces this when it counts them."""

    @property
    def code64(self) -> bool:
        """64-bit mode (not compatibility mode)."""
        return bool(self.efer & _EFER_LMA and self.segments[CS].access & 0x2000)

    @property
    def long_mode(self) -> bool:
        """EFER.LMA: 64-bit or compatibility mode."""
        return bool(self.efer & _EFER_LMA)

    def _derive_mode(self) -> None:
        """Derive TCG's mode bits from CS, SS, CR0 and EFER."""
        long = self.efer & _EFER_LMA
        access = self.segments[CS].access
        flags = _HF_PE if self.cr0 & _CR0_PE else 0
        if long and access & 0x2000:
            flags |= _HF_LMA | _HF_CS64 | _HF_CS32 | _HF_SS32
        else:
            if long:
                flags |= _HF_LMA
            if access & 0x4000:
                flags |= _HF_CS32
            else:
                flags |= _HF_ADDSEG
            if self.segments[SS].access & 0x4000:
                flags |= _HF_SS32
            if self.segments[DS].base | self.segments[ES].base | self.segments[SS].base:
                flags |= _HF_ADDSEG
        flags |= (self.cr0 & 0xE) << 8
        if self.cr4 & _CR4_OSFXSR:
            flags |= _HF_OSFXSR
        hflags = self.d[_HFLAGS]
        if hflags & _HF_OURS != flags:
            self.d[_HFLAGS] = hflags & ~_HF_OURS | flags
            self.translation.code_size = 64 if flags & _HF_CS64 else (32 if flags & _HF_CS32 else 16)
            self.translation.forget_code()
        self._tcg_segment(CS, self.segments[CS])
        for number in (ES, SS, DS):  # their bases count outside 64-bit mode only
            kept = self.segments[number]
            if self.d[layout.SEGMENTS + 24 * number >> 2] & 0xFFFF == kept.selector:
                self._tcg_segment(number, kept)

    # ---- control registers ------------------------------------------------------------------------------------

    def sync_control(self) -> None:
        """Derive everything that depends on CR0, CR4, EFER or CPL."""
        self.q[layout.CR >> 3] = self.cr0
        # TSD makes RDTSC trap, and without OSXSAVE and PKE the XSAVE family and RDPKRU do; FSGSBASE and FXSAVE run natively.
        self.q[layout.CR + 32 >> 3] = _CR4_TSD | self.cr4 & (_CR4_FSGSBASE | _CR4_OSFXSR)
        for number in (ES, SS, DS):  # their bases count only outside 64-bit mode; those of FS and GS are live in TCG
            self._tcg_segment(number, self.segments[number])
        self._derive_mode()
        self.translation.configure()

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

    def set_cr3(self, value: int) -> None:
        """Store CR3; flushing is the instruction's."""
        self.cr3 = value
        self.translation.configure()

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

    def next(self, insn: Insn) -> None:
        """Step over `insn`."""
        rip = self.q[RIP] + insn.length
        self.q[RIP] = rip if self.d[_HFLAGS] & _HF_CS64 else rip & 0xFFFFFFFF

    def block_interrupts(self) -> None:
        """Keep interrupts and debug exceptions from the instruction at RIP (SDM "… When Switching Stacks")."""
        self.interrupt_shadow = True
        base = 0 if self.code64 else self.segments[CS].base
        self.breakpoints.inhibited = self.q[RIP] + base & (1 << 64) - 1

    def operand_address(self, insn: Insn, mem: Operand) -> int:
        """Give the linear address of a memory operand."""
        q = self.q
        address = mem.disp
        if mem.rip_relative:
            address += q[RIP] + insn.length
        if mem.base is not None:
            address += q[mem.base]
        if mem.index is not None:
            address += q[mem.index] * mem.scale
        address &= (1 << 8 * mem.address_size) - 1
        address += self.segment_base(mem.segment)
        return address & (0xFFFFFFFFFFFFFFFF if self.code64 else 0xFFFFFFFF)

    def get(self, insn: Insn, operand: Operand) -> int:
        """Read a register, memory or immediate operand."""
        kind = operand.kind
        if kind == "reg":
            value = self.q[operand.number] >> (8 if operand.high else 0)
            return value & (1 << 8 * operand.size) - 1
        if kind == "mem":
            return self.read(self.operand_address(insn, operand), operand.size, stack=operand.segment == SS)
        return int(operand.value)

    def put(self, insn: Insn, operand: Operand, value: int) -> None:
        """Write a register or memory operand; a 32-bit register write clears the upper half."""
        if operand.kind == "mem":
            self.write(self.operand_address(insn, operand), operand.size, value, stack=operand.segment == SS)
            return
        size, number = operand.size, operand.number
        if size >= 4:
            self.q[number] = value & (1 << 8 * size) - 1
            return
        shift = 8 if operand.high else 0
        mask = (1 << 8 * size) - 1 << shift
        self.q[number] = self.q[number] & ~mask | value << shift & mask

    def require_ring0(self) -> None:
        """Raise #GP(0) unless CPL is 0."""
        if self.cpl:
            raise GP(0)

    def event(self, kind: Kind, *data: int, cost: int = 0) -> None:
        """Spend `cost` virtual cycles and tell the sink, if there is one."""
        self.clock.cycles += cost
        if self.emit is not None:
            self.emit_event(kind, cost, data)

    def emit_event(self, kind: Kind, cost: int, data: tuple[int, ...]) -> None:
        """Build the event; only called when somebody listens."""
        emit = self.emit
        if emit is not None:
            who = self.who_is(self) if self.who_is is not None else (_USER if self.cpl == 3 else _KERNEL)
            # Not by Event's own constructor, which takes twice as long.
            emit(_new(Event, (kind, self.clock.cycles, cost, self.q[RIP], who, data)))

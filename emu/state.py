"""The processor's whole architectural state, declared once: what reset and boot set, snapshots and checkpoints keep.

x87, SSE and MXCSR are not in it: they live in TCG alone, and nothing but XSAVE and its kin moves them.  `Cpu` keeps the same registers
where they are quickest; `capture` and `load` go between the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, field, fields, frozen

from ..vmx.words import Activity, Interruptibility
from .contexts import NOT_SLOT, SLOT_FLAGS
from .descriptors import FLAT_CODE32, FLAT_DATA32, Segment, Table, intern
from .faults import Unimplemented
from .mode import tcg_segment
from .registers import HFLAGS, RIP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..vmx.operation import VmxState
    from .cpu import Cpu
    from .outer import OuterState


STI_SHADOW: Final = Interruptibility.STI.mask
MOV_SS_SHADOW: Final = Interruptibility.MOV_SS.mask
_SHADOW: Final = STI_SHADOW | MOV_SS_SHADOW
_NMI: Final = Interruptibility.NMI.mask


def _words(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _pdptes(values: Iterable[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = values
    return first, second, third, fourth


def _segment(value: Segment | dict[str, int]) -> Segment:
    return intern(value if isinstance(value, Segment) else Segment(**value))


def _segments(values: Iterable[Segment | dict[str, int]]) -> tuple[Segment, ...]:
    return tuple(_segment(value) for value in values)


def _table(value: tuple[int, int]) -> Table:
    return Table(*value)


def _vmx(value: VmxState | dict[str, Any] | None) -> VmxState | None:
    if not isinstance(value, dict):
        return value
    from ..vmx.operation import VmxState  # noqa: PLC0415  (most guests never come here)

    return VmxState(**value)


def _outer(value: OuterState | dict[str, Any] | None) -> OuterState | None:
    if not isinstance(value, dict):
        return value
    from .outer import OuterState  # noqa: PLC0415

    return OuterState(**value)


def _msrs(value: dict[Any, int]) -> dict[int, int]:
    return {int(number): content for number, content in value.items()}


@frozen
class State:
    """Everything privileged, the general registers, RIP and RFLAGS; the defaults are what a multiboot loader leaves.

    Attributes:
        registers: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
        rip, rflags: all of RFLAGS, IOPL too.
        cpl: the privilege level.
        cr0, cr2, cr3, cr4, efer: control registers; CR8 is the local APIC's.
        pdptes: the PDPTE registers of PAE paging.
        pkru, pkrs: protection-key rights.
        xcr0, xss: the components that XSAVE and XSAVES manage.
        dr: DR0 to DR7.
        gdtr, idtr: descriptor tables.
        ldtr, tr, segments: segment registers; `segments` are ES, CS, SS, DS, FS, GS.
        msrs: the registers that only keep their value, those that were written.
        tsc_adjust, tsc_offset: see `Tsc`.
        interruptibility: the shadow of STI or MOV SS, and whether NMIs are blocked.
        activity: active, or halted.
        vmx: VMX root operation, with every active VMCS; None outside VMX operation.
        outer: the outermost hypervisor, or None.

    """

    registers: tuple[int, ...] = field(default=(0,) * 16, converter=_words)
    rip: int = 0
    rflags: int = 2
    cpl: int = 0
    cr0: int = 0x11
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    pdptes: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), converter=_pdptes)
    pkru: int = 0
    pkrs: int = 0
    xcr0: int = 1
    xss: int = 0
    dr: tuple[int, ...] = field(default=(0, 0, 0, 0, 0, 0, 0xFFFF0FF0, 0x400), converter=_words)
    gdtr: Table = field(default=Table(0, 0xFFFF), converter=_table)
    idtr: Table = field(default=Table(0, 0xFFFF), converter=_table)
    ldtr: Segment = field(default=Segment(0, 0, 0xFFFF, 0x82), converter=_segment)
    tr: Segment = field(default=Segment(0, 0, 0xFFFF, 0x8B), converter=_segment)
    segments: tuple[Segment, ...] = field(default=(FLAT_DATA32, FLAT_CODE32, *(FLAT_DATA32,) * 4), converter=_segments)
    msrs: dict[int, int] = field(factory=dict, converter=_msrs)
    tsc_adjust: int = 0
    tsc_offset: int = 0
    interruptibility: Interruptibility = field(default=Interruptibility(0), converter=Interruptibility)
    activity: Activity = field(default=Activity.ACTIVE, converter=Activity)
    vmx: VmxState | None = field(default=None, converter=_vmx)
    outer: OuterState | None = field(default=None, converter=_outer)

    def as_dict(self) -> dict[str, Any]:
        """Give every field by name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> State:
        """Take what `as_dict` gave; ``ValueError`` where a register is missing, or one too many."""
        odd = values.keys() ^ {each.name for each in fields(cls)}
        if odd:
            raise ValueError(f"the state is not this processor's: {min(odd)}")
        return cls(**values)


# What `Cpu` has as an attribute of the same name.
_ELSEWHERE: Final = frozenset(
    {
        "registers",
        "rip",
        "rflags",
        "dr",
        "segments",
        "msrs",
        "tsc_adjust",
        "tsc_offset",
        "interruptibility",
        "activity",
        "vmx",
        "outer",
    }
)
_PLAIN: Final = tuple(each.name for each in fields(State) if each.name not in _ELSEWHERE)


def capture(cpu: Cpu) -> State:
    """Give the processor's state."""
    return State(
        registers=cpu.q[:16],
        rip=cpu.q[RIP],
        rflags=cpu.rflags,
        dr=cpu.dr,
        segments=[cpu.segment(number) for number in range(6)],
        msrs=cpu.msr,
        tsc_adjust=cpu.tsc.adjust,
        tsc_offset=cpu.tsc.offset,
        interruptibility=Interruptibility(cpu.interrupt_shadow | (_NMI if cpu.nmi_blocked else 0)),
        activity=Activity.HLT if cpu.halted else Activity.ACTIVE,
        vmx=None if cpu.vmx is None else cpu.vmx.save(),
        outer=None if cpu.outer is None else cpu.outer.save(),
        **{name: getattr(cpu, name) for name in _PLAIN},
    )


def _mode(cpu: Cpu) -> tuple[Any, ...]:
    """Give what `Cpu.sync_control` derives from; outside 64-bit mode, segments too."""
    return (
        cpu.cr0,
        cpu.v86,
        cpu.cr3,
        cpu.cr4,
        cpu.efer,
        cpu.pdptes,
        cpu.pkrs,
        cpu.vmx is None,
        None if cpu.code64 else tuple(cpu.segments[:4]),
    )


def _load_vmx(cpu: Cpu, state: VmxState | None, outer: OuterState | None) -> None:
    from ..vmx.operation import Operation  # noqa: PLC0415  (most guests never come here)
    from .vmexit import resume_guest  # noqa: PLC0415

    if state is not None and cpu.features.vmx is None:
        raise ValueError("the state is in VMX operation, and the processor has no VMX")
    cpu.vmx = None if state is None or cpu.features.vmx is None else Operation.load(cpu.features.vmx, state)
    if cpu.outer is not None:
        resume_guest(cpu, cpu.outer.load(outer))
    elif outer is not None:
        raise ValueError("the state has an outermost hypervisor, and the machine has none")
    else:
        resume_guest(cpu, None if cpu.vmx is None else cpu.vmx.guest)


def load(cpu: Cpu, state: State, *, anew: bool = False) -> None:
    """Give the processor a state: one synchronisation with TCG, one change of context, no invalidation.

    Lists and dictionaries change in place: callbacks have captured them.  `anew` takes nothing for given of what TCG was told before.
    """
    if state.activity > Activity.HLT:
        raise Unimplemented(f"activity state {state.activity.name}")
    before = None if anew else _mode(cpu)
    same = not anew and all(
        getattr(cpu, name) == getattr(state, name) for name in ("gdtr", "idtr", "ldtr", "tr", "dr")
    ) and cpu.msr == state.msrs  # fmt: skip
    q = cpu.q
    for number, value in enumerate(state.registers):
        q[number] = value
    q[RIP] = state.rip
    for name in _PLAIN:
        setattr(cpu, name, getattr(state, name))
    cpu.dr[:] = state.dr
    cpu.msr.clear()
    cpu.msr.update(state.msrs)
    cpu.switched_msrs = None
    cpu.segments[:] = state.segments
    cpu.tsc.adjust, cpu.tsc.offset = state.tsc_adjust, state.tsc_offset
    cpu.interrupt_shadow = state.interruptibility & _SHADOW
    cpu.nmi_blocked = bool(state.interruptibility & _NMI)
    cpu.halted = state.activity is Activity.HLT
    if state.vmx or cpu.vmx or state.outer or cpu.outer:
        _load_vmx(cpu, state.vmx, state.outer)
    cpu.store_flags(state.rflags)
    for number, segment in enumerate(state.segments):
        tcg_segment(cpu, number, segment)
    if not same:
        cpu.forget_transitions()  # a change of mode or of PKRS does it below
    if _mode(cpu) == before:
        cpu.translation.switch()
    else:
        cpu.sync_control()
    # TCG's words may have been replaced before, and with them the slot that it believes itself in.
    cpu.d[HFLAGS] = cpu.d[HFLAGS] & NOT_SLOT | SLOT_FLAGS[cpu.translation.current_slot]
    cpu.breakpoints.update()
    if cpu.interrupt_shadow & MOV_SS_SHADOW:
        cpu.pass_breakpoint()

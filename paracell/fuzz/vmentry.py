"""VM entries near the border of what is valid: a real VMLAUNCH or VMRESUME, against a model of the manual's checks.

A host at ring 0 writes fields of a VMCS that passes every check, enters, is left again by the guest's VMCALL, writes more, and so on:
what an entry remembers of the one before is tried too.  An input::

    byte 0   the VMCS to begin with: 64-bit, PAE, virtual-8086, unrestricted, … │ then records of 10 bytes

    record   byte 0  field, by number; from 200 on it says "enter" │ 1  how: turn a bit over, XOR, set, add │ 2  operand (u64)

The end of the input enters once more.  What comes of each entry must be what the model allows: VM-instruction error 7 or 8, exit reason
33 with a qualification, or a guest that runs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ..emu.checkpoint import Checkpoint
from ..emu.descriptors import FLAT_CODE64, FLAT_DATA32, Segment, Table
from ..emu.devices import NoConsole
from ..emu.events import Event, Kind
from ..emu.features import parse
from ..emu.machine import Machine
from ..emu.registers import RBX, RIP, RSP
from ..emu.sinks import Listener
from ..emu.stop import Reason
from ..mmu.address import U64
from ..vmx.caps import IA32_FEATURE_CONTROL, REVISION
from ..vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)
from ..vmx.vmcs import EACH_ENTRY
from .entry_states import (
    BASE,
    EPT,
    GUEST_32,
    HOST_32,
    PDPT,
    SHADOW,
    UNRESTRICTED,
    V86,
    VAPIC,
    VIRTUAL_NMIS,
    VMCS,
    WRONG,
    controls,
)
from .mistakes import chosen, planted, said
from .mistakes_vmx import VM_ENTRY
from .model.vm_entry import Processor, judge
from .target import Found, Options, Target

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from ..vmx.vmcs import Vmcs
    from .chance import Chance
    from .target import Tell

_VMXON, _TABLES, _GDT, _IDT, _TSS, _CODE, _STACK = 0x1000, 0x8000, 0xB000, 0xC000, 0xD000, 0x10000, 0x20000
_GUEST, _GUEST_STACK, _BITMAPS = 0x14000, 0x24000, 0x50000
_ENTER, _LEFT = 0x10100, 0x10200
_MEMORY: Final = 4 << 20
_CR0, _CR4, _EFER = 0x80000031, 0x2020, 0x501
_VMX_ON: Final = 5  # IA32_FEATURE_CONTROL: locked, VMX outside SMX
_PLACES: Final = {
    F.HOST_CR3: _TABLES, F.HOST_RIP: _LEFT, F.HOST_RSP: _STACK, F.HOST_GDTR_BASE: _GDT, F.HOST_IDTR_BASE: _IDT,
    F.HOST_TR_BASE: _TSS, F.GUEST_CR3: _TABLES, F.GUEST_RIP: _GUEST, F.GUEST_RSP: _GUEST_STACK, F.GUEST_GDTR_BASE: _GDT,
    F.GUEST_GDTR_LIMIT: 0xFFF, F.GUEST_IDTR_BASE: _IDT, F.GUEST_IDTR_LIMIT: 0xFFF, F.GUEST_TR_BASE: _TSS,
    F.EXCEPTION_BITMAP: 0xFFFFFFFF, F.IO_BITMAP_A: _BITMAPS, F.IO_BITMAP_B: _BITMAPS + 0x1000, F.MSR_BITMAP: _BITMAPS + 0x2000,
    F.VMREAD_BITMAP: _BITMAPS, F.VMWRITE_BITMAP: _BITMAPS, F.PML_ADDRESS: _BITMAPS, F.VIRTUAL_APIC_ADDRESS: VAPIC,
    F.EXIT_MSR_STORE_ADDRESS: _BITMAPS, F.EXIT_MSR_LOAD_ADDRESS: _BITMAPS, F.ENTRY_MSR_LOAD_ADDRESS: _BITMAPS,
}  # fmt: skip
_V86_AT: Final = {**V86, **{F[f"GUEST_{n}_{what}"]: v for n in ("CS", "SS", "DS", "ES", "FS", "GS")
                             for what, v in (("SELECTOR", _GUEST >> 4), ("BASE", _GUEST))}, F.GUEST_RIP: 0}  # fmt: skip
_PAE: Final = {**GUEST_32, F.GUEST_CR3: PDPT}
BEGINNINGS: Final[tuple[dict[F, int], ...]] = (
    {}, _PAE, {**_V86_AT, F.GUEST_CR3: PDPT}, EPT, {**UNRESTRICTED, **_PAE, F.GUEST_CR0: 0x30}, VIRTUAL_NMIS,
    {**HOST_32, F.GUEST_CR3: PDPT}, {**controls(F.SECONDARY_CONTROLS, 14), F.VMCS_LINK_POINTER: SHADOW},
    {**EPT, **controls(F.SECONDARY_CONTROLS, 1, 17)},
    {**controls(F.PRIMARY_CONTROLS, 21), F.TPR_THRESHOLD: 5},
)  # fmt: skip
# What these fields are for the most part; any other number breaks the same rule.
_LIKED: Final = {
    F.ENTRY_INTERRUPTION_INFO: tuple(1 << 31 | kind << 8 | rest for kind in range(8) for rest in (0, 2, 3, 13, 0x80D, 0x808, 32)),
    F.ENTRY_INSTRUCTION_LENGTH: range(18), F.GUEST_ACTIVITY: range(5), F.GUEST_INTERRUPTIBILITY: range(17),
    F.GUEST_RFLAGS: (2, 0x202, 0x102, 0x302, 0x20002, 0x10202), F.GUEST_PENDING_DEBUG: (0, 1 << 14, 1, 1 << 12, 0xF, 1 << 16),
    F.VMCS_LINK_POINTER: (U64, SHADOW, WRONG, VMCS, 0x4001),
}  # fmt: skip
_RECORD: Final = struct.Struct("<BBQ")
_SAY_ENTER: Final = 200  # of a record's first byte
ROUNDS: Final = 6
_BUDGET: Final = 40  # instructions of one entry
_INVALID_GUEST, _MSR_LOADING = 0x80000021, 0x80000022
_ZF: Final = 1 << 6
_SET_UP: Final = "f30fc733660fc773100fc77310f4"  # vmxon [rbx]; vmclear [rbx+16]; vmptrld [rbx+16]; hlt
_LAUNCH, _RESUME, _VMCALL = "0f01c2f4", "0f01c3f4", "0f01c1f4"
_DEBUGCTL: Final = 3  # LBR, BTF
_NX_LMA_LME_SCE: Final = 0xD01


class Bench:
    """A processor in VMX root operation, with one VMCS, and what an entry by it comes to."""

    def __init__(self, *, nested: bool = False) -> None:
        features = parse("pks,+vmx")
        caps = features.vmx
        assert caps is not None
        self.caps = caps
        self._depth = 1 + nested
        self.machine = machine = Machine(_MEMORY, NoConsole(), features=features, nested=nested)
        self._fill()
        cpu = machine.cpu
        state = evolve(
            cpu.state(), cr0=_CR0, cr3=_TABLES, cr4=_CR4, efer=_EFER, segments=(FLAT_DATA32, FLAT_CODE64, *(FLAT_DATA32,) * 4),
            gdtr=Table(_GDT, 0xFFF), idtr=Table(_IDT, 0xFFF), tr=Segment(24, _TSS, 0x67, 0x8B), rip=_CODE,
            msrs={**cpu.state().msrs, IA32_FEATURE_CONTROL: _VMX_ON},
        )  # fmt: skip
        cpu.load(state)
        cpu.q[RBX], cpu.q[RSP] = _CODE + 0x80, _STACK
        stop = machine.run(1000)
        if stop.reason is not Reason.HALTED or self.vmcs is None:
            raise RuntimeError(f"VMX operation is not entered: {stop}")
        self.entered = False
        machine.add_sink(Listener(self._listen))
        self.checkpoint = Checkpoint(machine)

    @property
    def vmcs(self) -> Vmcs | None:
        """The current VMCS."""
        vmx = self.machine.cpu.vmx
        return vmx.current if vmx else None

    def _fill(self) -> None:
        memory = self.machine.memory
        for at, words in (
            (_TABLES, (_TABLES + 0x1007,)), (_TABLES + 0x1000, (_TABLES + 0x2007,)), (_TABLES + 0x2000, (0x87, 0x200087)),
            (_GDT, (0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0000000067 | _TSS << 16)),
            (_VMXON, (REVISION,)), (VMCS, (REVISION,)), (SHADOW, (REVISION | 1 << 31,)), (WRONG, (REVISION + 1,)),
            (VAPIC + 0x80, (0x50,)), (PDPT, (0x7001,)), (0x7000, (0x87,)), (_CODE + 0x80, (_VMXON, 0, VMCS)),
        ):  # fmt: skip
            memory.write(at, struct.pack(f"<{len(words)}Q", *words))
        for at, code in (
            (_CODE, _SET_UP),
            (_ENTER, _LAUNCH),
            (_ENTER + 0x10, _RESUME),
            (_LEFT, "f4"),
            (_GUEST, _VMCALL),
        ):
            memory.write(at, bytes.fromhex(code))

    def _listen(self, event: Event) -> None:
        if event.kind is Kind.VM_ENTRY and event.target == self._depth:
            self.entered = True

    def begin(self, change: dict[F, int]) -> Vmcs:
        """Go back to the beginning, with a VMCS of these fields."""
        self.checkpoint.restore()
        vmcs = self.vmcs
        assert vmcs is not None
        for field, value in {**BASE, **_PLACES, **change}.items():
            vmcs[field] = value
        return vmcs

    def enter(self, vmcs: Vmcs) -> tuple[str, int]:
        """Enter; "fails" and the error, "exits" and the qualification of reason 33, "enters", or "stops" where the machine does."""
        machine = self.machine
        cpu = machine.cpu
        cpu.halted = False
        cpu.q[RIP] = _ENTER + 0x10 * vmcs.launched
        cpu.rflags = 2
        vmcs.store(F.EXIT_REASON, 0)
        self.entered = False
        stop = machine.run(_BUDGET)
        if self.entered:
            return "enters", 0
        if vmcs[F.EXIT_REASON] == _MSR_LOADING:  # all checks were passed
            return "enters", 0
        if vmcs[F.EXIT_REASON] == _INVALID_GUEST:  # the host may be in no state to go on
            return "exits", vmcs[F.EXIT_QUALIFICATION]
        if stop.reason is not Reason.HALTED:
            return f"stops: {stop.reason} {' '.join(stop.report[:1])}", 0
        if cpu.rflags & _ZF:
            return "fails", vmcs[F.INSTRUCTION_ERROR]
        return f"stops: {stop.reason}, exit reason {vmcs[F.EXIT_REASON]:#x}", 0

    def home(self) -> bool:
        """Tell whether the host goes on where it wants to, so that it can enter again."""
        cpu = self.machine.cpu
        vmx = cpu.vmx
        return (
            vmx is not None and vmx.guest is None and cpu.q[RIP] in {_LEFT + 1, _ENTER + 4, _ENTER + 0x14}
            and (cpu.cr0, cpu.cr3, cpu.cr4) == (_CR0, _TABLES, _CR4) and cpu.code64
        )  # fmt: skip

    def processor(self) -> Processor:
        """Give what decides besides the VMCS, for the model."""
        memory, cpu = self.machine.cpu.software_memory, self.machine.cpu
        return Processor(
            self.caps.msrs, self.caps.maxphyaddr, _NX_LMA_LME_SCE, _DEBUGCTL, cpu.long_mode, VMCS, memory.read64
        )

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()


class VmEntryTarget(Target):
    """The target `vmentry`."""

    name = "vmentry"
    switches = said(VM_ENTRY)
    max_len = 1 + 24 * _RECORD.size

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008
        super().__init__(options)
        self._mistakes = chosen(VM_ENTRY, options.off)
        self.bench = Bench(nested=options.nested)
        self._seen: list[Hashable] = []
        writable = self.bench.caps.writable
        self.fields: tuple[tuple[F, int], ...] = tuple(
            (field, writable[field][1])
            for field in sorted(F)
            if field in writable and field not in {F.EXCEPTION_BITMAP, F.HOST_RIP}
        )
        self._each = [number for number, (field, _) in enumerate(self.fields) if field in EACH_ENTRY]
        self._liked = [number for number, (field, _) in enumerate(self.fields) if field in _LIKED]

    def generate(self, chance: Chance) -> bytes:
        """Make an input: a few changes, entered now and then."""
        records = [bytes((chance.below(len(BEGINNINGS)),))]
        again = chance.random() < 0.5
        for _ in range(1 + chance.below(5)):
            records.append(self._change(chance, again=again and len(records) > 1))
            if again or chance.random() < 0.2:
                records.append(_RECORD.pack(255, 0, 0))
        return b"".join(records)

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Add a change, take one away, or go on with another's."""
        records = [data[at : at + _RECORD.size] for at in range(1, len(data), _RECORD.size)]
        kind, at = chance.below(6), chance.below(len(records) + 1)
        if kind == 0:
            records.insert(at, _RECORD.pack(255, 0, 0))
        elif kind == 1 and records:
            records.pop(chance.below(len(records)))
        elif kind == 2 and len(other) > _RECORD.size:
            start = 1 + _RECORD.size * chance.below(len(other) // _RECORD.size)
            records[at:] = [other[start:]]
        else:
            records.insert(at, self._change(chance, again=chance.random() < 0.5))
        return (
            bytes((data[0] if data and kind else chance.below(len(BEGINNINGS)),))
            + b"".join(records)[: self.max_len - 1]
        )

    def _change(self, chance: Chance, *, again: bool = False) -> bytes:
        """Make a change; `again` is of a field that each entry looks at, where what is remembered may not be enough."""
        some = self._each if again else self._liked if chance.random() < 0.3 else range(len(self.fields))
        number = chance.pick(some)
        how = chance.below(4)
        operand = chance.pick((
            chance.below(64), chance.below(64), 1 << chance.below(64), chance.getrandbits(64), chance.below(256), U64, 1 << 47, 1 << 52,
            VMCS, SHADOW, WRONG, 0xFFFF, 0x10000, (1 << 47) - 1, 0x80000000 | chance.getrandbits(12),
        ))  # fmt: skip
        field = self.fields[number][0]
        if field in _LIKED and chance.random() < 0.7:
            how, operand = (
                2,
                chance.pick(_LIKED[field]) | (chance.below(4) if field == F.ENTRY_INTERRUPTION_INFO else 0),
            )
        return _RECORD.pack(number, how, operand)

    def rounds(self, data: bytes) -> Iterator[list[tuple[F, int, int]]]:
        """Give the changes before each entry: field, how, operand."""
        changes: list[tuple[F, int, int]] = []
        count = 0
        for at in range(1, len(data) - _RECORD.size + 1, _RECORD.size):
            number, how, operand = _RECORD.unpack_from(data, at)
            if number < _SAY_ENTER:
                changes.append((self.fields[number % len(self.fields)][0], how & 3, operand))
                continue
            yield changes
            changes, count = [], count + 1
            if count == ROUNDS - 1:
                break
        yield changes

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Enter, and say where the machine does what the model does not allow."""
        self._seen = []
        with planted(self._mistakes):
            return self._run(data, tell or (lambda _: None))

    def _run(self, data: bytes, tell: Tell) -> Found | None:
        bench = self.bench
        masks = dict(self.fields)
        vmcs = bench.begin(BEGINNINGS[data[0] % len(BEGINNINGS)] if data else {})
        for changes in self.rounds(data):
            for field, how, operand in changes:
                vmcs[field] = _changed(vmcs[field], how, operand) & masks[field]
                tell(f"{field.name} = {vmcs[field]:#x}")
            verdict = judge({f.name: vmcs[f] for f in F}, bench.processor())
            try:
                outcome = bench.enter(vmcs)
            except Exception as error:  # noqa: BLE001  (whatever it is, it is what this looks for)
                return Found(f"{type(error).__name__}: {error}")
            broken = (*verdict.controls, *verdict.host, *(rule for rule, _ in verdict.guest))
            told = ", ".join(broken) or "nothing"
            tell(f"the processor {outcome[0]} {outcome[1]}, the model finds {told} broken")
            self._seen += broken[:1] or [("left by", vmcs[F.EXIT_REASON])]
            if outcome not in verdict.outcomes:
                refused = bench.machine.cpu.vmx and bench.machine.cpu.vmx.refused
                return Found(f"the processor {outcome[0]} {outcome[1]} ({refused}), the model finds {told} broken")
            if not bench.home():
                break
        return None

    def features(self) -> Iterable[Hashable]:
        """Give which rule was broken first, or what the guest was left by, of each entry; and which followed which."""
        return [*enumerate(self._seen), tuple(self._seen[-2:])]

    def describe(self, data: bytes) -> str:
        """Give the fields that are changed before each entry."""
        lines = [f"beginning {data[0] % len(BEGINNINGS) if data else 0}"]
        for changes in self.rounds(data):
            lines += [f"{f.name} {('^ bit', '^', '=', '+')[how]} {operand:#x}" for f, how, operand in changes]
            lines.append("enter")
        return "\n".join(lines)

    def close(self) -> None:
        """Free the machine."""
        self.bench.close()


def _changed(value: int, how: int, operand: int) -> int:
    if how == 0:
        return value ^ 1 << (operand & 63)
    if how == 1:
        return value ^ operand
    return operand if how == 2 else value + (operand & 15) - 8 & U64

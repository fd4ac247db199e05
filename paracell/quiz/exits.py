"""What leaves a virtual machine: instructions under the controls of a VMCS, and what the exits of a nested one cost."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ..emu.events import Kind
from ..emu.nesting import NestedOptions
from ..vmx.controls import Primary
from ..vmx.exits import ExitReason
from ..vmx.fields import Field
from .question import Answer, Question
from .runs import lines, more, run

if TYPE_CHECKING:
    from random import Random

    from .runs import Counted

_SECTION: Final = 'SDM "Instructions That Cause VM Exits"'
_COUNTED: Final = (Kind.VM_EXIT, Kind.VM_ENTRY, Kind.REFLECTION, Kind.MERGE)
_COSTS: Final = ("vm_exit", "vm_entry", "l0_reflect", "l0_merge")
_BITMAP: Final = 0x4000
_COVERED: Final = 0x2000  # MSRs of each half of the bitmap
_SWITCHES: Final = {  # by a control alone: the instruction, its bytes
    "HLT_EXITING": ("hlt", "f4"),
    "INVLPG_EXITING": ("invlpg (%rax)", "0f0138"),
    "RDTSC_EXITING": ("rdtsc", "0f31"),
    "PAUSE_EXITING": ("pause", "f390"),
    "RDPMC_EXITING": ("rdpmc", "0f33"),
    "MOV_DR_EXITING": ("mov %rax, %dr7", "0f23f8"),
    "CR3_STORE_EXITING": ("mov %cr3, %rax", "0f20d8"),
}


def ask(random: Random) -> Question:
    """Make a question."""
    return random.choice([_switch, _port, _msr, _control, _nested, _nested])(random)


# ---- one instruction ---------------------------------------------------------------------------------------------------


def _switch(random: Random) -> Question:
    """Ask about an instruction that one control makes exit."""
    control = random.choice(list(_SWITCHES))
    text, code = _SWITCHES[control]
    others = random.sample([name for name in _SWITCHES if name != control], 3)
    on = [name for name in (*others[:2], control) if random.random() < 0.55]
    value = sum(Primary.fields[name].mask for name in on)
    bits = ", ".join(f"{name} {Primary.fields[name].shift}" for name in sorted((control, *others)))
    given = (f"Primary processor-based VM-execution controls {value:#010x}.  Bits of it: {bits}.",)
    bit = Primary.fields[control]
    decides = f"bit {bit.shift} of the controls, {control}, is {value >> bit.shift & 1}"
    return _one(given, text, code, {Field.PRIMARY_CONTROLS: value}, decides, rax=0x400)


def _port(random: Random) -> Question:
    """Ask about IN and OUT under the I/O bitmap."""
    size, out = random.choice([1, 2, 4]), random.random() < 0.5
    port = random.randrange(0x20, 0x3F0)
    word = port & ~63
    bits = sum(1 << random.randrange(64) for _ in range(3)) & (1 << 64) - 1
    if random.random() < 0.5:
        bits |= 1 << (port + random.randrange(size)) % 64
    register = {1: "%al", 2: "%ax", 4: "%eax"}[size]
    text = f"out {register}, %dx" if out else f"in %dx, {register}"
    code = {1: "ee" if out else "ec", 2: "66ef" if out else "66ed", 4: "ef" if out else "ed"}[size]
    given = (
        f"The control IO_BITMAPS is 1.  I/O bitmap A is all 0, but for its 64-bit word at byte {word >> 3:#x}: {bits:#018x}.",
        f"DX is {port:#x}.",
    )
    fields = {Field.PRIMARY_CONTROLS: Primary.IO_BITMAPS.mask, Field.IO_BITMAP_A: _BITMAP}
    marks = ", ".join(f"{at:#x}: {bits >> at % 64 & 1 if at < word + 64 else 0}" for at in range(port, port + size))
    decides = f"a bit for each port that the access covers: {marks}"
    return _one(given, text, code, fields, decides, rdx=port, memory={_BITMAP + (word >> 3): bits})


def _msr(random: Random) -> Question:
    """Ask about RDMSR and WRMSR under the MSR bitmap."""
    which = random.choice([0x10, 0x1B, 0x174, 0x277, 0x6E0, 0xC0000080, 0xC0000082, 0xC0000100, 0xC0000102, 0x40000000])
    write, bits = random.random() < 0.5, random.getrandbits(64)
    quarter = random.choice([0, 0x400, 0x800, 0xC00])
    if random.random() < 0.6:
        quarter = (0x800 if write else 0) + (0x400 if which >> 31 else 0)
    at = quarter + ((which & 0x1FFF) >> 6) * 8
    given = (
        f"The control MSR_BITMAPS is 1.  The page of bitmaps is all 0, but for its 64-bit word at byte {at:#x}: {bits:#018x}.",
        f"ECX is {which:#x}.",
    )
    fields = {Field.PRIMARY_CONTROLS: Primary.MSR_BITMAPS.mask, Field.MSR_BITMAP: _BITMAP}
    text, code = ("wrmsr", "0f30") if write else ("rdmsr", "0f32")
    first = (0x800 if write else 0) + (0x400 if which >> 31 else 0)
    decides = "the bitmaps cover 0 to 1FFFH and C0000000H to C0001FFFH alone"
    if which & 0x7FFFFFFF < _COVERED:
        decides = f"its bit is number {which & 63} of the word at byte {first + ((which & 0x1FFF) >> 6) * 8:#x}"
    return _one(given, text, code, fields, decides, rcx=which, memory={_BITMAP + at: bits})


def _control(random: Random) -> Question:
    """Ask about MOV to CR0 and CR4 under guest/host masks, and to CR3 under the CR3-target list."""
    number = random.choice([0, 4, 3])
    text, code = f"mov %rax, %cr{number}", {0: "0f22c0", 3: "0f22d8", 4: "0f22e0"}[number]
    if number == 3:
        targets = [random.randrange(1, 1 << 12) << 12 for _ in range(3)]
        count, value = random.randrange(4), random.choice([*targets, 0x5000])
        given = (
            f"The control CR3_LOAD_EXITING is 1.  CR3-target values: {', '.join(f'{t:#x}' for t in targets)}; CR3-target count {count}.",
            f"RAX is {value:#x}.",
        )
        fields = dict(zip((Field.CR3_TARGET0, Field.CR3_TARGET1, Field.CR3_TARGET2), targets, strict=True))
        fields |= {Field.PRIMARY_CONTROLS: Primary.CR3_LOAD_EXITING.mask, Field.CR3_TARGET_COUNT: count}
        return _one(
            given, text, code, fields, f"{value:#x} is compared with the first {count} CR3-target values", rax=value
        )
    bits = {
        0: {"MP": 1, "EM": 2, "TS": 3, "WP": 16, "AM": 18},
        4: {"DE": 3, "PGE": 7, "OSFXSR": 9, "SMEP": 20, "SMAP": 21},
    }
    # CR0.NE and CR4.VMXE are 1 in VMX operation: MOV of a 0 there raises #GP(0) (SDM "Restrictions on VMX Operation").
    base = {0: 0x80000031, 4: 0x2020}[number]
    chosen = [1 << bit for bit in bits[number].values()]
    mask, shadow, value = (sum(bit for bit in chosen if random.random() < 0.5) for _ in range(3))
    if random.random() < 0.4:
        value = value & ~mask | shadow & mask
    names = ", ".join(f"{name} {bit}" for name, bit in bits[number].items())
    given = (
        f"CR{number} guest/host mask {mask:#x}, CR{number} read shadow {shadow | base:#x}.  Bits: {names}.",
        f"RAX is {value | base:#x}.",
    )
    fields = {
        Field.CR0_MASK if number == 0 else Field.CR4_MASK: mask,
        Field.CR0_READ_SHADOW if number == 0 else Field.CR4_READ_SHADOW: shadow | base,
    }
    decides = f"bits of the mask in which RAX differs from the read shadow: {(value ^ shadow) & mask:#x}"
    outside = [name for name, bit in bits[number].items() if (value ^ shadow) & ~mask & 1 << bit]
    if outside:
        decides += f"; {', '.join(outside)} may differ: not in the mask"
    return _one(given, text, code, fields, decides, rax=value | base)


def _one(
    given: tuple[str, ...],
    text: str,
    code: str,
    fields: dict[Field, int],
    decides: str,
    memory: dict[int, int] | None = None,
    **registers: int,
) -> Question:
    """Ask whether one instruction exits, and with what; `decides` says what of `given` does."""

    def solve() -> Answer:
        exit_ = tried(bytes.fromhex(code), fields, registers, memory or {})
        if exit_ is None:
            return Answer("no exit", (decides,), _SECTION)
        number, qualification = exit_
        result = f"exit reason {number} ({ExitReason(number).name}), qualification {qualification:#x}"
        return Answer(result, (decides,), _SECTION)

    asked = (
        f"A guest executes {text} in 64-bit mode at CPL 0: exit or not, with which basic reason and exit qualification?"
    )
    return Question(given, asked, solve)


def tried(
    code: bytes, fields: dict[Field, int], registers: dict[str, int], memory: dict[int, int]
) -> tuple[int, int] | None:
    """Try one instruction in VMX non-root operation.

    Args:
        code: its bytes.
        fields: of the VMCS; the others are 0.
        registers: RAX, RCX, RDX.
        memory: words of physical memory.

    Returns:
        The basic exit reason and the exit qualification, or None where it does not exit.

    """
    from ..emu import instructions
    from ..emu.clock import Clock
    from ..emu.cpu import Cpu
    from ..emu.decode import decode
    from ..emu.descriptors import parse
    from ..emu.engine import Engine
    from ..emu.features import parse as parse_features
    from ..emu.intercepts import INTERCEPTS
    from ..emu.memory import Memory
    from ..emu.registers import RAX, RCX, RDX
    from ..vmx.exits import VmExit
    from ..vmx.nonroot import NonRoot
    from ..vmx.vmcs import Vmcs

    assert instructions.__all__
    engine, ram = Engine(), Memory(1 << 16)
    try:
        ram.attach(engine)
        cpu = Cpu(engine, ram, Clock(), features=parse_features("pks,+vmx"))
        cpu.load(evolve(cpu.state(), cr3=0x1000, cr0=0x80000031, cr4=0x2020, efer=0x501))
        cpu.set_cs(parse(8, 0x00AF9B000000FFFF), 0)
        for at, word in memory.items():
            ram.write(at, struct.pack("<Q", word))
        for name, number in (("rax", RAX), ("rcx", RCX), ("rdx", RDX)):
            cpu.q[number] = registers.get(name, 0)
        vmcs = Vmcs(0)
        for field, value in fields.items():
            vmcs[field] = value
        insn = decode(code + bytes(15 - len(code)), 64)
        try:
            INTERCEPTS[insn.mnemonic](cpu, insn, NonRoot(vmcs))
        except VmExit as exit_:
            return int(exit_.reason), exit_.qualification
        return None
    finally:
        engine.close()


# ---- nested ------------------------------------------------------------------------------------------------------------


def _nested(random: Random) -> Question:
    """Ask what the exits of a virtual machine cost, and those of a nested one."""
    nested, calls = random.random() < 0.9, random.randrange(2, 40)
    shadow = not nested or random.random() < 0.6
    costs = {name: random.randrange(5, 90) * 10 for name in _COSTS}
    prices = ", ".join(f"{name} {costs[name]}" for name in (_COSTS if nested else _COSTS[:2]))
    extra: dict[str, object] = {"runtime": "runv", "nested": NestedOptions(shadow_vmcs=shadow) if nested else False}

    def measured(count: int, costs: dict[str, int]) -> Counted:
        few, many = (run("vmcall", n, **extra, costs=costs, keep=lambda e: e.kind in _COUNTED) for n in (5, 5 + count))  # type: ignore[arg-type]
        return more(few, many)

    accesses = _accesses(measured(1, costs)) if nested and not shadow else 0
    given = [
        f"Cycles: {prices}; nothing else costs.  A program in a virtual machine executes VMCALL; its host answers."
    ]
    if not nested:
        given.append("The host is no virtual machine itself.")
    else:
        given.append(
            "The host is a virtual machine itself (L1): an exit of L2 goes to L0, which reflects it; L1's VMRESUME exits, and L0 merges."
        )
    if accesses:
        given.append(
            f"L0 does not shadow the VMCS: for each VMCALL L1 executes VMREAD and VMWRITE {accesses} times, each an exit and an entry."
        )
    elif nested:
        given.append("L0 shadows the VMCS: VMREAD and VMWRITE of L1 do not exit.")

    def solve() -> Answer:
        found = measured(calls, costs)
        counts = found.events
        why = (
            "from two traced runs, one with so many calls more:",
            *lines(found),
            _sum(calls, counts[Kind.VM_EXIT] // calls, costs, nested=nested),
        )
        result = f"{counts[Kind.VM_EXIT]} exits, {counts[Kind.VM_ENTRY]} entries, {found.cycles} cycles"
        return Answer(result, why, 'SDM "VM Exits", "VM Entries"; docs: VMX; What an event costs')

    levels = ", of all levels," if nested else ""
    return Question(
        tuple(given), f"How many exits and entries do {calls} VMCALLs take{levels} and how many cycles?", solve
    )


def _sum(calls: int, exits: int, costs: dict[str, int], *, nested: bool) -> str:
    """Write what `calls` VMCALLs of so many exits each cost."""
    each = f"{costs['vm_exit']} + {costs['vm_entry']}"
    if not nested:
        return f"{calls} × ({each})"
    return f"{calls} × ({exits} × ({each}) + {costs['l0_reflect']} + {costs['l0_merge']})"


def _accesses(one: Counted) -> int:
    """Give how often L1 reaches for the VMCS in one round: exits that are neither L2's nor the VMRESUME."""
    return one.events[Kind.VM_EXIT] - 2

"""A second opinion on prefixes, written from the manual alone: what one encoding of an instruction does, and at which RIP it ends.

It shares nothing with `paracell.emu`: no decoder, no handlers.  Sources, by section title: SDM volume 2, "Instruction Prefixes",
"REX Prefixes", "Displacement", "Opcode Column in the Instruction Summary Table" (what NP means), and each instruction's page; SDM
volume 3, "Priority Among Concurrent Events".  A feature that CPUID does not offer is #UD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK, OPERAND_SIZE, ADDRESS_SIZE, REPNE, REP, CS_OVERRIDE = 0xF0, 0x66, 0x67, 0xF2, 0xF3, 0x2E
SEGMENTS = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)
LEGACY = (OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPNE, REP, CS_OVERRIDE, 0x36, 0x3E, 0x26, 0x64, 0x65)
REX = tuple(range(0x40, 0x50))
REX_W, REX_R, REX_B = 8, 4, 1
LONGEST = 15
DB, BP, OF, UD, NP, GP, PF = 1, 3, 4, 6, 11, 13, 14
PF_USER, PF_FETCH = 4, 16


@frozen
class Mode:
    """Where the instruction runs: the size of the code segment, and the privilege level."""

    bits: int
    cpl: int

    def __str__(self) -> str:
        return f"{self.bits}-bit ring {self.cpl}"


@frozen
class Scene:
    """All that the instruction finds: addresses and selectors.

    Attributes:
        start: RIP.
        base: of CS.
        there: how many bytes can be fetched before the next page, which is absent; what follows them is INT3 (INT1 behind INT3).
        target, low_target: where far branches lead; the second has 32 bits.
        rsp, new_rsp: the stack pointer, and the one that IRET pops.
        system, system_stack: where SYSCALL and SYSENTER lead (to HLT), and SYSENTER's stack.
        cs, ss: the selectors in force.
        stack, operand: the bytes at RSP and at the memory operand.
        cr0, cr4, tr, ldtr: what instructions read.

    """

    start: int
    there: int
    target: int
    rsp: int
    new_rsp: int
    system: int
    system_stack: int
    cs: int
    ss: int
    stack: bytes
    operand: bytes
    base: int = 0
    cr0: int = 0
    cr4: int = 0
    tr: int = 0
    ldtr: int = 0


@frozen
class Outcome:
    """The first exception, or HLT, after the instruction.

    Attributes:
        vector: of the exception; -1 where the processor halted.
        error: its error code, or None.
        rip, rsp, cs: as its frame has them, or as they are where the processor halted.
        address: CR2, for a page fault.
        link: the return address that the instruction left (SYSCALL in RCX, far CALL on the stack).
        result: the low 32 bits, in 64-bit mode all 64, of the register that it wrote, if that is looked at.

    """

    vector: int
    rip: int
    rsp: int
    cs: int
    error: int | None = None
    address: int | None = None
    link: int | None = None
    result: int | None = None


@frozen
class Encoding:
    """An instruction's bytes taken apart (SDM "Instruction Prefixes", "REX Prefixes")."""

    legacy: tuple[int, ...]
    rex: int
    opcode: bytes

    @classmethod
    def parse(cls, code: bytes, bits: int) -> Encoding:
        """Only a REX prefix immediately before the opcode counts; the others are ignored."""
        legacy: list[int] = []
        rex = at = 0
        while True:
            byte = code[at]
            if byte in LEGACY:
                legacy.append(byte)
                rex = 0
            elif bits == 64 and byte in REX:
                rex = byte
            else:
                return cls(tuple(legacy), rex, code[at:])
            at += 1

    @property
    def repeat(self) -> int:
        """The last of F2 and F3, or 0."""
        return next((p for p in reversed(self.legacy) if p in {REPNE, REP}), 0)

    @property
    def segment(self) -> int:
        """The last segment override, or 0."""
        return next((p for p in reversed(self.legacy) if p in SEGMENTS), 0)

    def operand_size(self, bits: int, default: int = 0) -> int:
        """Give the operand size in bytes; `default` is that of 64-bit mode (SDM "Operand-Size and Address-Size Attributes")."""
        small = OPERAND_SIZE in self.legacy
        if bits == 64:
            return 8 if self.rex & REX_W else 2 if small else default or 4
        return 2 if small == (bits == 32) else 4


@frozen
class Case:
    """One encoding in one mode."""

    instruction: Instruction
    mode: Mode
    scene: Scene
    code: bytes
    prefixes: Encoding

    @property
    def next(self) -> int:
        """RIP behind the instruction."""
        return self.scene.start + len(self.code)

    def fault(self, vector: int, error: int | None = None) -> Outcome:
        """Leave everything as it was."""
        return Outcome(vector, self.scene.start, self.scene.rsp, self.scene.cs, error)

    def trap(self, vector: int) -> Outcome:
        """Deliver with RIP behind the instruction."""
        return Outcome(vector, self.next, self.scene.rsp, self.scene.cs)

    def go(self, rip: int, rsp: int | None = None, cs: int | None = None, link: int | None = None) -> Outcome:
        """Go on at `rip`, where there is a breakpoint, or nothing."""
        scene = self.scene
        rsp, cs = scene.rsp if rsp is None else rsp, scene.cs if cs is None else cs
        if rip == scene.start + scene.there:
            error = PF_FETCH | (PF_USER if self.mode.cpl == 3 else 0)
            return Outcome(PF, rip, rsp, cs, error, scene.base + rip, link)
        return Outcome(DB if self.prefixes.opcode[0] in {0xCC, 0xCD} else BP, rip + 1, rsp, cs, link=link)

    def run(self, pushed: int = 0) -> Outcome:
        """Execute, with so many bytes more on the stack."""
        return evolve(self.go(self.next, self.scene.rsp - pushed), result=self._result())

    def _result(self) -> int | None:
        """Write as many bytes as the operand size says into a register of ones: 4 clear the upper half of it, 2 keep the rest."""
        if self.instruction.value is None:
            return None
        value, size = self.instruction.value(self), self.prefixes.operand_size(self.mode.bits)
        if self.instruction.whole:
            size = 8 if self.mode.bits == 64 else 4
        ones = (1 << 64) - 1 if self.mode.bits == 64 else (1 << 32) - 1
        mask = (1 << 8 * size) - 1
        return (ones & ~mask if size == 2 else 0) | value & mask


@frozen
class Instruction:
    """An instruction, without prefixes that are not its own.

    Attributes:
        code: its bytes; those of an immediate that the operand size changes are added by `immediate`.
        rule: what it does once it is decoded.
        needs: the mandatory prefix: None if 66, F2 and F3 do not choose the instruction, 0 for NP, or the prefix that is in `code`.
        lockable: LOCK is legal.
        stack, operand: what lies there (see `words`).
        registers: what it finds in registers.
        immediate: a far pointer follows, of the operand size.
        value: what it writes to the register in ModRM.rm, or in ModRM.reg if `in_reg`, as far as the operand size goes.
        whole: it writes the whole register whatever the operand size (MOV from CRn).

    """

    name: str
    code: bytes
    rule: Callable[[Case], Outcome]
    needs: int | None = None
    lockable: bool = False
    stack: str = ""
    operand: str = ""
    registers: dict[str, str] = field(factory=dict)
    immediate: bool = False
    value: Callable[[Case], int] | None = None
    in_reg: bool = False
    whole: bool = False

    def destination(self, code: bytes, mode: Mode) -> int:
        """Give the number of the register that `value` goes to: REX.R or REX.B is its bit 3."""
        rex, modrm = Encoding.parse(code, mode.bits).rex, self.code[-1]
        return (modrm >> 3 & 7 | (rex & REX_R) << 1) if self.in_reg else modrm & 7 | (rex & REX_B) << 3

    def encode(self, prefixes: bytes, mode: Mode, target: int, cs: int) -> bytes:
        """Give the whole encoding."""
        code = prefixes + self.code
        if self.immediate:
            size = min(Encoding.parse(code, mode.bits).operand_size(mode.bits), 4)  # there is no ptr16:64
            code += (target & (1 << 8 * size) - 1).to_bytes(size, "little") + cs.to_bytes(2, "little")
        return code


def expect(instruction: Instruction, mode: Mode, scene: Scene, code: bytes) -> Outcome:
    """Say what happens, in the order of SDM "Priority Among Concurrent Events": fetch, then decoding, then execution."""
    parsed = Encoding.parse(code, mode.bits)
    case = Case(instruction, mode, scene, code, parsed)
    if scene.there < min(len(code), LONGEST):
        beyond = scene.base + scene.start + scene.there
        return Outcome(PF, scene.start, scene.rsp, scene.cs, PF_FETCH | (PF_USER if mode.cpl == 3 else 0), beyond)
    if len(code) > LONGEST:
        return case.fault(GP, 0)
    if LOCK in parsed.legacy and not instruction.lockable:
        return case.fault(UD)
    if instruction.needs is not None:
        # F2 and F3 come before 66 where more than one is there, and the last of them counts.
        chosen = parsed.repeat or (OPERAND_SIZE if OPERAND_SIZE in parsed.legacy else 0)
        if chosen != instruction.needs:
            return case.fault(UD)
    return instruction.rule(case)

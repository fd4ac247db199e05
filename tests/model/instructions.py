"""The instructions that the machine traps or hooks, each with what its page in SDM volume 2 says of it (see `encodings`).

Rules are written from "Operation" and the lists of exceptions.  The processor is one without VMX, MONITOR, RDPID, RDRAND, RDSEED, CLWB,
PTWRITE, WBNOINVD and performance counters, and with CR4.UMIP, TSD, PCE, PVI clear, FSGSBASE, OSXSAVE, PKE set, IOPL 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .encodings import BP, CS_OVERRIDE, DB, GP, NP, OF, REX_R, REX_W, UD, Case, Instruction, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    Rule = Callable[[Case], Outcome]
    Value = Callable[[Case], int]


def runs(case: Case) -> Outcome:
    """Anywhere."""
    return case.run()


def undefined(case: Case) -> Outcome:
    """#UD."""
    return case.fault(UD)


def protected(case: Case) -> Outcome:
    """#GP(0)."""
    return case.fault(GP, 0)


def ring0(rule: Rule = runs) -> Rule:
    """#GP(0) unless CPL = 0."""
    return lambda case: protected(case) if case.mode.cpl else rule(case)


def ring0_or_undefined(case: Case) -> Outcome:
    """#UD unless CPL = 0 (CLAC, STAC)."""
    return undefined(case) if case.mode.cpl else runs(case)


def only64(rule: Rule) -> Rule:
    """#UD outside 64-bit mode."""
    return lambda case: rule(case) if case.mode.bits == 64 else undefined(case)


def not64(rule: Rule) -> Rule:
    """#UD in 64-bit mode."""
    return lambda case: undefined(case) if case.mode.bits == 64 else rule(case)


def writes(rule: Rule = runs) -> Rule:
    """Outside 64-bit mode code segments cannot be written: #GP(0) (SDM "Type Checking")."""
    return lambda case: protected(case) if case.mode.bits != 64 and case.prefixes.segment == CS_OVERRIDE else rule(case)


# ---- system calls ---------------------------------------------------------------------------------------------


def syscall(case: Case) -> Outcome:
    """To LSTAR; RCX is the address of the next instruction.  #UD outside 64-bit mode."""
    if case.mode.bits != 64:
        return undefined(case)
    return Outcome(-1, case.scene.system + 1, case.scene.rsp, 8, link=case.next)


def sysenter(case: Case) -> Outcome:
    """To IA32_SYSENTER_EIP, from any protected mode."""
    return Outcome(-1, case.scene.system + 1, case.scene.system_stack, 8)


def sysret(case: Case) -> Outcome:
    """REX.W decides: to 64-bit code at RCX, or to 32-bit code at ECX."""
    if case.mode.bits != 64:
        return undefined(case)
    if case.mode.cpl:
        return protected(case)
    if case.prefixes.rex & REX_W:
        return case.go(case.scene.target, cs=0x33)
    return case.go(case.scene.target & 0xFFFFFFFF, cs=0x23)


def sysexit(case: Case) -> Outcome:
    """REX.W decides: RDX and RCX, or EDX and ECX; CS is IA32_SYSENTER_CS (8) + 32 or + 16."""
    if case.mode.cpl:
        return protected(case)
    scene = case.scene
    if case.mode.bits == 64 and case.prefixes.rex & REX_W:
        return case.go(scene.target, scene.new_rsp, 0x2B)
    return case.go(scene.target & 0xFFFFFFFF, scene.new_rsp & 0xFFFFFFFF, 0x1B)


# ---- interrupts and returns -----------------------------------------------------------------------------------


def traps(vector: int) -> Rule:
    """INT3, INT 3, INTO, INT1: a trap."""
    return lambda case: case.trap(vector)


def gate_refused(case: Case) -> Outcome:
    """INT n through a gate whose DPL is 0: #GP(vector × 8 + 2) above ring 0."""
    vector = case.code[-1]
    return case.fault(GP, vector * 8 + 2) if case.mode.cpl else case.trap(vector)


def absent_gate(case: Case) -> Outcome:
    """INT n and INT3 through a gate that is not present: #NP(vector × 8 + 2)."""
    vector = case.code[-1] if case.prefixes.opcode[0] == 0xCD else BP
    return case.fault(NP, vector * 8 + 2)


def halt(case: Case) -> Outcome:
    """HLT: RIP is behind it."""
    if case.mode.cpl:
        return protected(case)
    return Outcome(-1, case.next, case.scene.rsp, case.scene.cs)


def words(data: bytes, size: int) -> list[int]:
    """Take words off a stack."""
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, 5 * size, size)]


def code_target(case: Case, rip: int, selector: int) -> Outcome | None:
    """Check a far target; the one good selector in these tests is the one in force."""
    selector &= 0xFFFF
    if not selector & 0xFFFC:
        return protected(case)
    if selector != case.scene.cs:
        return case.fault(GP, selector & 0xFFFC)
    if case.mode.bits == 16 and rip > 0xFFFF:
        return protected(case)
    return None


def iret(case: Case) -> Outcome:
    """The default operand size is 32 bits in 64-bit mode too, where SS and RSP are always popped."""
    scene, size = case.scene, case.prefixes.operand_size(case.mode.bits)
    rip, cs, _flags, rsp, ss = words(scene.stack, size)
    refused = code_target(case, rip, cs)
    if refused is not None:
        return refused
    if case.mode.bits != 64:
        return case.go(rip, scene.rsp + 3 * size)
    assert ss & 0xFFFF == scene.ss
    return case.go(rip, rsp)


def far_return(extra: int) -> Rule:
    """RETF and RETF imm16: 32 bits by default in 64-bit mode; the whole of RSP moves."""

    def rule(case: Case) -> Outcome:
        size = case.prefixes.operand_size(case.mode.bits)
        rip, cs = words(case.scene.stack, size)[:2]
        return code_target(case, rip, cs) or case.go(rip, case.scene.rsp + 2 * size + extra)

    return rule


def far_branch(*, call: bool, direct: bool = False) -> Rule:
    """JMP and CALL m16:16, m16:32, m16:64; CALL pushes CS and RIP in words of the operand size."""

    def rule(case: Case) -> Outcome:
        scene, size = case.scene, case.prefixes.operand_size(case.mode.bits)
        pointer = case.code[-size - 2 :] if direct else scene.operand
        rip, cs = int.from_bytes(pointer[:size], "little"), int.from_bytes(pointer[size : size + 2], "little")
        refused = code_target(case, rip, cs)
        if refused is not None or not call:
            return refused or case.go(rip)
        return case.go(rip, scene.rsp - 2 * size, link=case.next & (1 << 8 * size) - 1)

    return rule


# ---- the stack, segment registers -----------------------------------------------------------------------------


def stack_size(case: Case) -> int:
    """Give the size of PUSH, POP, PUSHF, POPF: 64 bits by default in 64-bit mode, which knows no 32."""
    return case.prefixes.operand_size(case.mode.bits, 8)


def pushes(case: Case) -> Outcome:
    """PUSHF and PUSH Sreg."""
    return case.run(stack_size(case))


def pops(case: Case) -> Outcome:
    """POPF and POP Sreg."""
    return case.run(-stack_size(case))


def loads_pointer(*, stack_segment: bool) -> Rule:
    """LDS … LGS m16:16, m16:32, m16:64: a null selector is good but for SS; ring 0 of 64-bit mode may load even that."""

    def rule(case: Case) -> Outcome:
        size = case.prefixes.operand_size(case.mode.bits)
        selector = int.from_bytes(case.scene.operand[size : size + 2], "little")
        assert selector in {0, case.scene.ss}
        null_allowed = not stack_segment or (case.mode.bits == 64 and case.mode.cpl == 0)
        return case.run() if selector or null_allowed else protected(case)

    return rule


# ---- control registers ----------------------------------------------------------------------------------------


def control(number: int, *, write: bool = False) -> Rule:
    """MOV CRn: REX.R makes it CR8 or one that is not there (#UD, before the privilege is looked at)."""

    def rule(case: Case) -> Outcome:
        n = number + (8 if case.prefixes.rex & REX_R else 0)
        if n not in {0, 2, 3, 4, 8}:
            return undefined(case)
        if case.mode.cpl:
            return protected(case)
        # What these tests write to CR8 is what CR0 holds, in which reserved bits are set.
        return protected(case) if n == 8 and write else case.run()

    return rule


def debug(case: Case) -> Outcome:
    """MOV DRn: REX.R is #UD."""
    if case.prefixes.rex & REX_R:
        return undefined(case)
    return protected(case) if case.mode.cpl else case.run()


# ---- the table ------------------------------------------------------------------------------------------------


def _i(
    name: str,
    code: str,
    rule: Rule,
    needs: int | None = None,
    *,
    lockable: bool = False,
    stack: str = "",
    operand: str = "",
    registers: dict[str, str] | None = None,
    immediate: bool = False,
) -> Instruction:
    return Instruction(
        name, bytes.fromhex(code), rule, needs, lockable, stack, operand, registers or {}, immediate=immediate
    )


def _reads(name: str, code: str, rule: Rule, value: Value, *, in_reg: bool = False, whole: bool = False) -> Instruction:
    """Give an instruction whose result in a register is looked at: in ModRM.rm (RCX, R9), or in ModRM.reg (RAX, R8)."""
    registers = {"rax": "ones", "r8": "ones", **RIGHTS} if in_reg else {"rcx": "ones", "r9": "ones"}
    return Instruction(name, bytes.fromhex(code), rule, registers=registers, value=value, in_reg=in_reg, whole=whole)


def cr0_or_cr8(case: Case) -> int:
    """Give what MOV from CR0 reads; with REX.R it is CR8, which is 0 here."""
    return 0 if case.prefixes.rex & REX_R else case.scene.cr0


def access_rights(case: Case) -> int:
    """Give what LAR says of a flat data segment: G, D/B, P, DPL, S and type."""
    return 0x00C09300 | (case.scene.ss & 3) << 13


NONE, P66, PF3 = 0, 0x66, 0xF3  # mandatory prefixes; NONE is the manual's NP
RIGHTS = {"rcx": "data", "r9": "data"}
CR0 = {"rcx": "cr0", "r9": "cr0"}
SCALES = (("16", "2"), ("32", "4"), ("64", "8"))

INT3_ABSENT = Instruction("int3 through an absent gate", b"\xcc", absent_gate)
INSTRUCTIONS = (
    _i("syscall", "0f05", syscall),
    _i("sysenter", "0f34", sysenter),
    _i("sysret", "0f07", sysret, registers={"rcx": "target"}),
    _i("sysexit", "0f35", sysexit, registers={"rdx": "target", "rcx": "new_rsp"}),
    _i("cpuid", "0fa2", runs),
    _i("int3", "cc", traps(BP)),
    _i("int 3", "cd03", traps(BP)),
    _i("int 4", "cd04", traps(OF)),
    _i("int 0x80", "cd80", traps(0x80)),
    _i("int 0x81", "cd81", gate_refused),
    _i("int 13", "cd0d", gate_refused),
    _i("int 0x82", "cd82", absent_gate),
    _i("int1", "f1", traps(DB)),
    _i("into", "ce", not64(traps(OF))),
    *(_i(f"iret, {bits} bits", "cf", iret, stack=f"iret{size}") for bits, size in SCALES),
    *(_i(f"retf, {bits} bits", "cb", far_return(0), stack=f"far{size}") for bits, size in SCALES),
    *(_i(f"retf 8, {bits} bits", "ca0800", far_return(8), stack=f"far{size}") for bits, size in SCALES),
    *(_i(f"jmp m16:{bits}", "ff2f", far_branch(call=False), operand=f"far{size}") for bits, size in SCALES),
    *(_i(f"call m16:{bits}", "ff1f", far_branch(call=True), operand=f"far{size}") for bits, size in SCALES),
    _i("jmp ptr16", "ea", not64(far_branch(call=False, direct=True)), immediate=True),
    _i("call ptr16", "9a", not64(far_branch(call=True, direct=True)), immediate=True),
    _i("jmp far, register", "ffe9", undefined),
    _i("call far, register", "ffd9", undefined),
    _i("hlt", "f4", halt),
    _i("cli", "fa", ring0()),
    _i("sti", "fb", ring0()),
    _i("popf", "9d", pops, stack="flags"),
    _i("pushf", "9c", pushes),
    _i("rdtsc", "0f31", runs),
    _i("rdtscp", "0f01f9", runs),
    _i("rdpmc", "0f33", protected),
    _i("rdmsr", "0f32", ring0(), registers={"rcx": "tsc"}),
    _i("wrmsr", "0f30", ring0(), registers={"rcx": "kernel_gs_base"}),
    _i("mov cr0, rcx", "0f22c1", control(0, write=True), registers=CR0),
    _reads("mov rcx, cr0", "0f20c1", control(0), cr0_or_cr8, whole=True),
    _i("mov cr1, rcx", "0f22c9", control(1, write=True), registers=CR0),
    _i("mov cr2, rcx", "0f22d1", control(2, write=True)),
    _i("mov cr3, rcx", "0f22d9", control(3, write=True), registers={"rcx": "cr3", "r9": "cr3"}),
    _i("mov cr4, rcx", "0f22e1", control(4, write=True), registers={"rcx": "cr4", "r9": "cr4"}),
    _reads("mov rcx, cr4", "0f20e1", control(4), lambda c: c.scene.cr4, whole=True),
    _i("mov rcx, cr5", "0f20e9", control(5)),
    _i("mov dr7, rcx", "0f23f9", debug, registers={"rcx": "dr7", "r9": "dr7"}),
    _i("mov rcx, dr7", "0f21f9", debug),
    _i("mov dr0, rcx", "0f23c1", debug),
    _i("clts", "0f06", ring0()),
    _reads("smsw cx", "0f01e1", runs, lambda c: c.scene.cr0),
    _i("smsw m16", "0f0127", writes()),
    _i("lmsw cx", "0f01f1", ring0(), registers=CR0),
    _i("lmsw m16", "0f0137", ring0(), operand="cr0"),
    _i("sgdt", "0f0107", writes()),
    _i("sidt", "0f010f", writes()),
    _i("lgdt", "0f0117", ring0(), operand="gdtr"),
    _i("lidt", "0f011f", ring0(), operand="idtr"),
    _reads("sldt cx", "0f00c1", runs, lambda c: c.scene.ldtr),
    _i("sldt m16", "0f0007", writes()),
    _reads("str cx", "0f00c9", runs, lambda c: c.scene.tr),
    _i("str m16", "0f000f", writes()),
    _i("lldt cx", "0f00d1", ring0()),
    _i("lldt m16", "0f0017", ring0()),
    _i("ltr cx", "0f00d9", ring0(), registers={"rcx": "tss", "r9": "tss"}),
    _i("ltr m16", "0f001f", ring0(), operand="tss"),
    _i("verr cx", "0f00e1", runs, registers=RIGHTS),
    _i("verw cx", "0f00e9", runs, registers=RIGHTS),
    _i("verw m16", "0f002f", runs),
    _reads("lar", "0f02c1", runs, access_rights, in_reg=True),
    _i("lar m16", "0f0207", runs),
    _reads("lsl", "0f03c1", runs, lambda _: 0xFFFFFFFF, in_reg=True),
    _i("group 6 /6", "0f00f1", undefined),
    _i("group 6 /7", "0f00f9", undefined),
    _i("group 7 /5", "0f012f", undefined),
    _i("invlpg", "0f013f", ring0()),
    _i("invpcid", "660f38820f", ring0(), P66),
    _i("invpcid without 66", "0f38820f", ring0(), P66),
    _i("invpcid, register", "660f3882c9", undefined),
    _i("invd", "0f08", ring0()),
    _i("wbinvd", "0f09", ring0()),
    _i("swapgs", "0f01f8", only64(ring0())),
    _i("rdpkru", "0f01ee", runs, NONE),
    _i("wrpkru", "0f01ef", runs, NONE),
    _i("xgetbv", "0f01d0", runs, NONE),
    _i("xsetbv", "0f01d1", ring0(), NONE, registers={"rax": "xcr0"}),
    _i("fxsave", "0fae07", writes(), NONE),
    _i("fxrstor", "0fae0f", runs, NONE),
    _i("xsave", "0fae27", writes(), NONE),
    _i("xrstor", "0fae2f", runs, NONE),
    _i("xsaveopt", "0fae37", writes(), NONE),
    _i("xsavec", "0fc727", writes(), NONE),
    _i("xsaves", "0fc72f", ring0(writes()), NONE),
    _i("xrstors", "0fc71f", ring0(), NONE, operand="compact"),
    _i("xsavec, register", "0fc7e1", undefined),
    _i("xsaves, register", "0fc7e9", undefined),
    _i("xrstors, register", "0fc7d9", undefined),
    _i("clac", "0f01ca", ring0_or_undefined, NONE),
    _i("stac", "0f01cb", ring0_or_undefined, NONE),
    _i("monitor", "0f01c8", undefined),
    _i("mwait", "0f01c9", undefined),
    _i("rdpid", "f30fc7f9", undefined),
    _i("rdseed", "0fc7f9", undefined),
    _i("rdrand", "0fc7f1", undefined),
    _i("in al, 0x80", "e480", ring0()),
    _i("in eax, 0x80", "e580", ring0()),
    _i("out 0x80, al", "e680", ring0()),
    _i("out 0x80, eax", "e780", ring0()),
    _i("in al, dx", "ec", ring0(), registers={"rdx": "port"}),
    _i("in eax, dx", "ed", ring0(), registers={"rdx": "port"}),
    _i("out dx, al", "ee", ring0(), registers={"rdx": "port"}),
    _i("out dx, eax", "ef", ring0(), registers={"rdx": "port"}),
    _i("insb", "6c", ring0(), registers={"rdx": "port", "rcx": "one"}),
    _i("insd", "6d", ring0(), registers={"rdx": "port", "rcx": "one"}),
    _i("outsb", "6e", ring0(), registers={"rdx": "port", "rcx": "one"}),
    _i("outsd", "6f", ring0(), registers={"rdx": "port", "rcx": "one"}),
    _i("mov es, cx", "8ec1", runs, registers=RIGHTS),
    _i("mov cs, cx", "8ec9", undefined, registers=RIGHTS),
    _i("mov ss, cx", "8ed1", runs, registers=RIGHTS),
    _i("mov ss, m16", "8e17", runs, operand="data"),
    _i("mov ds, cx", "8ed9", runs, registers=RIGHTS),
    _i("mov fs, cx", "8ee1", runs, registers=RIGHTS),
    _i("mov gs, m16", "8e2f", runs),
    _i("mov sreg 6, cx", "8ef1", undefined),
    _i("mov sreg 7, cx", "8ef9", undefined),
    _reads("mov cx, ds", "8cd9", runs, lambda c: c.scene.ss),
    _i("mov m16, gs", "8c2f", writes()),
    _i("mov cx, sreg 6", "8cf1", undefined),
    _i("mov cx, sreg 7", "8cf9", undefined),
    _i("push es", "06", not64(pushes)),
    _i("push cs", "0e", not64(pushes)),
    _i("push ss", "16", not64(pushes)),
    _i("push ds", "1e", not64(pushes)),
    _i("push fs", "0fa0", pushes),
    _i("push gs", "0fa8", pushes),
    _i("pop es", "07", not64(pops), stack="data"),
    _i("pop ss", "17", not64(pops), stack="data"),
    _i("pop ds", "1f", not64(pops), stack="data"),
    _i("pop fs", "0fa1", pops, stack="data"),
    _i("pop gs", "0fa9", pops),
    *(
        _i(f"lss m16:{bits}", "0fb20f", loads_pointer(stack_segment=True), operand=f"data{size}")
        for bits, size in SCALES
    ),
    *(
        _i(f"lfs m16:{bits}", "0fb40f", loads_pointer(stack_segment=False), operand=f"data{size}")
        for bits, size in SCALES
    ),
    _i("lgs", "0fb50f", loads_pointer(stack_segment=False)),
    _i("lgs, register", "0fb5c9", undefined),
    _i("rdfsbase", "f30faec1", only64(runs), PF3),
    _i("rdgsbase", "f30faec9", only64(runs), PF3),
    _i("wrfsbase", "f30faed1", only64(runs), PF3),
    _i("wrgsbase", "f30faed9", only64(runs), PF3),
    _i("rdfsbase without f3", "0faec1", only64(runs), PF3),
    _i("cmpxchg8b", "0fc70f", writes(), lockable=True),
    _i("cmpxchg8b, register", "0fc7c9", undefined),
    _i("vmptrld", "0fc737", undefined),
    _i("vmptrst", "0fc73f", undefined),
    _i("vmread", "0f78c1", undefined),
    _i("vmwrite", "0f79c1", undefined),
    _i("invept", "660f38800f", undefined),
    _i("invvpid", "660f38810f", undefined),
    *(
        _i(f"0f 01 {byte:02x}", f"0f01{byte:02x}", undefined)
        for byte in (*range(0xC0, 0xC8), *range(0xCC, 0xD0), *range(0xD2, 0xE0))
    ),
    *(_i(f"0f 01 {byte:02x}", f"0f01{byte:02x}", undefined) for byte in (*range(0xE8, 0xEE), *range(0xFA, 0x100))),
    _i("ud2", "0f0b", undefined),
    _i("ud1", "0fb9c1", undefined),
    _i("ud0", "0fffc1", undefined),
)

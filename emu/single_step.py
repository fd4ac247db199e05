"""What a single step traps behind: each instruction, or with IA32_DEBUGCTL.BTF each branch (SDM "Single-Stepping on Branches")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .decode import decode
from .msr_index import BTF, IA32_DEBUGCTL
from .registers import EFLAGS, RIP, TF, U32

if TYPE_CHECKING:
    from .cpu import Cpu
    from .insn import Insn

BS: Final = 1 << 14  # in DR6, and in the pending debug exceptions of a VMCS
_ALWAYS: Final = ("jmp", "call", "ret", "iret", "ljmp", "lcall", "sysret", "sysexit")
_IF_TAKEN: Final = ("j", "loop")


def by_branch(cpu: Cpu) -> bool:
    """Tell whether single steps are those of branches."""
    return bool(cpu.msr.get(IA32_DEBUGCTL, 0) & BTF)


def held_step(cpu: Cpu) -> int:
    """Give BS where a single step waits behind an instruction that is no branch."""
    return BS if cpu.q[EFLAGS] & TF and not by_branch(cpu) else 0


def step_behind(cpu: Cpu, insn: Insn, before: int) -> int:
    """Give BS, or 0 where the instruction that began at RIP `before` is no branch that was taken, and only those are steps."""
    if not by_branch(cpu) or insn.mnemonic.startswith(_ALWAYS):
        return BS
    after = before + insn.length & (-1 if cpu.code64 else U32)
    return BS if insn.mnemonic.startswith(_IF_TAKEN) and cpu.q[RIP] != after else 0


def step_behind_rip(cpu: Cpu, before: int) -> int:
    """As `step_behind`, for an instruction that TCG has run."""
    return step_behind(cpu, decode(cpu.code_at(before), cpu.translation.code_size), before) if by_branch(cpu) else BS

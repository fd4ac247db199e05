"""The labs' assembler against Capstone."""

from __future__ import annotations

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from paracell.labs.assembler import BadAssembly, assemble

PLAIN = """
mov rax, rbx | mov r9d, ecx | mov rsp, r9 | xor ecx, ecx | add r12, r8 | sub rsp, 8 | cmp eax, 4 | and r15d, 0xf0 | or rdi, rsi
test rax, r10 | push r12 | push rbx | pop r8 | pop rsp | mov rax, 5 | movabs rax, 0x123456789abc | mov r8d, 0xffffffff
mov rax, [rbx] | mov rax, [rsp + 8] | mov [r12 + 0x10], rcx | mov r13, [rbp - 8] | mov [r13], eax | mov r15d, [r14 + 0x1000]
ret | syscall | int3 | ud2 | hlt | nop | wrpkru | rdpkru | vmcall | jmp rax | jmp r11 | call rdx | call r9 | cmp r9, -1
jmp 0x1000 | call 0x2345 | je 0x1100 | jne 0x900 | jb 0x1000 | jae 0x1234
"""


def lines() -> list[str]:
    return [part.strip() for part in PLAIN.replace("\n", "|").split("|") if part.strip()]


def same(text: str) -> str:
    text = (
        text.replace("qword ptr ", "")
        .replace("dword ptr ", "")
        .replace("movabs", "mov")
        .replace("0xffffffffffffffff", "-1")
    )
    return " ".join(text.split())


@pytest.mark.parametrize("line", lines())
def test_a_line(line: str) -> None:
    code = assemble(line.replace("movabs", "mov"), 0x1000).data
    (read,) = Cs(CS_ARCH_X86, CS_MODE_64).disasm(code, 0x1000)
    assert read.size == len(code)
    assert same(f"{read.mnemonic} {read.op_str}") == same(line)


def test_labels_and_names() -> None:
    code = assemble(
        "a: jmp b\n nop ; a comment\nb: c: jne a\n mov rax, b\n mov rbx, [rax + far]", 0x5000, {"far": 0x88}
    )
    assert code.labels == {"a": 0x5000, "b": 0x5006, "c": 0x5006}
    read = [f"{i.mnemonic} {i.op_str}" for i in Cs(CS_ARCH_X86, CS_MODE_64).disasm(code.data, 0x5000)]
    assert read == ["jmp 0x5006", "nop ", "jne 0x5000", "movabs rax, 0x5006", "mov rbx, qword ptr [rax + 0x88]"]
    assert code.starts == (0x5000, 0x5005, 0x5006, 0x500C, 0x5016)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nop\nfrobnicate rax", "line 2: no instruction of this assembler's: frobnicate rax"),
        ("mov rax, nowhere", "line 1: nowhere is no number and no name: mov rax, nowhere"),
        ("mov rax, ebx", "line 1: one register has 64 bits and the other 32: mov rax, ebx"),
        ("mov eax, 0x100000000", "line 1: 0x100000000 does not fit into 32 bits: mov eax, 0x100000000"),
        (
            "cmp rax, 0x80000000",
            "line 1: 0x80000000 does not fit into 32 bits; put it into a register first: cmp rax, 0x80000000",
        ),
        ("push eax", "line 1: push and pop take registers of 64 bits: push eax"),
        ("mov xmm0, 1", "line 1: xmm0 is no register: mov xmm0, 1"),
        ("jmp away", "line 1: away is no number and no name: jmp away"),
    ],
)
def test_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BadAssembly) as caught:
        assemble(text)
    assert str(caught.value) == says

"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("no check", "        cmp eax, 4\n        jne no\n", "", "gate: a jump to WRPKRU"),
    ("no check, found by the sweep", "        cmp eax, 4\n        jne no\n", "", "gate: every byte, anything in the registers"),
    ("the check before WRPKRU", "close:  wrpkru\n        cmp eax, 4\n        jne no\n", "        cmp eax, 4\n        jne no\nclose:  wrpkru\n", "gate: a jump to WRPKRU"),
    ("the check of the wrong bits", "cmp eax, 4\n        jne no", "cmp eax, 0\n        je no", "gate: a jump to WRPKRU"),
    ("the program's stack", "        mov rsp, kernel_stack\n", "", "gate: a stack in the kernel's data"),
    ("a stack lost", "        mov rsp, r9\n", "", "gate: it serves"),
    ("a WRPKRU of one's own", "        jmp close\n", "        wrpkru\n        jmp next\n", "attack: read the secret"),
    ("the door only", "jmp close", "jmp gate", "attack: read the secret"),
    ("the check of some bits", "cmp eax, 4\n        jne no", "and eax, 6\n        je no", "gate: a jump to WRPKRU"),
    ("the answer in RSI", "mov r8, rax", "mov r8, rax\n        mov rsi, rax", "gate: it serves"),
    ("another PKRU", "mov eax, 4\nclose:  wrpkru\n        cmp eax, 4\n", "mov eax, 12\nclose:  wrpkru\n        cmp eax, 12\n", "gate: it serves"),
    ("the counter may be written", "        mov rsp, kernel_stack\n", "        cmp rsp, counter\n        jb no\n", "gate: a stack in the kernel's data"),
    ("another place than the secret", "add rsp, 8\n        jmp gate", "add rsp, 0x40\n        jmp gate", "attack: change the secret"),
    ("no int3", "        int3\n", "", "attack: read the secret"),
)  # fmt: skip

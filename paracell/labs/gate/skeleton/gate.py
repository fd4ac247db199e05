"""Lab 4: a gate that can be attacked, then repaired.  Three texts for the lab's assembler."""

from __future__ import annotations

# 1. Get the secret into RAX, and end with int3.
ATTACK_READ = """
        mov rax, secret
        mov rax, [rax]          ; key 1 is closed: this does not work
        int3
"""

# 2. Change the secret.
ATTACK_WRITE = """
        mov rbx, secret
        mov [rbx], rax          ; nor does this
        int3
"""

# 3. The gate of the hand-out, to be repaired.
GATE = """
gate:   xor ecx, ecx            ; WRPKRU wants 0 in ECX and EDX
        xor edx, edx
        mov eax, 0              ; everything is open
open:   wrpkru                  ; PKRU = EAX
        call kernel
        mov r8, rax             ; the answer
        xor ecx, ecx
        xor edx, edx
        mov eax, 4              ; key 1 is closed
close:  wrpkru
        mov rax, r8
        ret
"""

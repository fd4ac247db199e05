"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("IN clears RAX", "vm.rax = value if size == 4 else vm.rax & ~mask | value", "vm.rax = value", "IN, and the parts of RAX"),
    ("the port is not looked at", "if (port, size) == (0x3F8, 1):", "if size == 1:", "the console"),
    ("#GP behind the instruction", "            vm.write(\"ENTRY_INTERRUPTION_INFO\", GP)", "            vm.write(\"GUEST_RIP\", vm.read(\"GUEST_RIP\") + 2)\n            vm.write(\"ENTRY_INTERRUPTION_INFO\", GP)", "MSRs, and #GP for the guest"),
    ("the instruction is not skipped", "            vm.write(\"GUEST_RIP\", vm.read(\"GUEST_RIP\") + vm.read(\"EXIT_INSTRUCTION_LENGTH\"))", "            pass", "the console"),
    ("the guest gets the host's bits of CR0", "vm.read(\"GUEST_CR0\") & mask | value & ~mask", "value", "CR0: what the guest believes, and what is"),
    ("the register of the MOV is RAX", "getattr(vm, REGISTERS[vm.read(\"EXIT_QUALIFICATION\") >> 8 & 15])", "vm.rax", "CR0: what the guest believes, and what is"),
    ("a VMCALL that nobody knows is done", "if vm.rax == 1 else -1000", "if vm.rax else -1000", "VMCALL"),
    ("an unknown leaf is not 0", "vm.rax & U32, (0", "vm.rax & U32, (1", "HLT, CPUID, and what nobody knows"),
    ("all of RAX is the leaf", "LEAVES.get(vm.rax & U32,", "LEAVES.get(vm.rax,", "HLT, CPUID, and what nobody knows"),
    ("the port is DX", "port, size = said >> 16 & 0xFFFF,", "port, size = vm.rdx & 0xFFFF,", "IN, and the parts of RAX"),
    ("two bytes come to the console", "(port, size) == (0x3F8, 1)", "port == 0x3F8", "the console"),
    ("an MSR of 0 is none", "        if value is None:", "        if not value:", "MSRs, and #GP for the guest"),
    ("eight registers", ">> 8 & 15]", ">> 8 & 7]", "CR0: what the guest believes, and what is"),
    ("CLTS is a MOV", "28: 0x3F, 30", "28: 0, 30", "CR0: what the guest believes, and what is"),
    ("a string is a byte", ", 30: 0x30}", ", 30: 0}", "the console"),
    ("the MOV to CR0 comes once more", "        vm.write(\"GUEST_CR0\", vm.read(\"GUEST_CR0\") & mask | value & ~mask)\n", "        vm.write(\"GUEST_RIP\", vm.read(\"GUEST_RIP\") - vm.read(\"EXIT_INSTRUCTION_LENGTH\"))\n", "CR0: what the guest believes, and what is"),
    ("the error code is the vector", "(\"ENTRY_ERROR_CODE\", 0)", "(\"ENTRY_ERROR_CODE\", 13)", "MSRs, and #GP for the guest"),
)  # fmt: skip

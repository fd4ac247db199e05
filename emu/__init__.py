"""The machine: core on Unicorn, CPU state, privileged instructions, exceptions, memory, devices, events, run loop."""

"""Virtual-machine extensions: VMCS, capabilities, instructions and the checks of VM entry, after SDM volume 3C."""

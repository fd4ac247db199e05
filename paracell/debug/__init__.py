"""A machine under gdb: a remote stub that speaks QEMU's dialect of gdb's remote protocol."""

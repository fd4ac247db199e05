"""The instructions that Python runs, one small function each, by topic."""

from . import (
    control,
    debug,
    descriptor,
    flags,
    interrupts,
    plain,
    ports,
    protection,
    returns,
    state,
    syscall,
    time,
    transfer,
    vmx,
    x87,
)

__all__ = [
    "control",
    "debug",
    "descriptor",
    "flags",
    "interrupts",
    "plain",
    "ports",
    "protection",
    "returns",
    "state",
    "syscall",
    "time",
    "transfer",
    "vmx",
    "x87",
]

"""How Unicorn calls us: the prototypes of its hooks, for `ctypes`."""

from __future__ import annotations

import ctypes
from typing import Any, Final, NamedTuple


# The four hottest leave out what nobody reads: arguments at the end, and all of the engine's handle but a byte.  Each that is
# turned into a Python number takes 30 ns.
class Prototypes(NamedTuple):
    """How `ctypes` calls back: for exceptions, unknown instructions, misses, and instructions without operands."""

    interrupt: Any
    invalid: Any
    fill: Any
    insn: Any


LEAN: Final = Prototypes(
    ctypes.CFUNCTYPE(None, ctypes.c_ubyte, ctypes.c_uint32),
    ctypes.CFUNCTYPE(ctypes.c_bool),
    ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_ubyte, ctypes.c_uint64, ctypes.c_ubyte, ctypes.c_void_p),
    ctypes.CFUNCTYPE(None),
)
IN_INSN = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p)
OUT_INSN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)
CPUID_INSN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
EDGE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
CODE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
TOUCH = ctypes.CFUNCTYPE(None)  # of a code hook that needs nothing of that
MEM = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
)
MMIO_READ = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_void_p)
MMIO_WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_void_p)

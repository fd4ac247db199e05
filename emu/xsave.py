"""The XSAVE area: x87, SSE and PKRU (SDM "Managing State Using the XSAVE Feature Set").

::

    0 ─ 512 legacy (FXSAVE layout) │ 512 XSTATE_BV  520 XCOMP_BV  528 … 0 │ standard: PKRU at 0xA80; compacted: at 576
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from . import layout
from .cpuid import LEGACY_AND_HEADER, PKRU_OFFSET, PKRU_SIZE
from .faults import GP
from .fpflags import bind_fold

if TYPE_CHECKING:
    from .cpu import Cpu

X87, SSE, PKRU = 1, 2, 1 << 9
COMPACT: Final = 1 << 63
MXCSR_RESET, MXCSR_MASK = 0x1F80, 0xFFFF
_FCW_RESET: Final = 0x37F


def x87_image(cpu: Cpu) -> bytes:
    """Give bytes 0 to 23 and the eight registers of the legacy region, as (32 bytes, 128 bytes) joined."""
    raw = cpu.engine.raw
    top = cpu.d[layout.FPSTT >> 2] & 7
    fpus, fpuc = struct.unpack_from("<HH", raw, layout.FPUS)
    tags = sum((not raw[layout.FPTAGS + i]) << i for i in range(8))
    head = struct.pack("<HHBBHQQ", fpuc, fpus & ~0x3800 | top << 11, tags, 0, 0, 0, 0)
    registers = b"".join(
        bytes(raw[at : at + 10]) + bytes(6) for at in (layout.FPREGS + 16 * (top + i & 7) for i in range(8))
    )
    return head + registers


def load_x87(cpu: Cpu, legacy: bytes) -> None:
    """Load x87 state from a legacy region."""
    raw = cpu.engine.raw
    fcw, fsw, tags = struct.unpack_from("<HHB", legacy)
    top = fsw >> 11 & 7
    cpu.d[layout.FPSTT >> 2] = top
    struct.pack_into("<HH", raw, layout.FPUS, fsw & ~0x3800, fcw | 0x40)
    for i in range(8):
        raw[layout.FPTAGS + i] = not tags >> i & 1
        at = layout.FPREGS + 16 * (top + i & 7)
        raw[at : at + 10] = legacy[32 + 16 * i : 42 + 16 * i]
    cpu.engine.update_fpu()


def _init_x87(cpu: Cpu) -> None:
    load_x87(cpu, struct.pack("<HHB", _FCW_RESET, 0, 0) + bytes(507))


def xmm_image(cpu: Cpu, count: int) -> bytes:
    """Give the first `count` XMM registers."""
    raw = cpu.engine.raw
    return b"".join(bytes(raw[at : at + 16]) for at in (layout.XMM + 64 * i for i in range(count)))


def load_xmm(cpu: Cpu, data: bytes) -> None:
    """Load XMM registers from their image."""
    raw = cpu.engine.raw
    for i in range(len(data) // 16):
        at = layout.XMM + 64 * i
        raw[at : at + 16] = data[16 * i : 16 * i + 16]


def load_mxcsr(cpu: Cpu, value: int) -> None:
    """Load MXCSR; #GP(0) on a reserved bit."""
    if value & ~MXCSR_MASK:
        raise GP(0)
    cpu.d[layout.MXCSR >> 2] = value
    cpu.engine.update_fpu()


def in_use(cpu: Cpu) -> int:
    """Give XINUSE: the components that are not in their initial state."""
    bind_fold(cpu)()
    used = 0
    head = x87_image(cpu)
    if head[:5] != struct.pack("<HHB", _FCW_RESET, 0, 0) or any(head[24:]):
        used |= X87
    if any(xmm_image(cpu, 16)):
        used |= SSE
    if cpu.pkru:
        used |= PKRU
    return used


def save(cpu: Cpu, address: int, rfbm: int, *, compact: bool, optimise: bool, stack: bool) -> None:
    """Save the components of `rfbm`: XSAVE, XSAVEOPT, and the compacted XSAVEC and XSAVES; `stack` is an address through SS."""
    used = in_use(cpu)
    count = 16 if cpu.code64 else 8
    size = LEGACY_AND_HEADER
    at = LEGACY_AND_HEADER if compact else PKRU_OFFSET
    if rfbm & PKRU:
        size = at + PKRU_SIZE
    cpu.check_write(address, size, stack=stack)
    write = used & rfbm if optimise or compact else rfbm
    if write & X87:
        image = x87_image(cpu)
        cpu.write_bytes(address, image[:24])
        cpu.write_bytes(address + 32, image[24:])
    if rfbm & SSE if not compact else write & SSE or (rfbm & SSE and cpu.d[layout.MXCSR >> 2] != MXCSR_RESET):
        cpu.write_bytes(address + 24, struct.pack("<II", cpu.d[layout.MXCSR >> 2], MXCSR_MASK))
    if write & SSE:
        cpu.write_bytes(address + 160, xmm_image(cpu, count))
    if write & PKRU:
        cpu.write_bytes(address + at, struct.pack("<II", cpu.pkru, 0))
    if compact:
        present = used & rfbm
        if rfbm & SSE and cpu.d[layout.MXCSR >> 2] != MXCSR_RESET:
            present |= SSE
        cpu.write_bytes(address + 512, struct.pack("<QQ", present, rfbm | COMPACT))
    else:
        old = cpu.read(address + 512, 8)
        cpu.write(address + 512, 8, old & ~rfbm | used & rfbm)


def restore(cpu: Cpu, address: int, rfbm: int, *, supervisor: bool, stack: bool) -> None:
    """Restore the components of `rfbm`: XRSTOR, and XRSTORS where `supervisor`; `stack` is an address through SS."""
    bind_fold(cpu)()  # what has been raised belongs to the state that goes
    legacy = cpu.read_bytes(address, 512, stack=stack)
    header = cpu.read_bytes(address + 512, 64, stack=stack)
    present, compacted = struct.unpack_from("<QQ", header)
    allowed = cpu.xcr0 | (cpu.xss if supervisor else 0)
    compact = bool(compacted & COMPACT)
    if supervisor and not compact:
        raise GP(0)
    if compact:
        if compacted & ~COMPACT & ~allowed or present & ~compacted or any(header[16:]):
            raise GP(0)
    elif present & ~allowed or any(header[8:24]):
        raise GP(0)
    mxcsr = struct.unpack_from("<I", legacy, 24)[0]
    loads_mxcsr = rfbm & SSE and (not compact or present & SSE)
    if loads_mxcsr and mxcsr & ~MXCSR_MASK:
        raise GP(0)
    at = LEGACY_AND_HEADER if compact else PKRU_OFFSET
    pkru = cpu.read(address + at, 4, stack=stack) if rfbm & present & PKRU else 0
    if rfbm & X87:
        if present & X87:
            load_x87(cpu, legacy)
        else:
            _init_x87(cpu)
    if rfbm & SSE:
        count = 16 if cpu.code64 else 8
        load_xmm(cpu, legacy[160 : 160 + 16 * count] if present & SSE else bytes(16 * count))
        load_mxcsr(cpu, mxcsr if loads_mxcsr else MXCSR_RESET)
    if rfbm & PKRU:
        cpu.set_pkru(pkru)

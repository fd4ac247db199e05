"""The setup header of a Linux kernel's bzImage.

::

    file    0x1f1 setup header │ real-mode part, not used │ (setup_sects + 1) × 512: protected-mode kernel

Source: Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import struct
from typing import Final

from attrs import field, frozen

from .elf import BadImage

START: Final = 0x1F1
_JUMP: Final = 0x201  # says where the header ends
_BOOT_FLAG, _MAGIC = b"\x55\xaa", b"HdrS"
_OLDEST: Final = 0x20C  # the first protocol that says whether there is a 64-bit entry
_SHORTEST: Final = 0x264  # init_size is in it
_SECTOR: Final = 512
_LEAST: Final = 1 << 20  # below lies what the firmware and the loader use
_LOADED_HIGH, _KERNEL_64 = 1, 1  # in loadflags, in xloadflags
ENTRY_64: Final = 0x200  # behind the beginning of the protected-mode kernel


def _size(data: bytes) -> str:
    return f"{len(data)} bytes"


@frozen
class SetupHeader:
    """A bzImage's setup header.

    Attributes:
        raw: its bytes, from offset 0x1f1 on.
        code: where the protected-mode kernel begins in the file.
        preferred: the physical address where the kernel wants to be.
        init_size: how much memory it needs from there on before it has a memory map.
        initrd_max: the highest address that a byte of the initrd may have.
        cmdline_size: the longest command line, without its NUL.

    """

    raw: bytes = field(repr=_size)
    code: int
    preferred: int
    init_size: int
    initrd_max: int
    cmdline_size: int


def is_bzimage(data: bytes) -> bool:
    """Tell whether the bytes have a setup header of Linux's."""
    return data[0x1FE:0x200] == _BOOT_FLAG and data[0x202:0x206] == _MAGIC


def read_header(data: bytes, path: str) -> SetupHeader:
    """Read the setup header; `BadImage` for a kernel that cannot be entered in 64-bit mode, or is cut."""
    where = "setup header"
    end = 0x202 + data[_JUMP]
    if len(data) < _SHORTEST:
        raise BadImage(path, "truncated Linux kernel", where)
    (version,) = struct.unpack_from("<H", data, 0x206)
    flags, (xflags,) = data[0x211], struct.unpack_from("<H", data, 0x236)
    if not flags & _LOADED_HIGH:
        raise BadImage(path, "a Linux kernel for low memory (zImage)", where)
    if version < _OLDEST or not xflags & _KERNEL_64 or end < _SHORTEST:
        raise BadImage(
            path, f"a Linux kernel without a 64-bit entry (boot protocol {version >> 8}.{version & 0xFF})", where
        )
    sectors, paragraphs = data[0x1F1] or 4, struct.unpack_from("<I", data, 0x1F4)[0]
    code = (sectors + 1) * _SECTOR
    if code + ENTRY_64 >= len(data) or code + 16 * paragraphs > len(data) + 15:
        raise BadImage(path, "truncated Linux kernel", f"{len(data)} bytes")
    preferred, init_size = struct.unpack_from("<QI", data, 0x258)
    if preferred < _LEAST:
        raise BadImage(path, "absurd address in a Linux kernel", f"{preferred:#x}")
    (initrd_max,), (longest,) = struct.unpack_from("<I", data, 0x22C), struct.unpack_from("<I", data, 0x238)
    return SetupHeader(data[START:end], code, preferred, max(init_size, len(data) - code), initrd_max, longest)

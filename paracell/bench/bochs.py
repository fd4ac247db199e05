"""Bochs beside us, for information: it has no loader for multiboot images, so the image becomes its BIOS.

::

    4 GiB - size                    the last 256 bytes
    │ address size bytes │ … │ 0 0 │ loader │ GDT │ reset vector │ 4 GiB

The loader leaves real mode, puts each piece where it belongs, and enters the image as multiboot asks.
"""

from __future__ import annotations

import os
import pty
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from ..guest.multiboot import Boot

_LOADER: Final = 0xFF00  # offsets in the last 64 KiB
_GDT: Final = 0xFF80
_RESET: Final = 0xFFF0
_SERIAL_PORTS: Final = ("console", "notes")
_TOP: Final = 0xFFFF0000
_LARGEST: Final = 4 << 20
_VIDEO: Final = (
    b"\x55\xaa\x01\xcb".ljust(511, b"\0") + b"\x35"
)  # 512 bytes with the sum 0: Bochs insists on a video BIOS

_SETTINGS: Final = """\
config_interface: textconfig
plugin_ctrl: speaker=0, gameport=0, parallel=0, biosdev=0, extfpuirq=0
display_library: term
romimage: file="{rom}"
vgaromimage: file="{video}"
memory: guest={megabytes}, host={megabytes}
cpu: model=corei7_icelake_u, reset_on_triple_fault=0, ips={ips}
clock: sync=none
com1: enabled=1, mode=file, dev="{console}"
com2: enabled=1, mode=file, dev="{notes}"
log: "{log}"
panic: action=fatal
error: action=ignore
info: action=ignore
"""


class BochsError(RuntimeError):
    """Bochs is not here, or did not do what it was asked for."""


def rom(boot: Boot) -> bytes:
    """Make a BIOS that loads and enters an image that starts in 32-bit flat protected mode.

    Raises:
        ValueError: it starts in 64-bit mode, or is too large.

    """
    if boot.cr3 is not None:
        raise ValueError("the image starts in 64-bit mode")
    pieces = b"".join(struct.pack("<II", p.paddr, len(p.data)) + bytes(p.data) for p in boot.pieces) + bytes(8)
    size = -(-(len(pieces) + 0x10000) // 0x10000) * 0x10000
    if size > _LARGEST:
        raise ValueError(f"the image is larger than {_LARGEST >> 20} MiB")
    flat = _TOP + _LOADER + 24  # where the 32-bit part begins
    loader = b"".join(
        (
            b"\xfa",  # cli
            b"\x2e\x66\x0f\x01\x16" + struct.pack("<H", _GDT + 24),  # lgdt cs:[…]
            b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0",  # mov eax, cr0; or al, 1; mov cr0, eax
            b"\x66\xea" + struct.pack("<IH", flat, 8),  # ljmp 8:flat
            b"\x66\xb8\x10\x00\x8e\xd8\x8e\xc0\x8e\xd0\xfc",  # mov ax, 16; mov ds, es, ss; cld
            b"\xbe" + struct.pack("<I", (1 << 32) - size),  # mov esi, pieces
            b"\x8b\x3e\x8b\x4e\x04\x83\xc6\x08",  # 1: mov edi, [esi]; mov ecx, [esi+4]; add esi, 8
            b"\xe3\x04\xf3\xa4\xeb\xf2",  # jecxz 2f; rep movsb; jmp 1b
            b"\xb8" + struct.pack("<I", boot.eax),  # 2: mov eax, …
            b"\xbb" + struct.pack("<I", boot.ebx),
            b"\xbc" + struct.pack("<I", boot.esp),
            b"\xb9" + struct.pack("<I", boot.entry) + b"\xff\xe1",  # mov ecx, entry; jmp ecx
        )
    )
    gdt = struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF) + struct.pack("<HI", 23, _TOP + _GDT)
    last = bytearray(0x10000)
    last[_LOADER : _LOADER + len(loader)] = loader
    last[_GDT : _GDT + len(gdt)] = gdt
    last[_RESET : _RESET + 3] = b"\xe9" + struct.pack("<h", _LOADER - _RESET - 3)
    return pieces.ljust(size - 0x10000, b"\0") + bytes(last)


def run(boot: Boot, megabytes: int, folder: Path, *, ips: int = 1_000_000_000) -> str:
    """Run an image on Bochs to its end; what it wrote to the first serial port.

    With few instructions a second (`ips`) a byte takes few of them on its way out.

    Raises:
        BochsError: Bochs is not installed, or did not end by the guest's shutdown.

    """
    program = shutil.which("bochs")
    if program is None:
        raise BochsError("Bochs is not installed")
    paths = {name: folder / name for name in ("rom", "video", "log", *_SERIAL_PORTS)}
    for name in _SERIAL_PORTS:
        paths[name].write_bytes(b"")
    paths["rom"].write_bytes(rom(boot))
    paths["video"].write_bytes(_VIDEO)
    settings, script = folder / "bochsrc", folder / "commands"
    settings.write_text(_SETTINGS.format(**paths, megabytes=megabytes, ips=ips))
    script.write_text("continue\n")  # where Bochs is built with its debugger
    said = _on_a_terminal([program, "-q", "-f", str(settings), "-rc", str(script)])
    log = paths["log"].read_text(errors="replace") if paths["log"].exists() else said
    if "hutdown" not in log:
        raise BochsError(f"Bochs did not end by the guest's shutdown: {log.strip().splitlines()[-1:]}")
    return paths["console"].read_text(errors="replace")


def _on_a_terminal(command: list[str]) -> str:
    """Run a command that will not run without a terminal; what it wrote there."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "vt100"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 1 << 16):
                said += piece
        except OSError:  # the other end is closed
            pass
        except KeyboardInterrupt:
            process.kill()
            raise
    os.close(ours)
    return said.decode(errors="replace")

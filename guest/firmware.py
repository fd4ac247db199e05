"""What a PC's firmware leaves for a kernel: ACPI's tables, the BIOS data area, and interrupts as a BIOS takes them.

::

    0x400 BIOS data area ── 0x9fc00 extended BIOS data area ── 0xf0000 RSDP ─ RSDT ─ XSDT ─ FADT ─ MADT ─ DSDT ─ FACS
    0x000 interrupt table of real mode ──────────────────────── 0xf1000 its handlers                          (a BIOS's)

The tables describe the machine as it is: one processor, two APICs, a power-management timer, and ports to sleep and to reset.  With a
high-precision event timer the MADT lies behind the FACS, and that timer's table behind the MADT.

Source: ACPI Specification 6.5, chapters 4 ("ACPI Hardware Specification") and 5 ("ACPI Software Programming Model");
IBM PC AT Technical Reference, "BIOS Data Area".
"""

from __future__ import annotations

import struct
from typing import Final

from .multiboot import Piece

RSDP: Final = 0xF0000
PM1_EVENT, PM1_CONTROL, PM_TIMER = 0x600, 0x604, 0x608  # as in QEMU's PC with a PIIX4
RESET_PORT, RESET_VALUE = 0xCF9, 6
SCI: Final = 9
S5_TYPE: Final = 0  # SLP_TYP of PM1_CNT for S5, soft off
LOCAL_APIC, IO_APIC = 0xFEE00000, 0xFEC00000
HPET: Final = 0xFED00000
# Intel's block of revision 1 with a counter of 64 bits and three timers: the low half of its capabilities.
HPET_ID: Final = 0x8086 << 16 | 1 << 13 | 2 << 8 | 1
EBDA: Final = 0x9FC00

_RSDT, _XSDT, _FADT, _MADT, _DSDT, _FACS, _TAIL = (RSDP + at for at in (0x40, 0x80, 0x100, 0x240, 0x2C0, 0x300, 0x340))
_OEM, _CREATOR = b"PARACL", b"PCEL"
_IO_SPACE: Final = 1
# FADT flags: WBINVD, C1, no power and sleep button and no RTC wake in fixed registers, a 32-bit timer, a reset register.
_FLAGS: Final = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10
_BOOT_ARCHITECTURE: Final = 1 << 0 | 1 << 2 | 1 << 3  # legacy devices; no VGA, no message-signalled interrupts
_CENTURY: Final = 0x32
_HPET_TICKS: Final = 128  # the least period by which software should have it interrupt
_ACTIVE_HIGH_LEVEL: Final = 0xD
# DefinitionBlock { Name (_S5, Package (4) { S5_TYPE, S5_TYPE, 0, 0 }) }; the four elements are ZeroOp
_S5: Final = b"\x08_S5_\x12\x06\x04" + bytes(4)


def pieces(*, hpet: bool = False) -> tuple[Piece, ...]:
    """Give everything, in pieces for physical addresses; for a machine with a high-precision event timer, too."""
    madt = _madt()
    # One behind the other, as QEMU's firmware has them: a kernel that takes the MADT for longer than it is then reads no zeros.
    tail = (Piece(_TAIL, madt), Piece(_TAIL + len(madt), _hpet())) if hpet else (Piece(_MADT, madt),)
    listed = (_FADT, *(piece.paddr for piece in tail))
    tables = (
        Piece(RSDP, _rsdp()),
        Piece(_RSDT, _table(b"RSDT", 1, struct.pack(f"<{len(listed)}I", *listed))),
        Piece(_XSDT, _table(b"XSDT", 1, struct.pack(f"<{len(listed)}Q", *listed))),
        Piece(_FADT, _fadt()),
        Piece(_DSDT, _table(b"DSDT", 2, _S5)),
        Piece(_FACS, struct.pack("<4s4IIQB", b"FACS", 64, 0, 0, 0, 0, 0, 2).ljust(64, b"\0")),
        *tail,
    )
    return (*tables, *_bios_data())


# What a BIOS writes to ports: 8259s from 08H and 70H on, with only the timer and the cascade unmasked; the timer at 18.2 Hz.
BIOS_PORTS: Final = (
    (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01),
    (0x21, 0xFA), (0xA1, 0xFF), (0x43, 0x36), (0x40, 0), (0x40, 0),
)  # fmt: skip
_HANDLERS_SELECTOR: Final = 0xF100
_RETURN: Final = bytes.fromhex("cf")  # iret
# push ax; push ds; mov ax, 40h; mov ds, ax; inc dword [6ch]; pop ds; int 1ch; mov al, 20h; out 20h, al; pop ax; iret
_TIMER: Final = bytes.fromhex("50 1e b84000 8ed8 66ff066c00 1f cd1c b020 e620 58 cf")
_FIRST_CHIP: Final = bytes.fromhex("50 b020 e620 58 cf")  # push ax; mov al, 20h; out 20h, al; pop ax; iret
_SECOND_CHIP: Final = bytes.fromhex("50 b020 e6a0 e620 58 cf")
_SLOT: Final = 32  # bytes of a handler


def bios_pieces() -> tuple[Piece, ...]:
    """Give the interrupt table of real mode and its handlers: the timer's counts, the 8259s' end the interrupt, all others return."""
    handlers = (_RETURN, _TIMER, _FIRST_CHIP, _SECOND_CHIP)
    which = [0] * 256
    which[8:16], which[0x70:0x78] = [1, *[2] * 7], [3] * 8
    table = b"".join(struct.pack("<2H", _SLOT * handler, _HANDLERS_SELECTOR) for handler in which)
    return Piece(0, table), Piece(_HANDLERS_SELECTOR << 4, b"".join(code.ljust(_SLOT, b"\0") for code in handlers))


def _summed(data: bytes, at: int) -> bytes:
    """Set the byte at `at` so that all bytes add up to 0."""
    return data[:at] + bytes((-sum(data) & 0xFF,)) + data[at + 1 :]


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    length = 36 + len(body)
    head = struct.pack("<4sIBB6s8sI4sI", signature, length, revision, 0, _OEM, b"PARACELL", 1, _CREATOR, 1)
    return _summed(head + body, 9)


def _rsdp() -> bytes:
    first = _summed(struct.pack("<8sB6sBI", b"RSD PTR ", 0, _OEM, 2, _RSDT), 8)
    return _summed(first + struct.pack("<IQBBBB", 36, _XSDT, 0, 0, 0, 0), 32)


def _io(port: int, bits: int) -> bytes:
    """Build a Generic Address Structure for a port, accessed in one piece."""
    return struct.pack("<BBBBQ", _IO_SPACE, bits, 0, {8: 1, 16: 2, 32: 3}[bits], port)


def _fadt() -> bytes:
    body = bytearray(268 - 36)  # of revision 5, without the header
    fields = (
        (36, "<II", (_FACS, _DSDT)),
        (46, "<H", (SCI,)),  # no SMI_CMD at 48: the machine is always in ACPI mode
        (56, "<I", (PM1_EVENT,)),
        (64, "<I", (PM1_CONTROL,)),
        (76, "<I", (PM_TIMER,)),
        (88, "<BBBB", (4, 2, 0, 4)),  # lengths: PM1 event and control blocks, none, timer
        (96, "<HH", (0xFFFF, 0xFFFF)),  # latencies: no C2, no C3
        (108, "<B", (_CENTURY,)),
        (109, "<H", (_BOOT_ARCHITECTURE,)),
        (112, "<I", (_FLAGS,)),
        (116, "<12sB", (_io(RESET_PORT, 8), RESET_VALUE)),
        (132, "<QQ", (_FACS, _DSDT)),
        (148, "<12s", (_io(PM1_EVENT, 32),)),
        (172, "<12s", (_io(PM1_CONTROL, 16),)),
        (208, "<12s", (_io(PM_TIMER, 32),)),
    )
    for at, form, values in fields:
        struct.pack_into(form, body, at - 36, *values)
    return _table(b"FACP", 5, bytes(body))


def _madt() -> bytes:
    body = struct.pack("<II", LOCAL_APIC, 1)  # 8259s are there, too
    body += struct.pack("<BBBBI", 0, 8, 0, 0, 1)  # processor 0, APIC ID 0, enabled
    body += struct.pack("<BBBBII", 1, 12, 0, 0, IO_APIC, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0)  # IRQ 0 is pin 2
    body += struct.pack("<BBBBIH", 2, 10, 0, SCI, SCI, _ACTIVE_HIGH_LEVEL)
    body += struct.pack("<BBBHB", 4, 6, 0xFF, 0, 1)  # NMI at LINT1
    return _table(b"APIC", 3, body)


def _hpet() -> bytes:
    """Build the table of the high-precision event timer (IA-PC HPET Specification, "The ACPI 2.0 HPET Description Table")."""
    address = struct.pack("<BBBBQ", 0, 64, 0, 0, HPET)
    return _table(b"HPET", 1, struct.pack("<I12sBHB", HPET_ID, address, 0, _HPET_TICKS, 0))


def _bios_data() -> tuple[Piece, ...]:
    kib = EBDA >> 10
    return (
        Piece(0x400, struct.pack("<4H", 0x3F8, 0x2F8, 0, 0)),  # serial ports
        Piece(0x40E, struct.pack("<HHBH", EBDA >> 4, 2 << 9 | 2, 0, kib)),  # equipment: two serial ports, a coprocessor
        Piece(EBDA, bytes((640 - kib,))),
    )

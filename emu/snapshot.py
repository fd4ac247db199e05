r"""A machine in a file: state as JSON, then the pages that are not zero, compressed.

::

    magic "PCSNAP1\\n" │ u64 length of header │ header (JSON) │ zlib stream of pages, in the order the header lists

Pages that were never written cost nothing to save: the processor's dirty list names the candidates.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict

from . import layout
from .descriptors import Segment, Table
from .features import Features

if TYPE_CHECKING:
    from typing import IO

    from .cpu import Cpu
    from .devices import ConsolePorts
    from .machine import Machine

MAGIC: Final = b"PCSNAP1\n"
_PAGE: Final = 4096
_ZERO: Final = bytes(_PAGE)
PLAIN: Final = (
    "cpl", "iopl", "cr0", "cr2", "cr3", "cr4", "efer", "pkru", "pkrs", "xcr0", "xss", "dr",
    "nmi_blocked", "interrupt_shadow", "halted",
)  # fmt: skip
# What of TCG's own state is the guest's: integer and flag words, segments, x87, SSE.
_TCG: Final = ((0, layout.CC_OP + 8), (layout.SEGMENTS, layout.SEGMENTS + 144), (layout.FPSTT, layout.XMM + 64 * 16))


class BadSnapshot(ValueError):
    """A file that is no snapshot, or a damaged one."""


def save(machine: Machine, file: IO[bytes]) -> None:
    """Write `machine` to `file`."""
    cpu, memory = machine.cpu, machine.memory
    ram = (p for p in memory.dirty if memory.is_ram(p << 12))  # the APIC's page can be written too
    pages = sorted(p for p in ram if memory.ram[p << 12 : (p << 12) + _PAGE] != _ZERO)
    header = {
        "memory": memory.size,
        "features": asdict(cpu.features),
        "cycles": machine.clock.cycles,
        "tsc_adjust": cpu.tsc.adjust,
        "cpu": {name: getattr(cpu, name) for name in PLAIN},
        "msr": sorted(cpu.msr.items()),
        "pdptes": cpu.pdptes,
        "tables": [cpu.gdtr, cpu.idtr],
        "segments": [asdict(cpu.segment(i)) for i in range(6)] + [asdict(cpu.ldtr), asdict(cpu.tr)],
        "tcg": [machine.engine.raw[a:b].hex() for a, b in _TCG],
        "devices": machine.devices.save(),
        "pages": pages,
    }
    text = json.dumps(header, sort_keys=True, default=sorted).encode()
    file.write(MAGIC + struct.pack("<Q", len(text)) + text)
    squeeze = zlib.compressobj(1)
    for page in pages:
        file.write(squeeze.compress(memory.ram[page << 12 : (page << 12) + _PAGE]))
    file.write(squeeze.flush())


def read_header(file: IO[bytes]) -> dict[str, Any]:
    """Give the state part of a snapshot; `BadSnapshot` where it is none."""
    head = file.read(len(MAGIC) + 8)
    if len(head) != len(MAGIC) + 8 or not head.startswith(MAGIC):
        raise BadSnapshot("not a snapshot")
    (length,) = struct.unpack("<Q", head[len(MAGIC) :])
    text = file.read(min(length, 1 << 28))
    try:
        header: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise BadSnapshot("the snapshot's header is damaged") from error
    return header


def restore(kind: type[Machine], file: IO[bytes], console: ConsolePorts | None) -> Machine:
    """Make the machine that a snapshot describes."""
    header = read_header(file)
    try:
        machine = kind(header["memory"], console, features=Features(**header["features"]))
        _load_pages(machine, header["pages"], file)
        _load_cpu(machine.cpu, header)
        machine.clock.cycles = header["cycles"]
        machine.cpu.tsc.adjust = header["tsc_adjust"]
        machine.devices.load(header["devices"])
        machine.devices.changed()
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise BadSnapshot(f"the snapshot is damaged: {error}") from error
    return machine


def _load_pages(machine: Machine, pages: list[int], file: IO[bytes]) -> None:
    data = zlib.decompressobj()
    pending = b""
    for page in pages:
        while len(pending) < _PAGE:
            chunk = file.read(1 << 16)
            if not chunk:
                raise BadSnapshot("the snapshot ends in the middle of a page")
            pending += data.decompress(chunk)
        machine.memory.write(page << 12, pending[:_PAGE])
        pending = pending[_PAGE:]


def _load_cpu(cpu: Cpu, header: dict[str, Any]) -> None:
    for (begin, end), text in zip(_TCG, header["tcg"], strict=True):
        cpu.engine.raw[begin:end] = bytes.fromhex(text)
    for name, value in header["cpu"].items():
        setattr(cpu, name, value)
    cpu.msr = dict(header["msr"])
    cpu.pdptes = tuple(header["pdptes"])
    cpu.gdtr, cpu.idtr = (Table(*t) for t in header["tables"])
    segments = [Segment(**s) for s in header["segments"]]
    cpu.segments[:] = segments[:6]
    cpu.ldtr, cpu.tr = segments[6:]
    cpu.sync_control()
    cpu.breakpoints.update()

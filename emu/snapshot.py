r"""A machine in a file: state as JSON, then the pages that are not zero, compressed.

::

    magic "PCSNAP4\\n" │ u64 length of header │ header (JSON) │ zlib stream of pages, in the order the header lists

Pages that were never written cost nothing to save: the processor's dirty list names the candidates.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, evolve

from . import layout
from .faults import Unimplemented
from .features import Features
from .nesting import NestedOptions
from .registers import TF
from .state import State

if TYPE_CHECKING:
    from typing import IO

    from .devices import ConsolePorts
    from .machine import Machine

MAGIC: Final = b"PCSNAP5\n"
_FAMILY: Final = MAGIC[:6]
_PAGE: Final = 4096
_ZERO: Final = bytes(_PAGE)
# x87 and SSE in TCG's state.  TCG keeps 64 bytes for an XMM register, and leaves pointers of its own in the upper 48.
FPU: Final = (
    slice(layout.FPSTT, layout.XMM),
    *(slice(at, at + 16) for at in range(layout.XMM, layout.XMM + 64 * 16, 64)),
)


# What values of any kind and size lead to, in a header that is JSON and nothing more; no memory for what it asks for, too.
_DAMAGE: Final = (
    *(KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, OSError, MemoryError),
    *(struct.error, zlib.error, Unimplemented, RecursionError),
)


class BadSnapshot(ValueError):
    """A file that is no snapshot, or a damaged one."""


def save(machine: Machine, file: IO[bytes]) -> None:
    """Write `machine` to `file`."""
    cpu, memory = machine.cpu, machine.memory
    ram = (p for p in memory.used if memory.is_ram(p << 12))  # the APIC's page can be written too
    pages = sorted(p for p in ram if memory.ram[p << 12 : (p << 12) + _PAGE] != _ZERO)
    header = {
        "memory": memory.offered,
        "nested": None if machine.cpu.outer is None else asdict(machine.cpu.outer.options),
        "features": asdict(cpu.features),
        "time": machine.clock.save(),
        "clock": machine.clock_kind,
        "state": state_of(machine).as_dict(),
        "fpu": [machine.engine.raw[part].hex() for part in FPU],
        "devices": machine.devices.save(),
        "pages": pages,
    }
    text = json.dumps(header, sort_keys=True, default=sorted).encode()
    file.write(MAGIC + struct.pack("<Q", len(text)) + text)
    squeeze = zlib.compressobj(1)
    for page in pages:
        file.write(squeeze.compress(memory.ram[page << 12 : (page << 12) + _PAGE]))
    file.write(squeeze.flush())


def state_of(machine: Machine) -> State:
    """Give the processor's state as the guest sees it: without the TF of our own single step."""
    state = machine.cpu.state()
    return evolve(state, rflags=state.rflags & ~TF) if machine.traps.pending.stepping else state


def read_header(file: IO[bytes]) -> dict[str, Any]:
    """Give the state part of a snapshot; `BadSnapshot` where it is none."""
    head = file.read(len(MAGIC) + 8)
    if head.startswith(_FAMILY) and not head.startswith(MAGIC):
        raise BadSnapshot("the snapshot was made by another version of ParaCell")
    if len(head) != len(MAGIC) + 8 or not head.startswith(MAGIC):
        raise BadSnapshot("not a snapshot")
    (length,) = struct.unpack("<Q", head[len(MAGIC) :])
    text = file.read(min(length, 1 << 28))
    try:
        header: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadSnapshot("the snapshot's header is damaged") from error
    if not isinstance(header, dict):
        raise BadSnapshot("the snapshot's header is damaged")
    return header


def restore(kind: type[Machine], file: IO[bytes], console: ConsolePorts | None) -> Machine:
    """Make the machine that a snapshot describes."""
    header = read_header(file)
    machine: Machine | None = None
    try:
        machine = kind(
            header["memory"],
            console,
            features=Features(**header["features"]),
            clock=header["clock"],
            nested=bool(header["nested"]) and NestedOptions(**header["nested"]),
            hpet="hpet" in header["devices"],
        )
        _load(machine, header, file)
    except Exception as error:
        if machine is not None:
            machine.close()
        if isinstance(error, BadSnapshot):
            raise
        if isinstance(error, _DAMAGE):
            raise BadSnapshot(
                f"the snapshot is damaged: {type(error).__name__} {' '.join(str(error).split())}"
            ) from error
        raise
    return machine


def _load(machine: Machine, header: dict[str, Any], file: IO[bytes]) -> None:
    """Give a machine what a snapshot says."""
    _load_pages(machine, header["pages"], file)
    for part, text in zip(FPU, header["fpu"], strict=True):
        machine.engine.raw[part] = bytes.fromhex(text)
    machine.engine.update_fpu()
    machine.cpu.load(State.from_dict(header["state"]))
    machine.clock.load(header["time"])
    machine.devices.load(header["devices"])
    machine.devices.changed()


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

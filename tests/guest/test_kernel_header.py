"""What the ParaCell host wants of the header of a container kernel, before it runs any of it."""

from __future__ import annotations

import struct
from typing import Final

import pytest

from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.multiboot import Module
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PARACELL

from .kernels import Typed

MAGIC: Final = struct.pack("<Q", 0x314B47656C6C6543)  # GK_MAGIC of pku/xgate/abi.h
DIRECT: Final = 0xFFFF888000000000  # the container kernel's own memory, but no page of its image
HOST: Final = 0xFFFFFFFFC0100000
IMAGE: Final = 0xFFFFFFFF80000000
KILLED: Final = 125
EVENT_ENTRY, VCPU, SCRATCH = 2, 6, 7  # words of struct gk_header


@pytest.mark.parametrize(
    ("word", "value", "why"),
    [
        (EVENT_ENTRY, 1 << 63, "its event entry is not in its text"),  # SYSRET would fault on it
        (EVENT_ENTRY, HOST, "its event entry is not in its text"),
        (EVENT_ENTRY, 0x400000, "its event entry is not in its text"),
        (VCPU, HOST, "its per-processor memory is not in its image"),
        (VCPU, DIRECT + (1 << 20), "its per-processor memory is not in its image"),  # it could give that page back
        (VCPU, IMAGE + (16 << 20), "its per-processor memory is not in its image"),  # behind what was loaded
        (SCRATCH, HOST, "the scratch page is not its own"),
    ],
)
def test_a_bad_header_ends_that_container_alone(word: int, value: int, why: str) -> None:
    kernel = bytearray(shipped.image("hostile.elf").read_bytes())
    struct.pack_into("<Q", kernel, kernel.index(MAGIC) + 8 * word, value)
    bad = Module("kernel", bytes(kernel))
    _, *files = PARACELL.modules(bytes(4096), init_block(["unbind"], []), kernel="hostile.elf")
    good = PARACELL.modules(bytes(4096), init_block(["unbind"], []), kernel="hostile.elf")
    console = Typed(b"")
    with Machine.boot(PARACELL.image, modules=[bad, *files, *good], memory=32 << 20, console=console) as machine:
        end = machine.run()
    assert (end.reason, end.status) == (Reason.EXIT, KILLED)
    assert console.sent[1].decode() == f"paracell: container 0 is killed: boot: {why} ({value:#x})\n"
    assert b"the image" in console.sent[0]  # the other one came to its end

"""The variables of our hosts (`guest/host/core/schedule.c`), read from physical memory by their symbols."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .runtimes import MAX_CONTAINERS

if TYPE_CHECKING:
    from .emu.machine import Machine

CONTAINER: Final = struct.Struct("<iiIiQQQQQQ")  # the beginning of struct container, guest/host/core/host.h
RUNNING: Final = range(2, 4)  # enum state: it has begun and not ended
HOST_DIRECT: Final = 0xFFFF_9000_0000_0000  # DIRECT_MAP of guest/host/core/layout.h: all host memory
HOST_BASE: Final = 0xFFFF_FFFF_C000_0000  # KERNEL_BASE there: physical 0, as the image sees it
_WORD: Final = 8


@frozen
class HostVariables:
    """Where a host of ours keeps its containers, `guest/host/core/schedule.c`; all that it reads is in physical memory.

    Attributes:
        machine: whose memory that is.
        image: the name of the host's image.
        pointer: the linear address of `self`, the container that runs.
        containers: the linear addresses of the array of them.

    """

    machine: Machine
    image: str
    pointer: int
    containers: range

    @classmethod
    def of(cls, machine: Machine) -> HostVariables | None:
        """Find them by the symbols of the machine's images; None where none of these is a host of ours."""
        symbols = machine.symbols
        images = {name.rpartition("!")[0] for name in symbols if name.endswith("!containers")}
        for image in images:
            pointer, containers = symbols.address(f"{image}!self"), symbols.span(f"{image}!containers")
            if pointer is None or not containers or containers.start < HOST_BASE:
                continue
            if containers.stop - HOST_BASE <= machine.memory.size:
                return cls(machine, image, pointer, containers)
        return None

    @property
    def size(self) -> int:
        """How many bytes a `struct container` has."""
        return len(self.containers) // MAX_CONTAINERS

    @staticmethod
    def physical(address: int) -> int:
        """Give the physical address of a variable."""
        return address - HOST_BASE

    def read(self, address: int, size: int) -> bytes:
        """Give bytes of the image's variables."""
        return self.machine.memory.read(self.physical(address), size)

    def word(self, address: int) -> int:
        """Give a variable of 64 bits."""
        return int.from_bytes(self.read(address, _WORD), "little")

    def turn(self) -> int:
        """Give the number of the container that runs."""
        return (self.word(self.pointer) - self.containers.start) // self.size % MAX_CONTAINERS

    def place(self, number: int) -> int:
        """Give the linear address of a `struct container`."""
        return self.containers.start + number * self.size

    def container(self, number: int) -> tuple[int, ...]:
        """Give the beginning of a `struct container`, as `CONTAINER` has it."""
        return CONTAINER.unpack(self.read(self.place(number), CONTAINER.size))

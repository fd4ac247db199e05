"""A second opinion on split virtqueues: it follows the hypercalls of a ParaCell run with a memory balloon, and reads the rings by itself.

It shares no code with driver or device, and looks at nothing but physical memory.  What must hold, by the virtio specification 1.2:

- "Device Initialization": status bits in order, features before FEATURES_OK, queues before DRIVER_OK, no notification before that;
- "Split Virtqueues": parts are aligned, and a size is a power of two; the driver makes no more buffers available than the queue has
  entries, none that is available already, and no loop; what the device reads stands before what it writes; the device uses
  each buffer once, says that it wrote no more than there was room for, and writes to the used ring alone;
- "Traditional Memory Balloon Device": a page is given once until it is taken back; one that is given, or reported, is mapped no more.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import define, field

from paracell.emu.events import Kind, Who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event
    from paracell.emu.machine import Machine

PAGE: Final = 4096
DIRECT_SLOT: Final = 273  # of level 4: 0xffff888000000000, the container kernel's direct map
PRESENT, ADDRESS = 1, 0x000F_FFFF_FFFF_F000
HC_MEMORY: Final = 13
ACCEPT, SET_STATUS, SIZE, DESCRIPTORS, AVAILABLE, USED, READY, NOTIFY = (0x100 + n for n in (2, 4, 6, 7, 8, 9, 10, 11))
NEXT, WRITE, INDIRECT = 1, 2, 4
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, FAILED = 1, 2, 4, 8, 128
VERSION_1, FRAMES = 1 << 32, 1 << 23
INFLATE, DEFLATE, REPORTING = 0, 1, 4
ALIGNED: Final = {DESCRIPTORS: 16, AVAILABLE: 2, USED: 4}


class WrongQueue(AssertionError):
    """What the driver or the device did, and what it should have done."""


def check(right: bool, says: str) -> None:
    """Raise unless it is right."""
    if not right:
        raise WrongQueue(says)


@define
class Memory:
    """The guest-physical memory of whoever runs."""

    machine: Machine

    def page(self, gpa: int) -> int:
        """Give the host-physical address of a page; 0 if it is not mapped."""
        at = (self.machine.cpu.cr3 & ADDRESS) + 8 * DIRECT_SLOT
        for shift in (30, 21, 12):
            entry = self.machine.memory.read64(at)
            if not entry & PRESENT:
                return 0
            at = (entry & ADDRESS) + 8 * (gpa >> shift & 511)
        entry = self.machine.memory.read64(at)
        return entry & ADDRESS if entry & PRESENT else 0

    def read(self, gpa: int, size: int) -> bytes:
        """Read bytes, which may cross pages."""
        data = b""
        while size:
            part, hpa = min(size, PAGE - gpa % PAGE), self.page(gpa)
            check(bool(hpa), f"a queue or a buffer is at {gpa:#x}, which is not mapped")
            data += self.machine.memory.read(hpa + gpa % PAGE, part)
            gpa, size = gpa + part, size - part
        return data

    def half(self, gpa: int) -> int:
        """Read 16 bits."""
        return int.from_bytes(self.read(gpa, 2), "little")


@define
class Buffer:
    """A chain of descriptors: what the device reads, what it writes."""

    head: int
    read: list[tuple[int, int]] = field(factory=list)
    written: list[tuple[int, int]] = field(factory=list)


@define
class Queue:
    """One virtqueue."""

    parts: dict[int, int] = field(factory=dict)  # by the function that says it
    ready: bool = False
    available: int = 0  # buffers so far
    used: int = 0
    pending: dict[int, Buffer] = field(factory=dict)
    sizes: set[int] = field(factory=set)  # of chains
    drivers: bytes = b""  # what only the driver writes, when it notified

    @property
    def size(self) -> int:
        """How many descriptors there are."""
        return self.parts[SIZE]

    def begin(self) -> None:
        """The driver has said all of it."""
        check({SIZE, *ALIGNED} <= self.parts.keys(), "a queue is ready before its parts are told")
        check(self.size in {1 << n for n in range(16)}, f"a queue has {self.size} entries")
        for part, alignment in ALIGNED.items():
            check(not self.parts[part] % alignment, f"a part of a queue is at {self.parts[part]:#x}")
        self.ready = True

    def own(self, memory: Memory) -> bytes:
        """Read what only the driver writes."""
        return memory.read(self.parts[DESCRIPTORS], 16 * self.size) + memory.read(
            self.parts[AVAILABLE], 4 + 2 * self.size
        )

    def buffer(self, memory: Memory, head: int) -> Buffer:
        """Follow a chain."""
        found, index, seen = Buffer(head), head, set[int]()
        while True:
            check(index < self.size, f"descriptor {index} of {self.size}")
            check(index not in seen, f"the chain at {head} is a loop")
            seen.add(index)
            gpa, size, flags, after = struct.unpack("<QIHH", memory.read(self.parts[DESCRIPTORS] + 16 * index, 16))
            check(not flags & INDIRECT, "an indirect descriptor, which is not negotiated")
            check(bool(flags & WRITE) or not found.written, "what the device reads stands behind what it writes")
            (found.written if flags & WRITE else found.read).append((gpa, size))
            if not flags & NEXT:
                return found
            index = after

    def supply(self, memory: Memory) -> list[Buffer]:
        """Give the buffers that the driver has made available since it was last asked."""
        at, new = self.parts[AVAILABLE], []
        check(memory.half(at) in {0, 1}, "the flags of an available ring are 0 or 1")
        count = (memory.half(at + 2) - self.available) & 0xFFFF
        check(count + len(self.pending) <= self.size, f"{count} buffers more in a queue of {self.size}")
        for _ in range(count):
            head = memory.half(at + 4 + 2 * (self.available % self.size))
            check(head not in self.pending, f"the buffer at {head} is available already")
            self.pending[head] = self.buffer(memory, head)
            new.append(self.pending[head])
            self.sizes.add(len(self.pending[head].read) + len(self.pending[head].written))
            self.available += 1
        self.drivers = self.own(memory)
        return new

    def take_back(self, memory: Memory) -> None:
        """Look at what the device has used: all, for ours is done when it returns."""
        at = self.parts[USED]
        check(memory.half(at) in {0, 1}, "the flags of a used ring are 0 or 1")
        for _ in range((memory.half(at + 2) - self.used) & 0xFFFF):
            head, written = struct.unpack("<II", memory.read(at + 4 + 8 * (self.used % self.size), 8))
            check(head in self.pending, f"the device used a buffer at {head}, which is not available")
            room = sum(size for _, size in self.pending.pop(head).written)
            check(written <= room, f"the device says that it wrote {written} bytes into {room}")
            self.used += 1
        check(not self.pending, "the device has not used a buffer")
        check(self.own(memory) == self.drivers, "the device wrote to what is the driver's")


@define
class Device:
    """The balloon of one container."""

    status: int = 0
    features: int = 0
    queues: dict[int, Queue] = field(factory=dict)
    given: set[int] = field(factory=set)  # page numbers
    reported: int = 0  # pages, in all

    def set_status(self, status: int) -> None:
        """Follow the driver's word."""
        if not status:
            self.__init__()  # type: ignore[misc]
            return
        check(not self.status & ~status, f"the status goes from {self.status} to {status}")
        steps = [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK]
        have = [bool(status & step) for step in steps]
        check(have == sorted(have, reverse=True) or bool(status & FAILED), f"status {status} leaves a step out")
        if status & FEATURES_OK:
            check(bool(self.features & VERSION_1), "the driver does without VIRTIO_F_VERSION_1")
        self.status = status

    def queue(self, function: int, number: int, value: int) -> None:
        """Follow how a queue is made."""
        check(bool(self.status & FEATURES_OK) and not self.status & DRIVER_OK, "a queue is made too early or too late")
        queue = self.queues.setdefault(number, Queue())
        check(not queue.ready, f"queue {number} is changed while it is in use")
        if function == READY:
            queue.begin()
        else:
            queue.parts[function] = value

    def pages_of(self, memory: Memory, buffer: Buffer) -> Iterator[int]:
        """Give the numbers of pages that a list names."""
        check(not buffer.written, "a list of pages is for the device to read")
        frames = 512 if self.features & FRAMES else 1
        for gpa, size in buffer.read:
            for (number,) in struct.iter_unpack("<I", memory.read(gpa, size)):
                yield from range(number, number + frames)


@define
class Queues:
    """All virtqueues of a run.  It is a sink."""

    machine: Machine
    devices: dict[int, Device] = field(factory=dict)  # by the table of the direct map
    asked: tuple[Device, Queue, list[int]] | None = None  # and the pages that are to go
    kicks: dict[int, int] = field(factory=dict)

    def emit(self, event: Event) -> None:
        """Follow one event."""
        if event.kind is Kind.HYPERCALL and event.nr == HC_MEMORY:
            self._call(event.arg0, event.arg1, event.arg2)
        elif self.asked is not None and event.who is Who.HOST and event.kind in {Kind.SYSRET, Kind.IRET}:
            _, queue, pages = self.asked
            self.asked = None
            memory = Memory(self.machine)
            queue.take_back(memory)
            for page in pages:
                check(not memory.page(page * PAGE), f"page {page:#x} went to the host and is mapped")

    def close(self) -> None:
        """Nothing is buffered."""

    def device(self) -> Device:
        """Give that of whoever runs."""
        table = self.machine.memory.read64((self.machine.cpu.cr3 & ADDRESS) + 8 * DIRECT_SLOT)
        return self.devices.setdefault(table, Device())

    def _call(self, function: int, a: int, b: int) -> None:
        device = self.device()
        if function == SET_STATUS:
            device.set_status(a)
        elif function == ACCEPT:
            check(not device.status & FEATURES_OK, "features are accepted too late")
            device.features = a
        elif SIZE <= function <= READY:
            device.queue(function, a, b)
        elif function == NOTIFY:
            check(bool(device.status & DRIVER_OK), "a notification before DRIVER_OK")
            self._kick(device, a)

    def _kick(self, device: Device, number: int) -> None:
        queue, memory, gone = device.queues[number], Memory(self.machine), list[int]()
        self.kicks[number] = self.kicks.get(number, 0) + 1
        for buffer in queue.supply(memory):
            if number == REPORTING:
                check(not buffer.read, "a reported block is for the device to write")
                pages = [gpa // PAGE + i for gpa, size in buffer.written for i in range(size // PAGE)]
                check(not device.given & {*pages}, "a page is reported that the balloon has")
                device.reported += len(pages)
                gone += pages
                continue
            pages = [*device.pages_of(memory, buffer)]
            check(len({*pages}) == len(pages), "a page stands twice in a list")
            if number == INFLATE:
                check(not device.given & {*pages}, "a page is given that the balloon has")
                device.given |= {*pages}
                gone += pages
            else:
                check(device.given >= {*pages}, "a page is taken that the balloon has not")
                device.given -= {*pages}
        self.asked = (device, queue, gone)

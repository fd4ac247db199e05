"""Linear-memory accesses that Python makes for the guest: operands, stacks, descriptor tables, state areas.

Each goes through the same translation, with the same rights, A and D bits and faults, as one made by TCG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu.address import PAGE, U64, canonical
from .faults import GP, SS, AlignmentCheck

if TYPE_CHECKING:
    from .breakpoints import Breakpoints
    from .engine import Engine
    from .memory import Memory
    from .translation import Translation

_LAST: Final = PAGE - 1
_READ: Final = 1  # as in mmu.rights


class LinearAccess:
    """The part of the processor that reads and writes linear memory.

    Every method raises `Fault`: #PF with its error code, or #GP (#SS when `stack`) for a non-canonical address.
    """

    breakpoints: Breakpoints
    engine: Engine
    memory: Memory
    translation: Translation
    devices: Any
    efer: int
    cpl: int

    @property
    def checks_alignment(self) -> bool:
        """Data accesses must be aligned: CR0.AM and RFLAGS.AC are set, and CPL is 3."""
        raise NotImplementedError

    def require_aligned(
        self, gva: int, element: int, size: int = 0, *, write: bool = False, stack: bool = False
    ) -> None:
        """Raise #AC for an access of CPL's to elements of so many bytes that are not aligned; its other faults come first.

        `size` is that of the whole access, if it has more than one element.
        """
        if gva & element - 1 and self.checks_alignment:
            if self.efer & 0x400:
                self._canonical(gva, size or element, stack=stack)
            self._spans(gva, size or element, write=write, system=False, user=None)
            raise AlignmentCheck

    def _canonical(self, gva: int, size: int, *, stack: bool) -> None:
        if not (canonical(gva) and canonical(gva + size - 1)) or gva + size - 1 > U64:
            raise SS(0) if stack else GP(0)

    def _spans(self, gva: int, size: int, *, write: bool, system: bool, user: bool | None) -> list[tuple[int, int]]:
        """Translate [gva, gva + size) into physical (address, size) pieces; all of it before any is touched."""
        where = self.translation.locate
        mask = (1 << 64) - 1 if self.efer & 0x400 else 0xFFFFFFFF
        spans = []
        while size:
            part = min(size, PAGE - (gva & _LAST))
            spans.append((where(gva & mask, write=write, system=system, user=user), part))
            gva += part
            size -= part
        return spans

    def read_bytes(
        self, gva: int, size: int, *, user: bool | None = None, stack: bool = False, system: bool = False
    ) -> bytes:
        """Read `size` bytes at linear address `gva`.

        `user` overrides CPL's choice of a user access; `system` makes it an implicit supervisor access.
        """
        if self.efer & 0x400:
            self._canonical(gva, size, stack=stack)
        if self.breakpoints.watching and not system:
            self.breakpoints.touch(gva, size, write=False)
        if (gva & _LAST) + size <= PAGE:
            pa = self.translation.locate(gva, write=False, system=system, user=user)
            if self.memory.is_ram(pa):
                return self.memory.ram[pa : pa + size]
            return self._device_read(pa, size)
        pieces = self._spans(gva, size, write=False, system=system, user=user)
        memory = self.memory
        return b"".join(memory.ram[a : a + n] if memory.is_ram(a) else self._device_read(a, n) for a, n in pieces)

    def write_bytes(
        self, gva: int, data: bytes, *, user: bool | None = None, stack: bool = False, system: bool = False
    ) -> None:
        """Write `data` at linear address `gva`: all of it, or a fault and none of it."""
        size = len(data)
        if self.efer & 0x400:
            self._canonical(gva, size, stack=stack)
        if self.breakpoints.watching and not system:
            self.breakpoints.touch(gva, size, write=True)
        memory = self.memory
        if (gva & _LAST) + size <= PAGE:
            pa = self.translation.locate(gva, write=True, system=system, user=user)
            if memory.is_ram(pa):
                memory.ram[pa : pa + size] = data
                memory.written(pa, size)
            else:
                self._device_write(pa, data)
            return
        done = 0
        for pa, part in self._spans(gva, size, write=True, system=system, user=user):
            if memory.is_ram(pa):
                memory.ram[pa : pa + part] = data[done : done + part]
                memory.written(pa, part)
            else:
                self._device_write(pa, data[done : done + part])
            done += part

    def _device_read(self, pa: int, size: int) -> bytes:
        return int(self.devices.mmio_read(pa, size)).to_bytes(size, "little")

    def _device_write(self, pa: int, data: bytes) -> None:
        self.devices.mmio_write(pa, len(data), int.from_bytes(data, "little"))

    def read(self, gva: int, size: int, *, user: bool | None = None, stack: bool = False) -> int:
        """Read a little-endian number of `size` bytes with the current privilege."""
        if gva & size - 1 and user is None:
            self.require_aligned(gva, size, stack=stack)
        return int.from_bytes(self.read_bytes(gva, size, user=user, stack=stack), "little")

    def write(self, gva: int, size: int, value: int, *, user: bool | None = None, stack: bool = False) -> None:
        """Write a little-endian number of `size` bytes with the current privilege."""
        if gva & size - 1 and user is None:
            self.require_aligned(gva, size, write=True, stack=stack)
        value &= (1 << 8 * size) - 1
        self.write_bytes(gva, value.to_bytes(size, "little"), user=user, stack=stack)

    def read_system_bytes(self, gva: int, size: int) -> bytes:
        """Read as an implicit supervisor access (SDM "Access Rights"): descriptor tables, IDT, TSS."""
        return self.read_bytes(gva, size, system=True)

    def read_system(self, gva: int, size: int) -> int:
        """Read a number as an implicit supervisor access."""
        pa = self.translation.probe(gva, size, _READ, system=True)
        if pa >= 0:
            return int.from_bytes(self.memory.ram[pa : pa + size], "little")
        return int.from_bytes(self.read_bytes(gva, size, system=True), "little")

    def write_system(self, gva: int, size: int, value: int) -> None:
        """Write a number as an implicit supervisor access (accessed and busy bits)."""
        self.write_bytes(gva, value.to_bytes(size, "little"), system=True)

    def check_write(self, gva: int, size: int, *, user: bool | None = None, stack: bool = False) -> None:
        """Raise the fault that a write of `size` bytes at `gva` would raise, and write nothing."""
        if self.efer & 0x400:
            self._canonical(gva, size, stack=stack)
        self._spans(gva, size, write=True, system=False, user=user)

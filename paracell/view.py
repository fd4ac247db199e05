"""What can be seen of a machine that stands still, and changed by hand: registers, memory, walks, names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .emu.events import Who
from .mmu.address import PAGE, U32, Address, canonical
from .mmu.rights import EXEC, READ, WRITE
from .mmu.walk import Mode
from .processor import Processor
from .settings import costs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .emu.cost import Costs
    from .emu.machine import Machine as Inner
    from .emu.memory import Memory
    from .emu.symbols import Named, Symbols
    from .emu.translation import Translation
    from .mmu.explain import Walk

Access: TypeAlias = Literal["read", "write", "fetch"]
_NEEDS: Final = {"read": READ, "write": WRITE, "fetch": EXEC}


class NoWalk(ValueError):
    """A linear address for which the processor reads no page table: paging is off, or the address is not canonical.

    Attributes:
        address: the linear address.

    """

    def __init__(self, why: str, address: int) -> None:
        super().__init__(why)
        self.address = address


class Refused(LookupError):
    """An access that the page tables or the keys do not allow.

    Attributes:
        walk: the walk, with its fault.

    """

    def __init__(self, walk: Walk) -> None:
        picture = str(walk).splitlines()
        super().__init__(f"{picture[0]}: {picture[-1].strip()}")
        self.walk = walk


class View:
    """A machine as its user sees it.

    Attributes:
        inner: the emulated machine, a `paracell.emu.machine.Machine`.
        cpu: its registers.
        memory: guest-physical memory: ``memory[gpa:end]`` gives and takes bytes.
        symbols: names for linear addresses: ``symbols["hello!main"]`` gives an address, ``symbols.name(address)`` a name.

    """

    def __init__(self, inner: Inner) -> None:
        self.inner = inner
        self.cpu = Processor(inner)
        self.memory: Memory = inner.memory
        self.symbols: Symbols = inner.symbols

    @property
    def cycles(self) -> int:
        """Virtual cycles since the machine was switched on; `paracell.emu.clock.TSC_HZ` of them are a second of its time."""
        return self.inner.clock.now

    @property
    def costs(self) -> Costs:
        """What each kind of event costs in virtual cycles; can be set between two runs."""
        return self.inner.cpu.costs

    @costs.setter
    def costs(self, costs: Costs | Mapping[str, object]) -> None:
        self.inner.cpu.costs = costs_of(costs)

    @property
    def who(self) -> Who:
        """Who runs: the program, its kernel, or the host."""
        cpu = self.inner.cpu
        return cpu.who_is(cpu) if cpu.who_is else Who.USER if cpu.cpl == 3 else Who.KERNEL

    def walk(self, gva: int, access: Access = "read", *, user: bool | None = None, pkru: int | None = None) -> Walk:
        """Walk the page tables as the processor would now, and leave no trace: no accessed or dirty bit, no TLB entry, no event.

        Args:
            gva: the linear address.
            access: ``read``, ``write`` or ``fetch``.
            user: a user-mode access, or a supervisor's; None for what CPL makes of it.
            pkru: the PKRU of the access, if not the processor's.

        Returns:
            The steps, and the frame or the fault; ``str`` of it is a picture with the deciding bits marked.

        Raises:
            NoWalk: paging is off, or the address is not canonical.
            ValueError: another access, a PKRU of more than 32 bits, or an address that is too wide for the mode.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main")
            ...     print(str(c.walk(c.symbols["gk_secret"], user=True)).splitlines()[-1].strip())
            #PF, error code 0x25 (P|U|PK): PTE.PKEY is 1 and PKRU.AD1 is 1

        """
        if access not in _NEEDS:
            raise ValueError(f"no such access: {access!r}; there are {', '.join(_NEEDS)}")
        if pkru is not None and not 0 <= pkru <= U32:
            raise ValueError(f"PKRU {pkru:#x} does not fit into 32 bits")
        translation = self.inner.cpu.translation
        _check_walk(translation, gva)
        return translation.explain(gva, _NEEDS[access], user=user, pkru=pkru)

    def translate(self, gva: int) -> Address | None:
        """Give the physical address behind a linear one, whatever its page allows; None where nothing is mapped.

        Example:
            >>> import paracell
            >>> with paracell.Container("hello") as c:
            ...     end = c.run_until("hello!main")
            ...     secret = c.translate(c.symbols["gk_secret"])
            ...     c.memory[secret:secret + 8].hex()
            '0100eeffc0e7c25e'

        """
        found = self.inner.cpu.translation.physical(gva)
        return None if found is None else Address(found)

    def read(self, gva: int, size: int, *, user: bool | None = None, pkru: int | None = None) -> bytes:
        """Read linear memory as the processor could now, without a trace.

        Args:
            gva: the linear address.
            size: how many bytes.
            user: a user-mode access, or a supervisor's; None for what CPL makes of it.
            pkru: the PKRU of the access, if not the processor's.

        Raises:
            Refused: a page does not allow it; `Refused.walk` shows why.
            NoWalk: as for `walk`.
            OutOfRange: a page is mapped to where no memory is.

        """
        pieces = self._pieces(gva, size, "read", user, pkru)
        return b"".join(self.memory.read(at, count) for at, count in pieces)

    def write(self, gva: int, data: bytes, *, user: bool | None = None, pkru: int | None = None) -> None:
        """Write linear memory as the processor could now: all of it or nothing.  Raises what `read` raises."""
        done = 0
        for at, count in self._pieces(gva, len(data), "write", user, pkru):
            self.memory.write(at, data[done : done + count])
            done += count

    def _pieces(
        self, gva: int, size: int, access: Access, user: bool | None, pkru: int | None
    ) -> list[tuple[int, int]]:
        """Translate a range page by page into physical (address, size)."""
        pieces = []
        translated = _is_translated(self.inner.cpu.translation)
        while size:
            count = min(size, PAGE - gva % PAGE)
            if translated:
                walk = self.walk(gva, access, user=user, pkru=pkru)
                if walk.physical is None:
                    raise Refused(walk)
                pieces.append((walk.physical, count))
            else:
                pieces.append((gva, count))
            gva, size = gva + count, size - count
        return pieces

    def add_symbols(self, image: str, symbols: Callable[[], Iterable[Named]]) -> None:
        """Add the names of an image that the machine does not know; the function is called when the first name is asked for."""
        self.symbols.add(image, symbols)


def _is_translated(translation: Translation) -> bool:
    """Tell whether the processor reads tables, its own or a guest's EPT."""
    return translation.paging.mode is not Mode.NONE or translation.second is not None


def _check_walk(translation: Translation, gva: int) -> None:
    """Raise where the processor reads no page table."""
    mode = translation.paging.mode
    if not _is_translated(translation):
        raise NoWalk("paging is off: linear addresses are physical", gva)
    if mode is Mode.LEVEL4 and not canonical(gva):
        raise NoWalk(f"not canonical, a general-protection or stack fault and no walk: {gva:#x}", gva)
    if mode is not Mode.LEVEL4 and gva > U32:
        raise ValueError(f"the machine is not in 64-bit mode, its linear addresses have 32 bits: {gva:#x}")

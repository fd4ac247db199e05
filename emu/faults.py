"""What can go wrong inside the guest (`Fault`) and with the guest (`Unimplemented`, `TripleFault`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.explain import Walk

VECTOR_NAMES: Final = {
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP",
    12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM", 20: "#VE", 21: "#CP",
}  # fmt: skip


class During(NamedTuple):
    """An event on whose delivery a fault was raised: interruption information (0: none), error code, the instruction's length."""

    info: int = 0
    error: int = 0
    length: int = 0


NO_EVENT: Final = During()


class Fault(Exception):
    """An exception of the guest, on its way to the IDT.

    Attributes:
        vector: 0 to 31.
        error: the error code, or None for vectors without one.
        address: CR2's value for #PF, else None.
        during: in VMX non-root operation, the event on whose delivery it was raised.
        nmi_unblocking: an IRET that has ended the blocking of NMIs raised it.

    """

    during = NO_EVENT
    nmi_unblocking = False

    def __init__(self, vector: int, error: int | None = None, address: int | None = None) -> None:
        self.vector = vector
        self.error = error
        self.address = address

    def while_delivering(self, info: int, error: int, length: int) -> None:
        """Note the event on whose delivery it was raised."""
        self.during = During(info, error, length)

    def __str__(self) -> str:
        """Name the vector, the error code and the address."""
        text = VECTOR_NAMES.get(self.vector, f"vector {self.vector}")
        if self.error is not None:
            text += f"({self.error:#x})"
        if self.address is not None:
            text += f" at {self.address:#x}"
        return text


class UD(Fault):
    """#UD, invalid opcode."""

    def __init__(self) -> None:
        super().__init__(6)


class NM(Fault):
    """#NM, device not available."""

    def __init__(self) -> None:
        super().__init__(7)


class DB(Fault):
    """#DB.

    Attributes:
        dr6: the bits of DR6 that it sets.
        trap: it comes of the instruction before RIP; else it is a fault of the one at RIP, or an event.

    """

    def __init__(self, dr6: int, *, trap: bool = False) -> None:
        super().__init__(1)
        self.dr6, self.trap = dr6, trap


class TS(Fault):
    """#TS, invalid TSS."""

    def __init__(self, error: int) -> None:
        super().__init__(10, error)


class NP(Fault):
    """#NP, segment not present."""

    def __init__(self, error: int) -> None:
        super().__init__(11, error)


class StackFault(Fault):
    """#SS, stack fault."""

    def __init__(self, error: int) -> None:
        super().__init__(12, error)


SS = StackFault  # the manual's name, where no segment register is called so


class GP(Fault):
    """#GP, general protection."""

    def __init__(self, error: int = 0) -> None:
        super().__init__(13, error)


class AlignmentCheck(Fault):
    """#AC, alignment check."""

    def __init__(self) -> None:
        super().__init__(17, 0)


class PF(Fault):
    """#PF, which can explain itself.

    Attributes:
        explain: walks once more and gives the `Walk`; right as long as nothing has changed the tables.

    """

    def __init__(self, error: int, address: int, explain: Callable[[], Walk]) -> None:
        self.vector, self.error, self.address = 14, error, address  # not by `super`: faults are many
        self.explain = explain


class Unimplemented(NotImplementedError):
    """A case that the machine does not know: it stops rather than guess.

    Attributes:
        what: what is missing.

    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class TripleFault(RuntimeError):
    """The guest's exceptions could not be delivered: shutdown.

    Attributes:
        faults: the exceptions that led to it, first to last.

    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("triple fault: " + ", then ".join(str(f) for f in faults))
        self.faults = faults

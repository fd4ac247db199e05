"""ParaCell: x86-64 paging and protection keys emulated in plain Python, and the containers that live on them.

Everything a program or a notebook needs is here; docs/api.md shows it.  A name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .container import Container
    from .diff.difference import Difference, difference
    from .emu.cost import Costs
    from .emu.events import Event, Kind, Who
    from .emu.memory import OutOfRange
    from .emu.nesting import NestedOptions
    from .emu.snapshot import BadSnapshot
    from .emu.stop import Reason
    from .end import End
    from .guest.elf import BadImage
    from .guest.multiboot import Module
    from .guest.rootfs import BadRootfs
    from .guest.shipped import NotBuilt
    from .machine import Checkpoint, Machine
    from .mmu.address import Address
    from .mmu.explain import Fault, Step, Walk
    from .mmu.registers import CR0, CR3, CR4, EFER, RFLAGS, PFErr
    from .mmu.word import Bits, Word
    from .pku.registers import PKRS, PKRU
    from .problem import Problem
    from .processor import Processor
    from .record import Recording
    from .runtimes import RUNTIMES, Runtime
    from .view import NoWalk, Refused

__version__ = "0.1.0"

__all__ = [
    "CR0",
    "CR3",
    "CR4",
    "EFER",
    "PKRS",
    "PKRU",
    "RFLAGS",
    "RUNTIMES",
    "Address",
    "BadImage",
    "BadRootfs",
    "BadSnapshot",
    "Bits",
    "Checkpoint",
    "Container",
    "Costs",
    "Difference",
    "End",
    "Event",
    "Fault",
    "Kind",
    "Machine",
    "Module",
    "NestedOptions",
    "NoWalk",
    "NotBuilt",
    "OutOfRange",
    "PFErr",
    "Problem",
    "Processor",
    "Reason",
    "Recording",
    "Refused",
    "Runtime",
    "Step",
    "Walk",
    "Who",
    "Word",
    "__version__",
    "difference",
]

_HOMES = {
    "container": ("Container",),
    "diff.difference": ("Difference", "difference"),
    "emu.cost": ("Costs",),
    "emu.events": ("Event", "Kind", "Who"),
    "emu.memory": ("OutOfRange",),
    "emu.nesting": ("NestedOptions",),
    "emu.snapshot": ("BadSnapshot",),
    "emu.stop": ("Reason",),
    "end": ("End",),
    "guest.elf": ("BadImage",),
    "guest.multiboot": ("Module",),
    "guest.rootfs": ("BadRootfs",),
    "guest.shipped": ("NotBuilt",),
    "machine": ("Checkpoint", "Machine"),
    "mmu.address": ("Address",),
    "mmu.explain": ("Fault", "Step", "Walk"),
    "mmu.registers": ("CR0", "CR3", "CR4", "EFER", "RFLAGS", "PFErr"),
    "mmu.word": ("Bits", "Word"),
    "pku.registers": ("PKRS", "PKRU"),
    "problem": ("Problem",),
    "processor": ("Processor",),
    "record": ("Recording",),
    "runtimes": ("RUNTIMES", "Runtime"),
    "view": ("NoWalk", "Refused"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take it to mean that there is every name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: the command line starts without any of them."""
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = globals()[name] = getattr(importlib.import_module(f".{home}", __name__), name)
        return found


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)

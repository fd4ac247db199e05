"""The runtimes: which images make up a container, and what its events mean.  To add a runtime is to add a row.

::

              the machine boots        beside it         who is who
    native    the container kernel     files, init       ring 3 is the program, ring 0 the container kernel
    paracell  the host                 kernel, files,    `lens.XGates`: ring 0 is the host, ring 3 the program or the container
                                       init              kernel, by the keys of PKRU
    pvm       the host                 kernel, files,    `lens.Pvm`: ring 0 is the host, ring 3 the program or the container
                                       init              kernel, by the tables in CR3
    runv      the host                 kernel, files,    `lens.Guests`: VMX root operation is the host, rings 0 and 3 of the guest
                                       init              the container kernel and the program
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from .guest import shipped
from .guest.elf import parse
from .guest.files import read_regular
from .guest.image import load
from .guest.multiboot import Module

if TYPE_CHECKING:
    from pathlib import Path

    from .emu.features import Features
    from .emu.machine import Machine
    from .emu.sinks import Lens
    from .guest.elf import Symbol
    from .guest.image import Image

MAX_CONTAINERS: Final = 4  # that one host has room for: guest/host/core/host.h


@frozen
class Runtime:
    """A way to run a container.

    Attributes:
        name: what ``--runtime`` and ``runtime=`` call it.
        says: what it is, in one line.
        boots: the shipped image that the machine boots.
        kernel: the shipped image that becomes the first module of each container, its container kernel; None where `boots` is it.
        lens: the class in `paracell.lens` that gives its events their meaning; None where rings say it all.
        needs: features of the processor that a machine of this runtime has whatever its model.

    """

    name: str
    says: str
    boots: str
    kernel: str | None = None
    lens: str | None = None
    needs: tuple[str, ...] = ()

    @property
    def image(self) -> Path:
        """Where the image that the machine boots is; `NotBuilt` if it is not there."""
        return shipped.image(self.boots)

    @property
    def images(self) -> tuple[Path, ...]:
        """Where its images are, the container kernel's first."""
        return (*(() if self.kernel is None else (shipped.image(self.kernel),)), self.image)

    def load(self) -> Image:
        """Read the image that the machine boots."""
        return load(self.image)

    def modules(self, rootfs: bytes, init: bytes, *, kernel: str | None = None) -> tuple[Module, ...]:
        """Give what stands beside the image for one container, in order.

        Args:
            rootfs: the root file system, a tar.
            init: what `guest.rootfs.init_block` made.
            kernel: the shipped image to use for its container kernel, if not the runtime's own.

        """
        files = (Module("rootfs", rootfs), Module("init", init))
        name = kernel or self.kernel
        return files if name is None else (Module("kernel", read_regular(shipped.image(name))), *files)

    def processor(self, features: Features) -> Features:
        """Give a processor's features with those that the runtime needs."""
        return evolve(features, names=features.names.union(self.needs)) if self.needs else features

    def attach(self, machine: Machine) -> None:
        """Give a machine that runs this runtime its lens, and the names of the container kernel that runs beside the image."""
        if self.lens is not None:
            machine.lens = _lens(self.lens, machine)
        if self.kernel is not None:
            machine.symbols.add(self.kernel, lambda: _symbols(self.kernel or ""))


def _symbols(name: str) -> tuple[Symbol, ...]:
    return parse(read_regular(shipped.image(name)), name).symbols()


def _lens(name: str, machine: Machine) -> Lens:
    """Make a lens; its module is imported for a runtime that has one."""
    from . import lens

    made: Lens = getattr(lens, name)(machine)
    return made


NATIVE: Final = Runtime("native", "the container kernel at ring 0", "native.elf")
PARACELL: Final = Runtime(
    "paracell",
    "the container kernel at ring 3, on protection keys, above the ParaCell host",
    "paracell-host.elf",
    "paracell-kernel.elf",
    "XGates",
)
RUNV: Final = Runtime(
    "runv",
    "the container kernel in a virtual machine, with EPT, above the RunV host",
    "runv-host.elf",
    "native.elf",
    "Guests",
    ("vmx",),
)
PVM: Final = Runtime(
    "pvm",
    "the container kernel at ring 3, on shadow page tables, above the PVM host",
    "pvm-host.elf",
    "pvm-kernel.elf",
    "Pvm",
)
RUNTIMES: Final = {runtime.name: runtime for runtime in (NATIVE, PARACELL, RUNV, PVM)}
DEFAULT: Final = PARACELL


def named(name: str | Runtime) -> Runtime:
    """Give a runtime by its name, or the one given; ``ValueError`` for a name that there is not."""
    if isinstance(name, Runtime):
        return name
    runtime = RUNTIMES.get(name)
    if runtime is None:
        raise ValueError(f"no such runtime: {name}; there are {', '.join(RUNTIMES)}")
    return runtime

"""The targets that ship, by name; a module is imported when its target is made."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ..guest.shipped import program
from .target import BadTarget, Options, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

# Name: the module, the class, what it attacks.
TARGETS: Final[Mapping[str, tuple[str, str, str]]] = {
    "gates": ("gates", "GatesTarget", "machine code and registers of a program, aimed at the XGates"),
    "pager": ("pager", "PagerTarget", "a container kernel's requests to Pager's host"),
    "hypercalls": (
        "hypercalls",
        "HypercallsTarget",
        "a hostile kernel's requests to its host, beside a container that must live",
    ),
    "syscalls": (
        "syscalls",
        "SyscallsTarget",
        "sequences of system calls of a program, under any runtime, or under two",
    ),
    "vmentry": ("vmentry", "VmEntryTarget", "VM entries near the border of what is valid"),
    "images": ("loaders", "ImagesTarget", "files for the loaders: ELF, multiboot, bzImage, tar, snapshots"),
    "walk": ("walk", "WalkTarget", "page tables near the border of what a walk takes"),
}


def class_of(name: str) -> type[Target]:
    """Give the class of a target that ships."""
    module, kind, _ = TARGETS[name]
    found: type[Target] = getattr(importlib.import_module(f".{module}", __package__), kind)
    return found


def make_target(spec: str, options: Options = Options()) -> Target:  # noqa: B008
    """Make a target by its name, ``FILE.py:FUNCTION``, or the path of a static ELF; raises `BadTarget`."""
    if options.differential:
        from .differential import DifferentialTarget

        return DifferentialTarget(options, lambda each: make_target(spec, each))
    if spec in TARGETS:
        return class_of(spec)(options)
    if ":" in spec or spec.endswith(".py"):
        from .python import python_target

        return python_target(evolve(options, argument=spec))
    if "/" in spec or program(spec) or Path(spec).is_file():
        from .program import ProgramTarget

        return ProgramTarget(evolve(options, argument=spec))
    raise BadTarget(f"no such target: {spec}; there are {', '.join(TARGETS)}, a static ELF, and FILE.py:FUNCTION")

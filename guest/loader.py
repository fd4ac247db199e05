"""Which boot protocol lays an image out in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import bzimage, multiboot, pvh
from .image import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .image import Image
    from .multiboot import Boot, Module


def plan(
    image: Image, regions: Sequence[tuple[int, int]], cmdline: str = "", modules: Sequence[Module] = (), rsdp: int = 0
) -> Boot:
    """Lay out an image as its boot protocol wants it; `BadImage` where it does not fit.

    Args:
        image: what to boot.
        regions: RAM as (address, size), ascending, the first at 0.
        cmdline: the kernel's command line.
        modules: what stands beside it; a Linux kernel takes one, its initrd.
        rsdp: physical address of ACPI's root pointer, or 0; multiboot says it to nobody.

    """
    if image.kind is Kind.LINUX:
        return bzimage.plan(image, regions, cmdline, modules, rsdp)
    if image.kind is Kind.PVH:
        return pvh.plan(image, regions, cmdline, modules, rsdp)
    return multiboot.plan(image, regions, cmdline, modules)

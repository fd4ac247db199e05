"""The kernels that do scripts, by the runtime whose host they attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .script_paracell import ParaCellKernel
from .script_pvm import PvmKernel
from .script_runv import RunvKernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .script_kernel import Kernel

KERNELS: Final[Mapping[str, type[Kernel]]] = {"paracell": ParaCellKernel, "pvm": PvmKernel, "runv": RunvKernel}

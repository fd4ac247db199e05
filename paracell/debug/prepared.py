"""A machine that somebody has prepared, under a debugger: it stands where it was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine import Machine
from ..signals import interruptible
from .session import Session

if TYPE_CHECKING:
    from ..emu.machine import Machine as Inner
    from ..emu.stop import Stop
    from .files import Files
    from .session import Options


def debug_prepared(inner: Inner, options: Options, files: Files) -> Stop:
    """Serve a debugger until the guest ends, or its debugger ends it; gives how that was.

    Args:
        inner: the machine; history begins where it stands.
        options: how the debugger comes in.
        files: what gdb may load.

    """
    machine = Machine(inner, inner.devices.console)
    with interruptible(inner.request_stop) as caught:
        return Session(machine, options, files, lambda: bool(caught)).run()

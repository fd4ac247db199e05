"""``paracell`` and ``python -m paracell``."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run_command` takes it: no traceback from the imports

    from . import streams
    from .cli import run_command

    streams.repair()
    status = run_command(sys.argv[1:])
    streams.flush()
    if sys.getprofile() or sys.gettrace():
        sys.exit(status)
    # All is written: there is nothing to gain from freeing each object and module, which takes half as long as to import them.
    os._exit(status)


if __name__ == "__main__":
    main()

"""``paracell`` and ``python -m paracell``."""

from __future__ import annotations

import os
import sys

from .cli import run_command

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    status = run_command(sys.argv[1:])
    if sys.getprofile() or sys.gettrace():
        sys.exit(status)
    # All is written: there is nothing to gain from freeing each object and module, which takes half as long as to import them.
    os._exit(status)


if __name__ == "__main__":
    main()

"""``paracell`` and ``python -m paracell``."""

from __future__ import annotations

import sys

from .cli import run_command

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()

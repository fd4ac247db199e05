"""What ParaCell ships: kernel images and programs, built from the sources beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

IMAGES: Final = Path(__file__).parent / "images"


class NotBuilt(ValueError):
    """An image that a wheel would hold is missing from this checkout.

    Attributes:
        path: where it should be.

    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"not built yet, run make images: {path}")
        self.path = path


def image(name: str) -> Path:
    """Give the path of a shipped image; `NotBuilt` if it is not there."""
    path = IMAGES / name
    if not path.is_file():
        raise NotBuilt(path)
    return path


def program(name: str) -> Path | None:
    """Give the path of a shipped program, or None if there is none of that name."""
    path = IMAGES / "programs" / name
    return path if "/" not in name and path.is_file() else None

"""What several of these files share."""

from __future__ import annotations

import shutil

import pytest

from paracell.guest.build import DEBUGGED, IMAGES, build


@pytest.fixture(scope="session")
def lines() -> None:
    """The images with line information, for gdb: built where that has not been done."""
    if shutil.which("gdb") is None:
        pytest.skip("no gdb on this computer")
    pytest.importorskip("ziglang", reason="no compiler for the guests")
    build(DEBUGGED, IMAGES / "debug", debug=True)

"""The build hook: compile the guest images, so that a wheel holds them and its users need no compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCES = "paracell/guest/images/debug/sources"  # where `paracell.debug.files` looks for them


class CustomBuildHook(BuildHookInterface[Any]):
    """Runs ``guest/build.py`` through the link below ``paracell/``, which in an unpacked sdist is the only copy.

    A wheel gets the images with line information too, and the sources that these name; an editable installation has the tree.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build every image before the files of the wheel are listed."""
        self._build()
        if version == "editable":
            return
        self._build("--debug")
        tree = Path(self.root, "paracell")
        for name in self._build("--sources").split():
            build_data["force_include"][str(tree / name)] = f"{_SOURCES}/{name}"

    def _build(self, *options: str) -> str:
        script = Path(self.root, "paracell", "guest", "build.py")
        command = [sys.executable, str(script), *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 -- our own script

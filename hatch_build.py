"""The build hook: compile the guest images, so that a wheel holds them and its users need no compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Runs ``guest/build.py`` through the link below ``paracell/``, which in an unpacked sdist is the only copy."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build every image before the files of the wheel are listed."""
        del version, build_data
        script = Path(self.root, "paracell", "guest", "build.py")
        subprocess.run([sys.executable, str(script)], check=True)  # noqa: S603 -- our own script

"""What a runtime tells whoever called it: lines in the two formats of runc's ``--log-format``."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Final

from attrs import define

if TYPE_CHECKING:
    from pathlib import Path

FORMATS: Final = ("text", "json")


@define
class Log:
    """Where it is told.

    Attributes:
        path: a file that lines are added to, or None for stderr.
        style: one of `FORMATS`.

    """

    path: Path | None = None
    style: str = "text"

    def warning(self, message: str) -> None:
        """Tell what is not honoured."""
        self._tell("warning", message)
        if self.path is None:
            sys.stderr.write(f"paracell: warning: {message}\n")

    def failure(self, message: str) -> None:
        """Tell why the command fails; stderr has it from the command line itself."""
        self._tell("error", message)

    def _tell(self, level: str, message: str) -> None:
        if self.path is None:
            return
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.style == "json":
            line = json.dumps({"level": level, "msg": message, "time": now})
        else:
            line = f"time={json.dumps(now)} level={level} msg={json.dumps(message)}"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

"""Hooks: programs of this computer that get a container's state on stdin.

Source: OCI Runtime Specification 1.2, "POSIX-platform Hooks".
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from .problem import OciProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config import Hook
    from .log import Log


def run_hooks(moment: str, hooks: Iterable[Hook], state: dict[str, Any]) -> None:
    """Run hooks one after the other; `OciProblem` if one fails."""
    for hook in hooks:
        try:
            done = subprocess.run(  # noqa: S603 -- the bundle says what runs
                [*(hook.args or (hook.path,))],
                executable=hook.path,
                env=dict(pair.partition("=")[::2] for pair in hook.env),
                input=json.dumps(state).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=hook.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OciProblem(f"{moment} hook {hook.path} was not done in {hook.timeout} s") from error
        except OSError as error:
            raise OciProblem(f"{moment} hook {hook.path}: {error.strerror}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise OciProblem(
                f"{moment} hook {hook.path} ended with status {done.returncode}" + (f": {said}" if said else "")
            )


def run_anyhow(moment: str, hooks: Iterable[Hook], state: dict[str, Any], log: Log) -> None:
    """Run hooks whose failure changes nothing any more: each gets a warning."""
    for hook in hooks:
        try:
            run_hooks(moment, [hook], state)
        except OciProblem as problem:
            log.warning(problem.line)

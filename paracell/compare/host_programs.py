"""Programs of this computer for a container: a program, the libraries that it is linked with, and what it reads at its start."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_IMPORTS: Final = """
import ast, collections, heapq, os, sys
for folder in sys.path:  # one file of those that are built for the processor: by it Python knows where it is installed
    if folder.endswith("lib-dynload"):
        print(os.path.join(folder, sorted(os.listdir(folder))[0]))
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", ""), getattr(module, "__cached__", ""), sep="\\n")
"""
_SYSTEM: Final = "/usr/bin:/bin:/usr/local/bin"  # first: a shim in somebody's own directory is no program


def find(command: str) -> Path | None:
    """Give the path of a program, of the system's own directories first; None where there is none."""
    found = shutil.which(command, path=_SYSTEM) or shutil.which(command)
    return Path(found) if found else None


def files_of(command: str) -> dict[str, Path]:
    """Give what a container needs to run a program of this computer, by absolute path in the container.

    The program is ``/bin/COMMAND``; libraries, and for Python the modules that `compare/workloads/check` imports, are where they are here.

    Raises:
        LookupError: there is no such program.

    """
    program = find(command)
    if program is None:
        raise LookupError(f"no {command} on this computer")
    files = {f"/bin/{command}": program.resolve()}
    for library in _libraries(program):
        files[library] = Path(library).resolve()
    if command == "python3":
        files |= {path: Path(path) for path in _modules(program)}
    return files


def _libraries(program: Path) -> list[str]:
    """Give the libraries that ldd tells of, the dynamic loader among them; none of a static program."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    said = subprocess.run(  # noqa: S603  (programs that this computer's own $PATH leads to)
        [ldd, program], capture_output=True, check=False, text=True, env={"PATH": os.defpath}
    )
    words = [line.partition("=>")[2].split() or line.split() for line in said.stdout.splitlines()]
    return [word[0] for word in words if word and word[0].startswith("/") and Path(word[0]).is_file()]


def _modules(program: Path) -> list[str]:
    said = subprocess.run(  # noqa: S603  (as above)
        [program, "-I", "-S", "-c", _IMPORTS], capture_output=True, check=True, text=True
    )
    return [path for path in said.stdout.splitlines() if path.startswith("/") and Path(path).is_file()]

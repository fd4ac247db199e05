"""Root file systems put together from Debian's packages, without root and outside of this tree.

    python -m tests.guest.real.roots OUTDIR [NAME…]

OUTDIR/NAME is the tree of a root file system: the packages of the name and all that they depend on, unpacked (nobody runs
their scripts), without manuals and translations.  What is there already is not made again.

Exit status as build.py's: 0, 1 where something failed, 77 where apt is not there or reaches no archive of Debian's.
"""

# ruff: noqa: T201  it says what it builds

from __future__ import annotations

import compileall
import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from .build import SKIPPED, Apt, BuildError, do

SHELL: Final = ("bash", "coreutils", "dash", "findutils", "grep", "gzip", "sed", "tar")
ROOTS: Final[dict[str, tuple[str, ...]]] = {
    "shell": SHELL,
    "musl": ("musl", "dash"),
    "perl": ("perl", *SHELL),
    "small": ("lua5.4", "tcl", "sqlite3", "libstdc++6", *SHELL),
    "tcc": ("tcc", "libc6-dev", *SHELL),
    "git": ("git", *SHELL),
    "python": ("python3", *SHELL),
    "python-tests": ("python3", "libpython3.11-testsuite", "netbase", *SHELL),
}
UNWANTED: Final = (
    *(f"usr/share/{name}" for name in ("doc", "man", "locale", "info", "i18n", "bash-completion", "lintian", "common-licenses")),
    *("usr/lib/x86_64-linux-gnu/gconv", "usr/share/doc-base", "usr/share/zoneinfo"),
)  # fmt: skip
TEXTS: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


class Packages(Apt):
    """An apt that knows what a package needs."""

    def unpack(self, packages: tuple[str, ...], to: Path) -> None:
        """Put some packages, and all that they depend on, into a folder."""
        options = ("-y", "-o", "APT::Install-Recommends=0", "-o", "Debug::NoLocking=1", "install", *packages)
        plan = subprocess.run([*self._get, "-s", *options], capture_output=True, check=False, text=True)
        if plan.returncode:
            raise BuildError(f"apt finds no way to install {' '.join(packages)}: {plan.stderr.splitlines()[-1:]}")
        do(*self._get, "--download-only", *options, cwd=self._work)
        cache = self._work / "cache" / "archives"
        for name, version in re.findall(r"^Inst (\S+) \((\S+)", plan.stdout, re.MULTILINE):
            do("dpkg-deb", "-x", *cache.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"), to, cwd=cache)


def _finish(root: Path) -> None:
    """What the packages' scripts would have done, as far as a program needs it."""
    for name in UNWANTED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name, text in TEXTS.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "tmp").mkdir(exist_ok=True)
    for link in root.rglob("*"):
        if link.is_symlink() and (target := link.readlink()).is_absolute():
            link.unlink()
            link.symlink_to(Path(*[".."] * len(link.parent.relative_to(root).parts), target.relative_to("/")))
    if (library := root / "usr/lib/python3.11").is_dir() and sys.version_info[:2] == (3, 11):
        tests = re.compile(r"/(tests?|idlelib|turtledemo)/")
        compileall.compile_dir(library, stripdir=root, prependdir="/", quiet=2, rx=tests)


def main(arguments: list[str]) -> int:
    out, names = Path(arguments[0] if arguments else "").resolve(), arguments[1:] or list(ROOTS)
    if not arguments or set(names) - set(ROOTS):
        print(f"usage: roots.py OUTDIR [{' | '.join(ROOTS)}]…", file=sys.stderr)
        return 2
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            print(f"roots.py: skipped, no {tool} here", file=sys.stderr)
            return SKIPPED
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds, the others find it done
        missing = [name for name in names if not (out / name).is_dir()]
        try:
            packages = Packages(work) if missing else None
        except BuildError as why:
            print(f"roots.py: skipped, apt: {why}", file=sys.stderr)
            return SKIPPED
        for name in missing:
            assert packages is not None
            new = work / name  # whole or not at all
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            try:
                packages.unpack(ROOTS[name], new)
            except BuildError as why:
                print(f"roots.py: {name}: {why}", file=sys.stderr)
                return 1
            _finish(new)
            new.rename(out / name)
            print(out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Real static programs to run in a container, by this computer's package clients.

    python build.py OUTDIR [NAME…]

From Debian's sources, with the pinned zig against musl: ``lua``, ``sqlite3`` (its own shell); from here: ``threads`` and ``vmm``.  From
Debian's static binaries as they are: ``busybox``, ``bash``, ``zsh``, ``sash``, ``ldconfig`` (a PIE), and ``mksh`` with three C
libraries.  ``vmlinuz`` is Debian's kernel for virtual machines, ``kvm`` a tar of it with
its modules of KVM.  All land in
OUTDIR itself; OUTDIR/work keeps what was fetched, and what is there already is not made again.  The packages come from
wherever this computer's apt takes Debian from, but no state of that apt is touched and root is not needed.

Exit status: 0, 1 where something failed, 77 where apt or zig is not there, or apt reaches no archive of Debian's.
"""

# ruff: noqa: T201  it says what it builds

from __future__ import annotations

import fcntl
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE: Final = Path(__file__).resolve().parent
ZIG: Final = (sys.executable, "-m", "ziglang", "cc")
MUSL: Final = ("-target", "x86_64-linux-musl", "-static", "-O2", "-g0", "-s", "-fno-sanitize=all", "-w")
SKIPPED: Final = 77
ARCHIVE: Final = re.compile(r"/(debian|ubuntu)(-security)?/?(\s|$)", re.MULTILINE)  # and nobody else's packages
MODULES: Final = ("irqbypass.ko", "kvm.ko", "kvm-intel.ko")

# name → package and the program in it
BINARIES: Final = {
    "busybox": ("busybox-static", "bin/busybox"),
    "bash": ("bash-static", "bin/bash-static"),
    "zsh": ("zsh-static", "bin/zsh-static"),
    "mksh": ("mksh", "lib/x86_64-linux-musl/bin/mksh"),
    "mksh-diet": ("mksh", "lib/diet/bin/mksh"),
    "mksh-klibc": ("mksh", "lib/klibc/bin/mksh"),
    "sash": ("sash", "bin/sash"),
    "ldconfig": ("libc-bin", "sbin/ldconfig"),
}


class BuildError(RuntimeError):
    """A program that could not be made; the message says at which step, and what that printed last."""


def do(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    ran = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ran.returncode:
        tail = (ran.stdout + ran.stderr).decode(errors="replace").splitlines()[-12:]
        raise BuildError("\n  ".join([f"status {ran.returncode} of: {' '.join(map(str, command))[:300]}", *tail]))


class Apt:
    """This computer's apt, with lists of its own: both the binaries and the sources."""

    def __init__(self, work: Path) -> None:
        self._work = work
        state = work / "apt"
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (work / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "sources.d").mkdir(exist_ok=True)
        (state / "status").touch()
        lines: list[str] = []
        stanzas: list[str] = []
        etc = Path("/etc/apt")
        for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
            text = file.read_text() if file.is_file() else ""
            if file.suffix == ".sources":
                found = [s.strip("\n") for s in re.split(r"\n\s*\n", text) if ARCHIVE.search(s) and "Types:" in s]
                stanzas += [re.sub(r"^Types:.*", "Types: deb deb-src", s, flags=re.MULTILINE) for s in found]
            elif file.suffix == ".list":
                found = [s[4:] for s in text.splitlines() if s.startswith("deb ") and ARCHIVE.search(s)]
                lines += [f"{kind} {s}" for s in found for kind in ("deb", "deb-src")]
        if not lines and not stanzas:
            raise BuildError("no archive of Debian's in /etc/apt")
        (state / "sources.list").write_text("".join(f"{line}\n" for line in lines))
        (state / "sources.d" / "debian.sources").write_text("\n\n".join(stanzas) + "\n")
        settings = {
            "Dir::Etc::sourcelist": state / "sources.list",
            "Dir::Etc::sourceparts": state / "sources.d",
            "Dir::State": state,
            "Dir::State::status": state / "status",
            "Dir::Cache": work / "cache",
            "APT::Sandbox::User": "",
            "APT::Architecture": "amd64",
            "Acquire::Languages": "none",
        }
        self._settings = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self._get = ("apt-get", "-q", *self._settings)
        do(*self._get, "update", cwd=work)

    def depends(self, package: str) -> str:
        """The first package that a package depends on."""
        command = ("apt-cache", *self._settings, "depends", "--important", package)
        said = subprocess.run(command, capture_output=True, check=False, text=True).stdout
        found = re.search(r"Depends: ([a-z][a-z0-9.+-]+)", said)
        if found is None:
            raise BuildError(f"no package {package}")
        return found[1]

    def source(self, package: str) -> Path:
        """The patched sources of a package."""
        folder = self._work / f"{package}-source"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        do(*self._get, "source", package, cwd=folder)
        return next(p for p in folder.iterdir() if p.is_dir())

    def binary(self, *packages: str) -> Path:
        """What is in some packages, unpacked."""
        folder = self._work / f"{packages[0]}-binary"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        do(*self._get, "download", *packages, cwd=folder)
        for deb in sorted(folder.glob("*.deb")):
            do("dpkg-deb", "-x", deb.name, ".", cwd=folder)
        return folder


def lua(apt: Apt, to: Path) -> None:
    source = apt.source("lua5.4") / "src"
    (source / "lua5.4-deb-multiarch.h").write_text('#define DEB_HOST_MULTIARCH "none"\n')  # debian/rules makes it
    files = sorted(p.name for p in source.glob("*.c") if p.name != "luac.c")
    do(*ZIG, *MUSL, "-std=gnu99", "-DLUA_USE_POSIX", *files, "-o", to, cwd=source)


def sqlite3(apt: Apt, to: Path) -> None:
    source = apt.source("sqlite3")  # the whole tree: make and tclsh turn it into the amalgamation
    tools = apt.binary("tcl8.6", "libtcl8.6", "make")
    tclsh = tools / "tclsh"
    tclsh.write_text(
        f"#!/bin/sh\nLD_LIBRARY_PATH='{tools}/usr/lib/x86_64-linux-gnu' TCL_LIBRARY='{tools}/usr/share/tcltk/tcl8.6'"
        f" exec '{tools}/usr/bin/tclsh8.6' \"$@\"\n"
    )
    tclsh.chmod(0o755)
    made = source / "made"
    made.mkdir()
    settings = (f"TOP={source}", f"BCC={' '.join(ZIG)} -O1 -w", "OPTS=")
    targets = ("sqlite3.c", "shell.c")
    path = {"PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": str(made)}
    do(tools / "usr/bin/make", "-f", source / "Makefile.linux-gcc", *settings, *targets, cwd=made, env=path)
    options = ("-DSQLITE_THREADSAFE=1", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DHAVE_USLEEP=1", "-I.")
    do(*ZIG, *MUSL, *options, *targets, "-o", to, cwd=made)


def threads(_apt: Apt, to: Path) -> None:
    do(*ZIG, *MUSL, "-std=gnu11", "-pthread", HERE / "threads.c", "-o", to, cwd=to.parent)


def vmlinuz(apt: Apt, to: Path) -> None:
    top = apt.binary(apt.depends("linux-image-cloud-amd64"))
    shutil.copy(next(top.glob("boot/vmlinuz-*")), to)


def kvm(apt: Apt, to: Path) -> None:
    top = apt.binary(apt.depends("linux-image-cloud-amd64"))
    with tarfile.open(to, "w") as tar:  # one file, so that modules and kernel are of one package
        tar.add(next(top.glob("boot/vmlinuz-*")), "vmlinuz")
        for module in MODULES:
            tar.add(next(top.glob(f"**/{module}")), module)


def vmm(_apt: Apt, to: Path) -> None:
    do(*ZIG, *MUSL, "-std=gnu11", HERE / "vmm.c", HERE / "vmm_guest.S", "-o", to, cwd=to.parent)


def debian(name: str) -> Callable[[Apt, Path], None]:
    package, inside = BINARIES[name]

    def build(apt: Apt, to: Path) -> None:
        top = apt.binary(package)
        found = [p for p in (top / inside, top / "usr" / inside) if p.is_file()]
        if not found:
            raise BuildError(f"{package} has no {inside}")
        shutil.copy(found[0], to)

    return build


BUILDS: Final[dict[str, Callable[[Apt, Path], None]]] = {
    "lua": lua,
    "sqlite3": sqlite3,
    "threads": threads,
    "vmlinuz": vmlinuz,
    "kvm": kvm,
    "vmm": vmm,
    **{name: debian(name) for name in BINARIES},
}


def main(arguments: list[str]) -> int:
    out, names = Path(arguments[0] if arguments else "").resolve(), arguments[1:] or list(BUILDS)
    if not arguments or set(names) - set(BUILDS):
        print(f"usage: build.py OUTDIR [{' | '.join(BUILDS)}]…", file=sys.stderr)
        return 2
    for tool, there in (
        ("apt-get", shutil.which("apt-get")),
        ("dpkg-deb", shutil.which("dpkg-deb")),
        ("dpkg-source", shutil.which("dpkg-source")),
        ("ziglang", importlib.util.find_spec("ziglang")),
    ):
        if there is None:
            print(f"build.py: skipped, no {tool} here", file=sys.stderr)
            return SKIPPED
    (out / "work").mkdir(parents=True, exist_ok=True)
    with (out / "work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds, the others find it done
        return _build(out, names)


def _build(out: Path, names: list[str]) -> int:
    missing = [name for name in names if not (out / name).is_file()]
    failed = False
    try:
        apt = Apt(out / "work") if missing else None
    except BuildError as why:
        print(f"build.py: skipped, apt: {why}", file=sys.stderr)
        return SKIPPED
    for name in missing:
        assert apt is not None
        new = out / "work" / name  # whole or not at all
        try:
            BUILDS[name](apt, new)
        except BuildError as why:
            print(f"build.py: {name}: {why}", file=sys.stderr)
            failed = True
        else:
            new.chmod(0o755)
            new.replace(out / name)
            print(out / name)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Build the guest images: kernels, hosts, programs.

    python guest/build.py [--debug] [NAME…]
    python guest/build.py --sources

With --debug they come with line information, below ``guest/images/debug/``: the same code, for gdb to read; no machine boots them.
With --sources nothing is built: the files are named that line information speaks of, relative to the top of the tree.
Each image is declared once, below.  The compiler is the pinned ``ziglang`` wheel, freestanding, with names relative to the
top of the tree and no debug information, so the bytes are the same on every machine.  An image is built again only when one
of its sources, a header beside them, its linker script or this file is newer.  The build hook of the wheel runs this file
with nothing but the standard library, attrs and ziglang at hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT: Final = Path(__file__).parent.parent  # the tree, or `paracell/` where that is the only copy
IMAGES: Final = Path(__file__).parent / "images"

COMMON: Final = (
    *("-target", "x86_64-freestanding-none", "-std=gnu11", "-O2", "-g0", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-sanitize=all", "-fno-pic", "-fno-pie"),
    *("-ffile-prefix-map=.=.", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,norelro"),
)
_LINES: Final = ("-g", "-fforce-dwarf-frame", "-DUNWIND", "-Wl,--compress-debug-sections=zlib")  # in place of -g0
KERNEL: Final = (
    *("-mcmodel=kernel", "-mno-red-zone", "-mno-mmx", "-mno-sse", "-mno-sse2", "-fno-omit-frame-pointer"),
    *("-fno-asynchronous-unwind-tables", "-Wl,-z,max-page-size=4096"),
)
PVKERNEL: Final = (*(f for f in KERNEL if f != "-mcmodel=kernel"), "-fPIC", "-fvisibility=hidden")  # it lies anywhere
PROGRAM: Final = ("-fasynchronous-unwind-tables", "-Wl,--eh-frame-hdr", "-Wl,-z,max-page-size=4096")


class BuildError(RuntimeError):
    """An image that could not be built.

    Attributes:
        name: the image.

    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


@frozen
class Image:
    """One image.

    Attributes:
        name: the file below ``guest/images/``.
        sources: glob patterns from the top of the tree.
        script: the linker script, or "" for the linker's own layout.
        includes: directories with headers.
        flags: for the compiler, beside `COMMON`.

    """

    name: str
    sources: tuple[str, ...]
    script: str = ""
    includes: tuple[str, ...] = ()
    flags: tuple[str, ...] = field(default=KERNEL)

    def source_files(self) -> list[Path]:
        """Give the sources that exist, relative to `ROOT`, in an order that depends on their names only."""
        return sorted({p.relative_to(ROOT) for pattern in self.sources for p in ROOT.glob(pattern)})

    def inputs(self) -> list[Path]:
        """Give every file whose change asks for a new build."""
        sources = [ROOT / s for s in self.source_files()]
        folders = {s.parent for s in sources} | {ROOT / i for i in self.includes}
        headers = [h for f in folders for pattern in ("*.h", "*.def", "*.ld") for h in f.rglob(pattern)]
        return [*sources, *headers, *([ROOT / self.script] if self.script else []), Path(__file__)]

    def present(self) -> bool:
        """Tell whether the image's sources are all in this tree."""
        return all(any(ROOT.glob(p)) for p in self.sources) and (not self.script or (ROOT / self.script).is_file())


def _each(folder: str, pattern: str, *more: str, includes: tuple[str, ...]) -> tuple[Image, ...]:
    """Declare one program for each C file that `pattern` finds; its image is ``FOLDER/STEM``."""
    found = sorted(p.relative_to(ROOT) for p in ROOT.glob(pattern))
    return tuple(Image(f"{folder}/{p.stem}", (p.as_posix(), *more), "", includes, PROGRAM) for p in found)


_ROOMS: Final = ("fs", "ipc", "lib", "mm", "net", "proc", "signal", "syscall", "task", "time", "tty")
_KERNEL: Final = ("guest/kernel/*.c", *(f"guest/kernel/{room}/*.[cS]" for room in _ROOMS), "pager/kernel/*.c")
_HOST: Final = ("guest/host/core/*.c", "pager/host/*.c", "guest/kernel/options.c")
_X86: Final = "guest/x86/*.[cS]"  # the processor's set-up and the devices, for whatever boots
_DEFENCE: Final = "guest/defence/defence.c"
_LIBRARY: Final = "guest/programs/lib/*.[cS]"
_INCLUDE: Final = ("guest/include",)

DECLARED: Final = (
    Image(
        "native.elf",
        (*_KERNEL, _X86, "guest/native/*.c"),
        "guest/native/kernel.ld",
        ("guest/kernel", "pager", "pager/kernel", "guest/x86", "guest/native"),
    ),
    Image(
        "paracell-kernel.elf",
        (*_KERNEL, _DEFENCE, "pku/xgate/*.[cS]"),
        "pku/xgate/kernel.ld",
        ("guest/kernel", "pager", "pager/kernel", "guest/x86", "guest/defence", "pku/xgate"),
    ),
    Image(
        "paracell-host.elf",
        (
            *("guest/host/paracell/*.c", _DEFENCE, *_HOST),
            *(f"guest/kernel/{f}" for f in ("lib/*.c", "task/switch.S")),
            _X86,
        ),
        "guest/host/core/host.ld",
        (
            "guest/host/core",
            "pager",
            "pager/host",
            "guest/host/paracell",
            "guest/defence",
            "guest/x86",
            "guest/kernel",
            "pku/xgate",
        ),
    ),
    Image(
        "runv-host.elf",
        (
            *(
                "guest/runv/*.[cS]",
                "guest/shadow/*.c",
                "guest/virt/*.c",
                _DEFENCE,
                *_HOST,
            ),
            *(f"guest/kernel/{f}" for f in ("lib/*.c", "task/switch.S")),
            _X86,
        ),
        "guest/host/core/host.ld",
        (
            *("guest/host/core", "pager", "pager/host", "guest/runv", "guest/shadow", "guest/virt", "guest/defence"),
            *("guest/x86", "guest/kernel", "pku/xgate"),
        ),
    ),
    Image(
        "pvm-kernel.elf",
        (*_KERNEL, "guest/pvkernel/*.[cS]", "guest/native/code.c", "guest/x86/uart.c"),
        "guest/pvkernel/kernel.ld",
        ("guest/kernel", "pager", "pager/kernel", "guest/x86", "guest/pvkernel", "guest/pvm"),
        PVKERNEL,
    ),
    Image(
        "pvm-host.elf",
        (
            *(
                "guest/pvm/*.[cS]",
                "guest/shadow/*.c",
                "guest/virt/*.c",
                _DEFENCE,
                *_HOST,
            ),
            *(f"guest/kernel/{f}" for f in ("lib/*.c", "task/switch.S")),
            *("guest/x86/boot.S", "guest/x86/*.c"),
        ),
        "guest/host/core/host.ld",
        (
            "guest/host/core",
            "pager",
            "pager/host",
            "guest/pvm",
            "guest/shadow",
            "guest/virt",
            "guest/defence",
            "guest/x86",
            "guest/kernel",
        ),
    ),
    Image(
        "hostile.elf",
        ("guest/attacks/host/*.[cS]", "guest/kernel/lib/string.c"),
        "pku/xgate/kernel.ld",
        ("guest/attacks", "guest/attacks/host", "pager", "pku/xgate", "guest/kernel", "guest/x86"),
    ),
    Image(
        "pvm-hostile.elf",
        ("guest/attacks/pvm/*.[cS]", "guest/kernel/lib/string.c"),
        "guest/pvkernel/kernel.ld",
        ("guest/attacks", "guest/pvkernel", "pager", "guest/pvm", "guest/kernel", "guest/x86"),
        PVKERNEL,
    ),
    Image(
        "runv-hostile.elf",
        ("guest/attacks/runv/*.c", "guest/x86/boot.S", "guest/kernel/lib/string.c"),
        "guest/attacks/runv/hostile.ld",
        ("guest/attacks", "guest/native", "pager", "guest/kernel", "guest/x86"),
    ),
    Image("probe.elf", ("guest/probe/*.[cS]",), "guest/probe/probe.ld", ("guest/probe", "guest/x86")),
    Image(
        "permute.elf",
        ("guest/probe/permute/*.c", *(f"guest/probe/{f}" for f in ("boot.S", "access.S", "machine.c", "console.c"))),
        "guest/probe/probe.ld",
        ("guest/probe", "guest/probe/permute", "guest/x86"),
    ),
    Image(
        "modes.elf",
        ("guest/probe/modes/*.[cS]", *(f"guest/probe/{f}" for f in ("boot.S", "access.S", "machine.c", "console.c"))),
        "guest/probe/probe.ld",
        ("guest/probe", "guest/probe/modes", "guest/x86"),
    ),
    Image(
        "ept.elf",
        ("guest/probe/ept/*.[cS]", *(f"guest/probe/{f}" for f in ("boot.S", "access.S", "machine.c", "console.c"))),
        "guest/probe/probe.ld",
        ("guest/probe", "guest/x86", "guest/runv", "guest/kernel"),
    ),
    Image(
        "entries.elf",
        ("guest/probe/entries/*.[cS]", *(f"guest/probe/{f}" for f in ("boot.S", "access.S", "machine.c", "console.c"))),
        "guest/probe/probe.ld",
        ("guest/probe", "guest/probe/entries", "guest/x86"),
    ),
    Image("bench.elf", ("guest/bench/*.[cS]",), "guest/bench/bench.ld", ("guest/kernel", "guest/runv")),
    *_each("programs", "guest/programs/*.c", _LIBRARY, includes=_INCLUDE),
    Image(
        "programs/lat",
        ("guest/programs/lat/*.c", _LIBRARY),
        "",
        (*_INCLUDE, "guest/programs/lat"),
        PROGRAM,
    ),
    *_each(
        "linux",
        "guest/linux/*.c",
        _LIBRARY,
        "guest/linux/lib/*.[cS]",
        includes=(*_INCLUDE, "guest/linux"),
    ),
    *_each("attacks", "guest/attacks/*.c", _LIBRARY, includes=(*_INCLUDE, "guest/attacks")),
)

SHOWN: Final = Image("xgate-stubs.elf", ("pku/xgate/shown/*.S",), "pku/xgate/shown/stubs.ld", ("guest/x86",))
_SOURCES: Final = (".c", ".h", ".S", ".def")
_RUN: Final = ("native.elf", "paracell-", "runv-host.elf", "pvm-kernel.elf", "pvm-host.elf", "programs/")
# What `paracell debug` runs, and what it only shows.
DEBUGGED: Final = (*(image.name for image in DECLARED if image.name.startswith(_RUN)), SHOWN.name)


def build(names: Iterable[str] = (), out: Path = IMAGES, *, debug: bool = False) -> list[Path]:
    """Build the named images, or all whose sources are here; give the path of each below `out`.

    With `debug` they have line information.

    Raises:
        BuildError: an unknown name, or sources that do not compile.

    """
    wanted = list(names)
    known = {i.name: i for i in (*DECLARED, *((SHOWN,) if debug else ()))}
    for name in wanted:
        if name not in known:
            raise BuildError(name, f"no such image; there are {', '.join(known)}")
        if not known[name].present():
            raise BuildError(name, "its sources are not in this tree")
    images = [known[n] for n in wanted] or [i for i in DECLARED if i.present()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda image: _build_one(image, out / image.name, debug=debug), images))


def sources() -> list[str]:
    """Give the names of all files that the images with line information are made from, relative to `ROOT`."""
    images = [image for image in (*DECLARED, SHOWN) if image.name in DEBUGGED]
    inputs = {path for image in images for path in image.inputs() if path.suffix in _SOURCES}
    return sorted(path.relative_to(ROOT).as_posix() for path in inputs)


def _common(*, debug: bool) -> tuple[str, ...]:
    return COMMON if not debug else (*(flag for flag in COMMON if flag != "-g0"), *_LINES)


def _build_one(image: Image, target: Path, *, debug: bool = False) -> Path:
    if target.is_file() and target.stat().st_mtime > max(i.stat().st_mtime for i in image.inputs()):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    script = ("-T", image.script) if image.script else ()
    command: Sequence[str] = (
        *(
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            *_common(debug=debug),
            *image.flags,
            *(f"-I{i}" for i in image.includes),
        ),
        *(*script, "-o", str(part.absolute()), *(s.as_posix() for s in image.source_files())),
    )
    print(f"building {image.name}", file=sys.stderr)
    try:
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise BuildError(image.name, "the compiler refused it")
        part.chmod(0o755)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def main(names: Sequence[str]) -> int:
    """Build what the command line names; give the exit status."""
    try:
        if names == ["--sources"]:
            print("\n".join(sources()))
        elif names[:1] == ["--debug"]:
            build(names[1:] or DEBUGGED, IMAGES / "debug", debug=True)
        else:
            build(names)
    except BuildError as error:
        print(f"guest/build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

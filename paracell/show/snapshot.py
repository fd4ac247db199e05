"""A snapshot as sections of a page: who stands where, registers, keys, walks, what the page tables map, the VMCS."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ..debug.state import NO_EXIT, domain, last_exit, tag, vmx
from ..debug.tables import mapped
from ..detail import registers, walk_record
from ..emu.snapshot import BadSnapshot
from ..guest.shipped import NotBuilt
from ..machine import Machine
from ..mmu.entry import Entry
from ..runtimes import RUNTIMES
from ..stack import frames
from ..view import NoWalk
from ..vmx.exits import ExitReason
from ..vmx.fields import Field
from .page import table
from .walks import drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..debug.tables import Mapped
    from ..runtimes import Runtime
    from ..view import Access
    from ..vmx.vmcs import Vmcs
    from .page import Section

_MOST_PAGES: Final = 200_000
_COMPARED: Final = 4096  # bytes of an image's code that tell which one it is
_EXECUTE: Final = 1  # in a segment's flags
_RW, _US, _XD = Entry.RW.mask, Entry.US.mask, Entry.XD.mask


def sections(path: str) -> tuple[list[Section], str]:
    """Give the sections, and one sentence that says what the snapshot is of.

    Raises:
        BadSnapshot: it is damaged, or of another version; the message names the file.
        OSError: it cannot be read.

    """
    try:
        machine = Machine.restore(path)
    except BadSnapshot as error:
        raise BadSnapshot(f"{error}: {path}") from error
    with machine:
        runtime = _runtime(machine)
        if runtime is not None:
            machine.symbols.add(runtime.boots, runtime.load().symbols)
            runtime.attach(machine.inner)
        cpu = machine.inner.cpu
        now = registers(cpu)
        stack = [machine.symbols.name(at) for at in frames(machine.inner, now["rip"], now["rsp"], now["rbp"])]
        state = {
            "kind": "state",
            "title": "Processor",
            "stack": stack,
            "pkru": hex(now["pkru"]),
            "registers": {name: hex(value) for name, value in now.items()},
        }
        made: list[Section] = [_place(machine, runtime), state]
        made += [_walk(machine, "rip", "fetch", int(now["rip"])), _walk(machine, "rsp", "write", int(now["rsp"]) - 8)]
        made.append(_map(machine))
        made += _vmcses(machine)
        lead = f"{'a machine' if runtime is None else f'a container under {runtime.name}'} at {machine.cycles:,} cycles"
        return made, lead


def _runtime(machine: Machine) -> Runtime | None:
    """Tell which runtime's image the machine has booted, by the first bytes of the image's code in memory."""
    for runtime in RUNTIMES.values():
        try:
            image = runtime.load()
        except NotBuilt:
            continue
        code = next((s for s in image.elf.segments if s.flags & _EXECUTE), None) if image.elf is not None else None
        if code is None or code.paddr + _COMPARED > machine.memory.size:
            continue
        wanted = bytes(code.data[:_COMPARED])
        if machine.memory.read(code.paddr, len(wanted)) == wanted:
            return runtime
    return None


def _place(machine: Machine, runtime: Runtime | None) -> Section:
    reason, qualification = last_exit(machine)
    vpid, eptp = tag(machine)
    exit_ = "none" if reason == NO_EXIT else ExitReason(reason).name if reason in set(ExitReason) else str(reason)
    rows: list[list[str | int | None]] = [
        ["who runs", domain(machine)],
        ["ring", str(machine.cpu.cpl)],
        ["at", machine.symbols.name(machine.cpu.rip)],
        ["virtual time", f"{machine.cycles:,} cycles"],
        ["memory", f"{machine.memory.size >> 20} MiB"],
        ["runtime", "none of ours: who runs is told by rings alone" if runtime is None else runtime.name],
        ["VMX operation", vmx(machine)],
        ["last VM exit", exit_ if reason == NO_EXIT else f"{exit_}, qualification {qualification:#x}"],
        ["translations tagged with", f"VPID {vpid}, EPT at {eptp:#x}" if eptp else f"VPID {vpid}, no EPT"],
    ]
    return table("Who stands where", ["", ""], rows)


def _walk(machine: Machine, register: str, access: Access, address: int) -> Section:
    where = register.upper() if access == "fetch" else f"the next push, {register.upper()} - 8"
    section: dict[str, Any] = {"kind": "walk", "title": f"Walk of {where}", "walk": None, "says": ""}
    try:
        section["walk"] = drawn(walk_record(machine.walk(address & (1 << 64) - 1, access)))
    except (NoWalk, ValueError) as error:
        section["says"] = str(error)
    return section


def _map(machine: Machine) -> Section:
    """Give what the page tables map, pages of one kind that follow each other as one row."""
    title = "What the page tables map"
    try:
        pages = list(islice(mapped(machine), _MOST_PAGES + 1))
    except ValueError as error:
        return {"kind": "text", "title": title, "lines": [f"Nothing to list: {error}."]}
    head = ["from", "to", ">bytes", "ring 3", "write", "execute", ">key", "of"]
    rows = [_range(machine, first, end) for first, end in _ranges(pages[:_MOST_PAGES])]
    cut = f"  The first {_MOST_PAGES:,} pages only." if len(pages) > _MOST_PAGES else ""
    return table(title, head, rows, f"{min(len(pages), _MOST_PAGES):,} pages in {len(rows):,} ranges.{cut}")


def _ranges(pages: list[Mapped]) -> Iterator[tuple[Mapped, int]]:
    """Give the first page of each range, and where it ends."""
    first: Mapped | None = None
    end = 0
    for page in pages:
        if first is None or page.address != end or _kind(page) != _kind(first):
            if first is not None:
                yield first, end
            first = page
        end = page.address + page.size
    if first is not None:
        yield first, end


def _kind(page: Mapped) -> tuple[int, int]:
    return page.rights, page.entry >> Entry.PKEY.shift & 15


def _range(machine: Machine, first: Mapped, end: int) -> list[str | int | None]:
    rights, key = _kind(first)
    name = machine.symbols.name(first.address)
    return [
        f"{first.address:#018x}",
        f"{end - 1:#018x}",
        end - first.address,
        "yes" if rights & _US else "",
        "yes" if rights & _RW else "",
        "" if rights & _XD else "yes",
        key,
        "" if name.startswith("0x") else name.partition("!")[0],
    ]


def _vmcses(machine: Machine) -> list[Section]:
    """Give the fields that are not 0 of each VMCS, or say that there is none."""
    cpu = machine.inner.cpu
    known: list[tuple[str, Vmcs | None]] = [
        ("VMCS01, by which L0 runs the host", None if cpu.outer is None else cpu.outer.vmcs01),
        ("Current VMCS", None if cpu.vmx is None else cpu.vmx.current),
    ]
    made: list[Section] = []
    for name, vmcs in known:
        if vmcs is not None:
            rows = [[field.name, hex(vmcs[field]), field.doc] for field in Field if vmcs[field]]
            made.append(table(f"{name}, at {vmcs.address:#x}", ["field", ">value", "what"], rows))
    return made or [{"kind": "text", "title": "VMCS", "lines": ["No VMCS is current."]}]

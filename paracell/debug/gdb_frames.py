"""What gdb cannot know of frames by tables alone: `paracell debug` has gdb read this file, which runs inside of gdb.

Two things: the name of an edge, where `backtrace` would say ``<signal handler called>``; and who called a host that handles a VM exit.
The guest that was left has its RIP and RSP in the VMCS, and its general registers where the host has put them, so neither is in a table::

    vm_exit … vcpu_run()   ◀── host's stack
         vm_left           ◀── no code: a rule that takes RIP from R11 (guest/runv/entry.S)
    the guest's own frames     RIP, RSP: the VMCS;  the others: struct vcpu, or still in the processor
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gdb
from gdb.FrameDecorator import FrameDecorator
from gdb.unwinder import Unwinder, register_unwinder

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY_NUMBER = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{i}" for i in range(8, 16)))
_WORD = 8
_LEFT, _INSIDE = "vm_left", 8  # what stands for the VM exit, and an address inside of it
_SYSCALL = b"\x0f\x05"


class _Id:
    """The name of a frame: where its stack is, and its function."""

    def __init__(self, sp: Any, pc: Any) -> None:
        self.sp, self.pc = sp, pc


class LeftGuest(Unwinder):
    """Finds the guest beyond ``vcpu_run`` of the RunV host."""

    def __init__(self) -> None:
        super().__init__("paracell-vm-exit")
        self._host: range | None = None

    def __call__(self, pending_frame: Any) -> Any:
        """Give the caller of ``vcpu_run``, or None for every other frame."""
        pc = int(pending_frame.read_register("rip"))
        if pc < 1 << 63 or pc not in self._range():
            return None
        thread = gdb.selected_thread().ptid[1]
        said = gdb.execute(f"monitor left {thread}", to_string=True)
        live = {name: int(value, 0) for name, value in (word.split("=") for word in said.split() if "=" in word)}
        if not live:
            return None
        rsp = pending_frame.read_register("rsp")
        info = pending_frame.create_unwind_info(_Id(rsp, gdb.Value(self._range().start)))
        guest = self._general(live, thread) | {"rsp": live["guest_rsp"], "r11": live["guest_rip"]}
        guest["rip"] = _address(_LEFT) + _INSIDE
        word = gdb.lookup_type("unsigned long")
        for name, value in guest.items():
            info.add_saved_register(name, gdb.Value(value).cast(word))
        return info

    def _range(self) -> range:
        """Give where ``vcpu_run`` is; nowhere under another host."""
        if self._host is None:
            at = _address("vcpu_run") if _address(_LEFT) else 0
            block = gdb.block_for_pc(at) if at else None
            while block is not None and block.function is None:
                block = block.superblock
            self._host = range(block.start, block.end) if block is not None else range(0)
        return self._host

    def _general(self, live: dict[str, int], thread: int) -> dict[str, int]:
        """Give the general registers: at first the processor still has them."""
        memory = gdb.selected_inferior()
        begin, saved = _address("vm_exit"), _address("vm_exit_saved")
        if begin <= live["rip"] < saved:
            found = {name: live[name] for name in _BY_NUMBER}
            if live["rip"] > begin:  # the stack has RDI in exchange for the pointer
                found["rdi"] = _number(memory.read_memory(live["rsp"], _WORD))
            return found
        container = gdb.lookup_static_symbol("containers").value()[thread - 1]
        at = int(container["vcpu"]["registers"].address)
        data = bytes(memory.read_memory(at, _WORD * len(_BY_NUMBER)))
        return {name: _number(data[_WORD * i : _WORD * (i + 1)]) for i, name in enumerate(_BY_NUMBER)}


class Edge(FrameDecorator):
    """A frame; one of a way into a kernel goes by its label."""

    def function(self) -> Any:
        """Give its name."""
        frame = self.inferior_frame()
        if frame.type() != gdb.SIGTRAMP_FRAME:
            return super().function()
        if frame.pc() == _address(_LEFT) + _INSIDE:
            return _LEFT
        return gdb.execute(f"info symbol {_site(frame):#x}", to_string=True).split()[0]

    def line(self) -> Any:
        """Give its line: that of the SYSCALL where one is behind it, and not the line where it will go on."""
        frame = self.inferior_frame()
        if frame.type() == gdb.SIGTRAMP_FRAME:
            return gdb.find_pc_line(_site(frame)).line or None
        newer = frame.newer()
        if newer is None or newer.type() != gdb.SIGTRAMP_FRAME:
            return super().line()
        try:
            before = bytes(gdb.selected_inferior().read_memory(frame.pc() - len(_SYSCALL), len(_SYSCALL)))
        except gdb.MemoryError:
            before = b""
        return gdb.find_pc_line(frame.pc() - 1).line if before == _SYSCALL else super().line()


class Edges:
    """Names the edges of a backtrace."""

    name, priority, enabled = "paracell-edges", 100, True

    def filter(self, frames: Iterator[Any]) -> Iterator[Edge]:
        """Decorate each frame."""
        return map(Edge, frames)


def _site(frame: Any) -> int:
    """Give an address in the instruction that a frame is at: its call, unless it is the newest."""
    return int(frame.pc()) - int(frame.level() > 0)


def _address(symbol: str) -> int:
    """Give a symbol's address, or 0."""
    try:
        return int(gdb.parse_and_eval(f"(unsigned long)&{symbol}"))
    except gdb.error:
        return 0


def _number(data: Any) -> int:
    return int.from_bytes(bytes(data), "little")


gdb.frame_filters[Edges.name] = Edges()
register_unwinder(None, LeftGuest(), replace=True)

"""What has been worked out about one side's code and transitions.

A virtual machine's host and its guest use the same linear addresses for different things, so each side has one `Known`, and a VM entry
or exit goes from one to the other.  `Translation` and `Cpu` have the containers of the present side as attributes of the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .insn import Insn
    from .table import Handler
    from .transitions import GatePath, IretPath, SyscallPath, SysretPath

    Site = tuple[int, int, int, int, Callable[[], bool]]


class Known:
    """One side's.

    Attributes:
        where: RIP → physical address of trapped instructions, until a translation changes.
        where_pages: linear page → what of `where` lies there.
        decoded: what is known of instruction bytes in code of the present size (64, 32 or 16), in real and virtual-8086 mode or not.
        sites: RIP → index in `Memory.words` and value of the word that holds a trapped instruction, the same of the next word if it
            goes on there, else 0 and 0, and its closure (`trapped`).
        syscall_path, sysret_path: SYSCALL and SYSRET as they were worked out the last time, while the other side runs.
        gate_paths: gates of the IDT, by vector, with bit 8 set for INT n.
        iret_paths: IRETQ, by CS and SS in the frame.
        transition_pages: the linear pages of descriptors and TSS words that those two have read.
        by_unit: the same transitions as they were under another counting unit.
        by_space: the same, as they were in other PCIDs, each with `Cpu.epoch` when that one was left.
        epoch: `Cpu.epoch` when the side was left: transitions hold only if it is the same.

    """

    __slots__ = (
        "by_space",
        "by_unit",
        "decoded",
        "epoch",
        "gate_paths",
        "iret_paths",
        "sites",
        "syscall_path",
        "sysret_path",
        "transition_pages",
        "where",
        "where_pages",
    )

    def __init__(self) -> None:
        self.where: dict[int, int] = {}
        self.where_pages: dict[int, set[int]] = {}
        self.sites: dict[int, Site] = {}
        self.decoded: dict[bytes, tuple[Handler, Insn]] = {}
        self.syscall_path: SyscallPath | None = None
        self.sysret_path: SysretPath | None = None
        self.gate_paths: dict[int, GatePath] = {}
        self.iret_paths: dict[int, IretPath] = {}
        self.transition_pages: set[int] = set()
        self.by_unit: dict[
            int, tuple[SyscallPath | None, SysretPath | None, dict[int, GatePath], dict[int, IretPath]]
        ] = {}
        self.by_space: dict[
            int, tuple[int, SyscallPath | None, SysretPath | None, dict[int, GatePath], dict[int, IretPath]]
        ] = {}
        self.epoch = 0

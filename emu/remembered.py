"""What a processor remembers of transitions that it has worked out, and when it forgets them.

A transition was worked out under one counting unit of TCG's, one PCID and one side of a virtual machine (`Known`); under another it waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .known import Known

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transitions import GatePath, IretPath, SyscallPath, SysretPath
    from .translation import Translation

_SPACES: Final = 64  # PCIDs whose transitions are kept in mind
_NO_PATHS: Final[tuple[int, None, None, dict[int, GatePath], dict[int, IretPath]]] = (-1, None, None, {}, {})


class Remembered:
    """The part of a processor that remembers; the attributes are `Cpu`'s."""

    if TYPE_CHECKING:
        translation: Translation

    def __init__(self) -> None:
        self.syscall_path: SyscallPath | None = None
        self.other_syscall_path: SyscallPath | None = None
        self.sysret_path: SysretPath | None = None
        self.epoch = 0
        self.known = known = Known()
        self.gate_paths, self.iret_paths, self.transition_pages = (
            known.gate_paths, known.iret_paths, known.transition_pages
        )  # fmt: skip
        self.on_other_side: list[Callable[[Known], None]] = []

    def forget_transitions(self) -> None:
        """Something has changed that crossings were worked out from."""
        self.syscall_path = self.other_syscall_path = self.sysret_path = None
        self.epoch += 1
        self.known.by_unit.clear()
        self.forget_descriptors()

    def take_known(self, known: Known) -> None:
        """Go over to what is known of the other side of a virtual machine; transitions only if nothing has happened to them meanwhile."""
        old, translation = self.known, self.translation
        old.syscall_path, old.sysret_path, old.epoch = self.syscall_path, self.sysret_path, self.epoch
        self.known = known
        self.gate_paths, self.iret_paths, self.transition_pages = (
            known.gate_paths, known.iret_paths, known.transition_pages
        )  # fmt: skip
        translation.where, translation.where_pages, translation.sites = known.where, known.where_pages, known.sites
        for rebind in self.on_other_side:
            rebind(known)
        self.other_syscall_path = None
        if known.epoch == self.epoch:
            self.syscall_path, self.sysret_path = known.syscall_path, known.sysret_path
        else:
            self.syscall_path = self.sysret_path = None
            known.by_unit.clear()
            self.forget_descriptors()

    def change_unit(self, old: int, new: int) -> None:
        """TCG counts something else from now on, which hflags tell: what was worked out under either unit waits for its return."""
        self.known.by_unit[old] = self.syscall_path, self.sysret_path, dict(self.gate_paths), dict(self.iret_paths)
        self.syscall_path, self.sysret_path, gates, irets = self.known.by_unit.pop(new, (None, None, {}, {}))
        self.other_syscall_path = None
        self.gate_paths.clear()
        self.gate_paths.update(gates)
        self.iret_paths.clear()
        self.iret_paths.update(irets)

    def change_space(self, old: int, new: int) -> None:
        """Another PCID, whose contexts have other slots: what was worked out in either waits for its return."""
        known, gates, irets = self.known, self.gate_paths, self.iret_paths
        spaces = known.by_space
        if len(spaces) > _SPACES:
            spaces.clear()
        spaces[old] = self.epoch, self.syscall_path, self.sysret_path, dict(gates), dict(irets)
        epoch, syscall, sysret, old_gates, old_irets = spaces.pop(new, _NO_PATHS)
        known.by_unit.clear()
        gates.clear()
        irets.clear()
        self.syscall_path = self.other_syscall_path = self.sysret_path = None
        if epoch == self.epoch:
            self.syscall_path, self.sysret_path = syscall, sysret
            gates.update(old_gates)
            irets.update(old_irets)

    def forget_descriptors(self) -> None:
        """A translation has changed through which crossings have read descriptors or the TSS."""
        self.known.by_space.clear()
        for _, _, gates, irets in self.known.by_unit.values():
            gates.clear()
            irets.clear()
        self.gate_paths.clear()
        self.iret_paths.clear()
        self.transition_pages.clear()

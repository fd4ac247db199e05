"""The random container kernel: what it asks of Pager is answered rightly, and bugs of a host, each planted once, are found."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from attrs import define

from paracell.attacks import HOST
from paracell.emu.events import Kind
from paracell.fuzz import PagerAttacker, finding_of
from paracell.fuzz.pager import script

from .test_host_memory import address_in_host

if TYPE_CHECKING:
    from pathlib import Path

    from paracell.emu.events import Event

HC_PAGER: Final = 12
ADDRESS: Final = 0x000F_FFFF_FFFF_F000
OFFSET: Final = (1 << 39) - 1  # in the host's direct map
TRIES: Final = 150
PAGE: Final = 4096


@define
class Planted:
    """A sink that changes what the host keeps, before it looks at a request, as a host with a bug would have it."""

    attacker: PagerAttacker
    another: bool
    planted: bool = False

    def emit(self, event: Event) -> None:
        """Wait for a request that the bug shows in."""
        if event.kind is not Kind.HYPERCALL or event.nr != HC_PAGER or self.planted:
            return
        unbinds, binds = event.arg1 >> 32, event.arg1 & 0xFFFFFFFF
        own = self._bound(0)
        at = self._read(own + 8 * (event.arg0 >> 12)) & ADDRESS
        words = struct.unpack(f"<{unbinds + binds}Q", self.attacker.machine.memory.read(at, 8 * (unbinds + binds)))
        if self.another and binds:
            self._give_a_neighbours_page()
        elif not self.another:
            for word in words[unbinds:]:
                if self._read(own + 8 * (word >> 12)) and word not in words[:unbinds]:
                    self._write(own + 8 * (word >> 12), 0)  # "it is not bound"
                    self.planted = True

    def close(self) -> None:
        """Nothing is buffered."""

    def _read(self, hpa: int) -> int:
        return self.attacker.machine.memory.read64(hpa)

    def _write(self, hpa: int, value: int) -> None:
        self.attacker.machine.memory.write64(hpa, value)

    @staticmethod
    def _slots() -> int:
        return address_in_host(HOST, "slots", 16)

    def _bound(self, slot: int) -> int:
        return self._read(self._slots() + 8 * slot) & OFFSET

    def _give_a_neighbours_page(self) -> None:
        """A page of the other container's comes to the front of the free ones."""
        theirs = self._bound(1)
        last = max(page for page in range(PAGE) if self._read(theirs + 8 * page))
        hpa, head = self._read(theirs + 8 * last) & ADDRESS, address_in_host(HOST, "free_list", 8)
        direct = self._read(self._slots()) & ~OFFSET
        self._write(hpa, self._read(head))
        self._write(head, direct | hpa)
        self.planted = True


def test_a_host_as_it_is_answers_rightly() -> None:
    attacker = PagerAttacker()
    assert [f for n in range(TRIES) if (f := attacker.search(1, n))] == []
    assert attacker.watch.requests > 5 * TRIES
    attacker.close()


@pytest.mark.parametrize(("off", "says"), [("zero", "is not cleared"), ("mapped", "is not bound to who runs")])
def test_a_defence_that_is_off_is_found_and_found_again(off: str, says: str, tmp_path: Path) -> None:
    weak = PagerAttacker([off])
    finding = next(f for n in range(TRIES) if (f := weak.search(1, n)))
    assert says in finding.what
    assert weak.attempt(finding.attempt) == (finding.what, finding.rip)
    weak.close()
    path = tmp_path / "finding.json"
    path.write_text(finding.to_json())
    assert finding_of(path.read_text()) == finding
    again = subprocess.run(
        [sys.executable, "-m", "paracell", "replay", path], capture_output=True, check=False, text=True
    )
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1] == f"{finding.what}, at {finding.rip:#x}"


@pytest.mark.parametrize(
    ("another", "says"), [(False, "was bound twice"), (True, "was bound to a page of another container")]
)
def test_a_bug_of_the_hosts_is_found(another: bool, says: str) -> None:
    attacker = PagerAttacker()
    bug = Planted(attacker, another)
    attacker.machine.add_sink(bug)
    finding = next(f for n in range(TRIES) if (f := attacker.search(1, n)))
    assert bug.planted
    assert says in finding.what
    attacker.close()


def test_a_script_is_its_seed_and_number() -> None:
    assert script(1, 5) == script(1, 5)
    assert len({script(1, n) for n in range(50)} | {script(2, n) for n in range(50)}) == 100

from __future__ import annotations

import re
from pathlib import Path

from paracell.guest import syscalls

KERNEL = Path(__file__).parents[2] / "guest/kernel"


def test_the_names_are_those_of_the_container_kernel() -> None:
    declared = re.findall(r"^SYSCALL\((\d+), (\w+)", (KERNEL / "syscall" / "syscalls.def").read_text(), re.MULTILINE)
    assert len(declared) > 50
    assert {int(number): name for number, name in declared}.items() <= syscalls.NAMES.items()


def test_a_number_without_a_name() -> None:
    assert syscalls.name(335) == "syscall 335"
    assert syscalls.name(450) == "set_mempolicy_home_node"

"""The first four attacks, each with its defence and without: a test of a defence that cannot fail shows nothing."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from paracell.emu.devices import NoConsole
from paracell.emu.machine import Machine, Reason
from paracell.guest import image, shipped
from paracell.guest.elf import parse
from paracell.guest.multiboot import Module
from paracell.guest.rootfs import Rootfs, init_block
from paracell.mmu.entry import FRAME
from paracell.mmu.rights import READ

HOST, KERNEL = "paracell-host.elf", "paracell-kernel.elf"
SECRET = 0x5EC2E7C0FFEE0001
SECRET_BYTES = 4096
EXPECTED_SECRET = SECRET.to_bytes(8, "little") + bytes(SECRET_BYTES - 8)

pytestmark = pytest.mark.skipif(shipped.image(HOST) is None, reason=f"{HOST} is not built")

ATTACKS = {
    "direct": ("keys", ("gk_secret",)),
    "wrpkru": ("scan", ("gk_secret",)),
    "jump": ("check", ("gk_secret", "xgate_exit_wrpkru", "xgate_scratch")),
    "stack": ("stack", ("gk_secret", "xgate_entry")),
}


class Outcome(NamedTuple):
    status: int
    out: str
    err: str
    secret: bytes


def attack(name: str, options: str = "") -> Outcome:
    kernel = shipped.image(KERNEL).read_bytes()
    symbols = {s.name: s.address for s in parse(kernel, KERNEL).symbols()}
    rootfs = Rootfs()
    rootfs.complete()
    rootfs.add_program(name, (shipped.image(HOST).parent / "attacks" / name).read_bytes())
    arguments = [f"{symbols[s]:x}" for s in ATTACKS[name][1]]
    block = init_block([f"/bin/{name}", *arguments], ["PATH=/bin"])
    modules = [Module("kernel", kernel), Module("rootfs", rootfs.to_tar()), Module("init", block)]
    console = NoConsole()
    machine = Machine(64 << 20, console)
    try:
        machine.load(image.load(shipped.image(HOST)), options, modules)
        stop = machine.run()
        assert stop.reason is Reason.EXIT
        leaf = machine.cpu.translation.explain(symbols["gk_secret"], READ).steps[-1]
        assert leaf.level == 1
        secret = machine.memory.read(leaf.entry & FRAME, SECRET_BYTES)
    finally:
        machine.close()
    return Outcome(stop.value, console.sent[0].decode(), console.sent[1].decode(), secret)


@pytest.mark.parametrize("name", ATTACKS)
def test_refused(name: str) -> None:
    outcome = attack(name)
    assert outcome.status != 0
    assert "read" not in outcome.out
    assert "wrote" not in outcome.out
    assert outcome.secret == EXPECTED_SECRET
    assert outcome.status > 128 or "refused" in outcome.out or name == "stack"


@pytest.mark.parametrize("name", ATTACKS)
def test_control_succeeds(name: str) -> None:
    outcome = attack(name, f"off={ATTACKS[name][0]}")
    assert outcome.secret != EXPECTED_SECRET
    if name != "stack":
        assert f"read {SECRET:x}" in outcome.out
        assert "wrote" in outcome.out


@pytest.mark.parametrize("name", ATTACKS)
def test_another_defence_off_does_not_help(name: str) -> None:
    for defence in sorted({"scan", "check", "stack"} - {ATTACKS[name][0]}):
        assert attack(name, f"off={defence}").secret == EXPECTED_SECRET

"""What scripts ask to know QEMU's stub, of the machine and of QEMU itself."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from paracell import Container
from paracell.debug.control import Control
from paracell.debug.packets import Framer, Said, frame
from paracell.debug.stub import Stub

from .probe import QEMU

if TYPE_CHECKING:
    from pathlib import Path

    from paracell.debug.transport import Link

# The bits that a stub offers for single steps may differ, and which of them are on.
ASKED = {
    "qqemu.sstepbits": "ENABLE=1,NOIRQ=2", "Qqemu.sstepbits": "ENABLE=1,NOIRQ=2", "qqemu.sstep": "0x", "Qqemu.sstep": "0x",
    "Qqemu.sstep=1": "OK", "qOffsets": "", "qqemu.PhyMemMode": "0", "Qqemu.PhyMemMode:1": "OK", "qAttached": "1", "?": "T05thread:",
}  # fmt: skip


def asked_of_qemu(path: Path) -> dict[str, str]:
    assert QEMU is not None
    place = path / "gdb"
    command = [QEMU, "-display", "none", "-S", "-gdb", f"unix:{place},server=on,wait=off"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as qemu:
        try:
            while not place.exists() and qemu.poll() is None:
                time.sleep(0.02)
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(20)
                link.connect(str(place))
                framer, found = Framer(), dict[str, str]()
                for packet in ASKED:
                    link.sendall(b"+" + frame(packet.encode()))
                    while packet not in found:
                        data = link.recv(4096)
                        assert data, "QEMU has gone"
                        said = [item.payload for item in framer.feed(data) if item.said is Said.PACKET]
                        if said:
                            found[packet] = said[0].decode()
                return found
        finally:
            qemu.kill()


@pytest.mark.qemu
@pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")
def test_the_stub_answers_as_qemus_does(tmp_path: Path) -> None:
    with Container("hello", runtime="native") as container:
        link: Link = None  # type: ignore[assignment]  # no packet here runs the machine
        stub = Stub(Control(container, lambda: False), link, lambda _: None)
        ours = {packet: stub.answer(packet.encode()).decode() for packet in ASKED}
    qemus = asked_of_qemu(tmp_path)
    for packet, begin in ASKED.items():
        assert ours[packet].startswith(begin), packet
        assert qemus[packet].startswith(begin), packet
        if not begin:
            assert (ours[packet], qemus[packet]) == ("", "")

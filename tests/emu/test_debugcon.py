"""The debug console: bytes go out by ones and as strings, and it says that it is there."""

from __future__ import annotations

import pytest

from paracell.emu.devices import Devices, NoConsole
from paracell.emu.machine import Machine

PORT = 0x402


@pytest.fixture
def console() -> NoConsole:
    return NoConsole()


@pytest.fixture
def machine(console: NoConsole) -> Machine:
    return Machine(16 << 20, console)


def test_it_takes_bytes_and_strings(machine: Machine, console: NoConsole) -> None:
    machine.devices.port_write(PORT, 1, 0x141)
    assert machine.devices.port_write_block(PORT, b"string" * 1000)
    assert bytes(console.sent[2]) == b"A" + b"string" * 1000
    assert not console.sent[0]
    assert not console.sent[1]


def test_it_says_that_it_is_there(machine: Machine) -> None:
    """As QEMU's isa-debugcon answers, and its BIOSes ask; what is beside it is no part of it."""
    assert machine.devices.port_read(PORT, 1) == 0xE9
    assert machine.devices.port_read(PORT + 1, 1) == 0xFF


def test_no_two_devices_have_a_port() -> None:
    """Port 0xE9 had two: the later one took it."""
    devices: Devices = Machine(16 << 20, NoConsole()).devices
    listed = [device for device in vars(devices).values() if hasattr(device, "ports") and hasattr(device, "read")]
    ports = [port for device in listed for port in device.ports]
    assert len(listed) > 5
    assert len(ports) == len(set(ports))

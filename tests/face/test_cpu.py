"""`--cpu`: which processor a run has."""

from __future__ import annotations

import pytest

from paracell.cli import run_command
from paracell.emu.features import FEATURES, MODELS
from paracell.guest.shipped import IMAGES

needs_images = pytest.mark.skipif(not (IMAGES / "paracell-host.elf").exists(), reason="the kernels are not built")


@pytest.mark.parametrize("command", ["run", "boot"])
def test_help_lists_models_and_features(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([command, "--cpu", "help"]) == 0
    out, err = capsys.readouterr()
    assert all(f"  {name} " in out.replace("\n", " \n") for name in (*MODELS, *FEATURES))
    assert err == ""


@pytest.mark.parametrize(
    ("cpu", "what"),
    [
        ("z80", "'z80' is no processor; there are pks, pku, pcid, x86-64"),
        ("pks,-xsave", "the processor feature pku needs xsave"),
    ],
)
def test_a_processor_that_cannot_be(cpu: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--cpu", cpu, "hello"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"paracell: Invalid value for '--cpu': {what} (try paracell run --help)\n"


def test_memory_that_the_processor_cannot_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--cpu", "x86-64", "--memory", "64G", "hello"]) == 2
    assert "65536 MiB of memory do not fit into 36-bit physical addresses" in capsys.readouterr().err


@needs_images
@pytest.mark.parametrize("cpu", ["pku", "pcid", "x86-64,+pdpe1gb"])
def test_the_native_kernel_runs_on_smaller_processors(cpu: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run_command(["run", "--runtime", "native", "--cpu", cpu, "hello"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"Hello from a container.\n")


@needs_images
def test_the_paracell_host_needs_keys_and_says_so(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run_command(["run", "--cpu", "pku", "hello"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"Hello from a container.\n")
    assert run_command(["run", "--cpu", "pcid", "hello"]) != 0
    assert b"kernel panic: this processor lacks protection keys" in capfdbinary.readouterr().err

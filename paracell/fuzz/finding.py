"""A try of the random attacker, and one that got through, with the file that keeps it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from attrs import frozen

from ..attacks import HOST, KERNEL
from ..guest import shipped
from ..mmu.address import PAGE, U64

PROGRAM: Final = "fuzzee"
HOSTILE: Final = "hostile.elf"
TARGETS: Final = ("gates", "pager")
REGISTERS: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{i}" for i in range(8, 16)))


class BadFinding(ValueError):
    """A file that is no finding, or that was made with other images."""


@frozen
class Try:
    """What one try does: the code, the registers by number, RFLAGS.

    Attributes:
        code: at the beginning of the page; what is behind it does not count.
        registers: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
        flags: what of RFLAGS a program can set.

    """

    code: bytes
    registers: tuple[int, ...]
    flags: int


@frozen
class Finding:
    """A try that got through.

    Attributes:
        what: what it reached.
        rip: where.
        seed, number: of the try.
        off: the defences that were switched off.
        attempt: the try itself.
        target: what it was aimed at: ``gates`` or ``pager``.

    """

    what: str
    rip: int
    seed: int
    number: int
    off: tuple[str, ...]
    attempt: Try
    target: str = "gates"

    def to_json(self) -> str:
        """Write it as a file's text."""
        record = {
            "what": self.what, "rip": f"{self.rip:#x}", "target": self.target, "seed": self.seed, "number": self.number,
            "off": list(self.off),
            "code": self.attempt.code.hex(), "flags": f"{self.attempt.flags:#x}",
            "registers": {n: f"{v:#x}" for n, v in zip(REGISTERS, self.attempt.registers, strict=True)},
            "images": images_digest(),
        }  # fmt: skip
        return json.dumps(record, indent=1) + "\n"


def finding_of(text: str) -> Finding:
    """Read what `to_json` wrote; `BadFinding` for anything else."""
    try:
        record: dict[str, Any] = json.loads(text)
        registers = tuple(int(record["registers"][n], 16) & U64 for n in REGISTERS)
        attempt = Try(bytes.fromhex(record["code"]), registers, int(record["flags"], 16))
        off = tuple(str(d) for d in record["off"])
        finding = Finding(
            str(record["what"]),
            int(record["rip"], 16),
            int(record["seed"]),
            int(record["number"]),
            off,
            attempt,
            str(record["target"]),
        )
        images = record["images"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFinding(f"no finding of the random attacker: {type(error).__name__} {error}") from error
    if finding.target not in TARGETS:
        raise BadFinding(f"no finding of the random attacker: aimed at {finding.target}")
    if len(attempt.code) > PAGE:
        raise BadFinding(f"no finding of the random attacker: {len(attempt.code)} bytes of code")
    if images != images_digest():
        raise BadFinding(f"found with other guest images ({str(images)[:12]}, here are {images_digest()[:12]})")
    return finding


def images_digest() -> str:
    """Name the guest images that a finding depends on."""
    names = (HOST, KERNEL, HOSTILE, f"attacks/{PROGRAM}")
    return hashlib.sha256(b"".join(shipped.image(n).read_bytes() for n in names)).hexdigest()

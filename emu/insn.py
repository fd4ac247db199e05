"""What a decoded instruction is."""

from __future__ import annotations

import builtins  # noqa: TC003  (attrs reads the annotation)

from attrs import frozen


@frozen(slots=True)
class Operand:
    """An operand.

    Attributes:
        kind: ``reg``, ``mem``, ``imm``, ``creg``, ``dreg`` or ``sreg``.
        size: bytes.
        number: register number of its kind.
        high: one of AH, CH, DH, BH.
        value: an immediate.
        segment, base, index, scale, disp, rip_relative, address_size: a memory operand's parts.

    """

    kind: str
    size: int
    number: int = 0
    high: bool = False
    value: int = 0
    segment: int = 3
    base: int | None = None
    index: int | None = None
    scale: int = 1
    disp: int = 0
    rip_relative: bool = False
    address_size: int = 8


@frozen(slots=True)
class Insn:
    """A decoded instruction.

    Attributes:
        mnemonic: the key of the table of handlers.
        length: bytes.
        operands: as the manual orders them.
        opsize: 16, 32 or 64.
        address_size: bytes.
        rep: a REP prefix is there.
        bytes: the instruction itself.

    """

    mnemonic: str
    length: int
    operands: tuple[Operand, ...]
    opsize: int
    address_size: int
    rep: bool
    bytes: builtins.bytes

    @classmethod
    def plain(cls, mnemonic: str, code: builtins.bytes) -> Insn:
        """Make an instruction without operands."""
        return cls(mnemonic, len(code), (), 64, 8, rep=False, bytes=code)

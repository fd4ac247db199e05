"""The one table of instruction handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .insn import Insn

    Handler = Callable[[Cpu, Insn], None]

HANDLERS: dict[str, Handler] = {}


def instruction(*mnemonics: str) -> Callable[[Handler], Handler]:
    """Enter a function into the table under its mnemonics."""

    def enter(handler: Handler) -> Handler:
        for mnemonic in mnemonics:
            HANDLERS[mnemonic] = handler
        return handler

    return enter

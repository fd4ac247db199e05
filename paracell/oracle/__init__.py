"""What must never happen, as predicates over events and memory.

A rule is told of every event of a machine, before anybody else may change what the machine is in, and says what is wrong, or None.
`docs/fuzz.md` lists those that ship.  One of a user's own is a function::

    @oracle.rule
    def no_port_of_the_program(machine, event):
        if event.kind is Kind.PORT and event.who is Who.USER:
            return f"the program reached port {event.port:#x}"

`watch` has rules look at any machine; a target of `paracell fuzz` has rules of its own, and takes more.
"""

from __future__ import annotations

from .bindings import Bindings, BindingWatch
from .rules import HostException, KernelRights, Rule, Secrets, rule
from .watching import Watch, watch

__all__ = [
    "BindingWatch",
    "Bindings",
    "HostException",
    "KernelRights",
    "Rule",
    "Secrets",
    "Watch",
    "rule",
    "watch",
]

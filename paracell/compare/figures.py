"""The figures of a comparison, from what was counted: cycles of an operation, the waste of a policy.  Nothing published is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..emu.clock import TSC_HZ
from ..emu.cost import DEFAULT
from .price import Bill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..emu.cost import Costs
    from .cells import Cell
    from .meter import Curve

COLUMNS: Final = ("as-built", "published-services")
_MICRO: Final = 1_000_000
_PAGES_PER_MIB: Final = 256


def microseconds(cycles: float) -> float:
    """Give the time of so many cycles at the clock's 2.5 GHz."""
    return cycles * _MICRO / TSC_HZ


@frozen
class Measured:
    """An operation or an application in one setting.

    Attributes:
        cell: which.
        turns: how often the bill has it.
        bill: what all turns are charged for, without the time asleep.
        kinds: events of all turns, by kind.

    """

    cell: Cell
    turns: int
    bill: Bill
    kinds: Mapping[str, int]

    @classmethod
    def of(cls, cell: Cell, result: Mapping[str, Any]) -> Measured:
        """Make it from a result that `measure` gave."""
        bill = Bill(result["times"], result["instructions"], 0, result["services"])
        return cls(cell, result["turns"], bill, result["kinds"])

    def cycles(self, services: Mapping[str, int], costs: Costs = DEFAULT) -> float:
        """Give the cycles of one turn, with the services that a mapping names charged what it says."""
        return self.bill.price(costs, services) / self.turns

    def shares(self, services: Mapping[str, int]) -> dict[str, float]:
        """Give the cycles of one turn by what they are charged for, at the default costs; plain code is ``code``."""
        charged = {name: number * int(getattr(DEFAULT, name)) for name, number in self.bill.times.items()}
        found = {"code": self.bill.instructions + charged.pop("block", 0), **charged}
        found |= {name: number * services.get(name, 0) for name, number in self.bill.services.items()}
        return {name: cycles / self.turns for name, cycles in found.items() if cycles}


def curve_of(result: Mapping[str, Any]) -> Curve:
    """Make a curve from a result that `measure` gave."""
    from .meter import Curve, Sample

    return Curve(tuple(Sample(*sample) for sample in result["samples"]), result["end"])


def memory_figures(curve: Curve) -> dict[str, float]:
    """Give the waste of a curve, two means of it and its parts; and what was bound and used, in MiB on average."""
    bound = curve.mean("bound")
    return {
        "waste": curve.waste,
        "waste_of_means": curve.waste_of_means,
        "inner": curve.mean("inner") / bound if bound else 0.0,
        "lag": curve.mean("lag") / bound if bound else 0.0,
        "lists": curve.mean("lists") / bound if bound else 0.0,
        "bound_mib": bound / _PAGES_PER_MIB,
        "used_mib": curve.mean("used") / _PAGES_PER_MIB,
        "tables_mib": curve.mean("tables") / _PAGES_PER_MIB,
    }

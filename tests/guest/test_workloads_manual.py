"""docs/workloads.md: the curve that it shows is measured, and it names each workload."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paracell.compare.meter import Meter, saved
from paracell.compare.workloads import named, workloads
from paracell.emu.clock import TSC_HZ

if TYPE_CHECKING:
    from paracell.compare.meter import Curve, Sample

PAGE: Final = Path(__file__).parents[2] / "docs" / "workloads.md"
STEP: Final = 5  # seconds
HEAD: Final = "| s | used | bound by touch | bound by pager |\n|--:|--:|--:|--:|"
PER_CENT: Final = (
    "touch {:.1f} %, pager {:.1f} %; of means {:.1f} and {:.1f} %; pager saves {:.1f} points, or {:.1f} % of bound·time"
)


def measured(policy: str) -> Curve:
    with named("agent-edit-test", quick=True).container(runtime="paracell", memory_policy=policy) as container:
        return Meter(container).run()


def at(curve: Curve, second: int) -> Sample:
    return [seen for seen in curve.samples if seen.at <= second * TSC_HZ][-1]


def table() -> str:
    """Give the part of the page that is measured."""
    touch, pager = measured("touch"), measured("pager")
    lines = [HEAD]
    for second in range(STEP, pager.end // TSC_HZ + 1, STEP):
        one, other = at(touch, second), at(pager, second)
        lines.append(f"| {second} | {other.used / 256:.1f} | {one.bound / 256:.1f} | {other.bound / 256:.1f} |")
    both = saved(pager, touch)
    shares = (touch.waste, pager.waste, touch.waste_of_means, pager.waste_of_means, both.waste, both.bound)
    return "\n".join([*lines, "", "Waste: " + PER_CENT.format(*(100 * share for share in shares)) + "."])


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_the_page_shows_what_is_measured() -> None:
    """To half a MiB and half a point: with each change of a kernel it has a few pages more or less."""
    shown = PAGE.read_text(encoding="utf-8").partition(HEAD)[2]
    assert numbers(shown) == pytest.approx(numbers(table().removeprefix(HEAD)), abs=0.5)


def test_the_page_names_each_workload() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{workload.name}`" in text for workload in workloads())

"""The page in a real browser: drawn, clicked, typed into and zoomed; anything on the console fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from paracell import Container
from paracell.observers import Observers
from paracell.show.file import show

from . import browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(browser.FOUND is None, reason="Chromium is not installed")

MANY = 100_000
LABELS, OVERVIEW, AXIS, LANE = 136, 34, 26, 46  # of canvas.js


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pages: of detailed traces, of an ordinary one, of a snapshot, and of many events."""
    folder = tmp_path_factory.mktemp("pages")
    for name, runtime, detail in (("paracell", "paracell", True), ("runv", "runv", True), ("plain", "paracell", False)):
        with Container("hello", runtime=runtime) as container, (folder / f"{name}.jsonl").open("wb") as file:
            observers = Observers(container.inner, (".jsonl", file), stats=False, detail=detail)
            container.run()
            observers.finish()
            if name == "runv":
                container.save(folder / "snapshot")
    lines = (folder / "plain.jsonl").read_text().splitlines()
    rows, at = [json.loads(each) for each in lines[:-1]], 0
    many: list[str] = []
    while len(many) < MANY:
        for row in rows:
            at += row["cost"] + 3
            many.append(json.dumps(row | {"at": at}))
    (folder / "many.jsonl").write_text("\n".join(many) + "\n")
    for name in ("paracell.jsonl", "runv.jsonl", "plain.jsonl", "many.jsonl", "snapshot"):
        (folder / f"{name.partition('.')[0]}.html").write_text(show(str(folder / name)))
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.Page(tmp_path_factory.mktemp("chromium")) as made:
        yield made


def chosen(page: browser.Page) -> int:
    """The number of the event that the page has open, from 1."""
    return int(page.text(".event-head .soft").split()[1].replace(",", ""))


def seek(page: browser.Page, text: str) -> None:
    page.key("/")
    page.type(text)
    page.key("Enter")
    page.key("Escape")


def test_an_event_opens_by_key_row_and_tick(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.prefer("light")
    page.open(runs / "paracell.html")
    assert "Choose an event" in page.text("#detail")
    page.key("ArrowRight")
    assert chosen(page) == 1
    page.key("ArrowRight")
    page.key("j")
    assert chosen(page) == 3
    page.key("End")
    assert "end" in page.text("h2")
    page.key("Home")
    page.key("]")
    # Who runs has changed: the first event of another lane.
    lanes = [json.loads(line)["who"] for line in (runs / "paracell.jsonl").read_text().splitlines()]
    assert chosen(page) == next(i for i, who in enumerate(lanes) if who != lanes[0]) + 1
    before = chosen(page)
    page.click(f'.row[data-event="{before + 1}"]')
    assert chosen(page) == before + 2
    # The tick: zoomed to it, the chosen event lies in the middle of the lanes.
    seek(page, "exception #pf")
    fault = chosen(page)
    assert fault != before
    page.key("z")
    box = page.js(
        "(() => { const b = document.querySelector('#lanes').getBoundingClientRect(); return [b.x, b.y, b.width]; })()"
    )
    page.js("document.querySelector('#detail').replaceChildren()")
    page.click_at(box[0] + LABELS + (box[2] - LABELS - 12) / 2, box[1] + OVERVIEW + AXIS + LANE / 2)
    assert chosen(page) == fault
    page.check()


def test_a_page_fault_shows_walk_keys_stack_and_registers(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.open(runs / "paracell.html")
    seek(page, "exception #pf")
    assert page.text("h2") == "exception #PF"
    line = json.loads((runs / "paracell.jsonl").read_text().splitlines()[chosen(page) - 1])
    assert line["kind"] == "exception"
    walk = line["detail"]["walk"]
    assert page.count("#detail .entry") == len(walk["steps"])
    assert page.text(".entry.refuses b") == walk["fault"]["level"]
    assert page.text(".flag.decided") == "P"
    assert walk["fault"]["reason"] in page.text(".outcome")
    assert page.count(".key") == 16
    assert page.count(".key.none") == 15  # the program may use key 0
    assert "main" in page.text(".stack li")
    assert page.count(".register") == 36
    assert page.count(".register.changed") == len(line["detail"]["registers"])
    page.check()


def test_wrpkru_shows_both_values(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.open(runs / "plain.html")
    seek(page, "wrpkru program xgate_exit")
    assert page.text("h2") == "wrpkru"
    assert page.count(".key") == 32
    assert "--trace-detail" in page.text(".missing")
    page.check()


def test_an_ept_violation_shows_both_dimensions_and_an_exit_the_fields(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.open(runs / "runv.html")
    seek(page, "refused ept violation")
    line = json.loads((runs / "runv.jsonl").read_text().splitlines()[chosen(page) - 1])
    walk = line["detail"]["walk"]
    assert page.count("#detail .levels.two") == 1
    assert page.count("#detail .entry") == len(walk["steps"]) + sum(len(stage["steps"]) for stage in walk["ept"])
    assert page.text(".entry.refuses b") == walk["exit"]["level"]
    assert page.count(".entry.refuses") == 1
    seek(page, "vm exit ept_violation")
    line = json.loads((runs / "runv.jsonl").read_text().splitlines()[chosen(page) - 1])
    assert page.count(".vmcs tbody tr") == len(line["detail"]["vmcs"][0]["changed"])
    assert "GUEST_PHYSICAL_ADDRESS" in page.text(".vmcs")
    page.check()


def test_search_legend_zoom_and_the_axis(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.open(runs / "paracell.html")
    whole = page.text(".extent")
    page.key("/")
    page.type("sysret")
    kinds = [json.loads(line)["kind"] for line in (runs / "paracell.jsonl").read_text().splitlines()]
    assert page.text(".found") == f"{kinds.count('sysret')} found"
    page.key("Enter")
    page.js("document.querySelector('#search').blur()")
    first = chosen(page)
    assert kinds[first - 1] == "sysret"
    page.key("n")
    assert chosen(page) == kinds.index("sysret", first) + 1
    page.key("N", shift=True)
    assert chosen(page) == first
    page.key("/")
    page.type("zz")
    assert page.text(".found") == "no event"
    page.key("Escape")
    assert page.text(".found") == ""
    # Zoom by key, wheel and button; see all again.
    page.key("+")
    assert page.text(".extent") != whole
    page.wheel(700, 260, -400)
    page.key("f")
    assert page.text(".extent") == whole
    page.click("#axis")
    assert "events in view" in page.text(".extent")
    page.key("o")
    assert page.text(".extent").split()[0] == whole.split()[0]
    # The legend is a filter: of the list, and of where the keys go.
    page.click('[data-group="translation"]')
    page.key("Home")
    while kinds[chosen(page) - 1] != "port":
        page.key("ArrowRight")
        assert kinds[chosen(page) - 1] not in {"page_walk", "cr3_load"}
    for group in ("calls", "keys", "faults", "interrupts", "instructions"):
        page.click(f'[data-group="{group}"]')
    assert page.text(".nothing") == "No event of the kinds that are switched on."
    page.key("?")
    assert page.js("document.querySelector('#help').open")
    page.key("Escape")
    assert not page.js("document.querySelector('#help').open")
    page.check()


def test_light_and_dark_follow_the_system_and_the_switch(chromium: browser.Page, runs: Path, tmp_path: Path) -> None:
    page = chromium
    paper = "getComputedStyle(document.body).backgroundColor"
    page.prefer("dark")
    page.open(runs / "plain.html")
    dark = page.js(paper)
    page.click("#theme")
    light = page.js(paper)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")
    page.key("d")
    assert page.js(paper) == dark
    shots = [page.picture(tmp_path / "dark.png")]
    page.prefer("light")
    page.frame()
    assert page.js(paper) == light
    shots.append(page.picture(tmp_path / "light.png"))
    assert shots[0] != shots[1]
    for width in (1280, 1920):
        page.size(width, 860)
        page.frame()
        assert page.js("document.documentElement.scrollWidth") == width  # nothing hangs out
    page.size(1280, 860)
    page.check()


def test_a_snapshot_shows_where_it_stands(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.open(runs / "snapshot.html")
    text = page.text("main")
    assert "a container under runv" in text
    assert "What the page tables map" in text
    assert "EXIT_REASON" in text
    assert page.count(".key") == 16
    assert page.count(".walk") == 2
    page.check()


def test_a_hundred_thousand_events_can_be_used(chromium: browser.Page, runs: Path) -> None:
    page = chromium
    page.open(runs / "many.html")
    assert page.count(".row[data-event]") < 100  # rows exist in sight only
    page.key("End")
    assert chosen(page) >= MANY
    page.key("/")
    page.type("sysret")
    total = int(page.text(".found").split()[0].replace(",", ""))
    kinds = [json.loads(line)["kind"] for line in (runs / "many.jsonl").read_text().splitlines()]
    assert total == kinds.count("sysret")
    page.key("Escape")
    # Painting all of them leaves time for more frames: a bound far above what it takes, and far below a page that hangs.
    took = page.js(
        "new Promise((done) => { const start = performance.now(); let n = 0; const go = () => { dispatchEvent(new Event('resize'));"
        " document.dispatchEvent(new KeyboardEvent('keydown', { key: n % 2 ? '-' : '+' })); n += 1;"
        " n < 20 ? requestAnimationFrame(go) : done((performance.now() - start) / n); }; go(); })"
    )
    assert took < 2000
    page.check()

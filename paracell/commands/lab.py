"""``paracell lab``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import files
from ..completion import labs as lab_names

if TYPE_CHECKING:
    from ..labs.check import Result

_FOLDER = click.Path(path_type=Path)


@click.group("lab")
def command() -> None:
    """Labs for a course: write a part of a machine or a kernel, and have it checked against the machine."""


@command.command("list")
def list_() -> None:
    """List the labs."""
    from ..labs.catalogue import labs

    found = labs()
    width = max(len(lab.name) for lab in found)
    for lab in found:
        click.echo(f"{lab.number:3}  {lab.name:{width}}  {lab.minutes:3} min  {lab.title}")


@command.command("start")
@click.argument("name", shell_complete=lab_names)
@click.argument("folder", metavar="DIR", type=_FOLDER, shell_complete=files)
def start(name: str, folder: Path) -> None:
    """Copy the lab NAME into DIR, which must be empty or not there."""
    from ..labs.catalogue import named
    from ..labs.folder import start as begin

    lab = named(name)
    begin(lab, folder)
    click.echo(f"{folder}: read handout.md, change {', '.join(lab.files)}, then: paracell lab check {folder}")


@command.command("check")
@click.argument("folder", metavar="DIR", type=_FOLDER, default=".", shell_complete=files)
@click.option("--lab", "name", metavar="NAME", help="Which lab, for a folder that has no lab.toml.")
@click.option("--results", metavar="FILE", help="Where the results go for Gradescope.  [default: DIR/results.json]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random cases.")
@click.option(
    "--visibility",
    type=click.Choice(["visible", "after_due_date", "after_published", "hidden"]),
    default="visible",
    show_default=True,
    help="Of the results, in Gradescope.",
)
def check(folder: Path, name: str | None, results: str | None, seed: int, visibility: str) -> int:
    """Test the work in DIR against the machine; the exit status is 0 for the full score, else 1."""
    from ..labs import gradescope
    from ..labs.catalogue import named
    from ..labs.check import check as run
    from ..labs.folder import lab_of, remarks
    from ..output import check_place, whole_file
    from ..problem import Problem

    if name is not None and not folder.is_dir():
        raise Problem(f"no such folder: {folder}")
    lab = lab_of(folder) if name is None else named(name)
    place = str(folder / "results.json") if results is None else results
    check_place(place)
    for remark in remarks(lab, folder):
        click.echo(f"paracell: {remark}", err=True)
    found: list[Result] = []
    for test in run(lab, folder, seed):
        lines = test.output.splitlines()
        same = next((before.test.title for before in found if before.output == test.output), None)
        found.append(test)
        good = click.style("OK", fg="green") if test.wrong is None else click.style("FAIL", fg="red")
        title = test.test.title
        took = f" ({test.seconds:.1f}s)" if test.seconds > 0.1 else ""
        click.echo(f"== Test {title} == {title}: {good}{took}")
        for line in lines if same is None or len(lines) < 2 else [f"the same as: {same}"]:
            click.echo(f"    {line}")
    with whole_file(place) as file:
        file.write(gradescope.results(found, visibility).encode())
    score, most = sum(each.score for each in found), sum(each.test.points for each in found)
    click.echo(f"Score: {score}/{most}")
    return 0 if score == most else 1


@command.command("show")
@click.argument("which", metavar="[NAME|DIR]", default=".", shell_complete=lab_names)
@click.option("--hint", type=click.IntRange(1), metavar="N", help="Show the Nth hint instead.")
def show(which: str, hint: int | None) -> None:
    """Show the hand-out of a lab, by its name or of a folder that `start` made, or one of its hints."""
    from ..labs.catalogue import labs, named
    from ..labs.folder import lab_of
    from ..problem import Problem

    folder = Path(which)
    lab = lab_of(folder) if folder.is_dir() and which not in {each.name for each in labs()} else named(which)
    if hint is None:
        _markdown(lab.handout)
        return
    hints = lab.hints
    if hint > len(hints):
        raise Problem(f"{lab.name} has {len(hints)} hints, and no hint {hint}")
    more = (
        f"The next: `paracell lab show {lab.name} --hint {hint + 1}`"
        if hint < len(hints)
        else "This was the last hint."
    )
    _markdown(f"{hints[hint - 1]}\n\n{more}\n")


def _markdown(text: str) -> None:
    """Show Markdown: set on a terminal, as it is in a pipe."""
    if not sys.stdout.isatty():
        click.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text))

"""``paracell quiz``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..quiz.question import Question

TOPICS = ("walk", "rights", "keys", "gate", "exits", "ept", "pager")


@click.command("quiz")
@click.argument("topic", type=click.Choice(TOPICS))
@click.option("-s", "--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the questions.")
@click.option("-n", "--number", type=click.IntRange(1, 1000), default=2, show_default=True, help="How many questions.")
@click.option("-c", "--compute", is_flag=True, help="Compute the answers, and say why.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(topic: str, seed: int, number: int, compute: bool, as_json: bool) -> int:
    """Ask questions about TOPIC that can be answered by hand; with -c, answer them.

    The same seed gives the same questions.  The machine's own page walker, VMX checks and traced runs compute the answers.
    """
    from ..quiz.question import questions

    asked = questions(topic, seed, number)
    if as_json:
        import json

        click.echo(json.dumps([_record(question, compute) for question in asked], indent=2))
        return 0
    for place, question in enumerate(asked, 1):
        click.echo(f"{'' if place == 1 else chr(10)}Question {place} of {number}: {topic}, seed {seed}")
        for line in question.given:
            click.echo(f"  {line}")
        click.echo(f"  {question.asked}")
        if compute:
            answer = question.solve()
            click.echo(f"  Answer: {answer.result}")
            for line in answer.why:
                click.echo(f"    {line}")
            click.echo(f"    {answer.section}")
    if not compute:
        click.echo(f"\nThe answers: paracell quiz {topic} -s {seed} -n {number} -c")
    return 0


def _record(question: Question, compute: bool) -> dict[str, object]:
    """Give a question, and its answer if that is wanted, as plain values."""
    out: dict[str, object] = {"given": list(question.given), "asked": question.asked}
    if compute:
        answer = question.solve()
        out |= {"answer": answer.result, "why": list(answer.why), "section": answer.section}
    return out

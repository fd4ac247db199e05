"""``paracell fuzz``, and what it leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ..completion import files

if TYPE_CHECKING:
    from ..fuzz.corpus import Corpus
    from ..fuzz.finding import FindingFile
    from ..fuzz.flags import Flags
    from ..fuzz.target import Target

FOUND: Final = 77  # libFuzzer's exit status


class _Command(click.Command):
    """Leaves its arguments alone: click would take -runs=5 for five flags of a letter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from ..fuzz.flags import wants_help

        if wants_help(args) and not ctx.resilient_parsing:
            click.echo(self.get_help(ctx))
            ctx.exit()
        ctx.params["arguments"] = tuple(args)
        return []

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ..fuzz.flags import rows
        from ..fuzz.targets import TARGETS

        del ctx
        for title, table in (("Flags", rows()), ("Targets", [(n, says) for n, (_, _, says) in TARGETS.items()])):
            with formatter.section(title):
                formatter.write_dl(table)


@click.command("fuzz", cls=_Command, add_help_option=False)
@click.argument("arguments", nargs=-1, metavar="TARGET [CORPUS]... [-flag=value]...", shell_complete=files)
def command(arguments: tuple[str, ...]) -> int:
    """Give TARGET inputs by chance, and keep those that show something new, until one is a finding.

    TARGET is one of those below, a static ELF with LLVMFuzzerTestOneInput, or FILE.py:FUNCTION.  New inputs go to the first
    CORPUS folder; files are only run.  The exit status is 77 where something was found; `paracell replay` runs it again.
    """
    from ..fuzz.corpus import Corpus
    from ..fuzz.flags import parse
    from ..fuzz.targets import make_target
    from ..fuzz.words import read_words

    flags, places = parse(arguments)
    if not places:
        raise click.UsageError("which target? -help=1 lists them")
    spec, *places = places
    words = read_words(flags.dict) if flags.dict else ()
    corpus = Corpus(places)
    inputs = list(corpus.read())
    if flags.minimize_crash and len(inputs) != 1:
        raise click.UsageError("-minimize_crash=1 takes one finding")
    if flags.merge and not corpus.folders:
        raise click.UsageError("-merge=1 takes the folder that inputs go to, and those that they come from")
    _check(flags, corpus)
    target = make_target(spec, flags.options())
    target.dictionary = (*target.dictionary, *words)
    try:
        if flags.minimize_crash:
            return _minimize(target, spec, flags, corpus, inputs[0][1])
        return _fuzz(target, spec, flags, corpus, [data for _, data in inputs])
    finally:
        target.close()


def _fuzz(target: Target, spec: str, flags: Flags, corpus: Corpus, inputs: list[bytes]) -> int:
    from ..fuzz.engine import Engine
    from ..progress import Progress
    from ..signals import Interrupted, interruptible

    def say(line: str) -> None:
        if flags.verbosity:
            progress.wipe()
            click.echo(line, err=True)

    progress = Progress(lambda: engine.status("tries"))
    finding: FindingFile | None = None
    only = flags.runs == 0 or flags.merge or (corpus.files and not corpus.folders)
    with progress, interruptible(target.request_stop) as caught:
        engine = Engine(
            target, spec, seed=flags.seed, max_len=flags.max_len, jobs=flags.jobs, keep=corpus.keep, say=say, warn=say
        )
        try:
            if flags.merge:
                inputs = sorted(inputs, key=lambda i: (not corpus.has(i), len(i), i))
            finding = engine.replay(inputs, lambda: bool(caught), new=bool(flags.merge))
            say(engine.status("INITED"))
            if not (finding or only or caught):
                finding = engine.run(flags.runs, flags.max_total_time, lambda: bool(caught))
        finally:
            engine.close()
    if finding:
        _save(finding, target, flags, corpus)
        return FOUND
    what = f"{len(inputs)} inputs" if only else f"{engine.done} tries"
    told = f"{what}: nothing found; {engine.features} features, {len(engine.inputs)} inputs in the corpus"
    if caught:
        click.echo(f"interrupted after {told}", err=True)
        raise Interrupted(caught[0])
    click.echo(told)
    return 0


def _minimize(target: Target, spec: str, flags: Flags, corpus: Corpus, data: bytes) -> int:
    from ..fuzz.corpus import name_of
    from ..fuzz.finding import FindingFile
    from ..fuzz.minimize import minimize
    from ..progress import Progress
    from ..signals import Interrupted, interruptible

    with Progress(lambda: f"{len(data)} bytes to begin with"), interruptible(target.request_stop) as caught:
        shorter = minimize(target, data, flags.runs, lambda: bool(caught))
        found = None if caught else target.run(shorter)
    if caught:
        raise Interrupted(caught[0])
    if found is None:
        click.echo(f"{len(data)} bytes: nothing found in them")
        return 0
    finding = FindingFile(spec, target.options, found, shorter, target.digest(), flags.seed)
    click.echo(f"{len(data)} bytes, of which {len(shorter)} are enough")
    _save(finding, target, flags, corpus, f"minimized-from-{name_of(data)}")
    return FOUND


def _check(flags: Flags, corpus: Corpus) -> None:
    """Raise at once what would keep a finding from being written."""
    from ..output import check_place

    if flags.exact_artifact_path:
        check_place(flags.exact_artifact_path)
    elif flags.artifact_prefix or not corpus.folders:
        check_place(f"{flags.artifact_prefix}crash-")
    else:
        check_place(f"{corpus.folders[0]}/crash-")


def _save(finding: FindingFile, target: Target, flags: Flags, corpus: Corpus, name: str = "") -> None:
    """Tell of a finding, and write it; it has been told, too, where it cannot be written."""
    from pathlib import Path

    from ..output import whole_file

    where = f"try {finding.number} of seed {finding.seed}" if finding.number >= 0 else "an input of the corpus"
    click.echo(f"{where}: {finding.found}" if not name else str(finding.found))
    prefix = flags.artifact_prefix or corpus.crashes()
    path = Path(flags.exact_artifact_path or f"{prefix}{name or finding.name}")
    try:
        if not flags.artifact_prefix:
            path.parent.mkdir(exist_ok=True)
        with whole_file(str(path)) as file:
            file.write(finding.to_json(target).encode())
    except OSError:
        click.echo(f"its input: {finding.data.hex()}")
        raise
    click.echo(f"saved as {path}")

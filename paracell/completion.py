"""What a shell may complete after `paracell`: files, shipped programs, attacks, models.

Each function has the form that click asks for: the context, the parameter, and what has been typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click
    from click.shell_completion import CompletionItem

    Items = list[CompletionItem]


def _items(offers: Iterable[tuple[str, str]], kind: str = "plain") -> Items:
    from click.shell_completion import CompletionItem  # a start that completes nothing does without

    return [CompletionItem(text, type=kind, help=text_help or None) for text, text_help in offers]


def files(_context: click.Context, _parameter: click.Parameter, typed: str) -> Items:
    """Have the shell complete the name of a file or a directory."""
    return _items([(typed, "")], "file")


def programs(context: click.Context, parameter: click.Parameter, typed: str) -> Items:
    """Give the shipped programs; the shell's own files where none begins so."""
    from .guest import shipped

    names = sorted(path.name for path in (shipped.IMAGES / "programs").glob("*") if path.name.startswith(typed))
    return _items((name, "") for name in names) or files(context, parameter, typed)


def attacks(_context: click.Context, _parameter: click.Parameter, typed: str) -> Items:
    """Give the attacks, each with what it does."""
    from .attacks import ATTACKS

    return _items((attack.name, attack.says) for attack in ATTACKS if attack.name.startswith(typed))


def models(_context: click.Context, _parameter: click.Parameter, typed: str) -> Items:
    """Give the models of processors."""
    from .emu.features import MODELS

    return _items((name, "") for name in (*MODELS, "help") if name.startswith(typed))


def labs(_context: click.Context, _parameter: click.Parameter, typed: str) -> Items:
    """Give the labs, each with its title."""
    from .labs.catalogue import labs as all_labs

    return _items((lab.name, lab.title) for lab in all_labs() if lab.name.startswith(typed))

"""Dictionaries: files of words as libFuzzer and AFL have them, ``name="bytes"`` or ``"bytes"``, a line each."""

from __future__ import annotations

import re
from typing import Final

from .target import BadTarget

_LINE: Final = re.compile(r'[^"#]*"(?P<word>.*)"\s*')
_ESCAPE: Final = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|([\\"]))')


def read_words(path: str) -> tuple[bytes, ...]:
    """Read a dictionary; ``OSError`` where it cannot be read, `BadTarget` for a line that is none of it."""
    words = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 -- the path goes into OSError
        for number, line in enumerate(file, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = _LINE.fullmatch(line.rstrip("\n"))
            if match is None:
                raise BadTarget(f'{path}: line {number}: no word of a dictionary: name="bytes"')
            word = match["word"].encode("utf-8", "surrogateescape")
            words.append(_ESCAPE.sub(lambda m: bytes((int(m[1], 16),)) if m[1] else m[2], word))
    return tuple(words)

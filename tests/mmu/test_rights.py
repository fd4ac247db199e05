"""SDM "Determination of Access Rights", sentence by sentence."""

from __future__ import annotations

from itertools import product

import pytest

from paracell.mmu.rights import INDEX_BITS, KEY_SHIFT, READ, WRITE, Context, D, U, W, X, allowed, key_denied, table

LETTERS = {"r": 1, "w": 2, "x": 4}
USER = Context(user=True)
KERNEL = Context(user=False)


def mask(text: str) -> int:
    return sum(LETTERS[c] for c in text if c != "-")


@pytest.mark.parametrize(
    ("context", "page", "expected"),
    [
        (USER, U | W | X, "rwx"),
        (USER, U | W, "rw-"),
        (USER, U | X, "r-x"),
        (USER, W | X, "---"),  # a supervisor page
        (USER._replace(wp=False), U | X, "r-x"),  # WP is the supervisor's
        (USER._replace(smap=True, smep=True), U | W | X, "rwx"),
        (KERNEL, W | X, "rwx"),
        (KERNEL, X, "r-x"),
        (KERNEL._replace(wp=False), X, "rwx"),
        (KERNEL, U | W | X, "rwx"),
        (KERNEL, U | X, "r-x"),
        (KERNEL._replace(wp=False), U | X, "rwx"),
        (KERNEL._replace(smep=True), U | W | X, "rw-"),
        (KERNEL._replace(smep=True), W | X, "rwx"),
        (KERNEL._replace(smap=True), U | W | X, "--x"),
        (KERNEL._replace(smap=True, wp=False), U | W | X, "--x"),
        (KERNEL._replace(smap=True), W | X, "rwx"),
        (KERNEL._replace(smap=True, smep=True), U | W | X, "---"),
    ],
)
def test_rights_without_keys(context: Context, page: int, expected: str) -> None:
    assert allowed(context, page) == mask(expected)


@pytest.mark.parametrize(
    ("denied", "expected"),
    [((0, 0), "rwx"), ((0, 1 << 5), "r-x"), ((1 << 5, 0), "--x"), ((1 << 5, 1 << 5), "--x"), ((1 << 4, 1 << 6), "rwx")],
)
@pytest.mark.parametrize("user", [True, False])
@pytest.mark.parametrize("user_page", [True, False])
def test_a_key_takes_data_accesses_from_pages_of_its_kind(
    denied: tuple[int, int], expected: str, user: bool, user_page: bool
) -> None:
    page = W | X | (U if user_page else 0) | 5 << KEY_SHIFT
    other = (0xFFFF, 0xFFFF)
    mine, others = (denied, other) if user_page else (other, denied)
    context = Context(user, user_keys=mine, supervisor_keys=others)
    assert allowed(context, page) == (0 if user and not user_page else mask(expected))
    assert key_denied(context, page) == mask("rwx") & ~mask(expected)


@pytest.mark.parametrize(
    "context",
    [
        Context(user, wp, smep, smap, (0x0F0, 0x3C0), (0xA00, 0x500))
        for user, wp, smep, smap in product((True, False), repeat=4)
    ],
)
def test_a_table_holds_the_rights_and_caches_no_write_before_the_page_is_dirty(context: Context) -> None:
    answers = table(context)
    assert len(answers) == 1 << INDEX_BITS
    for index, byte in enumerate(answers):
        rights = allowed(context, index)
        assert byte >> 4 == rights
        assert byte & 7 == (rights if index & D else rights & ~WRITE)
        assert rights & READ or not rights & WRITE  # nothing can be written that cannot be read

"""What holds for all tests: signals, and how many of the container's tests run under RunV (with EPT; with shadow paging) and PVM.

Whoever runs the tests may ignore signals, as nohup and background jobs do; the commands that they start would inherit that.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

_OTHER_SETUPS: Final = ("runv", "spt", "pvm", "touch")
_ONE_IN: Final = 10
_WHOLE: Final = frozenset(
    {
        "test_pvm",
        "test_nested",
        "test_run",
        "test_page_fault",
        "test_lat",
        "test_terminal",
        "test_pager",
        "test_debug",
    }
)  # modules that are about these


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Mark `setups` what runs a container under RunV or PVM, but for every tenth test, by its name: CI runs those."""
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is None or item.path.stem in _WHOLE:
            continue
        names = {str(getattr(value, "name", value)).rpartition("-")[2] for value in spec.params.values()}
        if names.intersection(_OTHER_SETUPS) and crc32(item.nodeid.encode()) % _ONE_IN:
            item.add_marker(pytest.mark.setups)

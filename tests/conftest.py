"""Whoever runs the tests may ignore signals, as nohup and background jobs do; the commands that they start would inherit that."""

from __future__ import annotations

import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

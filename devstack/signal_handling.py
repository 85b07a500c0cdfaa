"""A program that ends in order, whichever signal asks it to."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Let each signal that asks a program to end raise KeyboardInterrupt, once, as Ctrl-C does.

    Of a program in the background of a script, too: its shell had it ignore Ctrl-C.
    """
    for number in TERMINATION_SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # A second Ctrl-C must not break off the stopping that the first one began; all of it is bounded.
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt

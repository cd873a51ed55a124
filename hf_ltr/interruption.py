"""
Ctrl-C and SIGTERM, as a program that owns its process handles them: finish the step, save, say how to go on, leave.

Handlers are installed by [`handle_signals`] alone, which the commands and recipes call; in a notebook or another
program's process signals stay as they were.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A launcher passes a signal on that the terminal has sent to everybody already: two in this time are one.
_ONE_SIGNAL = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """
    The user, or a scheduler, ended the program.

    Args:
        number (`int`): Of the signal.
        saved (`str`, *optional*): The checkpoint that was written last.
    """

    def __init__(self, number: int, saved: str | None = None):
        super().__init__(number)
        self.number, self.saved = number, saved

    @property
    def exit_code(self) -> int:
        """128 and the signal, as shells have it."""
        return 128 + self.number


class _State:
    """Of this process; there is one main thread, which gets all signals."""

    def __init__(self) -> None:
        self.installed = False
        self.asked: int | None = None
        self.asked_at = 0.0
        self.steps = 0


_state = _State()


def installed() -> bool:
    """Whether this process handles signals so."""
    return _state.installed


def asked_to_stop() -> int | None:
    """The signal that came, if one did."""
    return _state.asked


@contextmanager
def finishing_steps() -> Iterator[None]:
    """Inside, the first signal only asks: whoever makes the steps looks at [`asked_to_stop`] after each."""
    _state.steps += 1
    try:
        yield
    finally:
        _state.steps -= 1


@contextmanager
def handle_signals() -> Iterator[None]:
    """
    Turn SIGINT and SIGTERM into [`Interrupted`], after the training step that is being made; a second one ends the
    process at once. Nothing is changed outside of the main thread, or for a signal that is ignored (`nohup`).
    """
    owner, previous = os.getpid(), {}

    def handle(number: int, frame: object) -> None:
        if os.getpid() != owner:
            if number == signal.SIGTERM:  # a worker that decodes images; Ctrl-C is for the process that started it
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        now = time.monotonic()
        if _state.asked is not None and number == _state.asked and now - _state.asked_at < _ONE_SIGNAL:
            return
        if _state.asked is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(owner, number)
            return
        _state.asked, _state.asked_at = number, now
        if not _state.steps:
            raise Interrupted(number)
        if os.environ.get("RANK", "0") == "0":
            _log_to_terminal("stopping after this step, with a checkpoint (a second Ctrl-C ends at once)")

    try:
        for number in _SIGNALS:
            if signal.getsignal(number) in (signal.SIG_IGN, None):
                continue
            previous[number] = signal.signal(number, handle)
    except ValueError:  # not in the main thread
        previous = {}
    _state.installed, _state.asked, _state.steps = bool(previous), None, 0
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _state.installed = False


def _log_to_terminal(text: str) -> None:
    """To the terminal, from a handler: print() may be interrupted by itself."""
    try:
        os.write(sys.stderr.fileno(), f"\n{text}\n".encode())
    except (OSError, ValueError, AttributeError):
        pass

"""How every command and recipe ends: with its result, or with one line that says what happened and what to do."""

from __future__ import annotations

import os
import select
import sys
import warnings
from collections.abc import Callable

from ..interruption import Interrupted, asked_to_stop, handle_signals
from ..redaction import without_secrets
from ..storage import storage_error

TRACEBACK = "HF_LTR_TRACEBACK"
# What a user can mend, each with a message that says how.
MISTAKES = (ValueError, OSError, ImportError, FloatingPointError)
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as other tools end whose reader has gone


def run_to_the_end(run: Callable[[], object], *, continues: Callable[[], bool] = lambda: True, hint: str = "") -> int:
    """
    Run a command and turn the ways in which it can end into one line and an exit code.

    Args:
        run (`Callable`): The command; an integer that it returns is the exit code.
        continues (`Callable`): Whether the same command goes on where it was interrupted.
        hint (`str`): Printed below an error.

    Returns:
        `int`: that of the command, or 0; 2 for a mistake of the user and what the machine lacks; 130 after Ctrl-C and
        143 after SIGTERM; 141 where nobody reads the output any more (`| head`).
    """
    try:
        with handle_signals(), warnings.catch_warnings():
            # Decoding refuses such images with a line of its own, which names the row.
            warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")
            try:
                status = run()
                if sys.stdout is not None:
                    sys.stdout.flush()
                return status if isinstance(status, int) else 0
            except KeyboardInterrupt as error:
                return _interrupted(error, continues())
            except Exception as error:
                if (signal := asked_to_stop()) is not None:
                    # A worker or another process was stopped too, and this one noticed by that.
                    return _interrupted(Interrupted(signal), continues())
                if isinstance(error, BrokenPipeError) and _nobody_reads():
                    return _BROKEN_PIPE
                full = storage_error(error)
                if os.environ.get(TRACEBACK) or not (full or isinstance(error, MISTAKES)):
                    raise
                print(f"error: {without_secrets(str(full or error))}{hint}", file=sys.stderr)
                return 2
    except KeyboardInterrupt as error:  # while the line was printed
        return error.exit_code if isinstance(error, Interrupted) else 130
    finally:
        _nobody_reads()


def _interrupted(error: KeyboardInterrupt, continues: bool) -> int:
    code = error.exit_code if isinstance(error, Interrupted) else 130
    if os.environ.get("RANK", "0") == "0":
        saved = getattr(error, "saved", None)
        if saved is not None:
            text = f"{saved} is written, and the same command continues from there"
        elif continues:
            text = "what is finished stays, and the same command continues"
        else:
            text = "nothing was changed; give the same command again"
        print(f"interrupted: {text}", file=sys.stderr)
    return code


def _nobody_reads() -> bool:
    """Whether the reader of the output is gone; if so, nothing more is written, at exit neither."""
    try:
        place = sys.stdout.fileno()
        sys.stdout.flush()
        poll = select.poll()
        poll.register(place, 0)
        gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        gone = True
    except (AttributeError, OSError, ValueError):  # no pipes to ask here, a captured output, a closed one
        return False
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)
    return gone


def fail_clearly(main: Callable[[list[str]], object], argv: list[str] | None = None) -> None:
    """Run a recipe's `main`; mistakes of the user and interruptions end with one line, not with a traceback."""
    words = sys.argv[1:] if argv is None else argv
    code = run_to_the_end(lambda: main(words), hint=f"\n({TRACEBACK}=1 shows where)")
    if code:
        sys.exit(code)

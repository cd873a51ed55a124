"""`hf-ltr` and its sub-commands. Training is `accelerate launch recipes/<recipe>.py`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..redaction import without_secrets
from . import adjust, evaluate, listing, prepare, table

# Each module has HELP, add_arguments(parser) and run(options), and imports nothing heavy before it runs.
COMMANDS = {"list": listing, "evaluate": evaluate, "prepare": prepare, "adjust": adjust, "table": table}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; heavy libraries are imported by the sub-command that needs them."""
    parser = argparse.ArgumentParser(prog="hf-ltr", description="Long-tailed image recognition on Hugging Face.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP, allow_abbrev=False)
        command.add_arguments(sub)
    options = parser.parse_args(_with_underscores(sys.argv[1:] if argv is None else argv))
    try:
        with _plain_warnings():
            COMMANDS[options.command].run(options)
    except KeyboardInterrupt:
        print("interrupted; what is finished stays, and the same command continues", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("HF_LTR_TRACEBACK"):
            raise  # where it happened, for whoever asks
        print(f"error: {without_secrets(str(error))}", file=sys.stderr)
        return 2
    return 0


def _with_underscores(argv: Sequence[str]) -> list[str]:
    """Option names may be spelt with hyphens: `--batch-size=8` is `--batch_size=8`."""
    words = []
    for word in argv:
        name, equals, value = word.partition("=")
        words.append(f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word)
    return words


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        yield


if __name__ == "__main__":
    sys.exit(main())

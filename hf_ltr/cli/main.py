"""`hf-ltr` and its sub-commands. Training is `accelerate launch recipes/<recipe>.py`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..recipe.ending import run_to_the_end
from . import adjust, check, evaluate, listing, prepare, table

# Each module has HELP, add_arguments(parser) and run(options) that returns an exit status or None, imports nothing
# heavy before it runs, and says with CONTINUES whether the same command goes on where it was interrupted.
COMMANDS = {
    "list": listing,
    "evaluate": evaluate,
    "check": check,
    "prepare": prepare,
    "adjust": adjust,
    "table": table,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; heavy libraries are imported by the sub-command that needs them."""
    command: dict[str, Any] = {}

    def run() -> int | None:
        options = _parse(argv)
        command["module"] = COMMANDS[options.command]
        with _plain_warnings():
            return command["module"].run(options)

    return run_to_the_end(run, continues=lambda: getattr(command.get("module"), "CONTINUES", False))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hf-ltr", description="Long-tailed image recognition on Hugging Face.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP, allow_abbrev=False)
        command.add_arguments(sub)
    return parser.parse_args(_with_underscores(sys.argv[1:] if argv is None else argv))


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

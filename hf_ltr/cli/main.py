"""`hf-ltr` and its sub-commands."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..naming import unknown_name
from ..recipe.ending import run_to_the_end
from . import adjust, check, evaluate, listing, prepare, table, train

# Each module has HELP and run(argv), which returns an exit status or None, imports nothing heavy before it runs, and
# says with CONTINUES whether the same command goes on where it was interrupted.
COMMANDS = {
    "train": train,
    "list": listing,
    "evaluate": evaluate,
    "check": check,
    "prepare": prepare,
    "adjust": adjust,
    "table": table,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; heavy libraries are imported by the sub-command that needs them."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]

    def run() -> int | None:
        if name in ("-h", "--help"):
            print(_help())
            return None
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS, "See `hf-ltr --help`.")
        with _plain_warnings():
            return COMMANDS[name].run(rest)

    return run_to_the_end(run, continues=lambda: getattr(COMMANDS.get(name), "CONTINUES", False))


def _help() -> str:
    lines = ["usage: hf-ltr COMMAND ...", "", "Long-tailed image recognition on Hugging Face.", ""]
    lines += [f"  {name:10}{command.HELP}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "`hf-ltr COMMAND --help` shows the options of a command."])


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        yield


if __name__ == "__main__":
    sys.exit(main())

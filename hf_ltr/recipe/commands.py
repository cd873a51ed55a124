"""The command that is being run, as others could repeat it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..redaction import public_command


def command_line(argv: Sequence[str], program: Sequence[str] | None = None, made_up_folders: bool = False) -> str:
    """
    A command without secrets, and with the names of folders.

    Args:
        argv: Arguments without the program name.
        program (sequence of `str`, *optional*): What is started; this script, if not given.
        made_up_folders (`bool`, defaults to `False`): Write a path from the root as `path/to/<its name>`.
    """
    if made_up_folders:
        argv = [f"path/to/{Path(word).name}" if os.path.isabs(word) else word for word in argv]
    return public_command(program or ["accelerate", "launch", sys.argv[0]], argv)


def sub_command(name: str) -> list[str]:
    """How `hf-ltr <name>` was started: by itself, or by a launcher of several processes."""
    processes = os.environ.get("WORLD_SIZE", "1")
    launched = ["accelerate", "launch", "--num_processes", processes, "-m", "hf_ltr.cli.main"]
    return [*(launched if processes != "1" else ["hf-ltr"]), name]

"""`hf-ltr adjust`."""

from __future__ import annotations

import argparse

HELP = "adjust"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""


def run(options: argparse.Namespace) -> None:
    """Run it."""
    raise ValueError("not built yet")

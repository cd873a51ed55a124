"""Loading and saving without the chatter that reads like a mistake where something is meant to be missing."""

from __future__ import annotations

import contextlib
import logging as standard_logging
from collections.abc import Iterator

from transformers.utils import logging


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No progress bars and load reports of transformers inside; errors are still raised."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def without_messages(logger: str, beginning: str) -> Iterator[None]:
    """Inside, messages of this logger that begin so are left out."""

    def keep(record: standard_logging.LogRecord) -> bool:
        return not record.getMessage().startswith(beginning)

    log = standard_logging.getLogger(logger)
    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)

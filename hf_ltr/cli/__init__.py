"""The command line, one file per command. Ctrl-C while modules are imported is one line, too."""

from __future__ import annotations

import sys
from typing import Any

_show = sys.excepthook


def _without_traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _show(kind, error, trace)
    elif sys.stderr is not None:
        print("interrupted: nothing had begun", file=sys.stderr)


# Commands that have begun say it themselves, see `ending`.
sys.excepthook = _without_traceback

"""Tables: methods compared on one protocol, run where missing, reported with intervals beside published numbers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_MODULE_OF_NAME = {
    "Protocol": "protocol",
    "load_protocol": "protocol_files",
    "protocol_names": "protocol_files",
    "MethodSpecification": "specification",
    "Table": "runs",
    "TableReport": "report",
    "measure_cost": "cost",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .cost import measure_cost
    from .protocol import Protocol
    from .protocol_files import load_protocol, protocol_names
    from .report import TableReport
    from .runs import Table
    from .specification import MethodSpecification


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

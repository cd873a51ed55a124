"""Tables: methods compared on one protocol, run where missing, reported with intervals beside published numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

_MODULE_OF_NAME = {
    "Protocol": "protocol",
    "load_protocol": "protocol",
    "protocol_names": "protocol",
    "MethodSpecification": "rows",
    "published_results": "published",
    "published_targets": "published",
    "Table": "runs",
    "TableReport": "report",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .protocol import Protocol, load_protocol, protocol_names
    from .published import published_results, published_targets
    from .report import TableReport
    from .rows import MethodSpecification
    from .runs import Table

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)

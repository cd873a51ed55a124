"""Tables: methods compared on one protocol, run where missing, reported with intervals beside published numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

_MODULE_OF_NAME = {
    "Protocol": "protocol",
    "load_protocol": "protocol_files",
    "protocol_names": "protocol_files",
    "MethodSpecification": "specification",
    "published_results": "published",
    "published_targets": "published",
    "Table": "runs",
    "TableReport": "report",
    "measure_cost": "cost",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .cost import measure_cost
    from .protocol import Protocol
    from .protocol_files import load_protocol, protocol_names
    from .published import published_results, published_targets
    from .report import TableReport
    from .runs import Table
    from .specification import MethodSpecification

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)

"""Public names of a package that are imported when they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, module_of_name: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    The `__getattr__` and `__dir__` (PEP 562) of a package.

    Args:
        package (`str`): Its `__name__`.
        module_of_name (`dict`): Public name to the module of the package that holds it.
    """

    def get(name: str) -> Any:
        if name not in module_of_name:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; public names: {', '.join(module_of_name)}"
            )
        value = getattr(importlib.import_module(f"{package}.{module_of_name[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of_name})

    return get, names

"""What methods demand of the network, in its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models import LongTailConfig


def require_module(config: LongTailConfig, module: str, options: Mapping[str, Any], who: str) -> None:
    """
    Ask for an auxiliary network, on behalf of the method `who`: `config.modules[module]` gets what it does not say.

    Args:
        config ([`LongTailConfig`]): Changed in place.
        module (`str`): Name of the network.
        options (`dict`): Of the network; `None` leaves an option to it.
        who (`str`): The method, for messages.

    Raises:
        `ValueError`: where the config says something else.
    """
    modules = dict(config.modules or {})
    given = modules[module] = dict(modules.get(module) or {})
    for key, value in options.items():
        if value is not None and given.setdefault(key, value) != value:
            raise ValueError(
                f"{who} was asked for {key}={value!r} but config.modules[{module!r}] has {given[key]!r}; leave it out "
                "of config.modules, or give the method the same value"
            )
    config.modules = modules


def require_linear_head(config: LongTailConfig, who: str, why: str) -> None:
    """
    Refuse, on behalf of the method `who`, a head that is not a plain linear layer.

    Raises:
        `ValueError`: with the reason `why`.
    """
    if config.head not in (None, "linear"):
        raise ValueError(
            f"{who} {why}, but config.head is {config.head!r}. Leave head unset, and use a representation method that "
            "trains a linear head."
        )

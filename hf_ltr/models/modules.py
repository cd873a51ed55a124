"""The auxiliary networks there are, and what a config says about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..validation import choice, mapping
from .auxiliary_module import AuxiliaryModule, ClassifierFields
from .modulator import MutualExclusiveModulator

# In the order in which they see the logits, whatever the order of a config's, which JSON does not keep.
MODULES: dict[str, type[AuxiliaryModule]] = {
    "modulator": MutualExclusiveModulator,
}


def complete_modules(modules: Mapping[str, Any] | None, config: ClassifierFields) -> dict[str, dict[str, Any]] | None:
    """`config.modules` with every option of every module, checked; `None` where there is none."""
    if modules is None:
        return None
    return {name: module.complete_options(options, config) for name, module, options in _each(modules)} or None


def modules_in_order(modules: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """`config.modules` after class `i` has become what was class `order[i]`."""
    return {name: module.options_in_order(options, order) for name, module, options in _each(modules)}


def modules_for_other_classes(modules: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """`config.modules` for another number of classes, and the names of the modules that are not kept."""
    kept = {name: module.options_for_other_classes(options) for name, module, options in _each(modules)}
    dropped = [name for name, options in kept.items() if options is None]
    return {name: options for name, options in kept.items() if options is not None} or None, dropped


def modules_for_inference(modules: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`config.modules` without those that only training needs."""
    return {name: options for name, options in (modules or {}).items() if not MODULES[name].training_only} or None


def gather_modules(fields: dict[str, Any], modules: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Fields of a config with every module in `modules`: before there was that field, a module was a field of its own
    (`LongTailConfig(modulator={...})`), which config.json files and keyword arguments may still have. Where `fields`
    have no `modules`, those modules are added to the given ones.
    """
    own = {name: fields[name] for name in MODULES if name in fields}
    if not own:
        return fields
    gathered = {**mapping("modules", fields.get("modules") or modules or {}), **own}
    others = {name: value for name, value in fields.items() if name not in own}
    return {**others, "modules": {name: options for name, options in gathered.items() if options is not None} or None}


def metric_names(modules: Mapping[str, Any] | None) -> list[str]:
    """Names of the metrics that the modules of a config declare."""
    return [metric for name in modules or () for metric in MODULES[name].metric_names]


def _each(modules: Mapping[str, Any]) -> Iterator[tuple[str, type[AuxiliaryModule], dict[str, Any]]]:
    """Name, class and options of every module, in the order of `MODULES`; refuses a name that is not among them."""
    given = mapping("modules", modules)
    for name in given:
        choice("module", name, MODULES)
    for name, module in MODULES.items():
        if name in given:
            yield name, module, mapping(name, {} if given[name] is None else given[name])

"""What a config.json may say beside the fields of this package: those of transformers, without its dangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...validation import choice

# Fields of `PretrainedConfig` whose other values would load code or foreign networks, or end in its tracebacks.
_ATTENTIONS = ("eager", "sdpa")
_KERNELS = re.compile("_?[a-z]+_implementation(_internal)?")
_DTYPES = ("auto", "float16", "bfloat16", "float32", "float64")
_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def check_foreign_fields(fields: Mapping[str, Any], config_class: type) -> None:
    """
    Args:
        fields (`dict`): What is left to transformers.
        config_class (`type`): Whose methods no field may replace.

    Raises:
        `ValueError`: for a field that would replace a method of the config, load code, or that is unknown to torch.
    """
    for name in fields:
        own = getattr(config_class, name, None)
        if name.startswith("__") or callable(own) or (isinstance(own, property) and own.fset is None):
            raise ValueError(f"A config has no field {name!r}; that is a method. Remove it from config.json.")
    for name in ("sub_configs", "attribute_map"):
        own = getattr(config_class, name, None)
        if fields.get(name, own) != own:
            raise ValueError(f"A config of hf_ltr has no field {name!r}. Remove it from config.json.")
    if fields.get("quantization_config") is not None:
        raise ValueError("quantization_config is not supported by the models of hf_ltr; remove it from the config")
    dtype = fields.get("dtype", fields.get("torch_dtype"))
    known = [
        ("dtype", None if dtype is None else str(dtype).removeprefix("torch."), _DTYPES),
        ("problem_type", fields.get("problem_type"), _PROBLEM_TYPES),
    ]
    # Also `_attn_implementation` and its like; another value is the name of a repository with a kernel.
    known += [(name, value, _ATTENTIONS) for name, value in fields.items() if _KERNELS.fullmatch(name)]
    for name, value, valid in known:
        if value is not None:
            choice(name, value, valid)

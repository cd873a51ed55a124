"""Freezing parts of a model by name, honoured by `model.train()`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

from torch import nn


class FreezableMixin(nn.Module):
    """
    Adds `freeze` and `unfreeze` to a module; list it first among the bases.

    What is frozen is a property of this object in memory: it is not part of a checkpoint.
    """

    _frozen_parameters: frozenset[str] = frozenset()
    _eval_parameters: frozenset[str] = frozenset()

    def freeze(self, patterns: str | Iterable[str], norm: str = "eval") -> list[str]:
        """
        Stop training the parameters whose name, or the name of a module above them, matches a regular expression.

        Args:
            patterns (`str` or iterable of `str`): Searched (`re.search`) in the dotted names of parameters and
                modules, for example `r"^backbone\\."`.
            norm (`str`, *optional*, defaults to `"eval"`): `"eval"` keeps every module all of whose parameters are
                frozen in eval mode from now on, whatever `train()` is told: batch-norm statistics stay, dropout and
                drop path are off. `"train"` leaves their mode alone, so batch-norm statistics move although the
                weights do not (what most released two-stage code does).

        Returns:
            `list[str]`: names of the parameters that match.

        Raises:
            `ValueError`: if a pattern matches nothing, or `norm` is neither `"train"` nor `"eval"`.
        """
        if norm not in ("train", "eval"):
            raise ValueError(f"norm must be 'train' or 'eval', not {norm!r}")
        patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        parameters = dict(self.named_parameters())
        matched: set[str] = set()
        for pattern in patterns:
            found = {name for name in parameters if _matches(pattern, name)}
            if not found:
                raise ValueError(
                    f"freeze: {pattern!r} matches no parameter and no module of {type(self).__name__} that has any. "
                    f"Its parts are {', '.join(name for name, _ in self.named_children())}; names are searched with "
                    "re.search."
                )
            matched |= found
        newly = {name for name in matched if parameters[name].requires_grad}
        for name in matched:
            parameters[name].requires_grad_(False)
        self._frozen_parameters = self._frozen_parameters | newly
        if norm == "eval":
            self._eval_parameters = self._eval_parameters | matched
        else:
            self._eval_parameters = self._eval_parameters - matched
        self.train(self.training)
        return sorted(matched)

    def unfreeze(self) -> None:
        """Train again what `freeze` stopped, and give all modules the mode of the model."""
        parameters = dict(self.named_parameters())
        for name in self._frozen_parameters:
            if name in parameters:
                parameters[name].requires_grad_(True)
        self._frozen_parameters = self._eval_parameters = frozenset()
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as always, except that parts frozen with `norm="eval"` stay in eval mode."""
        super().train(mode)
        if mode and self._eval_parameters:
            for module in _frozen_modules(self, self._eval_parameters):
                module.eval()
        return self


def _matches(pattern: str, name: str) -> bool:
    """Whether the pattern is found in the parameter's name or in the name of one of the modules that hold it."""
    parts = name.split(".")
    return any(re.search(pattern, ".".join(parts[:length])) for length in range(1, len(parts) + 1))


def _frozen_modules(model: nn.Module, frozen: frozenset[str]) -> list[nn.Module]:
    """The largest sub-modules of `model` that have parameters, all of them in `frozen`."""
    found: list[nn.Module] = []

    def visit(module: nn.Module, prefix: str) -> None:
        for child_name, child in module.named_children():
            name = f"{prefix}{child_name}"
            names = [f"{name}.{parameter}" for parameter, _ in child.named_parameters(remove_duplicate=False)]
            if names and all(parameter in frozen for parameter in names):
                found.append(child)
            elif names:
                visit(child, f"{name}.")

    visit(model, "")
    return found

"""The one option system: dataclasses to YAML and command line, stages, and the report at the end."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

_MODULE_OF_NAME = {
    "DataOptions": "data_options",
    "ModelOptions": "model_options",
    "ParsedOptions": "options",
    "TrainOptions": "train_options",
    "convert": "conversion",
    "fail_clearly": "ending",
    "option_fields": "fields",
    "parse_options": "options",
    "run_to_the_end": "ending",
    "train": "training",
}

__all__ = [*_MODULE_OF_NAME]

if TYPE_CHECKING:
    from .conversion import convert
    from .data_options import DataOptions
    from .ending import fail_clearly, run_to_the_end
    from .fields import option_fields
    from .model_options import ModelOptions
    from .options import ParsedOptions, parse_options
    from .train_options import TrainOptions
    from .training import train

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)

"""What makes a run this run: the facts that are compared when a folder is used again, and what is left out of them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ..methods import LongTailMethod
from .arguments import LongTailTrainingArguments
from .checks import _class_names

# Fields of a config that do not make it another model; the classes are compared as part of the data.
_PROVENANCE = frozenset(
    "method transformers_version architectures dtype torch_dtype _name_or_path use_cache id2label label2id "
    "class_counts initial_weights".split()
)

# Arguments that may change when a run is continued: where it writes, what it tells, and on what it runs. Everything
# else is compared, so that a new option is compared unless somebody thought about it.
_FREE_ARGUMENTS = frozenset(
    "accelerator_config auto_find_batch_size batch_eval_metrics channels_last cpu_threads debug deepspeed "
    "disable_tqdm do_eval do_predict do_train enable_jit_checkpoint full_determinism gradient_accumulation_steps "
    "image_loading include_for_metrics include_num_input_tokens_seen local_rank mixed_precision output_dir "
    "parallelism_config past_index per_device_eval_batch_size per_device_train_batch_size place_model_on_device "
    "prediction_loss_only project push_to_hub report_to restore_callback_states_from_checkpoint "
    "resume_from_checkpoint run_name skip_memory_metrics torch_empty_cache_steps use_cpu "
    "use_legacy_prediction_loop".split()
)
_FREE_PREFIXES = (
    "logging_",
    "log_",
    "save_",
    "eval_",
    "dataloader_",
    "hub_",
    "ddp_",
    "fsdp",
    "torch_compile",
    "trackio_",
)
_FREE_PREFIXES += ("activation_checkpointing", "gradient_checkpointing")


def run_facts(config: Any, method: LongTailMethod, args: Any, train_dataset: Any) -> dict[str, Any]:
    """
    What makes a run this run; compared when a folder is used again.

    Args:
        config ([`LongTailConfig`]): Of the model that is trained.
        method ([`LongTailMethod`]).
        args ([`LongTailTrainingArguments`]).
        train_dataset (`datasets.Dataset` or other).
    """
    from ..data import long_tail_info

    info = long_tail_info(train_dataset) if hasattr(train_dataset, "info") else None
    facts = {
        "method": method.describe(),
        "model": {key: value for key, value in config.to_dict().items() if key not in _PROVENANCE},
        "data": {
            "rows": len(train_dataset),
            "row_hash": (info or {}).get("row_hash"),
            "class_names": _class_names(train_dataset),
            "class_counts": list(method.class_counts.counts),
        },
        "arguments": {name: getattr(args, name) for name in compared_arguments()}
        | {"global_batch_size": global_batch_size(args)},
    }
    return json.loads(json.dumps(facts, default=_json_form))


def compared_arguments() -> list[str]:
    """Names of the training arguments that decide the result of a run."""
    names = [field.name for field in dataclasses.fields(LongTailTrainingArguments) if field.init]
    return sorted(n for n in names if n not in _FREE_ARGUMENTS and not n.startswith(_FREE_PREFIXES))


def _json_form(value: Any) -> Any:
    return getattr(value, "value", None) or str(value)


def global_batch_size(args: Any) -> int:
    """Rows of one optimizer step: how it is cut into processes and micro-batches may change, the product may not."""
    return args.per_device_train_batch_size * max(1, args.world_size) * args.gradient_accumulation_steps

"""
Training arguments that may change when a run is continued, each with its reason.

Whatever is not listed is compared, so that an option of a later version is compared (where it is not at its default)
until somebody has thought about it.
"""

from __future__ import annotations

_PLACE = "says where the run writes and what it is called, not what it computes"
_HUB = "is about publishing, after the weights are made"
_LOG = "changes what is told about the run, not the run"
_EVALUATION = "evaluation reads the model and does not change it"
_SAVING = "says when and how checkpoints are written; what they hold is the state of the same run"
_SPEED = "changes how fast rows arrive, not which: augmentation is a function of (seed, epoch, row)"
_ARITHMETIC = "computes the same sums elsewhere or in another order, equal up to rounding"
_PROCESSES = "says how processes exchange the same gradients"
_MEMORY = "computes the same values again in the place of keeping them"
_COMMAND = "is for scripts; training does not read it"
_ASKED = "bf16 and fp16, which are compared, say what it came to on this machine"
_PRODUCT = "may be cut otherwise: the rows of an optimizer step are compared as global_batch_size"

_GROUPS: dict[str, str] = {
    _PLACE: "output_dir run_name project",
    _HUB: (
        "push_to_hub hub_model_id hub_token hub_private_repo hub_strategy hub_always_push hub_revision "
        "trackio_space_id trackio_bucket_id trackio_static_space_id"
    ),
    _LOG: (
        "logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica "
        "log_on_each_node disable_tqdm report_to include_num_input_tokens_seen skip_memory_metrics debug"
    ),
    _EVALUATION: (
        "per_device_eval_batch_size prediction_loss_only eval_on_start eval_do_concat_batches eval_use_gather_object "
        "eval_accumulation_steps include_for_metrics batch_eval_metrics"
    ),
    _SAVING: (
        "save_only_model save_on_each_node save_total_limit enable_jit_checkpoint resume_from_checkpoint "
        "restore_callback_states_from_checkpoint"
    ),
    _SPEED: (
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context image_loading"
    ),
    _ARITHMETIC: (
        "use_cpu cpu_threads channels_last torch_compile torch_compile_backend torch_compile_mode "
        "torch_empty_cache_steps full_determinism fsdp fsdp_config deepspeed parallelism_config"
    ),
    _PROCESSES: (
        "local_rank ddp_backend ddp_timeout ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph "
        "ddp_broadcast_buffers"
    ),
    _MEMORY: (
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs"
    ),
    _COMMAND: "do_train do_eval do_predict",
    _ASKED: "mixed_precision_mode",
    _PRODUCT: "per_device_train_batch_size gradient_accumulation_steps",
    "is read by accelerate's loaders; batches are made by the batch loader": "accelerator_config",
}

EXEMPT: dict[str, str] = {name: reason for reason, names in _GROUPS.items() for name in names.split()}

# Exempt, unless a measurement during training decides which weights are the result, or how the rate goes on.
SELECTING: dict[str, str] = dict.fromkeys(
    ("eval_strategy", "eval_steps", "eval_delay", "save_strategy", "save_steps"),
    "says when the model is measured and kept, which changes nothing while the last weights are the result",
)


def measurements_decide(args: object) -> bool:
    """Whether evaluation during training has a part in the result."""
    schedule = getattr(args, "lr_scheduler_type", "")
    plateau = getattr(schedule, "value", schedule) == "reduce_lr_on_plateau"
    return bool(getattr(args, "load_best_model_at_end", False)) or plateau

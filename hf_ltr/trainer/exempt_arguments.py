"""
Training arguments that may change when a run is continued, each with its reason.

Whatever is not listed is compared, so that an option of a later version is compared (where it is not at its default)
until somebody has thought about it.
"""

from __future__ import annotations

_REASON_OF: dict[str, str] = {
    "output_dir run_name project": "says where the run writes and what it is called, not what it computes",
    (
        "push_to_hub hub_model_id hub_token hub_private_repo hub_strategy hub_always_push hub_revision "
        "trackio_space_id trackio_bucket_id trackio_static_space_id"
    ): "is about publishing, after the weights are made",
    (
        "logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica "
        "log_on_each_node disable_tqdm report_to include_num_input_tokens_seen skip_memory_metrics debug"
    ): "changes what is told about the run, not the run",
    (
        "per_device_eval_batch_size prediction_loss_only eval_on_start eval_do_concat_batches eval_use_gather_object "
        "eval_accumulation_steps include_for_metrics batch_eval_metrics"
    ): "evaluation reads the model and does not change it",
    (
        "save_only_model save_on_each_node save_total_limit enable_jit_checkpoint resume_from_checkpoint "
        "restore_callback_states_from_checkpoint"
    ): "says when and how checkpoints are written; what they hold is the state of the same run",
    (
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor "
        "dataloader_multiprocessing_context image_loading"
    ): "changes how fast rows arrive, not which: augmentation is a function of (seed, epoch, row)",
    (
        "use_cpu cpu_threads channels_last torch_compile torch_compile_backend torch_compile_mode "
        "torch_empty_cache_steps full_determinism fsdp fsdp_config deepspeed parallelism_config"
    ): "computes the same sums elsewhere or in another order, equal up to rounding",
    (
        "local_rank ddp_backend ddp_timeout ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph "
        "ddp_broadcast_buffers"
    ): "says how processes exchange the same gradients",
    (
        "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs"
    ): "computes the same values again in the place of keeping them",
    "do_train do_eval do_predict": "is for scripts; training does not read it",
    "mixed_precision_mode": "bf16 and fp16, which are compared, say what it came to on this machine",
    (
        "per_device_train_batch_size gradient_accumulation_steps"
    ): "may be cut otherwise: the rows of an optimizer step are compared as global_batch_size",
    "accelerator_config": "is read by accelerate's loaders; batches are made by the batch loader",
}

EXEMPT: dict[str, str] = {name: reason for names, reason in _REASON_OF.items() for name in names.split()}

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

"""Defaults that change results, automatic precision, fields given as JSON, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import HfArgumentParser, TrainingArguments

from hf_ltr import LongTailTrainingArguments
from hf_ltr.trainer import arguments as arguments_module
from hf_ltr.trainer import precision
from hf_ltr.trainer.arguments import merge_arguments


def test_defaults_of_long_tailed_training(tmp_path):
    args = LongTailTrainingArguments(output_dir=str(tmp_path))
    expected = {
        "optim": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 2e-4,
        "num_train_epochs": 200,
        "per_device_train_batch_size": 128,
        "lr_scheduler_type": "cosine",
        # The stock trainer clips at 1, which changes results.
        "max_grad_norm": 0.0,
        # It prints a running mean in the place of a NaN, and reads the loss back twice a step.
        "logging_nan_inf_filter": False,
        # Rows carry their index.
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
        "sampler": "instance",
        "label_smoothing": 0.0,
        "mixup_alpha": 0.0,
        "layer_decay": None,
        "warmup_epochs": None,
        "save_total_limit": 1,
        "report_to": [],
    }
    found = {name: getattr(args, name) for name in expected}
    assert found == expected
    assert args.augmentation == ["auto"]
    stock = TrainingArguments(output_dir=str(tmp_path))
    assert stock.max_grad_norm == 1.0
    assert stock.logging_nan_inf_filter is True


def test_cpu_is_used_knowingly_where_there_is_nothing_else(tmp_path, monkeypatch):
    """Otherwise two launched processes would each believe that they are alone."""
    monkeypatch.setattr(arguments_module, "accelerator_available", lambda: False)
    assert LongTailTrainingArguments(output_dir=str(tmp_path)).use_cpu


@pytest.mark.parametrize("native", [True, False])
def test_auto_takes_bfloat16_where_it_is_native(tmp_path, monkeypatch, native):
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: native)
    args = LongTailTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert (args.bf16, args.fp16) == (native, False)


@pytest.mark.parametrize(
    "mode, options, bf16",
    [("no", {}, False), ("bf16", {}, True), ("no", {"bf16": True}, True), ("auto", {"bf16": True}, True)],
)
def test_a_mode_is_forced(tmp_path, monkeypatch, mode, options, bf16):
    """Whatever the processor can do."""
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: not bf16)
    args = LongTailTrainingArguments(output_dir=str(tmp_path), use_cpu=True, mixed_precision_mode=mode, **options)
    assert (args.bf16, args.fp16) == (bf16, False)


@pytest.mark.parametrize(
    "mode, launcher, options, expected",
    [
        ("auto", "bf16", {}, "bf16"),
        ("auto", "fp16", {}, "fp16"),
        ("no", "bf16", {}, "no"),
        ("fp16", "bf16", {}, "fp16"),
        ("auto", "bf16", {"fp16": True}, "fp16"),
    ],
)
def test_a_launcher_decides_only_where_the_arguments_leave_it_open(
    tmp_path, monkeypatch, mode, launcher, options, expected
):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: False)
    args = LongTailTrainingArguments(output_dir=str(tmp_path), use_cpu=True, mixed_precision_mode=mode, **options)
    assert args.mixed_precision == expected
    assert (args.bf16, args.fp16) == (expected == "bf16", expected == "fp16")


def test_a_precision_of_the_launcher_that_is_not_known_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(ValueError, match="mixed precision 'fp8'.*no, bf16, fp16"):
        LongTailTrainingArguments(output_dir=str(tmp_path), use_cpu=True)


LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@pytest.mark.parametrize(
    "variable, value, native",
    [
        (None, None, True),
        ("ATEN_CPU_CAPABILITY", "avx512", True),
        ("ATEN_CPU_CAPABILITY", "avx2", False),
        ("ATEN_CPU_CAPABILITY", "default", False),
        ("ONEDNN_MAX_CPU_ISA", "avx2", False),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", False),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", True),
        ("DNNL_MAX_CPU_ISA", "AVX2", False),
    ],
)
def test_native_bf16(monkeypatch, variable, value, native):
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert precision.native_bf16(use_cpu=True) is False
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, value)
    assert precision.native_bf16(use_cpu=True) is native


def _emulated(monkeypatch, factor: float) -> list:
    measured = []
    monkeypatch.setattr(precision, "_warned", set())
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: False)
    monkeypatch.setattr(precision, "slowdown", lambda name, *_: measured.append(name) or factor)
    return measured


@pytest.mark.parametrize(
    "options, asked",
    [
        ({"mixed_precision_mode": "bf16"}, ["bf16"]),
        ({"mixed_precision_mode": "fp16"}, ["fp16"]),
        ({"mixed_precision_mode": "no", "bf16_full_eval": True}, ["bf16"]),
        ({"mixed_precision_mode": "no"}, []),
        ({}, []),
    ],
)
def test_an_emulated_precision_is_measured_where_it_is_asked_for(tmp_path, monkeypatch, recwarn, options, asked):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: False)
    measured = _emulated(monkeypatch, 9.04)
    args = LongTailTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)
    for _ in range(2):
        precision.warn_of_emulation(args)
    said = [str(warning.message) for warning in recwarn if "emulated" in str(warning.message)]
    assert sorted(set(measured)) == asked
    assert len(said) == len(asked)
    assert all(f"{asked[0]} is emulated" in text and "9.0 times as long" in text for text in said)


def test_a_native_or_quick_precision_is_not_warned_about(tmp_path, monkeypatch, recwarn):
    args = LongTailTrainingArguments(output_dir=str(tmp_path), use_cpu=True, mixed_precision_mode="bf16")
    assert _emulated(monkeypatch, 0.7) == []
    precision.warn_of_emulation(args)
    measured = _emulated(monkeypatch, 9.0)
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: True)
    precision.warn_of_emulation(args)
    assert measured == [] and not [w for w in recwarn if "emulated" in str(w.message)]


def test_the_probe_measures_and_leaves_random_numbers_alone():
    before = torch.get_rng_state()
    with torch.no_grad():
        assert 0 < precision.slowdown("bf16", torch.device("cpu"), -1) < 1000
    assert torch.equal(before, torch.get_rng_state())


def test_dictionaries_may_be_json(tmp_path):
    parser = HfArgumentParser(LongTailTrainingArguments)
    (args,) = parser.parse_args_into_dataclasses(
        [
            "--output_dir",
            str(tmp_path),
            "--parameter_options",
            '{"^classifier": {"lr_scale": 10}}',
            "--augmentation_options",
            '{"random_crop": {"padding": 2}}',
            "--augmentation",
            "random_crop",
            "cutout",
            "--lr_milestones",
            "160",
            "180",
            "--bf16",
            "False",
        ]
    )
    assert args.parameter_options == {"^classifier": {"lr_scale": 10}}
    assert args.augmentation_options == {"random_crop": {"padding": 2}}
    assert args.augmentation == ["random_crop", "cutout"]
    assert args.lr_milestones == [160.0, 180.0]


def test_the_help_of_every_own_field_can_be_printed(tmp_path):
    """argparse formats help texts: a lone per cent sign would break `--help`."""
    text = HfArgumentParser(LongTailTrainingArguments).format_help()
    own = set(LongTailTrainingArguments.__dataclass_fields__) - set(TrainingArguments.__dataclass_fields__)
    assert {"sampler", "layer_decay", "mixup_alpha"} <= own
    assert [name for name in own if f"--{name}" not in text] == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mixed_precision_mode": "bfloat16"}, "mixed_precision_mode.*bf16"),
        ({"sampler": "class_balance"}, "class_balanced"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing"),
        ({"mixup_alpha": -0.1}, "mixup_alpha must not be negative"),
        ({"cutmix_alpha": -1.0}, "cutmix_alpha must not be negative"),
        ({"layer_decay": 0.0}, r"layer_decay must lie in \(0, 1\]"),
        ({"layer_decay": 1.5}, r"layer_decay must lie in \(0, 1\]"),
        ({"lr_milestones": [180.0, 160.0]}, "lr_milestones must ascend"),
    ],
)
def test_bad_values_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        LongTailTrainingArguments(output_dir=str(tmp_path), **options)


def test_the_base_learning_rate_counts_the_rows_of_a_step(tmp_path, monkeypatch):
    # MAE's pretraining: 1.5e-4 per 256 rows, 4,096 rows
    options = {"output_dir": str(tmp_path), "per_device_train_batch_size": 64, "gradient_accumulation_steps": 8}
    args = LongTailTrainingArguments(**options, base_learning_rate=1.5e-4, learning_rate=7.0)
    assert args.learning_rate == pytest.approx(1.5e-4 * 512 / 256)
    monkeypatch.setattr(LongTailTrainingArguments, "world_size", property(lambda self: 8))
    args = LongTailTrainingArguments(**options, base_learning_rate=1.5e-4)
    assert args.learning_rate == pytest.approx(2.4e-3)
    assert dataclasses.replace(args).learning_rate == args.learning_rate
    with pytest.raises(ValueError, match="base_learning_rate must be positive"):
        LongTailTrainingArguments(**options, base_learning_rate=0.0)


def test_a_later_learning_rate_replaces_an_earlier_one_of_the_other_form():
    common = {"base_learning_rate": 1e-3, "weight_decay": 0.05}
    assert merge_arguments(common, {"learning_rate": 0.1}) == {"learning_rate": 0.1, "weight_decay": 0.05}
    assert merge_arguments(common, {"weight_decay": 0.1}) == {"base_learning_rate": 1e-3, "weight_decay": 0.1}
    assert merge_arguments({"learning_rate": 0.1}, common)["base_learning_rate"] == 1e-3

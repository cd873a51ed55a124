"""
What every reader of this package promises about input that no one would write: it is read, or one sentence of ours
says why not. Each property takes one example; how many there are is the tests' choice.
"""

from __future__ import annotations

import inspect
import json
import traceback
import warnings
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import hf_ltr
from hf_ltr.data import ClassCounts
from hf_ltr.data.sources.lists.coco_lists import read_annotations, read_categories
from hf_ltr.data.sources.lists.split_lists import parse_list, read_text
from hf_ltr.methods import METHODS, get_method
from hf_ltr.models import LongTailConfig
from hf_ltr.models.modules import MODULES
from hf_ltr.recipe import DataOptions, ModelOptions, parse_options
from hf_ltr.table import published_results
from hf_ltr.table.protocol import load_protocol
from hf_ltr.trainer import LongTailTrainingArguments

PACKAGE = str(Path(hf_ltr.__file__).parent)


def reads_or_says(call: Any, *arguments: Any, **keywords: Any) -> Any:
    """
    Call a reader; a `ValueError`, `TypeError` or `FileNotFoundError` that this package raises itself, with words in
    it, is an answer too. Of other kinds, and from other people's code, it is a stray error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*arguments, **keywords)
    except (ValueError, TypeError, FileNotFoundError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        plain = type(error) in (ValueError, TypeError, FileNotFoundError) or type(error).__module__.startswith(
            "hf_ltr"
        )
        assert plain and len(str(error)) > 10, f"no sentence: {error!r}"
        assert len(str(error)) < 5_000, f"a message of {len(str(error)):,} characters"
        assert raised_in.startswith(PACKAGE), f"raised in {raised_in}: {error!r}"
        return None


# ---------------------------------------------------------------------------------------------------------- examples
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from([0.5, 1e-4, 10**400, -(10**400), 2**63, 2**31 - 1, 1e308, 5e-324]),
)
SCALARS = st.one_of(
    NUMBERS,
    st.booleans(),
    st.none(),
    st.text(max_size=6),
    st.binary(max_size=4),
    st.sampled_from(["auto", "none", "null", "true", "nan", "inf", "1e999", "../x", "\x00", "\ud800", "resnet18"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=4), st.integers(0, 3)), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw: Any, valid: bytes) -> bytes:
    """Bytes with some parts removed, doubled, or replaced by what breaks readers."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    b"\xff\xfe|\x00|: |: [|: {|- |&a |*a|!!set |<<: *a|\n|\r\n|nan|.inf|-1|1e999|9"
                    b'9999999999999999999|../|C:\\|/etc/|"|null|true|[[[[[[[[|{"a":|\t|\xe2\x80\xa8|'.split(b"|")
                ),
                st.just(bytes(content[start:end]) * 2),
            )
        )
        content[start:end] = piece
    return bytes(content)


def some_of(fields: list[str], values: st.SearchStrategy = ANYTHING) -> st.SearchStrategy:
    """A dict with values for one to three of the fields."""
    return st.dictionaries(st.sampled_from(fields), values, min_size=1, max_size=3)


# -------------------------------------------------------------------------------------------------------- properties
OPTIONS = b"""# A recipe.
dataset: digits
imbalance_factor: 50
backbone_kwargs: {depth: 2, embed_dim: 32}
learning_rate: 1e-4
augmentation: [crop, flip]
finetuning:
  max_steps: 600
  save_strategy: no
"""
PROTOCOL = b"""name: digits_short
title: Short
source: nobody
data: {dataset: digits, imbalance_factor: 50}
model: {backbone: resnet20_cifar}
arguments: {num_train_epochs: 2, learning_rate: 0.1, lr_milestones: [1]}
pretraining: {mask_ratio: 0.5}
stages:
  classifier: {num_train_epochs: 1}
methods:
  ldam_drw: {options: {scale: 20}, arguments: {weight_decay: 1e-4}}
post_hoc:
  logit_adjustment: {tau: 1.0}
published: {augmentation: basic, source: [seed]}
rows:
  all: ["mem:width={32,64}", "crt:representation=(focal:gamma=1)"]
"""
LIST = b"train/ant/1.jpg 0\ntrain/bee/one two.jpg 1\ntrain/crab/3.jpg 2\n"
ANNOTATIONS = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "b/2.jpg", "width": 3}],
        "annotations": [{"image_id": 1, "category_id": 0}, {"image_id": 2, "category_id": 1}],
        "categories": [{"id": 0, "name": "ant"}, {"id": 1, "name": "bee"}],
    }
).encode()
CATEGORIES = b'[{"id": 0, "name": "ant"}, {"id": 1, "name": "bee"}]'


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def check_options_file(folder: Path, content: bytes) -> None:
    path = _file(folder, "options.yaml", content)
    kinds = [DataOptions, ModelOptions, LongTailTrainingArguments]
    sections = {"finetuning": LongTailTrainingArguments}
    parsed = reads_or_says(parse_options, ["--config", str(path)], kinds, sections=sections)
    if parsed is not None:
        assert all(isinstance(name, str) for name in parsed.values)


def check_command_line(arguments: list[str]) -> None:
    arguments = [argument for argument in arguments if argument not in ("-h", "--help") and "config" not in argument]
    reads_or_says(parse_options, arguments, [DataOptions, ModelOptions, LongTailTrainingArguments])


def check_protocol(folder: Path, content: bytes) -> None:
    reads_or_says(load_protocol, _file(folder, "protocol.yaml", content))


def check_list(folder: Path, content: bytes) -> None:
    path = _file(folder, "list.txt", content)

    def read() -> None:
        rows = parse_list(read_text(path), path)
        rows.require_inside()
        assert len(rows.paths()) == len(rows.labels) == len(rows)
        assert not any(part == ".." for path in rows.paths().to_pylist() for part in path.split("/"))

    reads_or_says(read)


def check_annotations(folder: Path, content: bytes) -> None:
    def read() -> None:
        rows, names = read_annotations(_file(folder, "annotations.json", content))
        rows.require_inside()
        assert len(rows) == len(rows.paths()) and all(isinstance(name, str) for name in names.values())

    reads_or_says(read)


def check_categories(folder: Path, content: bytes) -> None:
    reads_or_says(read_categories, _file(folder, "categories.json", content))


def check_class_counts(counts: Any, names: Any, thresholds: Any, grouping: Any) -> None:
    made = reads_or_says(ClassCounts.of, counts)
    if made is not None:
        assert all(type(count) is int and count >= 0 for count in made) and repr(made)
    keywords = {"names": names, "thresholds": thresholds, "grouping": grouping}
    made = reads_or_says(lambda: ClassCounts([5, 3, 2], **{k: v for k, v in keywords.items() if v is not ...}))
    if made is not None:
        assert ClassCounts.from_dict(json.loads(json.dumps(made.to_dict()))) == made
        assert made.names is None or len(set(made.names)) == 3
    reads_or_says(ClassCounts.from_dict, names)
    reads_or_says(ClassCounts.from_dict, {"counts": counts, "thresholds": thresholds, "grouping": grouping})


CONFIG_FIELDS = [
    *(set(inspect.signature(LongTailConfig.__init__).parameters) - {"self", "kwargs"}),
    *("id2label", "label2id", "dtype", "problem_type", "attn_implementation", "quantization_config", *MODULES),
]
CONFIG_FIELDS.sort()
NESTED = {
    "backbone_kwargs": [
        "depth",
        "embed_dim",
        "num_heads",
        "patch_size",
        "img_size",
        "mlp_ratio",
        "class_token",
        "layers",
    ],
    "modules": ["modulator", "modulators"],
    "modulator": [
        "width",
        "depth",
        "heads",
        "top_k",
        "groups",
        "group_of_class",
        "activation",
        "mlp_ratio",
        "pooling",
    ],
    "masked_autoencoder": ["mask_ratio", "norm_pix_loss", "decoder_dim", "decoder_depth", "decoder_heads"],
    "head_options": ["bias", "tau", "transform", "metric"],
    "logit_adjustment": ["tau", "remove", "add"],
    "initial_weights": ["name", "license"],
}
CONFIGS = st.one_of(
    some_of(CONFIG_FIELDS),
    *(st.fixed_dictionaries({name: some_of(inner)}) for name, inner in NESTED.items()),
)


def check_config(fields: dict[str, Any]) -> None:
    valid = {"backbone": "vit_pico_patch4_16", "class_counts": [500, 50, 5]}
    config = reads_or_says(LongTailConfig, **{**valid, **fields})
    if config is not None:
        assert 1 <= config.num_labels <= 1_000_000
        json.dumps(config.to_dict(), default=str)
    reads_or_says(LongTailConfig.from_dict, {"model_type": "long_tail", **valid, **fields})


def check_method(name: str, options: dict[str, Any]) -> None:
    method = reads_or_says(get_method, name, class_counts=[500, 50, 5], **options)
    if method is not None:
        # What was accepted is plain: it goes through JSON, which has no NaN, and builds the same again.
        description = json.loads(json.dumps(method.describe(), allow_nan=False))
        assert get_method(description, class_counts=[500, 50, 5]).describe() == method.describe()


def method_options(name: str) -> st.SearchStrategy:
    names = METHODS[name].option_names() or ["tau"]
    return some_of(names, st.one_of(NUMBERS, SCALARS, ANYTHING))


def check_description(description: Any) -> None:
    reads_or_says(get_method, description, class_counts=[500, 50, 5])


def check_published(keywords: dict[str, Any]) -> None:
    reads_or_says(published_results, **keywords)


ARGUMENTS = (
    "learning_rate base_learning_rate weight_decay momentum nesterov adam_beta1 adam_beta2 adam_epsilon max_grad_norm "
    "num_train_epochs max_steps warmup_steps warmup_epochs lr_milestones lr_milestone_factor min_learning_rate "
    "sampler per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps augmentation "
    "mixup_alpha cutmix_alpha mix_probability mix_switch_probability label_smoothing image_loading cpu_threads "
    "layer_decay mixed_precision_mode channels_last decay_all_parameters seed parameter_options augmentation_options"
).split()


def check_arguments(folder: Path, fields: dict[str, Any]) -> None:
    made = reads_or_says(LongTailTrainingArguments, output_dir=str(folder / "run"), **fields)
    if made is not None:
        assert made.learning_rate >= 0 and made.per_device_train_batch_size >= 1

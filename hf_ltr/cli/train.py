"""`hf-ltr train`: a method on a dataset, from the command line to the last file."""

from __future__ import annotations

from ..recipe.commands import sub_command
from ..recipe.training import train

HELP = "train a method, all of its stages, and report on it per group"
CONTINUES = True

_ABOUT = """
Train a method (`hf-ltr list`) on a dataset, all of its stages, and report on it per group of classes.

    hf-ltr train balanced_softmax --dataset path/to/images --backbone resnet50
    hf-ltr train crt --representation_method balanced_softmax --classifier.num_train_epochs 10
    hf-ltr train mem --config recipes/configs/mem_vit/digits_lt.yaml --compare crt logit_adjustment

Several --config files are merged from left to right and the command line wins. What was used is kept in config.yaml
of the output folder: `hf-ltr train --config <output_dir>/config.yaml` repeats the run, and an interrupted one
continues. Several processes: `accelerate launch --num_processes 2 -m hf_ltr train ...`.
"""


def run(argv: list[str]) -> None:
    """Train what is not finished, and report."""
    train(argv, description=_ABOUT, program=sub_command("train"))

"""
Representation first, classifier second: the methods of two stages.

    accelerate launch recipes/decoupled.py --config recipes/configs/decoupled/digits_lt.yaml
    accelerate launch recipes/decoupled.py --config recipes/configs/decoupled/cifar100_lt_crt.yaml

A local copy of CIFAR-100 is given with --data_dir. Training arguments of one stage are set with
--representation.<option> and --classifier.<option>; they win over those the method brings along.
"""

from __future__ import annotations

from hf_ltr.recipe import fail_clearly, train

DEFAULTS = {"method": "crt", "representation_method": "cross_entropy"}


def main(argv: list[str]) -> None:
    train(
        argv,
        description=__doc__ or "",
        defaults=DEFAULTS,
        stages=("representation", "classifier"),
        otherwise="{method} is no method of two stages; use recipes/classifier.py (or recipes/mem_vit.py for mem)",
        output_dir="outputs/decoupled/{method}",
    )


if __name__ == "__main__":
    fail_clearly(main)

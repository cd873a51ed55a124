"""
One network, one loss: any single-stage method.

    accelerate launch recipes/classifier.py --config recipes/configs/classifier/digits_lt.yaml --method focal
    accelerate launch recipes/classifier.py --dataset path/to/images --backbone resnet50 --method ldam_drw

With --masked_autoencoding '{}' a vision transformer is pretrained on the training images first.
Settings of papers, with their sources, are in recipes/configs/classifier/; a local copy is given with --data_dir.
"""

from __future__ import annotations

from hf_ltr.recipe import fail_clearly, train

DEFAULTS = {"method": "cross_entropy"}


def main(argv: list[str]) -> None:
    train(
        argv,
        description=__doc__ or "",
        defaults=DEFAULTS,
        stages=("train",),
        otherwise="{method} has several stages; use recipes/decoupled.py (or recipes/mem_vit.py for mem)",
        output_dir="outputs/classifier/{method}",
    )


if __name__ == "__main__":
    fail_clearly(main)

"""
What the protocol cifar100_lt_40ep chose on held-out images: the weight decay, and tau of tau-normalisation.

    python benchmarks/validation_choice.py --data_dir path/to/cifar100

Cross-entropy under the protocol, but 50 images per class are held out before the tail is cut (450 ... 4 training
images stay), once per candidate of the weight decay; the balanced accuracy after the last epoch is measured on the
held-out images. tau is swept on the same images, on every trained network. The test set is not used. Interrupted,
the same command continues. Candidates can also be run in processes of their own (--weight_decays 5e-4), each with
its own --output, and their files be put into one with --merge.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from hf_ltr.files import write_json
from hf_ltr.reading import read_json

CANDIDATES = (2e-4, 5e-4)
PER_CLASS = 50


def measure(
    weight_decay: float, data: Any, folder: Path, cpu_threads: int | None, epochs: float | None
) -> dict[str, Any]:
    """Train one candidate and measure it on the held-out images."""
    import torch
    from transformers import set_seed

    from hf_ltr import (
        LongTailForImageClassification,
        LongTailTrainer,
        LongTailTrainingArguments,
        class_counts,
        get_method,
    )
    from hf_ltr.environment import git_commit, hardware, package_versions
    from hf_ltr.methods.tau_norm import best_tau, sweep_tau
    from hf_ltr.recipe import ModelOptions
    from hf_ltr.table.protocol import load_protocol

    protocol = load_protocol("cifar100_lt_40ep")
    counts = class_counts(data["train"])
    settings = {**protocol.arguments, "weight_decay": weight_decay, "seed": 0, "cpu_threads": cpu_threads}
    if epochs is not None:
        settings |= {"num_train_epochs": epochs, "warmup_epochs": None}
    arguments = LongTailTrainingArguments(output_dir=str(folder), **settings)
    method = get_method("cross_entropy", class_counts=counts)
    config = ModelOptions(**protocol.model).config(counts)
    method.configure(config)
    set_seed(arguments.seed)
    trainer = LongTailTrainer(
        LongTailForImageClassification(config), arguments, method=method, train_dataset=data["train"]
    )
    trainer.train(resume_from_checkpoint=True)
    seconds = trainer.training_seconds
    metrics = trainer.evaluate_once(data["validation"])
    taus = sweep_tau(trainer, data["validation"])
    return {
        "weight_decay": weight_decay,
        "balanced_accuracy": metrics["balanced_accuracy"],
        "tau": {str(tau): accuracy for tau, accuracy in taus.items()},
        "best_tau": best_tau(taus),
        "training_images": counts.total,
        "validation_images": len(data["validation"]),
        "epochs": arguments.num_train_epochs,
        "seed": arguments.seed,
        "precision": "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "float32",
        "commit": git_commit(),
        "hardware": hardware(),
        "versions": package_versions(),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "finished": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="a local copy of CIFAR-100")
    parser.add_argument("--weight_decays", type=float, nargs="+", default=list(CANDIDATES))
    parser.add_argument("--work_dir", type=Path, default=Path("outputs/validation_choice"), help="checkpoints")
    parser.add_argument("--cpu_threads", type=int)
    parser.add_argument("--epochs", type=float, help="fewer than the protocol's, to try the command")
    parser.add_argument(
        "--merge", type=Path, nargs="+", default=[], help="finished files to put into one, run nothing"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/validation_choice.json"))
    options = parser.parse_args()

    if options.merge:
        runs = [run for path in options.merge for run in read_json(path)["runs"]]
    else:
        from hf_ltr import load_long_tailed

        data = load_long_tailed(
            "cifar100",
            data_dir=options.data_dir,
            imbalance_factor=100,
            order_column="rank",
            validation_per_class=PER_CLASS,
        )
        runs = [
            measure(value, data, options.work_dir / f"weight_decay_{value:g}", options.cpu_threads, options.epochs)
            for value in options.weight_decays
        ]
    runs.sort(key=lambda run: run["weight_decay"])
    best = max(runs, key=lambda run: run["balanced_accuracy"])
    record = {
        "what": "cross-entropy under cifar100_lt_40ep, trained on the images that are left, measured on those held "
        "out; balanced accuracy in [0, 1] after the last epoch",
        "validation_per_class": PER_CLASS,
        "runs": runs,
        "chosen": {"weight_decay": best["weight_decay"], "tau": best["best_tau"]},
    }
    write_json(options.output, record)
    for run in runs:
        print(
            f"weight decay {run['weight_decay']:g}: {100 * run['balanced_accuracy']:.1f}, best tau {run['best_tau']}"
        )
    print(f"{options.output}: {record['chosen']}")


if __name__ == "__main__":
    main()

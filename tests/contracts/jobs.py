"""What the two worker processes can be asked to do; each job returns plain values of rank 0."""

from __future__ import annotations

import torch
import torch.distributed as dist


def world() -> tuple[int, int]:
    """World size, and the sum of ranks plus one over all processes: 3 only if two processes really talk."""
    total = torch.tensor([dist.get_rank() + 1])
    dist.all_reduce(total)
    return dist.get_world_size(), int(total)


def register(folder: str) -> None:
    """The method of a temporary package, in this process too."""
    from .test_a_method_is_one_file import register as register_here

    register_here(folder)


def train(name: str, folder: str, stop_after: int | None = None, **changes) -> dict:
    from .builders import StopAfter, losses, make_trainer, weights

    trainer = make_trainer(name, folder, **changes)
    if stop_after is not None:
        trainer.add_callback(StopAfter(stop_after))
    trainer.train(resume_from_checkpoint=changes.get("save_strategy", "no") != "no")
    return {
        "world_size": trainer.args.world_size,
        "weights": weights(trainer),
        "losses": losses(trainer),
        "metrics": trainer.evaluate() if trainer.eval_dataset is not None else {},
    }


def train_with_batch_norm(folder: str) -> dict:
    from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts

    from .builders import make_arguments, make_dataset

    dataset = make_dataset()
    torch.manual_seed(0)
    config = LongTailConfig(
        backbone="resnet20_cifar", image_size=8, num_channels=1, class_counts=class_counts(dataset)
    )
    trainer = LongTailTrainer(
        LongTailForImageClassification(config),
        make_arguments(folder, per_device_train_batch_size=4),
        train_dataset=dataset,
        eval_dataset=make_dataset(seed=1),
    )
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model(f"{folder}/saved")
    return {"metrics": {key: metrics[key] for key in ("eval_accuracy", "eval_loss", "eval_balanced_accuracy")}}


def gathered_rows(rows_per_rank: list[int]) -> dict:
    """Value and gradient of a loss that mixes rows of all processes."""
    from hf_ltr.distributed import gather_rows

    rank = dist.get_rank()
    start = sum(rows_per_rank[:rank])
    local = torch.arange(start, start + rows_per_rank[rank], dtype=torch.float64).reshape(-1, 1).requires_grad_()
    everything = gather_rows(local)
    loss = (everything.T @ everything).sum() + everything[0, 0] * everything[-1, 0]
    loss.backward()
    return {"value": everything.detach().numpy(), "loss": loss.item(), "gradient": local.grad.numpy()}


def eval_pass_rows() -> dict:
    """Rows each process reads in one pass over the training set, and their sum over processes."""
    import tempfile

    from hf_ltr.distributed import all_reduce_sum

    from .builders import make_trainer

    trainer = make_trainer("cross_entropy", tempfile.mkdtemp(), max_steps=1)
    index = torch.cat(trainer.eval_pass(trainer.train_dataset, lambda outputs, batch: batch["index"]))
    return {"index": index.tolist(), "total": all_reduce_sum(index.sum()).item()}

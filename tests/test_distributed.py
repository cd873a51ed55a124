"""Two real processes: rows gathered with gradient equal one process with all rows."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from hf_ltr.losses import gather_rows

# Rows of the two processes: as many, uneven, and none on the second.
ROWS = 8
SIZES = ((4, 4), (2, 6), (8, 0))


def coupled_loss(rows, weight):
    """A loss that mixes rows: no sum of per-rank losses equals it."""
    return torch.logsumexp((rows @ weight) @ (rows @ weight).T, dim=1).sum()


def inputs():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(ROWS, 4, dtype=torch.float64, generator=generator)
    return rows, torch.randn(4, 3, dtype=torch.float64, generator=generator)


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        assert dist.get_world_size() == 2
        results = []
        for sizes in SIZES:
            rows, weight = inputs()
            start = sum(sizes[:rank])
            own = rows[start : start + sizes[rank]].clone().requires_grad_()
            loss = coupled_loss(gather_rows(own), weight)
            loss.backward()
            labels = gather_rows(torch.arange(start, start + sizes[rank]))
            results.append({"loss": loss.detach(), "grad": own.grad, "labels": labels})
        torch.save(results, f"{folder}/{rank}.bin")
    finally:
        dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    multiprocessing.spawn(worker, args=(str(tmp_path),), nprocs=2)
    of_rank = [torch.load(tmp_path / f"{rank}.bin") for rank in range(2)]
    rows, weight = inputs()
    rows.requires_grad_()
    expected = coupled_loss(rows, weight)
    expected.backward()
    for results in zip(*of_rank, strict=True):
        for result in results:
            torch.testing.assert_close(result["loss"], expected.detach(), rtol=1e-12, atol=0)
            assert result["labels"].tolist() == list(range(ROWS))
        # The derivative of the sum of both processes' (equal) losses: twice that of one; DDP's mean halves it again.
        gathered = torch.cat([result["grad"] for result in results])
        torch.testing.assert_close(gathered, 2 * rows.grad, rtol=1e-12, atol=1e-14)


def test_one_process_changes_nothing():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_rows(rows) is rows
    with pytest.raises(ValueError, match="first dimension"):
        gather_rows(torch.tensor(1.0))

"""
A pair of gloo processes that lives as long as the test session: starting two interpreters with torch costs more than
most of the tests that need them.
"""

from __future__ import annotations

import os
import socket
import traceback
from multiprocessing import get_context
from typing import Any


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _serve(rank: int, world_size: int, port: int, jobs: Any, results: Any) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1",
        ACCELERATE_USE_CPU="true",
    )
    import torch

    torch.set_num_threads(1)
    import torch.distributed as dist

    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    from . import jobs as known

    while True:
        job = jobs.get()
        if job is None:
            dist.destroy_process_group()
            return
        name, arguments = job
        try:
            results.put((rank, "result", getattr(known, name)(**arguments)))
        except BaseException:
            results.put((rank, "error", traceback.format_exc()))


class Pair:
    """Two processes of one gloo group."""

    size = 2

    def __init__(self) -> None:
        context = get_context("spawn")
        port = _free_port()
        self._jobs = [context.Queue() for _ in range(self.size)]
        self._results = context.Queue()
        self._processes = [
            context.Process(target=_serve, args=(rank, self.size, port, self._jobs[rank], self._results), daemon=True)
            for rank in range(self.size)
        ]
        for process in self._processes:
            process.start()

    def run(self, job: str, /, timeout: float = 240.0, **arguments: Any) -> list[Any]:
        """Run a job of `jobs.py` on both; the results by rank."""
        for queue in self._jobs:
            queue.put((job, arguments))
        answers: dict[int, Any] = {}
        while len(answers) < self.size:
            rank, kind, value = self._results.get(timeout=timeout)
            if kind == "error":
                # The other process may wait for this one for ever; a fresh pair is cheaper than guessing.
                self.close(kill=True)
                raise RuntimeError(f"rank {rank} failed:\n{value}")
            answers[rank] = value
        return [answers[rank] for rank in range(self.size)]

    @property
    def alive(self) -> bool:
        return all(process.is_alive() for process in self._processes)

    def close(self, kill: bool = False) -> None:
        for queue, process in zip(self._jobs, self._processes, strict=True):
            if kill:
                process.kill()
            elif process.is_alive():
                queue.put(None)
        for process in self._processes:
            process.join(timeout=20)

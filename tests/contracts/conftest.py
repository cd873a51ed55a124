"""One pair of processes for the session, restarted if a job broke it."""

from __future__ import annotations

import pytest

from .workers import Pair


class _Pairs:
    def __init__(self) -> None:
        self.pair: Pair | None = None

    def run(self, job: str, /, **arguments):
        if self.pair is None or not self.pair.alive:
            self.pair = Pair()
        return self.pair.run(job, **arguments)

    def close(self) -> None:
        if self.pair is not None and self.pair.alive:
            self.pair.close()


@pytest.fixture(scope="session")
def two_processes():
    pairs = _Pairs()
    yield pairs
    pairs.close()

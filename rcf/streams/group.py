"""Group: the workers of one process, one per partition."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

from .worker import POLL, Worker


class Group:
    """Runs several workers in one thread. The workers take turns and process one batch each.

    Parameters
    ----------
    workers : sequence of Worker
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = list(workers)
        self._stop = Event()

    def stop(self) -> None:
        """Ask `run` to end after the current batch."""
        self._stop.set()

    def run(self) -> None:
        """Run until all sources have ended or `stop` is called, then save checkpoints and close."""
        running: list[Worker] = []
        try:
            for worker in self.workers:
                running.append(worker)
                worker.resume()
            while running and not self._stop.is_set():
                for worker in list(running):
                    if not worker.step(POLL / len(running)):
                        running.remove(worker)
                        worker.finish()
            while running:
                running.pop().finish()
        except BaseException:
            for worker in running:
                worker.abandon()
            raise

    def plan(self) -> list[dict[str, Any]]:
        """The partitions that `run` would read, and the position after which each would begin. Nothing is changed."""
        plans = []
        for worker in self.workers:
            found = None if worker.store is None else worker.store.peek(worker.source.partition)
            plan = {"partition": worker.source.partition, "after": None if found is None else found.position}
            plans.append(plan | {"records": 0 if found is None else found.records})
            worker.close()
        return plans

"""Group: the workers of one process, one for each partition, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

from .worker import POLL, Worker


class Group:
    """Runs workers side by side in one thread: each reads a batch in its turn.

    Parameters
    ----------
    workers : sequence of Worker
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = list(workers)
        self._stop = Event()

    def stop(self) -> None:
        """Ask `run` to end after the batch at hand."""
        self._stop.set()

    def run(self) -> None:
        """Until all sources have ended, or `stop`; then checkpoint and close."""
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
        """What `run` would read: each partition, and the position after which it would begin. Changes nothing."""
        plans = []
        for worker in self.workers:
            found = None if worker.store is None else worker.store.peek(worker.source.partition)
            plan = {"partition": worker.source.partition, "after": None if found is None else found.position}
            plans.append(plan | {"records": 0 if found is None else found.records})
            worker.close()
        return plans

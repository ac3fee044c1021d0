"""PettingZoo environments spread over Ray workers, as one batched environment. Needs the extra ``ray``.

A copy's seeds follow from its number, not from the worker it runs on, so any number of workers gives the results of
``ParallelBatch`` in one process, and a checkpoint of either resumes the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Outcome, Seen
from grandmodel.training.errors import TrainingSettingsError
from grandmodel.training.parallel import ParallelBatch


class RayBatch(BatchedEnv):
    """``count`` copies of ``make_env()`` on ``workers`` Ray actors, as equal in number as can be.

    Uses the Ray session of this process, or starts a local one. ``timeout_s`` bounds every wait for the workers.
    """

    def __init__(
        self,
        make_env: Callable[[], Any],
        count: int,
        workers: int,
        *,
        with_state: bool = False,
        timeout_s: float = 300.0,
    ) -> None:
        if find_spec("ray") is None:
            raise TrainingSettingsError(
                "the package ray is not installed; install it with: pip install 'grandmodel[ray]'"
            )
        if not 1 <= workers <= count:
            raise TrainingSettingsError(f"workers is {workers}; expected 1 to {count}, the number of copies")
        self._ray: Any = import_module("ray")
        self._owner = not self._ray.is_initialized()
        if self._owner:
            self._ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        self.count = count
        self._timeout_s = timeout_s
        self._bounds = np.linspace(0, count, workers + 1).astype(
            np.int64
        )  # worker w has copies bounds[w]:bounds[w + 1]
        remote = self._ray.remote(num_cpus=1)(ParallelBatch)
        ranges = zip(self._bounds[:-1].tolist(), self._bounds[1:].tolist(), strict=True)
        self._workers = [
            remote.remote(make_env, stop - start, with_state=with_state, offset=start) for start, stop in ranges
        ]
        self.spec: EnvSpec = self._all("read_spec")[0]

    def reset(self, seed: int) -> Seen:
        """Start every copy anew."""
        return self._join_seen(self._all("reset", [(seed,)] * len(self._workers)))

    def step(self, actions: IntArray) -> Outcome:
        """Play in all workers at once."""
        outcomes: list[Outcome] = self._all("step", [(part,) for part in self._split(actions)])

        def join(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(outcome, name) for outcome in outcomes])

        return Outcome(
            rewards=join("rewards"),
            terminated=join("terminated"),
            truncated=join("truncated"),
            restarted=join("restarted"),
            final=self._join_seen([outcome.final for outcome in outcomes]),
            seen=self._join_seen([outcome.seen for outcome in outcomes]),
        )

    def save(self) -> dict[str, NDArray[np.generic]]:
        """The same arrays as ``ParallelBatch.save``."""
        parts: list[dict[str, NDArray[np.generic]]] = self._all("save")
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return joined | {"seed": parts[0]["seed"]}

    def restore(self, saved: dict[str, NDArray[np.generic]]) -> Seen:
        """Go back to what ``save`` returned, here or in a ``ParallelBatch``."""
        ends = np.concatenate([[0], np.cumsum(saved["lengths"].astype(np.int64))])
        actions = [
            saved["actions"][ends[a] : ends[b]] for a, b in zip(self._bounds[:-1], self._bounds[1:], strict=True)
        ]
        shared = [self._split(saved[name]) for name in ("episodes", "lengths", "observations")]
        parts = [
            {"seed": saved["seed"], "actions": played, "episodes": episodes, "lengths": lengths, "observations": seen}
            for played, episodes, lengths, seen in zip(actions, *shared, strict=True)
        ]
        return self._join_seen(self._all("restore", [(part,) for part in parts]))

    def close(self) -> None:
        """Close every copy, end the workers, and the Ray session if it was started here."""
        self._all("close")
        for worker in self._workers:
            self._ray.kill(worker)
        if self._owner:
            self._ray.shutdown()

    def _all(self, method: str, arguments: Sequence[tuple[Any, ...]] | None = None) -> list[Any]:
        """Call one method of every worker, and wait for all answers."""
        arguments = arguments or [()] * len(self._workers)
        pairs = zip(self._workers, arguments, strict=True)
        waiting = [getattr(worker, method).remote(*given) for worker, given in pairs]
        answers: list[Any] = self._ray.get(waiting, timeout=self._timeout_s)
        return answers

    def _split(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        return np.split(rows, self._bounds[1:-1])

    def _join_seen(self, parts: list[Seen]) -> Seen:
        """One ``Seen`` of all workers'. Workers that have met no mask yet stand for: every action is legal."""
        masks = None
        if any(part.action_mask is not None for part in parts):
            every = self.spec.existing_actions()[None]
            masks = np.concatenate(
                [
                    np.broadcast_to(every, (len(part.alive), *every.shape[1:]))
                    if part.action_mask is None
                    else part.action_mask
                    for part in parts
                ]
            )
        states = [part.state for part in parts if part.state is not None]
        return Seen(
            np.concatenate([part.observations for part in parts]),
            np.concatenate([part.alive for part in parts]),
            masks,
            np.concatenate(states) if states else None,
        )

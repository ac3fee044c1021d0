"""A compiled batch of mpe2's ``simple_spread_v3``, for measuring the trainer without a Python environment in its way.

Same physics, rewards, observations and time limit as ``mpe2.simple_spread_v3.parallel_env(N=agents)``, held to it step by
step by a test. It is also the shortest example of a ``BatchedEnv`` that costs no Python per copy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.training.batched import BatchedEnv, EnvSpec, IntArray, Outcome, Seen

DT, DAMPING, PUSH = 0.1, 0.25, 5.0
CONTACT_FORCE, CONTACT_MARGIN, REACH = 100.0, 1e-3, 0.30
"""Two agents of radius 0.15 touch at 0.30."""

Floats = NDArray[np.float64]


class SpreadBatch(BatchedEnv):
    """``count`` copies of simple_spread with ``agents`` agents and as many landmarks."""

    def __init__(self, count: int, agents: int = 3, max_cycles: int = 25, local_ratio: float = 0.5) -> None:
        self.count = count
        width = 4 + 2 * agents + 4 * (agents - 1)
        self.spec = EnvSpec(
            agents=tuple(f"agent_{i}" for i in range(agents)),
            observation_sizes=(width,) * agents,
            action_counts=(5,) * agents,
        )
        self.max_cycles = max_cycles
        self.local_ratio = local_ratio
        self.positions = np.zeros((count, agents, 2))
        self.velocities = np.zeros((count, agents, 2))
        self.landmarks = np.zeros((count, agents, 2))
        self.clock = np.zeros(count, dtype=np.int64)
        self._observations = np.zeros((2, count, agents, width), dtype=np.float32)
        self._rewards = np.zeros((count, agents), dtype=np.float32)
        self._alive = np.ones((count, agents), dtype=np.bool_)
        self._never = np.zeros((count, agents), dtype=np.bool_)
        self._generator = np.random.default_rng(0)

    def reset(self, seed: int) -> Seen:
        """Place agents and landmarks anew in every copy."""
        self._generator = np.random.default_rng(seed)
        self._place(np.arange(self.count))
        return self.look()

    def step(self, actions: IntArray) -> Outcome:
        """Push, move, reward; restart the copies whose time is up."""
        _advance(actions, self.positions, self.velocities, self.landmarks, self.local_ratio, self._rewards)
        self.clock += 1
        final = self.look()
        over = self.clock >= self.max_cycles
        if not over.any():
            return Outcome(self._rewards, self._never, self._never, over, final, final)
        self._place(np.flatnonzero(over))
        return Outcome(self._rewards, self._never, over[:, None] & self._alive, over, final, self.look(1))

    def look(self, slot: int = 0) -> Seen:
        """What is seen now; ``slot`` chooses one of two arrays, so that an end and a new start can be told apart."""
        _observe(self.positions, self.velocities, self.landmarks, self._observations[slot])
        return Seen(self._observations[slot], self._alive)

    def save(self) -> dict[str, NDArray[np.generic]]:
        """Positions, velocities, clocks, and the generator's state as bytes."""
        return {
            "positions": self.positions.copy(),
            "velocities": self.velocities.copy(),
            "landmarks": self.landmarks.copy(),
            "clock": self.clock.copy(),
            "generator": _pack(self._generator.bit_generator.state),
        }

    def restore(self, saved: dict[str, NDArray[Any]]) -> Seen:
        """Go back to what ``save`` returned."""
        for name in ("positions", "velocities", "landmarks", "clock"):
            getattr(self, name)[...] = saved[name]
        self._generator.bit_generator.state = _unpack(saved["generator"])
        return self.look()

    def _place(self, copies: NDArray[np.int64]) -> None:
        agents = self.positions.shape[1]
        drawn = self._generator.uniform(-1.0, 1.0, (len(copies), 2 * agents, 2))
        self.positions[copies], self.landmarks[copies] = drawn[:, :agents], drawn[:, agents:]
        self.velocities[copies] = 0.0
        self.clock[copies] = 0


@kernel
def _advance(
    actions: IntArray, positions: Floats, velocities: Floats, landmarks: Floats, local_ratio: float, rewards: Any
) -> None:
    """One step of every copy, in place: forces, motion, then rewards at the new positions."""
    count, agents, _ = positions.shape
    force = np.zeros((agents, 2))
    for n in range(count):
        force[:] = 0.0
        for a in range(agents):
            choice = actions[n, a]
            if choice > 0:
                force[a, (choice - 1) // 2] = PUSH if choice % 2 == 0 else -PUSH
        for a in range(agents):
            for b in range(a + 1, agents):
                dx = positions[n, a, 0] - positions[n, b, 0]
                dy = positions[n, a, 1] - positions[n, b, 1]
                distance = math.sqrt(dx * dx + dy * dy)
                # log(1 + exp(z)), without overflow: how deep two soft bodies overlap.
                z = (REACH - distance) / CONTACT_MARGIN
                overlap = (max(z, 0.0) + math.log1p(math.exp(-abs(z)))) * CONTACT_MARGIN
                push = CONTACT_FORCE * overlap / distance
                force[a, 0] += push * dx
                force[a, 1] += push * dy
                force[b, 0] -= push * dx
                force[b, 1] -= push * dy
        for a in range(agents):
            for axis in range(2):
                positions[n, a, axis] += velocities[n, a, axis] * DT
                velocities[n, a, axis] = velocities[n, a, axis] * (1.0 - DAMPING) + force[a, axis] * DT
        team = 0.0
        for landmark in range(agents):
            nearest = math.inf
            for a in range(agents):
                dx = positions[n, a, 0] - landmarks[n, landmark, 0]
                dy = positions[n, a, 1] - landmarks[n, landmark, 1]
                nearest = min(nearest, math.sqrt(dx * dx + dy * dy))
            team -= nearest
        for a in range(agents):
            touched = 0.0
            for b in range(agents):
                dx = positions[n, a, 0] - positions[n, b, 0]
                dy = positions[n, a, 1] - positions[n, b, 1]
                if a != b and math.sqrt(dx * dx + dy * dy) < REACH:
                    touched -= 1.0
            rewards[n, a] = team * (1.0 - local_ratio) + touched * local_ratio


@kernel
def _observe(positions: Floats, velocities: Floats, landmarks: Floats, into: Any) -> None:
    """Own velocity and position, landmarks and others relative to oneself; the silent channels stay zero."""
    count, agents, _ = positions.shape
    for n in range(count):
        for a in range(agents):
            for axis in range(2):
                into[n, a, axis] = velocities[n, a, axis]
                into[n, a, 2 + axis] = positions[n, a, axis]
                for landmark in range(agents):
                    into[n, a, 4 + 2 * landmark + axis] = landmarks[n, landmark, axis] - positions[n, a, axis]
                column = 4 + 2 * agents + axis
                for b in range(agents):
                    if b != a:
                        into[n, a, column] = positions[n, b, axis] - positions[n, a, axis]
                        column += 2


def _pack(state: Any) -> NDArray[np.uint8]:
    """A PCG64 state as bytes: two 128-bit numbers, then the buffered half draw."""
    inner = state["state"]
    parts = [inner["state"].to_bytes(16, "little"), inner["inc"].to_bytes(16, "little")]
    parts += [state["has_uint32"].to_bytes(4, "little"), state["uinteger"].to_bytes(4, "little")]
    return np.frombuffer(b"".join(parts), dtype=np.uint8).copy()


def _unpack(packed: NDArray[np.uint8]) -> dict[str, Any]:
    """The inverse of ``_pack``."""
    raw = packed.tobytes()
    numbers = [int.from_bytes(raw[a:b], "little") for a, b in ((0, 16), (16, 32), (32, 36), (36, 40))]
    inner = {"state": numbers[0], "inc": numbers[1]}
    return {"bit_generator": "PCG64", "state": inner, "has_uint32": numbers[2], "uinteger": numbers[3]}

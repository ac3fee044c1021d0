"""Rollouts on Ray workers give the results of one process."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from grandmodel.training import distributed
from grandmodel.training.distributed import RayBatch
from grandmodel.training.errors import TrainingSettingsError
from grandmodel.training.mappo import Settings, train
from grandmodel.training.parallel import ParallelBatch
from training_games import MaskedGame, MortalGame

TESTS = str(Path(__file__).resolve().parents[1])
SOURCES = str(Path(__file__).resolve().parents[2] / "src")
SMALL = Settings(frames=100, envs=5, steps=10, epochs=2, hidden=(8,))


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setattr(distributed, "find_spec", {}.get)
    with pytest.raises(TrainingSettingsError, match=r"grandmodel\[ray\]"):
        RayBatch(MortalGame, 4, 2)


@pytest.fixture(scope="module")
def ray():
    module = pytest.importorskip("ray")
    module.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
        runtime_env={
            "env_vars": {"PYTHONPATH": os.pathsep.join((TESTS, SOURCES))}
        },  # Workers import the games by name.
    )
    yield module
    module.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("game", [MortalGame, MaskedGame])
def test_any_number_of_workers_gives_the_weights_of_one_process(ray, workers, game, tmp_path):
    here = train(game, SMALL, checkpoint_folder=tmp_path, checkpoint_every=1)
    there = train(lambda: RayBatch(game, 5, workers), SMALL)
    resumed = train(lambda: RayBatch(game, 5, workers), SMALL, resume_from=tmp_path / "update_0000001")
    for other in (there, resumed):
        for a, b in zip(here.policy.networks.parameters(), other.policy.networks.parameters(), strict=True):
            assert torch.equal(a, b)
        assert other.history == here.history


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_workers_save_restores_in_one_process(ray):
    spread, alone = RayBatch(MortalGame, 5, 2), ParallelBatch(MortalGame, 5, with_state=False)
    spread.reset(3)
    for _ in range(7):
        seen = spread.step(np.ones((5, 3), dtype=np.int64)).seen
    np.testing.assert_array_equal(alone.restore(spread.save()).observations, seen.observations)
    spread.close()

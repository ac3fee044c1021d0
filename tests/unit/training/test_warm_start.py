"""The supervised start: it finds what is there, reports what is not, and follows its seed."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from grandmodel.models.architecture import strategic_architecture, tactical_architecture
from grandmodel.training.errors import DivergenceError, TrainingDataError, TrainingSettingsError
from grandmodel.training.labels import Windows
from grandmodel.training.layer_networks import build_actor, load_weights
from grandmodel.training.warm_start import (
    Classifier,
    LabelledSet,
    WarmStartSettings,
    constant_log_loss,
    train_classifier,
    warm_start,
    warm_start_trunk,
)

ARCHITECTURE = strategic_architecture()
BELIEVERS = ("mlmi", "nwrqk", "regime")
QUICK = WarmStartSettings(epochs=6, patience=6, batch=256, learning_rate=3e-3, weight_decay=0.0)


def noise_windows(columns=13, rows=4_000, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return Windows(values, np.zeros(1, np.int64))


def two_sets(classes, rows=4_000):
    """The first three quarters to learn from, the rest held back."""
    places = np.arange(60, rows)
    cut = int(len(places) * 0.75)
    return LabelledSet(places[:cut], classes[60 : 60 + cut]), LabelledSet(places[cut:], classes[60 + cut :])


def planted(windows):
    """Column 0, ten rows ago: seen by the MLMI agent alone."""
    signal = np.roll(windows.rows[:, 0], 10)
    return np.where(signal > 0.43, 0, np.where(signal < -0.43, 2, 1)).astype(np.int64)


def test_a_planted_pattern_is_found_by_the_agent_who_sees_it_and_by_no_other():
    windows = noise_windows()
    found = warm_start(ARCHITECTURE, windows, *two_sets(planted(windows)), QUICK, seed=0)
    reports = {report.agent: report for report in found.reports}
    assert tuple(reports) == BELIEVERS
    assert reports["mlmi"].log_loss < 0.75
    for blind in ("nwrqk", "regime"):
        assert reports[blind].log_loss > 1.07
        assert reports[blind].constant_log_loss == pytest.approx(np.log(3), abs=0.01)


def test_the_weights_are_those_of_the_best_pass_and_score_what_the_report_says():
    windows = noise_windows()
    fit, held = two_sets(planted(windows))
    passes = []
    found = warm_start(ARCHITECTURE, windows, fit, held, QUICK, 0, passes.append)
    assert set(found.weights) == {name for name in ARCHITECTURE.shapes() if not name.startswith("coordinator")}
    actor = build_actor(ARCHITECTURE, torch.Generator().manual_seed(0))
    load_weights(actor, found.weights, partial=True)
    for head, report in zip(ARCHITECTURE.heads, found.reports, strict=False):
        trunk = actor.get_submodule(head.trunk)
        seen = torch.from_numpy(windows.gather(ARCHITECTURE.trunk(head.trunk), held.places))
        loss = functional.cross_entropy(actor.agent_logits(head.agent, trunk(seen)), torch.from_numpy(held.classes))
        assert float(loss.detach()) == pytest.approx(report.log_loss, abs=1e-5)
        own = [one for one in passes if one.agent == report.agent]
        assert [one.epochs for one in own] == list(range(1, report.epochs + 1))
        assert own[-1] == report
        assert min(one.log_loss for one in own) == report.log_loss


def test_on_noise_it_ends_early_near_the_constant_forecast():
    windows = noise_windows()
    classes = np.random.default_rng(1).integers(0, 3, 4_000)
    settings = WarmStartSettings(epochs=20, patience=2, batch=256, learning_rate=3e-3)
    for report in warm_start(ARCHITECTURE, windows, *two_sets(classes), settings, seed=0).reports:
        assert report.epochs == report.best_epoch + 2 < 20
        assert report.log_loss == pytest.approx(report.constant_log_loss, abs=0.01)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    windows = noise_windows()
    sets = two_sets(planted(windows))
    settings = WarmStartSettings(epochs=1, batch=256)
    state = torch.get_rng_state()
    one, two, other = (warm_start(ARCHITECTURE, windows, *sets, settings, seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert one.reports == two.reports
    assert all(np.array_equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert not np.array_equal(one.weights["mlmi.logits.weight"], other.weights["mlmi.logits.weight"])


def test_what_is_held_back_is_never_learnt_from():
    windows = noise_windows()
    fit, held = two_sets(planted(windows))
    settings = WarmStartSettings(epochs=2, patience=2, batch=256, learning_rate=1e-2)
    mislabelled = LabelledSet(held.places, (held.classes + 1) % 3)
    honest, other = [], []
    warm_start(ARCHITECTURE, windows, fit, held, settings, 0, honest.append)
    warm_start(ARCHITECTURE, windows, fit, mislabelled, settings, 0, other.append)
    assert [one.train_log_loss for one in honest] == [one.train_log_loss for one in other]
    assert [one.log_loss for one in honest] != [one.log_loss for one in other]


class Watched(Classifier):
    """Passes its windows through as features and remembers what reached the head."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.learning, self.scoring = [], []

    def features(self, windows):
        return windows.clone().requires_grad_()

    def logits(self, features):
        (self.learning if torch.is_grad_enabled() else self.scoring).append(features.detach())
        return features[:, :3] * self.scale


def test_dropout_is_on_while_learning_and_off_while_scoring():
    network, sets = Watched(), LabelledSet(np.arange(2_000), np.zeros(2_000, np.int64))
    settings = WarmStartSettings(epochs=1, batch=2_000)
    gather = lambda places: torch.ones(len(places), 32)  # noqa: E731
    train_classifier(network, gather, sets, sets, settings, torch.Generator(), dropout=0.25, name="watched")
    (learnt,) = network.learning
    assert learnt.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float((learnt == 0.0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert all((scored == 1.0).all() for scored in network.scoring)


def test_the_constant_forecast_scores_the_frequencies_of_what_was_learnt_from():
    learnt, held = np.array([0, 0, 1, 2]), np.array([0, 1, 1])
    assert constant_log_loss(learnt, held) == pytest.approx(-(np.log(0.5) + 2 * np.log(0.25)) / 3)


def test_the_tactical_trunk_learns_a_planted_sign_and_brings_no_head():
    architecture, windows = tactical_architecture(), noise_windows(7)
    signs = (np.roll(windows.rows[:, 5], 3) < 0).astype(np.int64)
    found = warm_start_trunk(architecture, windows, *two_sets(signs), QUICK, seed=0)
    assert found.reports[0].log_loss < 0.5 < found.reports[0].constant_log_loss
    assert set(found.weights) == {name for name in architecture.shapes() if name.startswith("trunk.")}


def test_what_cannot_be_learnt_from_is_refused():
    windows = noise_windows()
    fit, held = two_sets(planted(windows))
    nothing = LabelledSet(held.places[:0], held.classes[:0])
    with pytest.raises(TrainingDataError, match=r"mlmi: found 2955 decisions to learn from and 0 held back"):
        warm_start(ARCHITECTURE, windows, fit, nothing, QUICK, 0)
    with pytest.raises(DivergenceError, match="mlmi: a loss is not finite after pass 1"):
        warm_start(ARCHITECTURE, windows, fit, held, WarmStartSettings(learning_rate=1e30), 0)
    for wrong in ({"epochs": 0}, {"held_back": 1.0}, {"learning_rate": 0.0}, {"batch": 0}):
        with pytest.raises(TrainingSettingsError, match="expected"):
            WarmStartSettings(**wrong)

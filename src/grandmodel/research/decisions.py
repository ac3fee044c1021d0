"""What trained models say at the bars of a fold, and the ways in which several agents' beliefs can be made one.

``DecisionBook`` asks each model once per fold, seed and market and keeps the answers, since many competitors use them: the model as
it trades, its bare direction, and the combinations that the superposition is held against. The Coordinator and the sizes see an
account that is filled at each close without cost, because the real one is known only after the walk.

A model may only be asked about a fold whose test lies after everything that it learnt from or was calibrated on: ``check_unseen``
refuses any other. Read ``strategies.py`` next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from grandmodel.domain.time import text_from_ns
from grandmodel.features.schema import TIME_COLUMNS
from grandmodel.models.architecture import BELIEF, DIRECTIONS, STRATEGIC_TAIL
from grandmodel.models.calibration import calibrated, classify_outcomes, expected_moves, fit_temperature, log_loss
from grandmodel.models.loaded import LoadedModel, decision_seed
from grandmodel.models.model_file import ClassOutcomes, ModelManifest
from grandmodel.models.registry import Entry
from grandmodel.models.superposition import collapse_to_mode
from grandmodel.models.tails import write_strategic_tail
from grandmodel.performance.drawdown import drawdown_of
from grandmodel.research.errors import EvaluationError
from grandmodel.research.walk_forward import Fold, fold_places, span_text
from grandmodel.risk.breakers import BreakerLadder, Trigger
from grandmodel.risk.settings import RiskSettings
from grandmodel.risk.sizing import is_inside_dead_band
from grandmodel.strategic.decision import Evidence, StrategicSettings, size_exposure
from grandmodel.training.market import Span, TrainingMarket

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

COORDINATED, EQUAL, VOTE, BEST = "coordinator", "equal weights", "majority vote", "best agent"
COMBINATIONS = (COORDINATED, EQUAL, VOTE, BEST)
"""Ways to make one belief of several: the Coordinator's weights, the plain mean, shares of votes, and one agent alone."""
_TIME_OF_DAY, _DAY_OF_WEEK = TIME_COLUMNS


class DecisionSettings:
    """How models are turned into positions: the strategic layer's own settings, the capital, and the limits that the tail shows."""

    def __init__(self, strategic: StrategicSettings, risk: RiskSettings, capital_micros: int, seed: int = 0) -> None:
        ladder = BreakerLadder(risk.breakers)
        self.strategic = strategic
        self.capital_micros = capital_micros
        self.drawdown_limit = ladder.limits(Trigger.DRAWDOWN)[0]
        self.day_loss_limit = ladder.limits(Trigger.DAILY_LOSS)[0]
        self.seed = seed


@dataclass(frozen=True, slots=True)
class Decided:
    """What one model says at N bars of one market. Agents A in the order of the model."""

    places: Integers
    """(N,) bars."""
    beliefs: Floats
    """(N, A, 3) each agent's, before calibration."""
    weights: Floats
    """(N, A) the Coordinator's."""
    mutual_information: Floats
    """(N,) nats."""
    purity: Floats
    """(N,)."""
    novelty: Floats
    """(N,) 1 at the edge of what training saw."""
    lots: Integers
    """(N,) the position that the strategic decision asks for."""
    support: float
    """Of the model's directions, by its held-back data."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One way's calibrated beliefs at the same bars."""

    places: Integers
    belief: Floats
    """(N, 3)."""
    labels: Integers
    """(N,) the class that came true, in the order of ``BELIEF``; -1 where it is not known."""
    outcomes: Floats
    """(N,) the move over the horizon in units of scale times sqrt(horizon); NaN where it is not known."""
    temperature: float
    frequencies: Floats
    """(3,) of the classes on the calibration stretch: what a forecast without features would say."""


def check_unseen(models: Mapping[str, Sequence[LoadedModel]], folds: Sequence[Fold]) -> None:
    """Refuse models that learnt from, or were calibrated on, anything at or after the beginning of their fold's test.

    ``models``: by fold, one per seed. Raises ``EvaluationError``, also where a fold has none or folds differ in how many they have.
    """
    counts = {fold.name: len(models.get(fold.name, ())) for fold in folds}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise EvaluationError(f"models: found {counts} by fold, expected as many seeds in each, at least one")
    for fold in folds:
        for model in models[fold.name]:
            if _learnt_until(model) > fold.test.start_ns:
                raise EvaluationError(
                    f"fold {fold.name}, {model.path}: found a model made from data up to {text_from_ns(_learnt_until(model))}, "
                    f"expected none of the test, {span_text(fold.test)}"
                )


def models_trained_for(entries: Sequence[Entry], folds: Sequence[Fold]) -> dict[str, list[str]]:
    """By fold: ids of the registry's models that were trained on exactly its spans, the newest for each seed, in order of seed.

    What ``grandmodel model train LAYER --folds`` leaves behind. Raises ``EvaluationError`` where a fold has none, folds differ in their
    seeds, or the newest were trained with different settings.
    """
    found: dict[str, list[str]] = {}
    seeds: dict[str, list[tuple[int, ...]]] = {}
    for fold in folds:
        newest: dict[tuple[int, ...], Entry] = {}
        for entry in entries:
            if entry.manifest is None or _spans_of(entry.manifest) != (fold.train, fold.calibration):
                continue
            known = newest.get(entry.manifest.seeds)
            if known is None or entry.added_ns >= known.added_ns:
                newest[entry.manifest.seeds] = entry
        if not newest:
            raise EvaluationError(
                f"fold {fold.name}: found no model trained on {span_text(fold.train)} and calibrated on {span_text(fold.calibration)}; "
                "run `grandmodel model train LAYER --folds` first"
            )
        kept = [newest[key] for key in sorted(newest)]
        if any(
            entry.manifest.settings != kept[0].manifest.settings
            for entry in kept
            if entry.manifest and kept[0].manifest
        ):
            raise EvaluationError(
                f"fold {fold.name}: found models trained with different settings, expected one set of settings for all seeds; "
                "train the fold again with --folds"
            )
        found[fold.name], seeds[fold.name] = [entry.id for entry in kept], sorted(newest)
    if len({tuple(one) for one in seeds.values()}) > 1:
        raise EvaluationError(f"models: found seeds {seeds} by fold, expected the same in each")
    return found


def _spans_of(manifest: ModelManifest) -> tuple[Span, Span | None]:
    train, held_back = manifest.data.train, manifest.data.validation
    return Span(train.start_ns, train.end_ns), Span(held_back.start_ns, held_back.end_ns) if held_back else None


def _learnt_until(model: LoadedModel) -> int:
    data = model.manifest.data
    return max(data.train.end_ns, data.validation.end_ns if data.validation else data.train.end_ns)


class DecisionBook:
    """Answers of the models, each worked out once."""

    def __init__(self, models: Mapping[str, Sequence[LoadedModel]], settings: DecisionSettings) -> None:
        self.models = models
        self.settings = settings
        self._decided: dict[tuple[str, int, str], Decided] = {}
        self._forecasts: dict[tuple[str, int, str, str], Forecast] = {}

    @property
    def seeds(self) -> int:
        """Models per fold."""
        return len(next(iter(self.models.values())))

    def model(self, fold: Fold, seed: int) -> LoadedModel:
        """The model of a fold and a seed."""
        return self.models[fold.name][seed]

    def decided(self, market: TrainingMarket, fold: Fold, seed: int) -> Decided:
        """Every decision of the fold's test in ``market``."""
        key = (fold.name, seed, market.instrument.id)
        if key not in self._decided:
            places = fold_places(fold, market).test
            self._decided[key] = decide(self.model(fold, seed), market, places, self.settings)
        return self._decided[key]

    def forecast(self, market: TrainingMarket, fold: Fold, seed: int, way: str) -> Forecast:
        """The beliefs of one way to combine the agents, at the temperature that suits it on the fold's calibration stretch.

        The best agent is the one of least log loss there, too. All markets of a fold share neither: each has its own.
        """
        key = (fold.name, seed, market.instrument.id, way)
        if key not in self._forecasts:
            self._forecasts[key] = self._forecast(market, fold, seed, way)
        return self._forecasts[key]

    def forecast_elsewhere(
        self, market: TrainingMarket, fold: Fold, seed: int, beliefs: Callable[[TrainingMarket, Integers], Floats]
    ) -> Forecast:
        """The same for a forecaster from elsewhere, in the classes of the model of that fold and seed."""
        calibration, test = fold_places(fold, market).calibration, fold_places(fold, market).test
        return self._forecast_of(market, fold, seed, test, beliefs(market, calibration), beliefs(market, test))

    def _forecast(self, market: TrainingMarket, fold: Fold, seed: int, way: str) -> Forecast:
        model, decided = self.model(fold, seed), self.decided(market, fold, seed)
        classes = class_outcomes(model)
        places = fold_places(fold, market).calibration
        beliefs, weights = point_beliefs(model, market, places)
        best = best_agent(beliefs, classify_outcomes(market.outcome[places], classes.lower, classes.upper))
        before = combine(beliefs, weights, way, best)
        after = combine(decided.beliefs, decided.weights, way, best)
        return self._forecast_of(market, fold, seed, decided.places, before, after)

    def _forecast_of(
        self, market: TrainingMarket, fold: Fold, seed: int, test: Integers, before: Floats, after: Floats
    ) -> Forecast:
        """``after`` (N, 3) at the bars ``test``, at the temperature that suits ``before`` on the calibration stretch."""
        classes = class_outcomes(self.model(fold, seed))
        held_back = market.outcome[fold_places(fold, market).calibration]
        labels = classify_outcomes(held_back, classes.lower, classes.upper)
        temperature = fit_temperature(before, labels).value
        outcomes = market.outcome[test]
        known = np.isfinite(outcomes)
        came = classify_outcomes(np.where(known, outcomes, 0.0), classes.lower, classes.upper)
        return Forecast(
            places=test,
            belief=calibrated(after, temperature),
            labels=np.where(known, came, -1),
            outcomes=outcomes,
            temperature=temperature,
            frequencies=np.bincount(labels, minlength=len(BELIEF)) / len(labels),
        )


def class_outcomes(model: LoadedModel) -> ClassOutcomes:
    """What the classes of a strategic model stand for. Raises ``EvaluationError`` where the file does not say."""
    if model.manifest.outcomes is None:
        raise EvaluationError(f"{model.path}: found no class outcomes, expected those of a strategic model")
    return model.manifest.outcomes


def combine(beliefs: Floats, weights: Floats, way: str, best: int = 0) -> Floats:
    """One belief (N, 3) of the agents' ``beliefs`` (N, A, 3), in one of ``COMBINATIONS``; ``best``: the place of the best agent.

    The diagonal of the density matrix is the weighted mean of the beliefs, so the Coordinator's way is that.
    """
    if way == COORDINATED:
        return _made_exact((beliefs * weights[:, :, None]).sum(axis=1))
    if way == EQUAL:
        return _made_exact(beliefs.mean(axis=1))
    if way == VOTE:
        votes: Floats = (beliefs.argmax(axis=2)[:, :, None] == np.arange(len(BELIEF))).mean(axis=1)
        return votes
    if way == BEST:
        return _made_exact(beliefs[:, best])
    raise EvaluationError(f"combination: found {way!r}, expected one of {', '.join(COMBINATIONS)}")


def best_agent(beliefs: Floats, labels: Integers) -> int:
    """The place of the agent whose ``beliefs`` (N, A, 3) have the least log loss."""
    losses = [log_loss(_made_exact(beliefs[:, agent]), labels) for agent in range(beliefs.shape[1])]
    return int(np.argmin(losses))


def _made_exact(belief: Floats) -> Floats:
    """Rows (N, 3) that add up to 1 but for float32, made to."""
    exact: Floats = belief / belief.sum(axis=1, keepdims=True)
    return exact


def point_beliefs(model: LoadedModel, market: TrainingMarket, places: Integers) -> tuple[Floats, Floats]:
    """(beliefs (N, A, 3), weights (N, A)) at ``places`` without dropout, for an account that holds nothing."""
    windows = sliding_window_view(market.rows, market.schema.rows, axis=0)[places - market.schema.rows + 1]
    tails = np.zeros((len(places), len(STRATEGIC_TAIL)), np.float32)
    mean_scale = model.mean_scale(market.instrument.id)
    for tail, place in zip(tails, places.tolist(), strict=True):
        row, scale = market.rows[place], market.scale[place]
        write_strategic_tail(
            tail, row[_TIME_OF_DAY], row[_DAY_OF_WEEK], 0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0, 0, scale, mean_scale
        )
    batch = model.compiled.decide_batch(np.moveaxis(windows, 2, 1), tails)
    return batch.beliefs, batch.weights


def decide(model: LoadedModel, market: TrainingMarket, places: Integers, settings: DecisionSettings) -> Decided:
    """The strategic decisions of ``model`` at ``places`` (N,), one after the other, for an account that is filled at each close.

    The same arithmetic as the strategic layer in the engine: inference with dropout, temperature, expected move, size. A
    position is left as it is within the dead band, and none is carried from one segment into the next.
    """
    if model.manifest.layer != "strategic":
        raise EvaluationError(f"{model.path}: found a {model.manifest.layer} model, expected a strategic one")
    count, agents = len(places), len(model.compiled.agents)
    found = Decided(
        places=places, beliefs=np.empty((count, agents, 3)), weights=np.empty((count, agents)),
        mutual_information=np.empty(count), purity=np.empty(count), novelty=np.empty(count), lots=np.zeros(count, np.int64),
        support=model.manifest.direction_support,
    )  # fmt: skip
    account = _FilledAccount(market, settings, model.mean_scale(market.instrument.id))
    for n, place in enumerate(places.tolist()):
        account.go_to(place)
        window = market.rows[place - market.schema.rows + 1 : place + 1]
        output, novelty, _ = model.strategic(window, account.tail(), decision_seed(settings.seed, n))
        found.beliefs[n], found.weights[n] = output.beliefs, output.weights
        found.mutual_information[n], found.purity[n], found.novelty[n] = (
            output.mutual_information,
            output.purity,
            novelty,
        )
        belief = model.calibrate(output.belief)
        unit = account.unit
        evidence = Evidence(
            belief=belief,
            expected_move=model.expected_move(belief)[0] * unit,
            deviation=unit,
            mutual_information=output.mutual_information,
            purity=output.purity,
            novelty=novelty,
            support=model.manifest.direction_support,
            interval=(0.0, 0.0),  # it only writes a reason code
            equity_micros=account.equity,
            tick_value_micros=float(market.instrument.tick_value_micros),
        )
        exposure, _ = size_exposure(evidence, account.full_lots, settings.strategic)
        found.lots[n] = account.ask(exposure)
    return found


class _FilledAccount:
    """An account in one market that is filled at the close, without cost: what the tail and the sizes are computed from."""

    def __init__(self, market: TrainingMarket, settings: DecisionSettings, mean_scale: float) -> None:
        self._market, self._settings, self._mean_scale = market, settings, mean_scale
        self._rule = settings.strategic.full.rule(market.width_ns)
        self._close = market.bars["close"].astype(np.float64)
        self._tick_value = float(market.instrument.tick_value_micros)
        self._tail = np.zeros(len(STRATEGIC_TAIL), np.float32)
        self._place = -1
        self._held = self._bars_held = 0
        self._open_profit = 0.0
        self._day, self._day_start = -1, float(settings.capital_micros)
        self.equity = self._peak = float(settings.capital_micros)
        self.full_lots = 0.0

    @property
    def unit(self) -> float:
        """Deviation of the move over the horizon, ticks."""
        return float(self._market.scale[self._place]) * math.sqrt(self._market.horizon)

    def go_to(self, place: int) -> None:
        """Mark the account at the close of bar ``place``."""
        market, before = self._market, self._place
        if before >= 0:
            if market.segment[place] == market.segment[before]:
                profit = self._held * (self._close[place] - self._close[before]) * self._tick_value
                self._open_profit += profit
                self.equity += profit
                self._bars_held += place - before
            else:
                self._hold(0)
        self._place = place
        if market.day[place] != self._day:
            self._day, self._day_start = int(market.day[place]), self.equity
        self._peak = max(self._peak, self.equity)
        self.full_lots = self._rule.lots(float(market.scale[place]), self._tick_value, self.equity)

    def tail(self) -> NDArray[np.float32]:
        """The nine numbers that the Coordinator sees."""
        row = self._market.rows[self._place]
        write_strategic_tail(
            self._tail,
            row[_TIME_OF_DAY],
            row[_DAY_OF_WEEK],
            self._held,
            self.full_lots,
            self._open_profit,
            abs(self._held) * self.unit * self._tick_value,
            drawdown_of(self.equity, self._peak),
            self._settings.drawdown_limit,
            1.0 - self.equity / self._day_start,
            self._settings.day_loss_limit,
            self._held,
            self._bars_held,
            self._market.scale[self._place],
            self._mean_scale,
        )
        return self._tail

    def ask(self, exposure: float) -> int:
        """Take the position of ``exposure``, unless it lies within the dead band of the one held; the lots held then."""
        return self._hold(banded_lots(self._held, exposure, self.full_lots, self._settings.strategic.dead_band))

    def _hold(self, lots: int) -> int:
        if lots != self._held:
            turned = lots * self._held <= 0
            self._open_profit = 0.0 if turned else self._open_profit * min(abs(lots) / abs(self._held), 1.0)
            self._bars_held = 0
        self._held = lots
        return lots


def banded_lots(held: int, exposure: float, full_lots: float, dead_band: float) -> int:
    """Lots of ``exposure``, rounded towards nothing, or those held where the two differ by less than the band and have one side."""
    lots = int(exposure * full_lots)
    return held if is_inside_dead_band(held, lots, dead_band * full_lots) else lots


def directions(belief: Floats) -> Integers:
    """(N,) 1, 0 or -1: each belief (N, 3) collapsed to its mode."""
    return np.array([DIRECTIONS[collapse_to_mode(row)] for row in belief], dtype=np.int64)


def sized_lots(
    market: TrainingMarket, forecast: Forecast, decided: Decided, classes: ClassOutcomes, settings: DecisionSettings
) -> Integers:
    """(N,) lots for ``forecast``, sized as the strategic decision sizes, with the model's own uncertainty."""
    account = _FilledAccount(market, settings, 0.0)
    means, _ = expected_moves(forecast.belief, classes)
    lots = np.zeros(len(forecast.places), np.int64)
    for n, place in enumerate(forecast.places.tolist()):
        account.go_to(place)
        evidence = Evidence(
            belief=forecast.belief[n],
            expected_move=float(means[n]) * account.unit,
            deviation=account.unit,
            mutual_information=float(decided.mutual_information[n]),
            purity=float(decided.purity[n]),
            novelty=float(decided.novelty[n]),
            support=decided.support,
            interval=(0.0, 0.0),
            equity_micros=account.equity,
            tick_value_micros=float(market.instrument.tick_value_micros),
        )
        lots[n] = account.ask(size_exposure(evidence, account.full_lots, settings.strategic)[0])
    return lots

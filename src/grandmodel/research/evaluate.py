"""The evaluation of a strategic model: all competitors through all folds, what that is worth, and a verdict made of the numbers.

``evaluate_strategic`` returns an ``Evaluation``, which holds everything that the page and the model card show; neither works
anything out again. A competitor's seeds are one account, split evenly between them: their mean daily return is what ratios,
comparisons and the probability of overfitting are about; the spread between seeds stands beside it. Read ``report.py`` next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel import __version__
from grandmodel.models.architecture import BELIEF
from grandmodel.models.calibration import (
    LEAST_PROBABILITY,
    brier_score,
    classwise_calibration_error,
    log_loss,
    reliability_bins,
)
from grandmodel.models.loaded import LoadedModel
from grandmodel.performance.ratios import RatioEstimate, moments, sharpe_estimate, sharpe_ratio
from grandmodel.research.decisions import (
    COMBINATIONS,
    COORDINATED,
    DecisionBook,
    DecisionSettings,
    check_unseen,
)
from grandmodel.research.errors import EvaluationError
from grandmodel.research.measures import (
    EquityPath,
    Measures,
    daily_returns,
    joined_in_time,
    measure,
    periods_per_year,
)
from grandmodel.research.statistics import (
    DeflatedSharpe,
    Overfitting,
    PairedDifference,
    deflated_sharpe,
    overfitting_probability,
    paired_difference,
    row_means,
    trial_variance_of,
)
from grandmodel.research.strategies import (
    AnyForecaster,
    Beliefs,
    CombinedAgents,
    LaneWalker,
    ModelAsTraded,
    RandomTiming,
    Sizes,
    simple_rules,
)
from grandmodel.research.walk_forward import (
    Competitor,
    Fold,
    Walk,
    WalkMarket,
    run_walk_forward,
    span_text,
    walks_of,
)
from grandmodel.strategic.decision import StrategicSettings
from grandmodel.training.lanes import LaneSettings
from grandmodel.training.market import TrainingMarket

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BeliefsAt = Callable[[TrainingMarket, Integers], Floats]
"""(market, places (N,)) -> beliefs (N, 3): one trained forecaster from elsewhere."""
Forecasters = Mapping[str, Mapping[str, Sequence[BeliefsAt]]]
"""By name, by fold, by seed: a single agent, one big network; each learnt from its fold's training stretch alone."""

MODEL = "model"
PASSES = 0.95
"""Probability from which a deflated Sharpe ratio counts as an edge."""
WELL_CALIBRATED = 0.05
"""Largest calibration error that counts as calibrated."""
LEVEL = 0.95
_BLOCKS = 16


class EvaluationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides an evaluation, apart from markets, folds and models."""

    lane: LaneSettings = LaneSettings()
    """Capital, costs, exchange and limits: the same for all competitors."""
    strategic: StrategicSettings = StrategicSettings()
    """How beliefs become positions."""
    seed: int = 0
    """Of chance: dropout, random timing, bootstrap."""


class Trials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often it was tried, from the log of trials."""

    count: int
    """Trials ever begun, those of this evaluation included."""
    sharpes: list[float] = []
    """Per day, of the trials that have one."""


class CompetitorResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One competitor over all folds."""

    name: str
    seeds: int
    folds: dict[str, list[Measures]]
    """By fold, by seed."""
    together: list[Measures]
    """By seed, all folds one after the other."""
    sharpe: RatioEstimate
    """Annual, of the account that is split between the seeds."""
    deflated: DeflatedSharpe
    """Of the same account, against luck in as many trials as there were."""
    sharpe_spread: float
    """Standard deviation of the annual ratio between seeds; 0 for one."""
    net_return: float
    """Of the same account."""
    equity: list[float]
    """(D,) its growth on the evaluation's days, from 1."""


class WayResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to make the agents' beliefs one: its forecasts, and its distance from the Coordinator's."""

    name: str
    log_loss: float
    brier: float
    calibration_error: float
    hit_rate: float
    """Share of forecasts other than neutral whose direction came true."""
    sharpe_direction: float
    """Annual, of a full exposure in its direction."""
    sharpe_sized: float | None
    """None for forecasters from elsewhere, which say nothing of their ignorance and so have no size of their own."""
    log_loss_less: PairedDifference | None = None
    """Coordinator's less this one's; below 0 the Coordinator is better. None for the Coordinator."""
    brier_less: PairedDifference | None = None
    hit_rate_more: PairedDifference | None = None
    """Coordinator's less this one's, day by day; above 0 the Coordinator is better."""
    sharpe_direction_more: PairedDifference | None = None
    sharpe_sized_more: PairedDifference | None = None


class Reliability(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said of one class, and how often it came true."""

    outcome: str
    said: list[float]
    happened: list[float]
    count: list[int]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about one evaluation."""

    layer: str
    code_version: str
    markets: list[str]
    folds: list[Fold]
    models: dict[str, list[str]]
    """Ids by fold."""
    settings: EvaluationSettings
    trials: int
    looks: int
    """At the last fold, this one included; 0: it was not looked at."""
    periods_per_year: float
    day_ns: list[int]
    """(D,) the last close of each trading day."""
    competitors: list[CompetitorResult]
    against: dict[str, PairedDifference]
    """Annual Sharpe ratio of the model less that of each other competitor outside the ablation."""
    ways: list[WayResult]
    forecasts: int
    """Decisions with a known outcome, over all folds, markets and seeds."""
    log_loss_equal: float
    """Of a forecast that knows nothing: a third each."""
    log_loss_constant: float
    """Of one that always says how frequent the classes were on the calibration stretch."""
    log_loss_gained: PairedDifference
    """That one's less the Coordinator's; above 0 the features say something."""
    reliability: list[Reliability]
    overfitting: Overfitting
    content: str
    """Hash of the models that were evaluated."""

    def competitor(self, name: str) -> CompetitorResult:
        """The one called ``name``."""
        return next(result for result in self.competitors if result.name == name)

    @property
    def way(self) -> WayResult:
        """The Coordinator's."""
        return next(way for way in self.ways if way.name == COORDINATED)


def content_of(models: Mapping[str, Sequence[LoadedModel]]) -> str:
    """One hash for all the models of an evaluation: what the lock on the last fold compares."""
    ids = sorted({model.id for chosen in models.values() for model in chosen})
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def evaluate_strategic(
    markets: Sequence[TrainingMarket],
    folds: Sequence[Fold],
    models: Mapping[str, Sequence[LoadedModel]],
    trials: Trials,
    settings: EvaluationSettings | None = None,
    *,
    looks: int = 0,
    forecasters: Forecasters | None = None,
    walk: WalkMarket | None = None,
    on_walk: Callable[[Walk], None] | None = None,
) -> Evaluation:
    """Play ``models`` (by fold, one per seed) and all they are held against through ``folds``.

    ``forecasters`` join the competitors as bare directions, and the comparison of forecasts. The caller has noted a look at the last
    fold, if it is among the folds (``TrialLog.touch_last_fold``), and hands in how many there were. Raises ``EvaluationError``.
    """
    chosen = settings or EvaluationSettings()
    if any(fold.is_last for fold in folds) and looks < 1:
        raise EvaluationError("the last fold is among the folds: found no look noted, expected it in the log of trials")
    check_unseen(models, folds)
    full = chosen.strategic.full
    sizes = Sizes(chosen.lane.capital_micros, full)
    book = DecisionBook(
        models, DecisionSettings(chosen.strategic, chosen.lane.risk, chosen.lane.capital_micros, chosen.seed)
    )
    walker = walk or LaneWalker(chosen.lane, full)
    model = ModelAsTraded(book, MODEL)
    elsewhere = forecasters or {}
    others = [
        AnyForecaster(name, _beliefs_of(by_fold), sizes, _seeds_of(by_fold)) for name, by_fold in elsewhere.items()
    ]
    plain: list[Competitor] = [
        model,
        *simple_rules(sizes),
        RandomTiming(model, book.seeds, chosen.seed),
        *others,
    ]
    combined = [CombinedAgents(book, way, sizes, is_sized=sized) for way in COMBINATIONS for sized in (True, False)]
    walks = run_walk_forward(folds, markets, [*plain, *combined], walker, on_walk)
    table = _DailyReturns(walks, [*plain, *combined], folds, trials, chosen.seed)
    scores = _Scores(book, markets, folds, COORDINATED)
    return Evaluation(
        layer="strategic",
        code_version=__version__,
        markets=[market.instrument.id for market in markets],
        folds=list(folds),
        models={name: [model.id for model in kept] for name, kept in models.items()},
        settings=chosen,
        trials=trials.count,
        looks=looks,
        periods_per_year=table.per_year,
        day_ns=table.day_ns,
        competitors=[table.result(competitor) for competitor in [*plain, *combined]],
        against={other.name: table.difference(MODEL, other.name) for other in plain if other.name != MODEL},
        ways=[
            *_ways(table, scores, book, markets, folds),
            *(
                _way_row(table, scores, _Scores(book, markets, folds, name, by_fold), name)
                for name, by_fold in elsewhere.items()
            ),
        ],
        forecasts=len(scores.labels),
        log_loss_equal=float(np.log(len(BELIEF))),
        log_loss_constant=float(scores.log_losses(scores.constant).mean()),
        log_loss_gained=_daily_difference(scores, scores.log_losses(scores.constant), scores, scores.log_losses()),
        reliability=_reliability(scores),
        overfitting=table.overfitting(),
        content=content_of(models),
    )


# ------------------------------------------------------------------------------------------------- returns, day by day


class _DailyReturns:
    """Daily returns of every competitor on the same days."""

    def __init__(
        self,
        walks: Sequence[Walk],
        competitors: Sequence[Competitor],
        folds: Sequence[Fold],
        trials: Trials,
        seed: int,
    ) -> None:
        self._walks, self._folds, self._trials, self._seed = walks, folds, trials, seed
        first = self._joined(competitors[0].name, 0)
        self.per_year = periods_per_year(first)
        self.days = self._all_days()
        self.day_ns = _last_closes(first, self.days)
        self._returns = {one.name: self._pooled(one) for one in competitors}
        self._by_seed = {
            one.name: [self._on_days(self._joined(one.name, seed)) for seed in range(one.seeds)] for one in competitors
        }

    def result(self, competitor: Competitor) -> CompetitorResult:
        """Everything about one competitor."""
        name = competitor.name
        returns = self._returns[name]
        together = [measure(self._joined(name, seed), self._generator()) for seed in range(competitor.seeds)]
        variance = trial_variance_of(self._trials.sharpes, len(returns))
        ratios = [one.sharpe.value for one in together]
        return CompetitorResult(
            name=name,
            seeds=competitor.seeds,
            folds={
                fold.name: [measure(walk.paths, self._generator()) for walk in walks_of(self._walks, name, fold.name)]
                for fold in self._folds
            },
            together=together,
            sharpe=sharpe_estimate(returns, LEVEL).annual(self.per_year),
            deflated=deflated_sharpe(moments(returns), max(self._trials.count, 1), variance),
            sharpe_spread=float(np.std(ratios, ddof=1)) if len(ratios) > 1 else 0.0,
            net_return=float(returns.sum()),
            equity=(1.0 + np.cumsum(returns)).tolist(),
        )

    def difference(self, first: str, second: str) -> PairedDifference:
        """Annual Sharpe ratio of one competitor less that of another."""
        found = paired_difference(self._returns[first], self._returns[second], self._generator(), level=LEVEL)
        root = float(np.sqrt(self.per_year))
        return msgspec.structs.replace(found, value=found.value * root, low=found.low * root, high=found.high * root)

    def annual_sharpe(self, name: str) -> float:
        """Of the account split between the seeds."""
        return sharpe_ratio(self._returns[name]) * float(np.sqrt(self.per_year))

    def overfitting(self) -> Overfitting:
        """Of picking the best among everything that moved: each seed of each competitor is one strategy."""
        columns = [returns for seeds in self._by_seed.values() for returns in seeds if returns.any()]
        blocks = _BLOCKS
        while blocks > 2 and len(self.days) < 2 * blocks:
            blocks -= 2
        return overfitting_probability(np.column_stack(columns), blocks)

    def _generator(self) -> np.random.Generator:
        """The same draws for every competitor, so that all are resampled alike."""
        return np.random.default_rng(self._seed)

    def _joined(self, name: str, seed: int) -> list[EquityPath]:
        """One path per market over all folds."""
        by_market: dict[str, list[EquityPath]] = {}
        for walk in walks_of(self._walks, name):
            if walk.seed == seed:
                for path in walk.paths:
                    by_market.setdefault(path.market, []).append(path)
        return [joined_in_time(paths) for paths in by_market.values()]

    def _all_days(self) -> Integers:
        found = [daily_returns(walk.paths)[0] for walk in self._walks]
        return np.unique(np.concatenate(found)).astype(np.int64)

    def _on_days(self, paths: Sequence[EquityPath]) -> Floats:
        days, returns = daily_returns(paths)
        out = np.zeros(len(self.days))
        out[np.searchsorted(self.days, days)] = returns
        return out

    def _pooled(self, competitor: Competitor) -> Floats:
        seeds = [self._on_days(self._joined(competitor.name, seed)) for seed in range(competitor.seeds)]
        mean: Floats = np.mean(seeds, axis=0)
        return mean


def _last_closes(paths: Sequence[EquityPath], days: Integers) -> list[int]:
    """(D,) the last close of each of ``days``."""
    latest = np.zeros(len(days), np.int64)
    for path in paths:
        place = np.minimum(np.searchsorted(days, path.day), len(days) - 1)
        is_day = days[place] == path.day
        np.maximum.at(latest, place[is_day], path.ts_event[is_day])
    closes: list[int] = latest.tolist()
    return closes


# ---------------------------------------------------------------------------------------------------------- forecasts


class _Scores:
    """One way's forecasts at every decision with a known outcome, over folds, markets and seeds."""

    def __init__(
        self,
        book: DecisionBook,
        markets: Sequence[TrainingMarket],
        folds: Sequence[Fold],
        way: str,
        elsewhere: Mapping[str, Sequence[BeliefsAt]] | None = None,
    ) -> None:
        """``elsewhere``: a forecaster by fold and seed instead of a way to combine; it is given the model's labels."""
        beliefs, labels, outcomes, days, constant = [], [], [], [], []
        for fold in folds:
            for market in markets:
                for seed in range(_seeds_of(elsewhere) if elsewhere else book.seeds):
                    if not fold.test.holds(market.ts_event)[market.usable].any():
                        continue
                    if elsewhere is None:
                        found = book.forecast(market, fold, seed, way)
                    else:
                        found = book.forecast_elsewhere(market, fold, seed % book.seeds, elsewhere[fold.name][seed])
                    known = found.labels >= 0
                    beliefs.append(found.belief[known])
                    labels.append(found.labels[known])
                    outcomes.append(found.outcomes[known])
                    days.append(market.day[found.places[known]])
                    constant.append(np.tile(found.frequencies, (int(known.sum()), 1)))
        self.belief: Floats = np.concatenate(beliefs)
        self.labels: Integers = np.concatenate(labels)
        self.outcomes: Floats = np.concatenate(outcomes)
        self.days: Integers = np.concatenate(days)
        self.constant: Floats = np.concatenate(constant)

    def daily(self, values: Floats) -> Floats:
        """(D,) what each trading day adds to the mean of ``values`` (N,): its sum over the decisions of a mean day."""
        _, place = np.unique(self.days, return_inverse=True)
        sums = np.bincount(place, values)
        shares: Floats = sums * len(sums) / len(values)
        return shares

    def log_losses(self, belief: Floats | None = None) -> Floats:
        """(N,) nats, of the way's own beliefs or of others (N, 3) at the same decisions."""
        given = (self.belief if belief is None else belief)[np.arange(len(self.labels)), self.labels]
        losses: Floats = -np.log(np.maximum(given, LEAST_PROBABILITY))
        return losses

    def briers(self) -> Floats:
        """(N,)."""
        true = self.labels[:, None] == np.arange(len(BELIEF))
        scores: Floats = ((self.belief - true) ** 2).sum(axis=1)
        return scores

    def hits(self) -> Floats:
        """(N,) 1 where the direction came true, 0 where it did not, a half where the forecast is neutral: it takes no side."""
        side = np.array([1.0, 0.0, -1.0])[self.belief.argmax(axis=1)]
        hits: Floats = np.where(side == 0.0, 0.5, (side * self.outcomes > 0.0).astype(np.float64))
        return hits

    def hit_rate(self) -> float:
        """Over the forecasts that take a side; a half where none does."""
        taken = self.belief.argmax(axis=1) != 1
        return float(self.hits()[taken].mean()) if taken.any() else 0.5


def _ways(
    table: _DailyReturns, own: _Scores, book: DecisionBook, markets: Sequence[TrainingMarket], folds: Sequence[Fold]
) -> list[WayResult]:
    return [
        _way_row(table, own, own if way == COORDINATED else _Scores(book, markets, folds, way), way)
        for way in COMBINATIONS
    ]


def _way_row(table: _DailyReturns, own: _Scores, scores: _Scores, way: str) -> WayResult:
    is_combination = way in COMBINATIONS
    direction = f"{way}, direction" if is_combination else way
    row = WayResult(
        name=way,
        log_loss=log_loss(scores.belief, scores.labels),
        brier=brier_score(scores.belief, scores.labels),
        calibration_error=classwise_calibration_error(scores.belief, scores.labels),
        hit_rate=scores.hit_rate(),
        sharpe_direction=table.annual_sharpe(direction),
        sharpe_sized=table.annual_sharpe(f"{way}, sized") if is_combination else None,
    )
    if way == COORDINATED:
        return row
    return msgspec.structs.replace(
        row,
        log_loss_less=_daily_difference(own, own.log_losses(), scores, scores.log_losses()),
        brier_less=_daily_difference(own, own.briers(), scores, scores.briers()),
        hit_rate_more=_daily_difference(own, own.hits(), scores, scores.hits()),
        sharpe_direction_more=table.difference(f"{COORDINATED}, direction", direction),
        sharpe_sized_more=table.difference(f"{COORDINATED}, sized", f"{way}, sized") if is_combination else None,
    )


def _beliefs_of(by_fold: Mapping[str, Sequence[BeliefsAt]]) -> Beliefs:
    return lambda market, fold, seed, places: by_fold[fold.name][seed](market, places)


def _seeds_of(by_fold: Mapping[str, Sequence[BeliefsAt]]) -> int:
    return len(next(iter(by_fold.values())))


def _daily_difference(first: _Scores, a: Floats, second: _Scores, b: Floats) -> PairedDifference:
    """Mean of one score less another's, by the paired bootstrap over days: decisions of one day are not independent."""
    generator = np.random.default_rng(0)
    return paired_difference(first.daily(a), second.daily(b), generator, row_means, level=LEVEL)


def _reliability(scores: _Scores) -> list[Reliability]:
    rows = []
    for place, outcome in enumerate(BELIEF):
        bins = reliability_bins(scores.belief[:, place], scores.labels == place)
        rows.append(
            Reliability(
                outcome=outcome,
                said=bins.said.tolist(),
                happened=bins.happened.tolist(),
                count=bins.count.tolist(),
            )
        )
    return rows


# ------------------------------------------------------------------------------------------------------------ verdict


class EvaluationVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the numbers say, in sentences; nothing here is a matter of opinion."""

    has_edge: bool
    """Made money, passes the deflated ratio, and beats every simple rule and chance beyond the paired interval."""
    is_calibrated: bool
    sentences: list[str]


def verdict_of(found: Evaluation) -> EvaluationVerdict:
    """The verdict that follows from the numbers of ``found`` alone."""
    model = found.competitor(MODEL)
    is_calibrated = found.way.calibration_error <= WELL_CALIBRATED
    beaten = [name for name, difference in found.against.items() if difference.low > 0.0]
    passes = model.deflated.probability > PASSES
    money = (
        f"After costs it {'made' if model.net_return > 0.0 else 'lost'} {abs(model.net_return):.2%} of the capital over the tests, "
        f"at a Sharpe ratio of {_ratio(model.sharpe)}; between seeds it varies by {model.sharpe_spread:.2f}."
    )
    sentences = [money]
    sentences += [
        f"{_beyond_luck(difference, 'It beats', 'It is beaten by', 'It does not beat, beyond luck,')} {name} after costs: Sharpe ratio "
        f"{model.sharpe.value:.2f} against {found.competitor(name).sharpe.value:.2f}, difference {difference.value:+.2f} "
        f"({difference.level:.0%}: {difference.low:+.2f} to {difference.high:+.2f})."
        for name, difference in found.against.items()
    ]
    sentences.append(
        f"Deflated for {found.trials} trial{'s' if found.trials != 1 else ''}, the probability that its true ratio is above 0 is "
        f"{model.deflated.probability:.1%}: it {'passes' if passes else 'does not pass'} the bar of {PASSES:.0%}."
    )
    sentences.append(
        f"Of the ways to pick the best of all {found.overfitting.strategies} strategies in half the days, "
        f"{found.overfitting.probability:.0%} end below the median in the other half (probability of backtest overfitting)."
    )
    gained = found.log_loss_gained
    words = _beyond_luck(gained, "better", "worse", "no different beyond luck")
    sentences.append(
        f"Its forecasts have a log loss of {found.way.log_loss:.4f} nats; against always saying how frequent the outcomes were before "
        f"({found.log_loss_constant:.4f}) that is {words}: {gained.value:+.4f} gained ({gained.level:.0%}: {gained.low:+.4f} to "
        f"{gained.high:+.4f}). Calibration error {found.way.calibration_error:.3f}, "
        f"{'within' if is_calibrated else 'beyond'} the {WELL_CALIBRATED} that counts as calibrated."
    )
    worse = [way.name for way in found.ways if way.log_loss_less is not None and way.log_loss_less.high < 0.0]
    better = [way.name for way in found.ways if way.log_loss_less is not None and way.log_loss_less.low > 0.0]
    sentences.append(
        f"The Coordinator's weighting forecasts better than {_names(worse)} and worse than {_names(better)}, by log loss beyond the "
        f"{LEVEL:.0%} interval."
    )
    has_edge = model.net_return > 0.0 and passes and len(beaten) == len(found.against)
    sentences.append(
        "Verdict: it has an edge over the simple rules that luck does not explain."
        if has_edge
        else "Verdict: no edge over the simple rules after costs was shown. Positions should be kept small."
    )
    return EvaluationVerdict(has_edge=has_edge, is_calibrated=is_calibrated, sentences=sentences)


def _beyond_luck(difference: PairedDifference, above: str, below: str, neither: str) -> str:
    """The word for a difference whose whole interval is above 0, below 0, or neither."""
    return above if difference.low > 0.0 else below if difference.high < 0.0 else neither


def _ratio(estimate: RatioEstimate) -> str:
    return f"{estimate.value:.2f} ({estimate.level:.0%}: {estimate.low:.2f} to {estimate.high:.2f})"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none of the other ways"


def folds_text(folds: Sequence[Fold]) -> list[tuple[str, str, str, str]]:
    """(name, train, calibration, test) of each fold, as text."""
    return [
        (
            fold.name,
            span_text(fold.train),
            span_text(fold.calibration),
            span_text(fold.test) + (" (last)" * fold.is_last),
        )
        for fold in folds
    ]

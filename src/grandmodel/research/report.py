"""The page of an evaluation: what was compared, on what, how it came out, and how much of it may be luck.

``evaluation_page`` draws an ``Evaluation`` and works nothing out but what a picture needs. Read ``card.py`` next.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from grandmodel.charts import (
    BarChart,
    Bars,
    Cell,
    Column,
    Histogram,
    LineChart,
    Page,
    Points,
    Sample,
    Section,
    Series,
    ShadedSpan,
    Tile,
    Tone,
    XYChart,
)
from grandmodel.charts.page import Value
from grandmodel.performance.drawdown import drawdown_curve
from grandmodel.research.evaluate import (
    MODEL,
    PASSES,
    CompetitorResult,
    Evaluation,
    EvaluationVerdict,
    folds_text,
    verdict_of,
)
from grandmodel.research.measures import Measures
from grandmodel.research.statistics import PairedDifference
from grandmodel.research.tactical import TacticalEvaluation, tactical_verdict


def evaluation_page(found: Evaluation) -> str:
    """The page as one HTML document."""
    verdict = verdict_of(found)
    page = Page(
        f"Evaluation of the {found.layer} model",
        f"Walk-forward on {', '.join(found.markets)}, after costs; {len(found.folds)} folds, code {found.code_version}",
    )
    _lead(page, found, verdict)
    _competitors(page, found)
    _curves(page, found)
    _folds(page, found)
    _luck(page, found)
    _forecasts(page, found)
    _ways(page, found)
    _capacity(page, found)
    _method(page, found)
    return page.render()


def main_competitors(found: Evaluation) -> list[CompetitorResult]:
    """The model and what it is held against, without the ablation's rows."""
    return [result for result in found.competitors if result.name == MODEL or result.name in found.against]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def looks_text(found: Evaluation | TacticalEvaluation) -> str:
    """How often the last fold was looked at."""
    if not found.looks:
        return "not looked at"
    return f"looked at {found.looks} time{'s' if found.looks != 1 else ''}"


def _lead(page: Page, found: Evaluation, verdict: EvaluationVerdict) -> None:
    model = found.competitor(MODEL)
    page.lead.add_tiles(
        [
            Tile("Net return", model.net_return, "%", more="all tests, mean of seeds", sign=True),
            Tile(
                "Sharpe ratio",
                model.sharpe.value,
                decimals=2,
                more=f"{model.sharpe.low:.2f} to {model.sharpe.high:.2f} at {model.sharpe.level:.0%}",
            ),
            Tile(
                "Deflated Sharpe",
                model.deflated.probability,
                "%",
                more=f"{found.trials} trials; the bar is {PASSES:.0%}",
                tone="good" if model.deflated.probability > PASSES else "bad",
            ),
            Tile("Overfitting", found.overfitting.probability, "%", more=f"{found.overfitting.strategies} strategies"),
            Tile("Calibration error", found.way.calibration_error, decimals=3, tone=_tone(verdict.is_calibrated)),
            Tile("Last fold", found.looks, more=looks_text(found)),
        ]
    )
    for sentence in verdict.sentences[:-1]:
        page.lead.add_text(sentence)
    page.lead.add_note(verdict.sentences[-1], "good" if verdict.has_edge else "caution")


def _tone(is_good: bool) -> Tone:
    return "good" if is_good else "caution"


def _competitors(page: Page, found: Evaluation) -> None:
    section = page.section(
        "Competitors",
        "All tests together. Ratios are of an account that is split evenly between the seeds, the rest are means over the seeds.",
    )
    columns: list[str | Column] = [
        "competitor",
        Column("seeds", decimals=0),
        Column("net return", "%", decimals=2, by_sign=True),
        Column("Sharpe", decimals=2, by_sign=True),
        Column("low", decimals=2),
        Column("high", decimals=2),
        Column("between seeds", decimals=2),
        Column("Sortino", decimals=2),
        Column("drawdown", "%", decimals=1),
        Column("days of it", decimals=0),
        Column("lots a day", decimals=1),
        Column("trades hit", "%", decimals=1),
        Column("days hit", "%", decimals=1),
        Column("cost share", "%", decimals=0),
        Column("exposure", "%", decimals=0),
        Column("deflated", "%", decimals=1),
    ]
    rows: list[list[Value | Cell]] = []
    for result in main_competitors(found):
        seeds = result.together
        passes = result.deflated.probability > PASSES
        rows.append(
            [
                result.name,
                result.seeds,
                result.net_return,
                result.sharpe.value,
                result.sharpe.low,
                result.sharpe.high,
                result.sharpe_spread if result.seeds > 1 else None,
                mean_of([one.sortino for one in seeds]),
                mean_of([one.max_drawdown for one in seeds]),
                mean_of([one.drawdown_days for one in seeds]),
                mean_of([one.lots_per_day for one in seeds]),
                mean_of([one.trade_hit_rate for one in seeds]),
                mean_of([one.day_hit_rate for one in seeds]),
                mean_of([one.cost_share for one in seeds]),
                mean_of([one.mean_exposure for one in seeds]),
                Cell(result.deflated.probability, "good") if passes else result.deflated.probability,
            ]
        )
    section.add_table(columns, rows, "After costs")
    section.add_table(
        [
            "the model against",
            Column("Sharpe more", decimals=2, sign=True, by_sign=True),
            Column("low", decimals=2, sign=True),
            Column("high", decimals=2, sign=True),
            Column("resamples above 0", "%", decimals=1),
        ],
        [_difference_row(name, difference) for name, difference in found.against.items()],
        "Paired bootstrap over blocks of days",
    )


def _difference_row(name: str, difference: PairedDifference) -> list[str | float]:
    return [name, difference.value, difference.low, difference.high, difference.probability_above]


def _curves(page: Page, found: Evaluation) -> None:
    section = page.section(
        "Equity and drawdowns", "Growth of the account from 1, profits not reinvested; shaded by fold."
    )
    times = np.array(found.day_ns, dtype=np.int64)
    spans = [
        ShadedSpan(fold.test.start_ns, fold.test.end_ns, fold.name, "caution" if fold.is_last else "neutral")
        for fold in found.folds[::2]
    ]
    shown = main_competitors(found)
    section.add_chart(
        LineChart(
            title="Equity of all competitors",
            series=[Series(result.name, times, np.array(result.equity)) for result in shown],
            spans=spans,
            height=320,
        )
    )
    falls = []
    for result in shown:
        equity = np.concatenate([[1.0], result.equity])
        falls.append(Series(result.name, times, -drawdown_curve(equity)[1:]))
    section.add_chart(LineChart(title="Below the running peak", series=falls, unit="%", spans=spans))


def _folds(page: Page, found: Evaluation) -> None:
    section = page.section("Fold by fold", "Annual Sharpe ratio, mean over the seeds, and what lies between them.")
    names = [fold.name for fold in found.folds]
    shown = main_competitors(found)
    bars = [
        Bars(result.name, [mean_of([one.sharpe.value for one in result.folds[name]]) or 0.0 for name in names])
        for result in shown
    ]
    section.add_chart(BarChart(title="Sharpe ratio by fold", labels=names, bars=bars))
    columns: list[str | Column] = ["competitor"]
    for name in names:
        columns += [
            Column(name, decimals=2, by_sign=True),
            Column("spread", decimals=2),
            Column("net", "%", decimals=2),
        ]
    rows: list[list[str | float | None]] = []
    for result in shown:
        row: list[str | float | None] = [result.name]
        for name in names:
            ratios = [one.sharpe.value for one in result.folds[name]]
            row += [
                statistics.fmean(ratios),
                statistics.stdev(ratios) if len(ratios) > 1 else None,
                mean_of([one.net_return for one in result.folds[name]]),
            ]
        rows.append(row)
    section.add_table(columns, rows, "Sharpe ratio, standard deviation between seeds, net return")


def _luck(page: Page, found: Evaluation) -> None:
    section = page.section(
        "How much is luck",
        "A deflated Sharpe ratio asks for more than the best of all trials would show without any edge. The histogram shows "
        "where the strategy that was best in half of the days ranks in the other half: below 0 is below the median.",
    )
    shown = [result for result in main_competitors(found) if result.sharpe.standard_error > 0.0]
    places = np.arange(len(shown), dtype=np.float64)
    section.add_chart(
        XYChart(
            title="Sharpe ratios and their intervals",
            points=[
                Points("ratio", [r.sharpe.value for r in shown], places, names=[r.name for r in shown]),
                *(
                    Points(result.name, [result.sharpe.low, result.sharpe.high], [place, place], line=True, dots=False)
                    for place, result in zip(places.tolist(), shown, strict=True)
                ),
            ],
            x_label="annual Sharpe ratio, 95 % interval",
            y_label="competitor",
            note="From below: " + ", ".join(result.name for result in shown) + ".",
        ),
        is_half=True,
    )
    section.add_chart(
        Histogram(
            title=f"Rank out of sample, log odds (overfitting {found.overfitting.probability:.0%})",
            samples=[Sample("splits", found.overfitting.logits)],
        ),
        is_half=True,
    )
    model = found.competitor(MODEL)
    best = float(np.sqrt(found.periods_per_year)) * model.deflated.threshold
    years = [one.track_record_years for one in model.together]
    section.add_text(
        f"The best of {found.trials} trials without an edge is expected to show an annual ratio of {best:.2f}; the model shows "
        f"{model.sharpe.value:.2f}. Its seeds would need "
        f"{_years(mean_of(years))} of days like these for 95 % confidence in a ratio above 0"
        f"{'' if None not in years else ' (those of its seeds that are above 0 at all)'}."
    )


def _years(years: float | None) -> str:
    return "more years than there are" if years is None else f"{years:.1f} years"


def _forecasts(page: Page, found: Evaluation) -> None:
    section = page.section(
        "Forecasts",
        f"{found.forecasts:,} decisions with a known outcome. On the diagonal what was said came true as often as said.",
    )
    section.add_chart(
        XYChart(
            title="Reliability",
            points=[Points(row.outcome, row.said, row.happened, line=True) for row in found.reliability],
            x_label="probability that was given",
            y_label="share that came true",
            x_unit="%",
            y_unit="%",
            diagonal="calibrated",
        ),
        is_half=True,
    )
    section.add_chart(
        BarChart(
            title="Log loss, nats",
            labels=[*(way.name for way in found.ways), "frequencies before", "a third each"],
            bars=[Bars("log loss", [*(w.log_loss for w in found.ways), found.log_loss_constant, found.log_loss_equal])],
            is_horizontal=True,
        ),
        is_half=True,
    )


def _ways(page: Page, found: Evaluation) -> None:
    section = page.section(
        "Does the Coordinator's weighting help?",
        "The collapsed belief of the superposition is the weighted mean of the agents' beliefs. Here it is held against the plain "
        "mean, a majority vote and the best agent alone, each at the temperature that suits it before the test.",
    )
    section.add_table(
        [
            "way",
            Column("log loss", decimals=4),
            Column("Brier", decimals=4),
            Column("calibration error", decimals=3),
            Column("hit rate", "%", decimals=1),
            Column("Sharpe, direction", decimals=2, by_sign=True),
            Column("Sharpe, sized", decimals=2, by_sign=True),
        ],
        [
            [w.name, w.log_loss, w.brier, w.calibration_error, w.hit_rate, w.sharpe_direction, w.sharpe_sized]
            for w in found.ways
        ],
        "Out of sample",
    )
    rows: list[list[Value | Cell]] = []
    for way in found.ways:
        for name, difference in (
            ("log loss", way.log_loss_less),
            ("Brier", way.brier_less),
            ("hit rate", way.hit_rate_more),
            ("Sharpe, direction", way.sharpe_direction_more),
            ("Sharpe, sized", way.sharpe_sized_more),
        ):
            if difference is not None:
                rows.append(
                    [way.name, name, difference.value, difference.low, difference.high, _better(name, difference)]
                )
    section.add_table(
        [
            "Coordinator against",
            "by",
            Column("difference", decimals=4, sign=True),
            Column("low", decimals=4, sign=True),
            Column("high", decimals=4, sign=True),
            "so the Coordinator is",
        ],
        rows,
        "Paired bootstrap over days, 95 %",
    )


def _better(name: str, difference: PairedDifference) -> str:
    sign = -1.0 if name in {"log loss", "Brier"} else 1.0
    low, high = sorted((sign * difference.low, sign * difference.high))
    return "better" if low > 0.0 else "worse" if high < 0.0 else "no different beyond luck"


def _capacity(page: Page, found: Evaluation) -> None:
    section = page.section(
        "Capacity",
        "Annual Sharpe ratio with more money behind the same positions, under the square-root law of impact with coefficient 1, the "
        "bar's own volume and deviation. All tests, mean over the seeds.",
    )
    points: list[Points] = []
    rows: list[list[Value | Cell]] = []
    for result in main_competitors(found):
        capacities = [one.capacity for one in result.together]
        sizes = capacities[0].capitals_usd
        ratios = [mean_of([one.sharpes[k] for one in capacities]) for k in range(len(sizes))]
        if any(ratio is None for ratio in ratios):
            continue
        points.append(Points(result.name, np.log10(sizes), [ratio or 0.0 for ratio in ratios], line=True))
        rows.append([result.name, *ratios, mean_of([one.halves_at_usd for one in capacities])])
    section.add_chart(
        XYChart(
            title="Sharpe ratio by capital",
            points=points,
            x_label="capital, powers of ten of a dollar",
            y_label="Sharpe",
        )
    )
    section.add_table(
        [
            "competitor",
            Column("at 1 million", decimals=2),
            Column("at 10 million", decimals=2),
            Column("at 100 million", decimals=2),
            Column("halves at", "$", decimals=0),
        ],
        rows,
        "Where it halves is told for seeds that have an edge at all",
    )


def _method(page: Page, found: Evaluation) -> None:
    section = page.section("How it was done")
    section.add_table(
        ["fold", "learnt from", "calibrated on", "tested on"], [list(row) for row in folds_text(found.folds)]
    )
    lane = found.settings.lane
    section.add_text(
        f"Every competitor trades the same bars with {lane.capital_micros / 1e6:,.0f} a market, {lane.slippage_ticks} tick(s) of "
        f"slippage and a fee of {lane.fee_micros / 1e6:.2f} a lot and side, through the exchange and the risk limits of the engine. "
        f"A full exposure is {found.settings.strategic.full.volatility_target:.0%} of annual volatility, or less where the VaR budget binds."
    )
    model = _totals(found.competitor(MODEL).together)
    section.add_text(
        f"The gate refused the model {model[0]:.0f} lots, and limits on drawdown and daily loss closed its positions {model[1]:.1f} times, "
        "means over the seeds. The Coordinator and the sizes see an account that is filled at each close without costs."
    )
    section.add_text(f"The last fold was {looks_text(found)}. Models: content {found.content[:16]}.")
    rows = [[fold, str(seed), model_id[:16]] for fold, ids in found.models.items() for seed, model_id in enumerate(ids)]
    section.add_table(["fold", "seed", "model"], rows)


def _totals(seeds: Sequence[Measures]) -> tuple[float, float]:
    return statistics.fmean(one.refused_lots for one in seeds), statistics.fmean(one.breaches for one in seeds)


def tactical_page(found: TacticalEvaluation) -> str:
    """The page of a tactical evaluation."""
    page = Page(
        "Evaluation of the tactical model",
        f"Working the same strategic positions on {', '.join(found.markets)}; {len(found.folds)} folds, code {found.code_version}",
    )
    for sentence in tactical_verdict(found):
        page.lead.add_text(sentence)
    section = page.section(
        "Cost of execution",
        "Shortfall against the perfect path: the wished position held from each close, without any cost. In basis points of what that "
        "path trades; below 0 is better than perfect.",
    )
    _shortfall_table(section, found)
    section.add_chart(
        BarChart(
            title="Shortfall, basis points of the notional",
            labels=[row.name for row in found.competitors],
            bars=[Bars("shortfall", [row.shortfall_bps for row in found.competitors])],
            is_horizontal=True,
        )
    )
    section = page.section("Equity", "Growth of the account from 1, mean of the seeds.")
    times = np.array(found.day_ns, dtype=np.int64)
    section.add_chart(
        LineChart(
            title="Equity of all competitors",
            series=[Series(row.name, times, np.array(row.equity)) for row in found.competitors],
        )
    )
    section = page.section("How it was done")
    section.add_table(
        ["fold", "learnt from", "calibrated on", "tested on"], [list(row) for row in folds_text(found.folds)]
    )
    section.add_text(f"The last fold was {looks_text(found)}. {found.trials} trials. {found.path_text}")
    return page.render()


def _shortfall_table(section: Section, found: TacticalEvaluation) -> None:
    section.add_table(
        [
            "competitor",
            Column("seeds", decimals=0),
            Column("shortfall, bp", decimals=3),
            Column("spread", decimals=3),
            Column("less than at once, bp", decimals=3, sign=True),
            Column("low", decimals=3, sign=True),
            Column("high", decimals=3, sign=True),
            Column("Sharpe", decimals=2, by_sign=True),
            Column("net return", "%", decimals=2, by_sign=True),
            Column("lots a day", decimals=1),
            Column("off the path", "%", decimals=1),
        ],
        [
            [
                row.name,
                row.seeds,
                row.shortfall_bps,
                row.shortfall_spread if row.seeds > 1 else None,
                None if row.saved_bps is None else row.saved_bps.value,
                None if row.saved_bps is None else row.saved_bps.low,
                None if row.saved_bps is None else row.saved_bps.high,
                row.sharpe.value,
                row.net_return,
                row.lots_per_day,
                row.off_path,
            ]
            for row in found.competitors
        ],
        "After costs",
    )

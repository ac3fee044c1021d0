"""The model card that ships with a model: Markdown made from its evaluation, nothing typed by hand.

``strategic_card`` and ``tactical_card`` take an evaluation and the manifest of the model that is shipped. What the numbers do not say
is not on the card; where it must not be used follows from what the file itself says it learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandmodel.domain.time import text_from_ns
from grandmodel.models.model_file import DataSpan, ModelManifest
from grandmodel.research.evaluate import MODEL, Evaluation, folds_text, verdict_of
from grandmodel.research.report import looks_text, main_competitors, mean_of
from grandmodel.research.tactical import TacticalEvaluation, tactical_verdict

_MODEL_ID_DIGITS = 16
_AGAINST = (
    "Walk-forward, after costs, all tests together; Sharpe ratios are annual, with 95 % intervals, of an account split evenly "
    "between the seeds."
)


def strategic_card(found: Evaluation, manifest: ModelManifest, model_id: str = "") -> str:
    """The card of one strategic model of ``found``."""
    verdict = verdict_of(found)
    lines = [
        *_head(manifest, model_id),
        "## Verdict",
        "",
        *[f"- {sentence}" for sentence in verdict.sentences],
        "",
        "## Against simple rules",
        "",
        _AGAINST,
        "",
        *_table(
            [
                "competitor",
                "seeds",
                "net return",
                "Sharpe",
                "interval",
                "drawdown",
                "lots a day",
                "trades hit",
                "deflated",
            ],
            [
                [
                    result.name,
                    str(result.seeds),
                    _percent(result.net_return),
                    f"{result.sharpe.value:.2f}",
                    f"{result.sharpe.low:.2f} to {result.sharpe.high:.2f}",
                    _percent(mean_of([one.max_drawdown for one in result.together])),
                    _number(mean_of([one.lots_per_day for one in result.together]), 1),
                    _percent(mean_of([one.trade_hit_rate for one in result.together])),
                    _percent(result.deflated.probability),
                ]
                for result in main_competitors(found)
            ],
        ),
        *_folds(found),
        "Annual Sharpe ratio of the model by fold: "
        + "; ".join(
            f"{name} {_number(mean_of([one.sharpe.value for one in seeds]), 2)}"
            for name, seeds in found.competitor(MODEL).folds.items()
        )
        + ".",
        "",
        "## Calibration",
        "",
        f"{found.forecasts:,} forecasts with a known outcome, out of sample.",
        "",
        *_table(
            ["belief of", "log loss", "Brier", "calibration error", "hit rate"],
            [
                [
                    way.name,
                    f"{way.log_loss:.4f}",
                    f"{way.brier:.4f}",
                    f"{way.calibration_error:.3f}",
                    _percent(way.hit_rate),
                ]
                for way in found.ways
            ]
            + [["frequencies before the test", f"{found.log_loss_constant:.4f}", "", "", ""]]
            + [["a third each", f"{found.log_loss_equal:.4f}", f"{2.0 / 3.0:.4f}", "", ""]],
        ),
        *_capacity(found),
        *_limits(manifest, verdict.has_edge),
        *_metrics(manifest),
    ]
    return "\n".join(lines) + "\n"


def tactical_card(found: TacticalEvaluation, manifest: ModelManifest, model_id: str = "") -> str:
    """The card of one tactical model of ``found``."""
    lines = [
        *_head(manifest, model_id),
        "## Verdict",
        "",
        *[f"- {sentence}" for sentence in tactical_verdict(found)],
        "",
        "## Cost of execution",
        "",
        "Shortfall against the perfect path, in basis points of what that path trades; all worked the same positions. "
        + found.path_text,
        "",
        *_table(
            [
                "competitor",
                "seeds",
                "shortfall",
                "saved against at once",
                "interval",
                "Sharpe",
                "net return",
                "lots a day",
            ],
            [
                [
                    row.name,
                    str(row.seeds),
                    f"{row.shortfall_bps:.3f}",
                    "" if row.saved_bps is None else f"{row.saved_bps.value:+.3f}",
                    "" if row.saved_bps is None else f"{row.saved_bps.low:+.3f} to {row.saved_bps.high:+.3f}",
                    f"{row.sharpe.value:.2f}",
                    _percent(row.net_return),
                    f"{row.lots_per_day:.1f}",
                ]
                for row in found.competitors
            ],
        ),
        *_folds(found),
        *_limits(manifest, has_edge=False),
        *_metrics(manifest),
    ]
    return "\n".join(lines) + "\n"


def _head(manifest: ModelManifest, model_id: str) -> list[str]:
    agents = ", ".join(head.agent for head in manifest.architecture.heads)
    name = f"# {manifest.layer.capitalize()} model"
    about = (
        f"Agents {agents}; each sees a window of {manifest.schema.rows} bars of {manifest.schema.bar_minutes} minutes and a belief is "
        f"about the next {manifest.horizon_bars}."
        if manifest.layer == "strategic"
        else f"Agents {agents}; they work a given strategic exposure at every bar of {manifest.schema.bar_minutes} minutes."
    )
    data = manifest.data
    return [
        f"{name} {model_id[:_MODEL_ID_DIGITS]}".rstrip(),
        "",
        about,
        "",
        *_table(
            ["", ""],
            [
                ["instruments", ", ".join(data.instruments)],
                ["learnt from", _span(data.train)],
                ["calibrated on", _span(data.validation)],
                ["seeds", ", ".join(str(seed) for seed in manifest.seeds)],
                ["features", f"{manifest.schema_hash[:12]}, volume {manifest.volume}"],
                ["temperature", f"{manifest.temperature:.3f}"],
                ["code", manifest.code_version],
            ],
        ),
    ]


def _folds(found: Evaluation | TacticalEvaluation) -> list[str]:
    return [
        "## Folds",
        "",
        *_table(["fold", "learnt from", "calibrated on", "tested on"], [list(row) for row in folds_text(found.folds)]),
        f"The last fold was {looks_text(found)}; {found.trials} trainings were ever begun.",
        "",
    ]


def _capacity(found: Evaluation) -> list[str]:
    rows = []
    for result in main_competitors(found):
        capacities = [one.capacity for one in result.together]
        ratios = [mean_of([one.sharpes[k] for one in capacities]) for k in range(len(capacities[0].capitals_usd))]
        halves = mean_of([one.halves_at_usd for one in capacities])
        rows.append([result.name, *(_number(ratio, 2) for ratio in ratios), _dollars(halves)])
    return [
        "## Capacity",
        "",
        "Sharpe ratio with so many dollars behind the same positions, under square-root impact.",
        "",
        *_table(["competitor", "1 million", "10 million", "100 million", "halves at"], rows),
    ]


def _limits(manifest: ModelManifest, has_edge: bool) -> list[str]:
    data = manifest.data
    lines = [
        "## Where it must not be used",
        "",
        f"- On instruments other than {', '.join(data.instruments)}, or bars other than {manifest.schema.bar_minutes} minutes.",
        f"- On data before {_date((data.validation or data.train).end_ns)} as if it were a test: the model was made from it.",
        f"- With features defined otherwise, or volume {'unknown' if manifest.volume == 'known' else 'used'}: loading refuses it.",
        "- Without the risk gate, or where its uncertainty and novelty do not reach the size.",
    ]
    if not has_edge:
        lines.append("- With money that expects a profit: none beyond the simple ways was shown.")
    return [*lines, ""]


def _metrics(manifest: ModelManifest) -> list[str]:
    if not manifest.metrics:
        return []
    rows = [[name, f"{value:.5g}"] for name, value in sorted(manifest.metrics.items())]
    return ["## What training measured", "", *_table(["metric", "value"], rows)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _dollars(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:,.1f} million"


def _span(span: DataSpan | None) -> str:
    return "nothing" if span is None else f"{_date(span.start_ns)} to {_date(span.end_ns)}"


def _date(ts: int) -> str:
    return text_from_ns(ts)[:10]

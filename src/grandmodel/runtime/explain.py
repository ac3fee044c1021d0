"""Why a run decided what it decided: one record taken apart, from the bar that came in to the fills that followed.

``explain`` runs the journal again up to the record, so that the agent stands just where it stood, with the window, the tail and the
dropout seed of that decision. It holds what the networks say now against what the record says, and then asks them again with each
column of the window replaced by its training centre (occlusion): how much the answer moves is how much the column mattered.

Shown by ``grandmodel explain``, drawn by ``explain_page.py``; ``docs/concepts/decisions.md`` follows one example.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import Decision, NoDecision, StrategicDecision, TacticalDecision
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Alert, Begin, Cause, ClosedBar, Record
from grandmodel.domain.instruments import Instrument, currency_text
from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.moments import expanded, moments_of
from grandmodel.domain.time import NS_PER_MINUTE, ns_from_text, text_from_ns
from grandmodel.features.schema import FeatureColumn
from grandmodel.journal.errors import ReplayError
from grandmodel.journal.format import ContentResolver, JournalReader, decode_record, encode_record
from grandmodel.models.architecture import BELIEF, STRATEGIC_TAIL, TACTICAL_STANCES, TACTICAL_TAIL
from grandmodel.models.loaded import Inputs, LoadedModel
from grandmodel.models.track import Unready
from grandmodel.runtime import story
from grandmodel.runtime.agents import BUILT_IN_ONLY
from grandmodel.runtime.engine import AgentFactory, Engine
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.learning import LearningAgent
from grandmodel.runtime.results import is_on_simulated_market
from grandmodel.runtime.samples import NOT_KNOWN, overlap_of
from grandmodel.runtime.story import OrderLine
from grandmodel.strategic.agent import StrategicLayer
from grandmodel.strategic.decision import StrategicReason, trust_in
from grandmodel.tactical.agent import TacticalLayer
from grandmodel.tactical.decision import TacticalReason

Floats = NDArray[np.float64]


class BarLine(msgspec.Struct, frozen=True, kw_only=True):
    """One bar that closed, prices in price units."""

    instrument: str
    minutes: float
    ts_open: int
    ts_event: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    marks: tuple[str, ...]


class AgentLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent of a layer said."""

    agent: str
    weight: float
    """The Coordinator's; a tactical agent's is its even share."""
    actions: tuple[str, ...]
    probabilities: tuple[float, ...]
    chosen: str


class ColumnEffect(msgspec.Struct, frozen=True, kw_only=True):
    """How much one column of the window mattered."""

    column: str
    meaning: str
    newest: float
    """Its value in the newest row."""
    centre: float
    """What it was replaced by: its centre over the training data; 0 for a flag, the middle of its range for a fraction."""
    effect: float
    """What the column added to bullish less bearish (strategic) or enter less exit (tactical)."""


class NamedNumber(msgspec.Struct, frozen=True, kw_only=True):
    """One number that agents saw besides the window."""

    name: str
    value: float


class ReasonLine(msgspec.Struct, frozen=True, kw_only=True):
    """A reason code and what it means."""

    code: str
    meaning: str


class DecisionStory(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of one layer, or why there was none."""

    layer: str
    instrument: str
    decided: bool
    model: str
    summary: str
    reasons: tuple[ReasonLine, ...]
    sample: str = ""
    """What the model had seen before of this instrument and this moment: ``in-sample: ...``, ``out-of-sample: ...``."""
    agents: tuple[AgentLine, ...] = ()
    belief: tuple[float, ...] = ()
    """Collapsed and calibrated (strategic), or the joint stance (tactical)."""
    outcomes: tuple[str, ...] = ()
    """What the entries of ``belief`` are."""
    uncertainty: tuple[str, ...] = ()
    """The uncertainty numbers in sentences."""
    sizing: tuple[str, ...] = ()
    """How the size came about."""
    tail: tuple[NamedNumber, ...] = ()
    columns: tuple[ColumnEffect, ...] = ()
    """Largest effect first; empty where the decision was not a learning agent's."""
    window: tuple[tuple[float | None, ...], ...] = ()
    """The raw rows, oldest first; None where not known."""
    column_names: tuple[str, ...] = ()
    centres: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    """The normaliser's, for drawing the window in units of the training data."""
    recomputed: bool = False
    """Whether the networks gave the record's numbers again, to the last bit."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a run, explained."""

    run: str
    record: int
    ts: int
    cause: str
    equity_micros: int
    base_currency: str
    bars: tuple[BarLine, ...]
    decisions: tuple[DecisionStory, ...]
    why_none: str
    """Why nothing was decided at this record; empty where something was."""
    previous_decision: int | None
    """Number of the last record before this one that holds a decision."""
    next_decision: int | None
    wishes: tuple[story.Decision, ...]
    """What was wished for, and each risk check of each order."""
    orders: tuple[OrderLine, ...]
    """Orders that left with this record, and what became of them by the end of the journal."""
    alerts: tuple[Alert, ...]


def explain(
    folder: Path,
    asked: str = "",
    *,
    resolver: ContentResolver | None = None,
    build_agent: AgentFactory = BUILT_IN_ONLY,
) -> Explanation:
    """Explain the record that ``asked`` names in the run of ``folder``: its number, or a time; empty: the last decision, or wish.

    At a time it is the last record not after it. Raises ``UsageError`` where there is no such record, ``UntrustedAgentError`` where
    the run was decided by code that ``build_agent`` does not import, and ``ReplayError`` where the journal run again does not give
    the record: then nothing that is said here would be true.
    """
    with JournalReader.open(folder, resolver) as reader:
        begin, opening, kept, ts, before, after = _find(reader, folder, asked)
        engine = _run_until(reader, kept, build_agent)
        record = _moment_at(kept, ts)
        is_simulated = is_on_simulated_market(begin)
        stories = tuple(_tell(decision, engine, record, is_simulated=is_simulated) for decision in record.decisions)
    instruments = {instrument.id: instrument for instrument in begin.instruments}
    orders = story.load_orders(folder, record.ts, record.ts + 1).orders if record.orders else ()
    return Explanation(
        run=str(begin.run),
        record=record.number,
        ts=record.ts,
        cause=record.cause.value,
        equity_micros=record.equity_micros,
        base_currency=engine.settings.account.base_currency,
        bars=tuple(_bar_line(bar, instruments[bar.instrument]) for bar in record.bars),
        decisions=stories,
        why_none=_why_none(record, stories, engine),
        previous_decision=before,
        next_decision=after,
        wishes=story.decisions_of(begin, opening, record),
        orders=tuple(line for line in orders if line.record == record.number),
        alerts=record.alerts,
    )


def _moment_at(record: Record, ts: int | None) -> Record:
    """What ``record`` says of its last moment not after ``ts``; where it is of one moment, or no time was asked for, its last."""
    moments = list(expanded([record]))
    until = [one for one in moments if ts is None or one.ts <= ts]
    return until[-1] if until else moments[0]


def _find(
    reader: JournalReader, folder: Path, asked: str
) -> tuple[Begin, Record, Record, int | None, int | None, int | None]:
    """The run's first input and first record, the record that is meant, the time asked for, and the numbers of the decisions before and after."""
    first = next(reader.inputs(), None)
    if first is None or not isinstance(first[1], Begin):
        raise UsageError(f"{folder}: found a journal without a beginning, expected a run")
    records = [decode_record(row.body) for row in reader.record_rows()]
    decided = [record.number for record in records if any(not isinstance(one, NoDecision) for one in record.decisions)]
    number, ts = _number_of(records, decided, folder, asked)
    before = max((other for other in decided if other < number), default=None)
    after = min((other for other in decided if other > number), default=None)
    return first[1], records[0], records[number], ts, before, after


def _number_of(records: list[Record], decided: list[int], folder: Path, asked: str) -> tuple[int, int | None]:
    """The number of the record that ``asked`` names, and the time if it names one."""
    if not records:
        raise UsageError(f"{folder}: found a journal without a record, expected a run")
    if not asked:
        wished = [record.number for record in records if record.intents]
        return (decided or wished or [records[-1].number])[-1], None
    if asked.isdecimal():
        if int(asked) >= len(records):
            raise UsageError(f"found record {asked}, expected 0 to {len(records) - 1}")
        return int(asked), None
    try:
        ts = ns_from_text(asked)
    except ValueError as error:
        raise UsageError(
            f"found {asked!r}, expected a record's number or a time with its zone (2024-07-10T14:00Z)"
        ) from error
    timed = [record for record in records if record.cause is not Cause.BEGIN]
    begun = [next(moments_of(record)).ts for record in timed]
    until = [record for record, first in zip(timed, begun, strict=True) if first <= ts]
    if not until:
        first = f" from {text_from_ns(begun[0])} on" if timed else ", but nothing happened in this run"
        raise UsageError(f"found {asked}, expected a time{first}")
    last = [record for record in until if record.ts == until[-1].ts]
    return next((record.number for record in last if record.decisions), last[-1].number), ts


def _run_until(reader: JournalReader, record: Record, build_agent: AgentFactory) -> Engine:
    """The engine as it stood when it made ``record``."""
    inputs = InputEngine(build_agent)
    for number, given in reader.inputs():
        for made in inputs.on_input(number, given):
            if made.number == record.number:
                if encode_record(made) != encode_record(record) or inputs.engine is None:
                    raise ReplayError(
                        f"record {record.number}: running the journal again gives another one, expected the same: the code has "
                        "changed, or the journal did (`grandmodel audit replay` shows both)"
                    )
                return inputs.engine
    raise ReplayError(f"record {record.number} is in the journal, but its inputs do not make it again")


def _why_none(record: Record, stories: tuple[DecisionStory, ...], engine: Engine) -> str:
    """Why a record holds no decision; empty where it holds one."""
    if any(one.decided for one in stories):
        return ""
    if stories:
        found = dict.fromkeys(
            f"{one.layer}, {one.instrument}: {line.meaning}" for one in stories for line in one.reasons
        )
        return "; ".join(found)
    if not record.bars:
        return f"the record's cause is {record.cause.value}: agents decide when a bar closes"
    agents = ", ".join(agent.name for agent in engine.asking.agents)
    if not any(isinstance(agent, LearningAgent) for agent in engine.asking.agents):
        return f"the run's agents ({agents}) only wish; they put no decision on the record"
    if engine.counters()[-1]:
        return "a person had stopped the run"
    widths = ", ".join(dict.fromkeys(f"{bar.width_ns / NS_PER_MINUTE:g}" for bar in record.bars))
    return f"bars of {widths} minutes closed; the layers decide at 30- and 5-minute closes"


def _bar_line(bar: ClosedBar, instrument: Instrument) -> BarLine:
    prices = [float(instrument.price_from_ticks(ticks)) for ticks in (bar.open, bar.high, bar.low, bar.close)]
    return BarLine(
        instrument=bar.instrument,
        minutes=bar.width_ns / NS_PER_MINUTE,
        ts_open=bar.ts_open,
        ts_event=bar.ts_event,
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=bar.volume,
        marks=tuple(str(flag.name).lower() for flag in Flag(bar.flags)),
    )


# One decision.


def _tell(decision: Decision, engine: Engine, record: Record, *, is_simulated: bool) -> DecisionStory:
    if isinstance(decision, NoDecision):
        return _tell_none(decision)
    agent = next((one for one in engine.asking.agents if isinstance(one, LearningAgent)), None)
    layer: StrategicLayer | TacticalLayer | None
    if isinstance(decision, StrategicDecision):
        told = _tell_strategic(decision, engine, record)
        layer = None if agent is None else agent.strategic
    else:
        told = _tell_tactical(decision)
        layer = None if agent is None else agent.tactical
    if layer is None or layer.model.name != decision.model:
        return msgspec.structs.replace(
            told, sample=f"{NOT_KNOWN}: it is not on the record what {decision.model} learnt from"
        )
    told = msgspec.structs.replace(told, sample=_sample(decision, layer.model.learnt_from, record.ts, is_simulated))
    inputs = layer.inputs(decision.instrument)
    if inputs is None:
        return told
    return _with_columns(told, decision, layer.model, inputs)


def _sample(decision: StrategicDecision | TacticalDecision, learnt: LearntFrom, ts: int, is_simulated: bool) -> str:
    """Whether the model had seen this instrument and this moment before, and when it did."""
    overlap = overlap_of("", learnt, (decision.instrument,), (ts, ts + 1), is_simulated=is_simulated)
    return f"{overlap.part}: {overlap.text}"


def _tell_none(decision: NoDecision) -> DecisionStory:
    return DecisionStory(
        layer=decision.layer,
        instrument=decision.instrument,
        decided=False,
        model=decision.model,
        summary="no decision",
        reasons=_reasons(decision.reasons, StrategicReason if decision.layer == "strategic" else TacticalReason),
    )


def _tell_strategic(decision: StrategicDecision, engine: Engine, record: Record) -> DecisionStory:
    belief = (decision.belief.bullish, decision.belief.neutral, decision.belief.bearish)
    lots = decision.target_exposure * decision.risk_lots
    return DecisionStory(
        layer="strategic",
        instrument=decision.instrument,
        decided=True,
        model=decision.model,
        summary=f"target exposure {decision.target_exposure:+.3f}: {lots:+.2f} of {decision.risk_lots:.2f} lots",
        reasons=_reasons(decision.reasons, StrategicReason),
        agents=tuple(
            _agent_line(agent, weight, BELIEF, (one.bullish, one.neutral, one.bearish))
            for agent, weight, one in zip(decision.agents, decision.weights, decision.beliefs, strict=False)
        ),
        belief=belief,
        outcomes=BELIEF,
        uncertainty=(
            *_uncertainty(decision, len(BELIEF)),
            _interval_text(decision, engine.instruments, engine),
        ),
        sizing=_sizing(decision, record, engine.books.lots(decision.instrument)),
    )


def _tell_tactical(decision: TacticalDecision) -> DecisionStory:
    stop = f", stop {decision.stop_ticks} ticks away" if decision.stop_ticks else ""
    return DecisionStory(
        layer="tactical",
        instrument=decision.instrument,
        decided=True,
        model=decision.model,
        summary=f"hold {decision.lots:+d} lots, {decision.urgency.value}{stop}; the strategic exposure is {decision.exposure:+.3f}",
        reasons=_reasons(decision.reasons, TacticalReason),
        agents=tuple(
            AgentLine(
                agent=one.agent,
                weight=1.0 / len(decision.choices),
                actions=one.actions,
                probabilities=one.probabilities,
                chosen=one.chosen,
            )
            for one in decision.choices
        ),
        uncertainty=_uncertainty(decision, len(TACTICAL_STANCES)),
    )


def _agent_line(agent: str, weight: float, actions: tuple[str, ...], probabilities: tuple[float, ...]) -> AgentLine:
    chosen = actions[max(range(len(actions)), key=probabilities.__getitem__)]
    return AgentLine(agent=agent, weight=weight, actions=actions, probabilities=probabilities, chosen=chosen)


def _reasons(codes: tuple[str, ...], known: type[StrategicReason | TacticalReason]) -> tuple[ReasonLine, ...]:
    meanings = {reason.value: reason.meaning for reason in (*Unready, *known)}
    return tuple(ReasonLine(code=code, meaning=meanings.get(code, "a code of the agent's own")) for code in codes)


def _uncertainty(decision: StrategicDecision | TacticalDecision, outcomes: int) -> tuple[str, ...]:
    most = math.log(outcomes)
    total = decision.expected_entropy + decision.mutual_information
    share = decision.mutual_information / most
    agreement = "agree" if decision.purity > 0.95 else "lean apart" if decision.purity > 0.8 else "disagree"
    novelty = decision.novelty
    seen = "well within" if novelty < 0.8 else "near the edge of" if novelty <= 1.0 else "beyond"
    agreed = (
        f"The agents {agreement}: purity {decision.purity:.3f} (1 is one mind, {1 / outcomes:.2f} none), entropy of the joint "
        f"state {decision.entropy:.3f} of at most {most:.2f} nats."
    )
    split = (
        f"Of {total:.3f} nats of uncertainty {decision.expected_entropy:.3f} are the market's noise and "
        f"{decision.mutual_information:.4f} the model's own ignorance, {share:.1%} of the most there can be."
    )
    placed = f"The window lies {seen} what training saw: novelty {novelty:.2f}, 1 is the edge."
    return agreed, split, placed if novelty else "The model's file has no novelty score."


def _interval_text(decision: StrategicDecision, instruments: tuple[Instrument, ...], engine: Engine) -> str:
    low, high = decision.interval
    tick = next(one.tick_size for one in instruments if one.id == decision.instrument)
    agent = next((one for one in engine.asking.agents if isinstance(one, LearningAgent)), None)
    hours = "" if agent is None else f" over {agent.strategic.model.manifest.horizon_bars / 2:g} hours"
    holds = "zero lies inside, so the direction is not established" if low <= 0.0 <= high else "zero lies outside"
    return (
        f"It expects {decision.expected_move:+.2f} ticks{hours} (a tick is {tick}); {decision.coverage:.0%} of such moves are to lie "
        f"between {low:+.1f} and {high:+.1f} ticks: {holds}."
    )


def _sizing(decision: StrategicDecision, record: Record, held: int) -> tuple[str, ...]:
    known, familiar = trust_in(decision.mutual_information, decision.novelty)
    equity = currency_text(record.equity_micros)
    lines = [
        f"Volatility target and VaR budget allow {decision.risk_lots:.2f} lots at an equity of {equity}.",
        (
            f"Ignorance leaves {known:.1%} of the size, novelty {familiar:.1%} of that, and {decision.support:.1%} of that is as much as "
            "held-back data support the model's directions."
        ),
    ]
    lines += [
        f"{line.meaning.capitalize()}." for line in _reasons(decision.reasons, StrategicReason) if line.code in _BINDS
    ]
    wished = any(one.intent.instrument == decision.instrument for one in record.intents)
    lines.append(f"Held then: {held:+d} lots{'' if wished else '; nothing was wished for'}.")
    return tuple(lines)


_BINDS = ("no_edge", "neutral", "kelly", "kelly_small", "volatility_target", "var_budget")


# Columns that mattered.


def _with_columns(
    told: DecisionStory, decision: StrategicDecision | TacticalDecision, model: LoadedModel, inputs: Inputs
) -> DecisionStory:
    """``told`` with the networks asked again: with the window as it was, and with each column at its centre."""
    schema, normaliser = model.schema, model.manifest.normaliser
    stance, belief, is_same = _ask(model, inputs.window, inputs, decision)
    effects = []
    for place, column in enumerate(schema.columns):
        if place in schema.unknown_columns:
            continue
        window = inputs.window.copy()
        centre = _usual(column, normaliser.centre[place])
        window[:, place] = centre
        without, _, _ = _ask(model, window, inputs, decision)
        effects.append(
            ColumnEffect(
                column=column.name,
                meaning=column.meaning,
                newest=float(inputs.window[-1, place]),
                centre=centre,
                effect=stance - without,
            )
        )
    names = STRATEGIC_TAIL if told.layer == "strategic" else TACTICAL_TAIL
    return msgspec.structs.replace(
        told,
        belief=belief,
        outcomes=BELIEF if told.layer == "strategic" else TACTICAL_STANCES,
        tail=tuple(NamedNumber(name=name, value=float(value)) for name, value in zip(names, inputs.tail, strict=True)),
        columns=tuple(sorted(effects, key=lambda one: -abs(one.effect))),
        window=tuple(tuple(None if math.isnan(x) else x for x in row) for row in inputs.window.tolist()),
        column_names=schema.names,
        centres=normaliser.centre,
        scales=normaliser.scale,
        recomputed=is_same,
    )


def _usual(column: FeatureColumn, centre: float) -> float:
    """What stands for a column that says nothing: its training centre; the middle of its range where it is fed as it is."""
    if column.rescale or column.unit == "flag" or column.low is None or column.high is None:
        return centre
    return (column.low + column.high) / 2.0


def _ask(
    model: LoadedModel, window: Floats, inputs: Inputs, decision: StrategicDecision | TacticalDecision
) -> tuple[float, tuple[float, ...], bool]:
    """(first less last outcome, all of them, whether they are the decision's own numbers) for one window."""
    if isinstance(decision, StrategicDecision):
        said = model.compiled.strategic(window, inputs.tail, inputs.seed, spread=inputs.spread)
        belief = model.calibrate(said.belief).tolist()
        kept = [decision.belief.bullish, decision.belief.neutral, decision.belief.bearish]
        is_same = belief == kept and said.mutual_information == decision.mutual_information
        return belief[0] - belief[2], tuple(belief), is_same
    answer = model.compiled.tactical(window, inputs.tail, inputs.seed, spread=inputs.spread)
    stance = answer.stance.tolist()
    given = [tuple(one.tolist()) for one in answer.distributions]
    return stance[0] - stance[2], tuple(stance), given == [one.probabilities for one in decision.choices]

"""The learning agents inside the engine: exact under cuts, snapshots, replay and a change of model, and silent where they must be."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandmodel.domain.blocks import Flag
from grandmodel.domain.decisions import NoDecision, StrategicDecision, TacticalDecision, Urgency
from grandmodel.domain.errors import UsageError
from grandmodel.domain.events import Advance, Begin, Cause, ModelRefresh
from grandmodel.domain.moments import expanded
from grandmodel.domain.time import FIVE_MINUTES_NS, THIRTY_MINUTES_NS, ns_from_text
from grandmodel.features.schema import STRATEGIC_SCHEMA
from grandmodel.journal.format import JournalReader, decode_record, encode_record
from grandmodel.journal.replay import replay
from grandmodel.models.conformal import ConformalSettings, conformal_history
from grandmodel.models.errors import ModelMismatchError
from grandmodel.models.model_file import DataSpan, DataSpans
from grandmodel.models.scale import move_scales
from grandmodel.risk.sizing import ExposureSettings
from grandmodel.runtime.agents import build_agent
from grandmodel.runtime.engine import Engine
from grandmodel.runtime.explain import explain
from grandmodel.runtime.inputs import InputEngine
from grandmodel.runtime.model_loading import refresh_of
from grandmodel.runtime.runs import write_reports
from grandmodel.runtime.samples import IN_SAMPLE, OUT_OF_SAMPLE
from grandmodel.runtime.session import Session
from grandmodel.runtime.snapshot import restore_engine, save_engine
from grandmodel.training.market import build_market
from learning_runs import BAD, NQ, ROLL, SCHEDULE, build_engine, records_of, run_settings, walk, write_random_model

HALF_HOURS = walk(THIRTY_MINUTES_NS, 800)
FIVES = walk(FIVE_MINUTES_NS, 4_000)
TWIN = msgspec.structs.replace(NQ, id="NQ2")
FIRST = 576
"""Bars before the first window is whole."""
NAMES = ("one", "two", "tactical", "other_horizon", "twins", "elsewhere", "tactical_elsewhere")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.safetensors" for name in NAMES}
    write_random_model(paths["one"], "strategic", seed=4)
    write_random_model(paths["two"], "strategic", seed=2)
    write_random_model(paths["other_horizon"], "strategic", seed=2, horizon=4)
    write_random_model(paths["tactical"], "tactical", seed=3)
    write_random_model(paths["twins"], "strategic", seed=4, instruments=("NQ", "NQ2"))
    write_random_model(paths["elsewhere"], "strategic", seed=4, instruments=("ES", "GC"))
    write_random_model(paths["tactical_elsewhere"], "tactical", seed=3, instruments=("ES",))
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(scope="module")
def direct(models):
    """Settings and records of a run on 30-minute bars alone."""
    chosen = run_settings(THIRTY_MINUTES_NS, strategic=models["one"])
    return chosen, records_of(build_engine(chosen), HALF_HOURS)


@pytest.fixture(scope="module")
def both(models):
    """The same on 5-minute bars, with both layers."""
    chosen = run_settings(FIVE_MINUTES_NS, strategic=models["one"], tactical=models["tactical"])
    return chosen, records_of(build_engine(chosen), FIVES)


def encoded(records):
    return [encode_record(record) for record in records]


def decisions_of(records, kind):
    return [decision for record in records for decision in record.decisions if isinstance(decision, kind)]


# What is decided, and when nothing is


def test_decisions_begin_when_the_window_is_whole_and_trade(direct):
    _, records = direct
    closes = [record for record in records if record.cause is Cause.BAR]
    first = next(place for place, record in enumerate(closes) if isinstance(record.decisions[0], StrategicDecision))
    assert first == FIRST - 1
    assert {decision.reasons for decision in decisions_of(records[:FIRST], NoDecision)} == {("warm_up",)}
    assert sum(len(record.fills) for record in expanded(records)) > 10
    exposures = {decision.target_exposure for decision in decisions_of(records, StrategicDecision)}
    assert min(exposures) < 0.0 < max(exposures)


def test_a_bad_stretch_is_never_decided_on_nor_held_through_and_ends_the_position(direct):
    _, records = direct
    closes = [record for record in records if record.cause is Cause.BAR]
    bad = [record.decisions[0].reasons for record in closes[-BAD : -BAD + 2]]
    assert bad == [("bad_stretch",), ("bad_stretch",)]
    after = [record.decisions[0] for record in closes[-BAD + 2 :]]
    assert all(decision.reasons == ("warm_up",) for decision in after)
    assert not [
        intent
        for record in closes[-BAD:]
        for intent in record.intents
        if intent.agent == "grandmodel" and intent.intent.lots
    ]


def test_a_roll_does_not_stop_decisions(direct):
    _, records = direct
    closes = [record for record in records if record.cause is Cause.BAR]
    assert all(isinstance(record.decisions[0], StrategicDecision) for record in closes[-ROLL : -BAD - 1])


def test_every_number_of_a_decision_holds_together(direct):
    for one in decisions_of(direct[1], StrategicDecision):
        belief = (one.belief.bullish, one.belief.neutral, one.belief.bearish)
        assert sum(belief) == pytest.approx(1.0, abs=1e-6)
        assert sum(one.weights) == pytest.approx(1.0, abs=1e-6)
        assert 1 / 3 - 1e-9 <= one.purity <= 1.0 + 1e-9
        assert one.mutual_information > -1e-6
        assert -1.0 <= one.target_exposure <= 1.0
        assert one.interval[0] < one.expected_move < one.interval[1]
        direction = np.sign(one.target_exposure)
        assert direction in (0, (1, 0, -1)[int(np.argmax(belief))])
        assert direction * one.expected_move >= 0.0
        assert one.novelty > 0.0
        assert one.risk_lots > 0.0


def test_both_layers_decide_and_the_tactical_one_sees_the_newest_exposure(both):
    _, records = both
    strategic, tactical = decisions_of(records, StrategicDecision), decisions_of(records, TacticalDecision)
    assert len(strategic) > 20
    assert len(tactical) > 100
    for record in records:
        here = [one for one in record.decisions if isinstance(one, StrategicDecision)]
        for one in record.decisions:
            if isinstance(one, TacticalDecision) and here:
                assert one.exposure == here[0].target_exposure
    wished = [intent for record in records for intent in record.intents if intent.agent == "grandmodel"]
    assert wished
    assert all(intent.intent.stop_ticks > 0 for intent in wished if intent.intent.lots)
    assert all(sum(intent.agent == "grandmodel" for intent in record.intents) <= 1 for record in records)


def test_a_position_that_differs_little_is_left_alone(direct, models):
    def trades(records):
        return sum(len(record.fills) for record in expanded(records))

    eager = run_settings(THIRTY_MINUTES_NS, strategic=models["one"], dead_band=0.0)
    lazy = run_settings(THIRTY_MINUTES_NS, strategic=models["one"], dead_band=0.5)
    counts = [trades(records_of(build_engine(one), HALF_HOURS)) for one in (eager, lazy)]
    assert counts[0] > trades(direct[1]) > counts[1] > 0


def test_intervals_and_sizes_are_those_of_one_pass_over_the_history(direct):
    """The engine's bar by bar against the batch forms: scale, interval with its roll and its bad bars, lots of full exposure."""
    _, records = direct
    closes = [record for record in records if record.cause is Cause.BAR]
    made = [record.decisions[0] for record in closes]
    close = HALF_HOURS["close"].astype(float)
    breaks = (HALF_HOURS["flags"] & int(Flag.ROLL | Flag.BAD_STRETCH)) != 0
    scale = move_scales(close, breaks, 0.985)
    decided = np.array([isinstance(one, StrategicDecision) for one in made])
    expected = np.array([getattr(one, "expected_move", np.nan) for one in made])
    time_of_day = build_market(HALF_HOURS, NQ, "strategic").rows[:, STRATEGIC_SCHEMA.place("time_of_day")]
    history = conformal_history(
        close, breaks, expected, np.where(decided, scale * np.sqrt(8), np.nan), time_of_day, ConformalSettings()
    )
    found = np.array([one.interval for one in made if isinstance(one, StrategicDecision)])
    np.testing.assert_allclose(found, np.stack([history.low, history.high], axis=1)[decided], rtol=1e-12)
    rule = ExposureSettings().rule(THIRTY_MINUTES_NS)
    lots = [rule.lots(scale[k], 5e6, closes[k].equity_micros) for k in np.flatnonzero(decided) if not closes[k].fills]
    assert [made[k].risk_lots for k in np.flatnonzero(decided)] == pytest.approx(lots)


def test_decisions_are_taken_just_where_training_would_take_them(direct):
    """``TrainingMarket.usable`` also asks for a bar behind, which a live run cannot know: those at a mark or the end differ."""
    market = build_market(HALF_HOURS, NQ, "strategic")
    decided = [isinstance(record.decisions[0], StrategicDecision) for record in direct[1] if record.cause is Cause.BAR]
    before_a_mark = np.append(market.segment[:-1] != market.segment[1:], True)
    np.testing.assert_array_equal(np.array(decided)[~before_a_mark], market.usable[~before_a_mark])


def test_two_instruments_share_the_equity_evenly(models):
    both = twice(HALF_HOURS[:620])
    chosen = run_settings(THIRTY_MINUTES_NS, strategic=models["twins"])
    engine = Engine(chosen, (NQ, TWIN), (SCHEDULE, SCHEDULE), build_agent)
    first = next(one for one in decisions_of(records_of(engine, both), StrategicDecision))
    alone = next(one for one in decisions_of(records_of(build_engine(chosen), HALF_HOURS[:620]), StrategicDecision))
    assert first.risk_lots == pytest.approx(alone.risk_lots / 2)


def twice(bars):
    """The same bars of two instruments."""
    both = np.concatenate([bars, bars])
    both["instrument"][len(bars) :] = 1
    both = both[np.lexsort((both["instrument"], both["ts_init"]))]
    both["sequence"] = np.arange(len(both))
    return both


# Instruments that a model's file does not name


def test_what_the_strategic_file_does_not_name_is_not_traded(models):
    engine = Engine(
        run_settings(THIRTY_MINUTES_NS, strategic=models["one"]), (NQ, TWIN), (SCHEDULE, SCHEDULE), build_agent
    )
    begun = engine.begin({})
    records = records_of(engine, twice(HALF_HOURS))
    assert {one.instrument for one in decisions_of(records, StrategicDecision)} == {"NQ"}
    silent = [one for one in decisions_of(records, NoDecision) if one.instrument == "NQ2"]
    assert len(silent) == len(HALF_HOURS)
    assert {one.reasons for one in silent} == {("instrument_not_in_model",)}
    assert {fill.instrument for record in expanded(records) for fill in record.fills} == {"NQ"}
    known, unknown = msgspec.json.decode(begun.note)["traded_by"]
    assert known.startswith("NQ: strategic/")
    assert "NQ2: not traded" in unknown
    assert unknown.endswith("names NQ only")


def test_what_the_tactical_file_does_not_name_is_traded_by_market_orders_at_the_strategic_closes(models):
    chosen = run_settings(FIVE_MINUTES_NS, strategic=models["twins"], tactical=models["tactical"])
    engine = Engine(chosen, (NQ, TWIN), (SCHEDULE, SCHEDULE), build_agent)
    begun = engine.begin({})
    records = records_of(engine, twice(FIVES))
    tactical = [one for one in decisions_of(records, TacticalDecision | NoDecision) if one.model.startswith("tactical")]
    named = {one.instrument for one in tactical if isinstance(one, TacticalDecision)}
    silent = {one.reasons for one in tactical if one.instrument == "NQ2"}
    assert (named, silent) == ({"NQ"}, {("instrument_not_in_model",)})
    wished = [
        (record, one.intent)
        for record in records
        for one in record.intents
        if one.agent == "grandmodel" and one.intent.instrument == "NQ2"
    ]
    assert wished
    assert all(any(bar.width_ns == THIRTY_MINUTES_NS for bar in record.bars) for record, _ in wished)
    assert all(intent.stop_ticks == 0 and intent.urgency is Urgency.AGGRESSIVE for _, intent in wished)
    assert {fill.instrument for record in expanded(records) for fill in record.fills} == {"NQ", "NQ2"}
    lines = msgspec.json.decode(begun.note)["traded_by"]
    assert "tactical/" in lines[0]
    assert "market orders at its closes; tactical/" in lines[1]


@pytest.mark.parametrize(
    ("layer", "message"), [("strategic", "train one for them"), ("tactical", "leave tactical out")]
)
def test_a_model_that_names_none_of_the_instruments_is_refused_before_the_run(models, layer, message):
    named = {"strategic": models["one"], "tactical": models["tactical"]}
    named[layer] = models["elsewhere" if layer == "strategic" else "tactical_elsewhere"]
    with pytest.raises(UsageError, match=message):
        build_engine(run_settings(FIVE_MINUTES_NS, **named))


def test_a_position_is_closed_when_the_next_model_does_not_name_its_instrument(models):
    chosen = run_settings(THIRTY_MINUTES_NS, strategic=models["twins"])
    engine = Engine(chosen, (NQ, TWIN), (SCHEDULE, SCHEDULE), build_agent)
    bars = twice(HALF_HOURS)
    list(engine.on_block(bars[: 2 * FIRST]))
    at = 2 * FIRST
    while not engine.books.lots(TWIN.id):
        list(engine.on_block(bars[at : at + 1]))
        at += 1
    refresh, model = refresh_of(
        "strategic", models["one"], ts=engine.now, who="ann", why="retrained", agents=engine.asking.agents
    )
    *_, told = engine.on_refresh(refresh, model)
    assert "NQ2: not traded" in told.alerts[0].text
    list(engine.on_block(bars[at : at + 6]))
    assert engine.books.lots(TWIN.id) == 0


def test_a_killed_run_is_resumed_with_the_models_it_had(tmp_path, models):
    folder, whole = tmp_path / "run", tmp_path / "whole"
    for name in (folder, whole):
        name.parent.mkdir(exist_ok=True)
    with start(whole, models) as session:
        session.feed([HALF_HOURS[:650]])
        session.refresh_model("strategic", models["two"], who="ann", why="retrained")
        session.feed([HALF_HOURS[650:]], first=1)
        session.end()
    with start(folder, models) as session:
        session.feed([HALF_HOURS[:650]])
        session.refresh_model("strategic", models["two"], who="ann", why="retrained")
    with Session.resume(folder, clock_ns=lambda: 0) as session:
        session.feed([HALF_HOURS[650:]], first=1)
        session.end()
    assert encoded(records_in(folder)) == encoded(records_in(whole))


# Exactness


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(HALF_HOURS) - 1), min_size=1, max_size=5, unique=True))
def test_blocks_cut_anywhere_give_the_same_records(direct, cuts):
    chosen, records = direct
    assert encoded(records_of(build_engine(chosen), HALF_HOURS, cuts=cuts)) == encoded(records)


@pytest.mark.parametrize("at", [100, FIRST + 3, 640, 655, 683, 711, 790])
def test_a_run_goes_on_from_a_snapshot(direct, at):
    chosen, records = direct
    check_snapshot(chosen, HALF_HOURS, at, records)


@pytest.mark.parametrize("at", [3_500, 3_777])
def test_a_run_of_both_layers_goes_on_from_a_snapshot(both, at):
    chosen, records = both
    check_snapshot(chosen, FIVES, at, records)


def check_snapshot(chosen, bars, at, records):
    first = build_engine(chosen)
    begun = list(first.on_block(bars[:at]))
    saved = save_engine(first)
    second = build_engine(chosen)
    restore_engine(second, saved)
    assert save_engine(second) == saved
    assert encoded([*begun, *records_of(second, bars[at:])]) == encoded(records)


def test_another_seed_changes_the_dropout_draws_and_nothing_of_the_point_of_them(direct, models):
    chosen, records = direct
    other = msgspec.structs.replace(chosen, seed=chosen.seed + 1)
    found = decisions_of(records_of(build_engine(other), HALF_HOURS), StrategicDecision)
    first = decisions_of(records, StrategicDecision)[0]
    assert found[0].mutual_information != first.mutual_information
    assert found[0].belief.bullish == pytest.approx(first.belief.bullish, abs=0.1)


# The journal, and a change of model


def start(folder, models, **parameters):
    chosen = run_settings(THIRTY_MINUTES_NS, strategic=models["one"], **parameters)
    return Session.start(folder, chosen, [NQ], [SCHEDULE], data="walk", clock_ns=lambda: 0)


def replayed(folder):
    with JournalReader.open(folder) as reader:
        return replay(reader, InputEngine())


def records_in(folder, reader=JournalReader):
    with reader.open(folder) as opened:
        return [decode_record(row.body) for row in opened.record_rows()]


def test_the_run_s_first_input_names_the_content_of_its_models(tmp_path, models):
    with start(tmp_path / "run", models) as session:
        found = session.engine.settings.agents[0].parameters["found"]["strategic"]
        session.end()
    assert found["path"] == models["one"]
    assert len(found["sha256"]) == 64
    with JournalReader.open(tmp_path / "run") as reader:
        begin = next(reader.inputs())[1]
    assert isinstance(begin, Begin)
    assert found["sha256"].encode() in bytes(begin.settings)


def test_a_refresh_takes_over_between_two_events_and_replays(tmp_path, models):
    folder = tmp_path / "run"
    with start(folder, models) as session:
        session.feed([HALF_HOURS[:650]])
        refresh = session.refresh_model("strategic", models["two"], who="ann", why="retrained")
        session.feed([HALF_HOURS[650:720]], first=1)
        refused = session.refresh_model("strategic", str(tmp_path / "none.safetensors"), who="ann", why="typing error")
        session.feed([HALF_HOURS[720:]], first=2)
        session.end()
    assert not refresh.refused
    assert "found no file" in refused.refused
    records = records_in(folder)
    told = [record for record in records if record.cause is Cause.MODEL]
    assert [record.alerts[0].code for record in told] == ["model_refreshed", "model_refused"]
    made = [
        (record.number, one.model)
        for record in records
        for one in record.decisions
        if isinstance(one, StrategicDecision)
    ]
    assert {model for number, model in made if number < told[0].number} == {made[0][1]}
    assert {model for number, model in made if number > told[0].number} == {refresh.model}
    assert replayed(folder).equal


def test_a_run_over_its_models_own_months_is_in_sample_and_a_refresh_to_others_is_not(tmp_path, models):
    """The first model learnt from NQ in these very months; the second, which takes over at bar 700, from NQ and CL in 2019."""
    folder = tmp_path / "run"
    start_ns, end_ns = ns_from_text("2019-01-01T00:00Z"), ns_from_text("2019-07-01T00:00Z")
    elsewhere = DataSpans(instruments=("NQ", "CL"), train=DataSpan(start_ns=start_ns, end_ns=end_ns))
    write_random_model(tmp_path / "other.safetensors", "strategic", seed=2, data=elsewhere)
    with start(folder, models) as session:
        session.feed([HALF_HOURS[:700]])
        refresh = session.refresh_model("strategic", str(tmp_path / "other.safetensors"), who="ann", why="retrained")
        session.feed([HALF_HOURS[700:]], first=1)
        session.end()
    results, summary = write_reports(folder)
    first, second = summary.samples.models
    assert (first.part, first.seen, second.part) == (IN_SAMPLE, ("NQ",), OUT_OF_SAMPLE)
    assert first.to_ns == second.from_ns == refresh.ts == int(HALF_HOURS["ts_event"][699])
    assert second.learnt_from.model == refresh.model
    inside, outside = summary.samples.parts
    assert (inside.part, outside.part) == (IN_SAMPLE, OUT_OF_SAMPLE)
    assert (inside.periods, outside.periods) == (699, 100)
    assert summary.sharpe_annual is None
    assert inside.sharpe_annual is not None
    assert inside.profit + outside.profit == pytest.approx(summary.profit_micros / 1e6)
    assert "Sharpe (in-sample)" in (folder / "report.html").read_text(encoding="utf-8")
    decided = [
        record for record in records_in(folder) if any(isinstance(d, StrategicDecision) for d in record.decisions)
    ]
    before, after = explain(folder, str(decided[0].number)), explain(folder, str(decided[-1].number))
    assert before.decisions[0].sample.startswith("in-sample: strategic/")
    assert after.decisions[0].sample.startswith("out-of-sample: strategic/")
    assert "NQ, CL, 2019-01-01 to 2019-07-01" in after.decisions[0].sample
    assert results.models[0].from_ns == -(2**63)


def test_what_is_remembered_carries_over_to_the_next_model(models):
    engine = build_engine(run_settings(THIRTY_MINUTES_NS, strategic=models["one"]))
    list(engine.on_block(HALF_HOURS[:650]))
    list(engine.on_advance(Advance(ts=engine.now)))
    layer = engine.asking.agents[0].strategic
    before = layer.save(), layer.model.id
    refresh, model = refresh_of("strategic", models["two"], ts=engine.now, who="ann", why="retrained")
    list(engine.on_refresh(refresh, model))
    assert layer.save() == before[0]
    assert layer.model.id != before[1]


@pytest.mark.parametrize("name", ["tactical", "other_horizon", "elsewhere"])
def test_a_model_that_does_not_fit_is_refused_and_the_old_one_decides_on(tmp_path, models, name):
    folder = tmp_path / "run"
    with start(folder, models) as session:
        session.feed([HALF_HOURS[:650]])
        before = session.engine.asking.agents[0].strategic.model.id
        assert session.refresh_model("strategic", models[name], who="ann", why="mistake").refused
        assert session.engine.asking.agents[0].strategic.model.id == before
        session.feed([HALF_HOURS[650:]], first=1)
        session.end()
    assert replayed(folder).equal


def test_a_replay_refuses_another_model_in_the_old_one_s_place(tmp_path, models):
    path = tmp_path / "model.safetensors"
    write_random_model(path, "strategic", seed=1)
    with start(tmp_path / "run", models | {"one": str(path)}) as session:
        session.feed([HALF_HOURS[:100]])
        session.end()
    assert replayed(tmp_path / "run").equal
    write_random_model(path, "strategic", seed=2)
    with pytest.raises(ModelMismatchError, match="with which this run was made"):
        replayed(tmp_path / "run")
    path.unlink()
    with pytest.raises(UsageError, match="model"):
        replayed(tmp_path / "run")


def test_a_snapshot_taken_after_a_refresh_goes_on_with_the_new_model(tmp_path, models):
    chosen = run_settings(THIRTY_MINUTES_NS, strategic=models["one"])

    def refreshed():
        engine = build_engine(chosen)
        list(engine.on_block(HALF_HOURS[:650]))
        refresh, model = refresh_of("strategic", models["two"], ts=engine.now, who="ann", why="retrained")
        assert isinstance(refresh, ModelRefresh)
        list(engine.on_refresh(refresh, model))
        return engine

    whole = encoded(records_of(refreshed(), HALF_HOURS[650:]))
    second = build_engine(chosen)
    restore_engine(second, save_engine(refreshed()))
    assert encoded(records_of(second, HALF_HOURS[650:])) == whole

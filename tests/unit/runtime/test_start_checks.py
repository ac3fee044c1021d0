"""A run that cannot trade says so before it starts, and names what makes it so."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from grandmodel.domain.blocks import Schema, empty_block, freeze
from grandmodel.domain.errors import GrandModelError, OperatingError, UsageError
from grandmodel.domain.ids import InstrumentId
from grandmodel.domain.instruments import BUILT_IN
from grandmodel.domain.time import FIVE_MINUTES_NS, NS_PER_DAY, NS_PER_HOUR, THIRTY_MINUTES_NS, ns_from_text
from grandmodel.risk.settings import InstrumentLimits, PortfolioLimits, RiskSettings, VarSettings
from grandmodel.runtime.feeds import BlockFeed, schedules_for
from grandmodel.runtime.runs import run_feed
from grandmodel.runtime.settings import LONGEST_WIDTH_NS, AgentSettings, RunSettings, load_settings

NQ, CL = BUILT_IN[InstrumentId("NQ")], BUILT_IN[InstrumentId("CL")]
HALF = (THIRTY_MINUTES_NS,)


def bars(start="2024-01-08", end="2024-01-20", width_ns=THIRTY_MINUTES_NS, instruments=(NQ,)):
    """A feed of flat bars over the sessions between two days; a width of a day means whole sessions."""
    schedule = schedules_for([NQ], ns_from_text(start), ns_from_text(end))[0]
    inside = (schedule.open_ns >= ns_from_text(start)) & (schedule.close_ns < ns_from_text(end))
    spans = [
        (at, min(at + width_ns, close))
        for opens, close in zip(schedule.open_ns[inside].tolist(), schedule.close_ns[inside].tolist(), strict=True)
        for at in range(opens, close, width_ns)
    ]
    block = empty_block(Schema.BARS, len(spans))
    table = np.array(spans, dtype=np.int64)
    block["ts_open"], block["ts_event"], block["ts_init"] = table[:, 0], table[:, 1], table[:, 1]
    for name in ("open", "high", "low", "close"):
        block[name] = 60_000
    block["volume"] = 100
    return BlockFeed(instruments, [freeze(block)], "made by a test")


def settings_of(widths=HALF, var=THIRTY_MINUTES_NS, agents=({},), **changes):
    """Settings whose agents are moving averages with the parameters given."""
    return RunSettings(
        agents=tuple(AgentSettings(parameters={"fast": 2, "slow": 5} | given) for given in agents),
        widths_ns=widths,
        **({"risk": RiskSettings(var=VarSettings(width_ns=var))} | changes),
    )


@pytest.mark.parametrize(
    ("settings", "feed", "error", "message"),
    [
        (
            settings_of(var=NS_PER_HOUR),
            {},
            UsageError,
            r"risk.var.width_ns: found 1h .* expected one of widths_ns \(30m\)",
        ),
        (
            settings_of(agents=({}, {"width_ns": FIVE_MINUTES_NS})),
            {},
            UsageError,
            r"agents\[1\] moving_average_cross: found that it decides on bars of 5m",
        ),
        (
            settings_of(),
            {"width_ns": NS_PER_DAY, "end": "2024-06-01"},
            UsageError,
            r"risk.var.width_ns: found bars of 30m, expected 23h",
        ),
        (
            settings_of((THIRTY_MINUTES_NS, NS_PER_HOUR), NS_PER_HOUR),
            {"width_ns": NS_PER_HOUR},
            UsageError,
            r"agents\[0\] moving_average_cross: found bars of 30m, expected 1h",
        ),
        (settings_of(trade_from_ns=ns_from_text("2025-01-01")), {}, UsageError, "trade_from_ns: found 2025-01-01"),
        (settings_of(), {"end": "2024-01-10"}, OperatingError, r"found room for 46 bars of 30m"),
        (
            settings_of(risk=RiskSettings(limits=InstrumentLimits(max_order_lots=0))),
            {},
            UsageError,
            "risk.limits.max_order_lots is 0: found no instrument",
        ),
        (
            settings_of(risk=RiskSettings(instruments={"NQ": InstrumentLimits(max_long_lots=0, max_short_lots=0)})),
            {},
            UsageError,
            "risk.instruments.NQ.max_long_lots and max_short_lots are 0",
        ),
        (settings_of(risk=RiskSettings(restricted=("NQ",))), {}, UsageError, "risk.restricted holds NQ"),
        (
            settings_of(risk=RiskSettings(authorised=("CL",), restricted=("CL",))),
            {"instruments": (NQ, CL)},
            UsageError,
            "risk.authorised lacks NQ; risk.restricted holds CL",
        ),
        (
            settings_of(risk=RiskSettings(portfolio=PortfolioLimits(max_overall_lots=0))),
            {},
            UsageError,
            "risk.portfolio.max_overall_lots is 0",
        ),
    ],
)
def test_a_run_that_cannot_trade_is_refused_by_what_makes_it_so(
    tmp_path: Path, settings: RunSettings, feed: dict, error: type[GrandModelError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_feed(tmp_path / "run", settings, bars(**feed), clock_ns=lambda: 0)
    assert not (tmp_path / "run").exists()


def test_data_without_a_session_are_refused(tmp_path: Path) -> None:
    feed = bars()
    weekend = ns_from_text("2024-01-13T12:00:00+00:00")
    feed.span = (weekend, weekend + NS_PER_HOUR)
    with pytest.raises(OperatingError, match=r"found no session of NQ \(CMES\) from 2024-01-13"):
        run_feed(tmp_path / "run", settings_of(), feed, clock_ns=lambda: 0)


def test_what_can_trade_begins_and_a_run_without_agents_may_watch(tmp_path: Path) -> None:
    assert run_feed(tmp_path / "a", settings_of(), bars(), clock_ns=lambda: 0).records > 300
    blind = settings_of(var=NS_PER_HOUR, agents=())
    assert run_feed(tmp_path / "b", blind, bars(end="2024-01-10"), clock_ns=lambda: 0).orders == 0


@pytest.mark.parametrize(
    "widths",
    [
        (),
        (0,),
        (-THIRTY_MINUTES_NS,),
        (1,),
        (LONGEST_WIDTH_NS + 1,),
        (10**30,),
        (5, 3),
        HALF * 2,
        (FIVE_MINUTES_NS, 7 * 60 * 10**9),
    ],
)
def test_widths_that_make_no_bars_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="widths_ns: found"):
        RunSettings(widths_ns=widths)
    with pytest.raises(UsageError, match="widths_ns"):
        load_settings(None, [f"widths_ns={msgspec.json.encode(list(widths)).decode()}"])

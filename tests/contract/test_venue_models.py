"""What every model of the simulated venue must keep to, and what each of them says it does."""

import msgspec
import numpy as np
import pytest

from grandmodel.domain.orders import OrderType
from grandmodel.simulation.models import (
    ConstantLatency,
    FillRuleName,
    FixedSlippage,
    LiquidityName,
    LognormalLatency,
    NoSlippage,
    PerLotFee,
    ProportionalFee,
    RandomSlippage,
    VenueSettings,
    fee_micros,
)
from grandmodel.simulation.state import FillRule, Liquidity
from strategies import NQ
from venue_scripts import BUY, LIMIT, MARKET, STOP, STOP_LIMIT, order

FEES = (PerLotFee(), ProportionalFee(), ProportionalFee(maker_ppm=-100, taker_ppm=300))
LATENCIES = (ConstantLatency(), ConstantLatency(order=5, report=7), LognormalLatency(), LognormalLatency(sigma=3.0))
SLIPPAGES = (NoSlippage(), FixedSlippage(ticks=2), RandomSlippage(), RandomSlippage(mean_ticks=3.0))
KINDS = (
    order(1, BUY, 1, MARKET),
    order(1, BUY, 1, LIMIT, 100),
    order(1, BUY, 1, STOP, stop=100),
    order(1, BUY, 1, STOP_LIMIT, 100, 100),
)


def generator():
    return np.random.default_rng(11)


@pytest.mark.parametrize("fees", FEES)
def test_a_fee_is_a_whole_number_that_grows_with_the_lots_and_ignores_the_price_s_sign(fees):
    for maker in (True, False):
        values = [fee_micros(fees, NQ, lots, 1_000, maker=maker) for lots in (1, 2, 50)]
        assert all(type(value) is int for value in values)
        assert values == sorted(values) or values == sorted(values, reverse=True)
        assert fee_micros(fees, NQ, 3, -1_000, maker=maker) == fee_micros(fees, NQ, 3, 1_000, maker=maker)


@pytest.mark.parametrize("latency", LATENCIES)
def test_a_latency_is_whole_not_negative_and_drawn_from_the_generator_alone(latency):
    first, second = generator(), generator()
    drawn = [(latency.order_ns(first), latency.report_ns(first)) for _ in range(200)]
    assert drawn == [(latency.order_ns(second), latency.report_ns(second)) for _ in range(200)]
    assert all(type(value) is int and value >= 0 for pair in drawn for value in pair)


@pytest.mark.parametrize("slippage", SLIPPAGES)
def test_slippage_is_never_in_our_favour_and_spares_limits(slippage):
    draw = generator()
    for one in KINDS:
        ticks = [slippage.slippage_ticks(one, draw) for _ in range(100)]
        assert all(type(value) is int and value >= 0 for value in ticks)
        if one.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT):
            assert set(ticks) == {0}


@pytest.mark.parametrize("model", [*FEES, *LATENCIES, *SLIPPAGES])
def test_a_model_survives_the_settings_file(model):
    group = {
        "PerLotFee": "fees",
        "ProportionalFee": "fees",
        "ConstantLatency": "latency",
        "LognormalLatency": "latency",
    }
    field = group.get(type(model).__name__, "slippage")
    settings = VenueSettings(**{field: model})
    assert msgspec.json.decode(msgspec.json.encode(settings), type=VenueSettings) == settings


def test_an_unknown_model_or_key_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"fees":{"type":"free"}}', type=VenueSettings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"feees":{}}', type=VenueSettings)


def test_a_proportional_fee_is_rounded_up_also_for_a_rebate():
    # One lot of NQ at 1 tick is worth 5 USD: 5,000,000 millionths.
    assert fee_micros(ProportionalFee(taker_ppm=1), NQ, 1, 1, maker=False) == 5
    odd = msgspec.structs.replace(NQ, tick_value_micros=1)
    assert fee_micros(ProportionalFee(taker_ppm=500), odd, 1, 1, maker=False) == 1
    assert fee_micros(ProportionalFee(maker_ppm=-500), odd, 1, 1, maker=True) == 0


def test_a_lognormal_latency_has_its_floor_and_median():
    draw = generator()
    values = np.array([LognormalLatency(floor=1_000, median=5_000, sigma=0.5).order_ns(draw) for _ in range(20_000)])
    assert values.min() >= 1_000
    assert abs(np.median(values) - 6_000) < 100


def test_random_slippage_has_its_mean():
    draw = generator()
    values = [RandomSlippage(mean_ticks=1.5).slippage_ticks(KINDS[0], draw) for _ in range(20_000)]
    assert abs(np.mean(values) - 1.5) < 0.05


def test_names_in_settings_are_those_of_the_compiled_code():
    assert {name.name: name.code for name in FillRuleName} == {rule.name: int(rule) for rule in FillRule}
    assert {name.name: name.code for name in LiquidityName} == {rule.name: int(rule) for rule in Liquidity}

"""The settings tree and agents by name: what is taken, what is refused and how it says so."""

import msgspec
import numpy as np
import pytest

from grandmodel.domain.errors import UsageError
from grandmodel.risk.errors import RiskInputError
from grandmodel.runtime.agents import BUILT_IN, build_agent
from grandmodel.runtime.errors import AgentError
from grandmodel.runtime.settings import Mode, RunSettings, load_settings, settings_hash
from strategies import NQ

KNOWN = {NQ.id: NQ}


def test_without_a_file_the_defaults_hold():
    assert load_settings(None) == RunSettings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'mode = "backtest"\nseed = 9\n[account]\ncapital_micros = 5\n'),
        ("a.json", '{"mode": "backtest", "seed": 9, "account": {"capital_micros": 5}}'),
    ],
)
def test_a_file_and_an_override(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = load_settings(path, ["account.base_currency=EUR", "seed=11", 'venue.latency={"type":"constant","order":3}'])
    assert (found.mode, found.seed) == (Mode.BACKTEST, 11)
    assert (found.account.capital_micros, found.account.base_currency) == (5, "EUR")
    assert found.venue.latency.order == 3


def test_a_breaker_named_in_part_keeps_its_other_steps(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[risk.breakers.drawdown]\nhalt = 0.3\n", encoding="utf-8")
    usual = RunSettings().risk.breakers.drawdown
    for found in (load_settings(path), load_settings(None, ["risk.breakers.drawdown.halt=0.3"])):
        drawdown = found.risk.breakers.drawdown
        assert (drawdown.caution, drawdown.reduce, drawdown.halt) == (usual.caution, usual.reduce, 0.3)
        assert found.risk.breakers.daily_loss == RunSettings().risk.breakers.daily_loss
    off = load_settings(None, ["risk.breakers.drawdown.caution=null"]).risk.breakers.drawdown
    assert (off.caution, off.reduce, off.halt) == (None, usual.reduce, usual.halt)
    with pytest.raises(UsageError, match=r"risk\.breakers\.drawdown: .*rising.*keeps its default"):
        load_settings(None, ["risk.breakers.drawdown.halt=0.1"])  # Below the reduce that stands beside it.


def test_limits_of_one_instrument_stand_on_those_of_all():
    found = load_settings(None, ["risk.limits.max_order_lots=10", "risk.instruments.NQ.max_long_lots=5"]).risk
    assert (found.instruments["NQ"].max_order_lots, found.instruments["NQ"].max_long_lots) == (10, 5)
    assert found.limits.max_long_lots == RunSettings().risk.limits.max_long_lots


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeed=1", "seeed"),
        ("account.capitol=1", "capitol"),
        ("seed=abc", "seed"),
        ("mode=fast", "fast"),
        ("seed", "expected name=value"),
        ("=3", "expected name=value"),
        ("seed.deep=3", "unknown|Expected|found"),
    ],
)
def test_an_override_that_fits_nothing_is_refused_by_name(override, message):
    with pytest.raises(UsageError, match=message):
        load_settings(None, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            f"account.capital_micros={2**70}",
            "account.capital_micros: found 1180591620717411303424, expected a whole number of 64",
        ),
        (
            f"account.capital_micros={2**62}",
            "account.capital_micros: found 4611686018427387904, expected 1 to 100000000000000000",
        ),
        ("account.capital_micros=0", "account.capital_micros: found 0, expected 1 to"),
        (f"account.rates.EUR={10**13}", "account.rates.EUR: found 10000000000000, expected 1 to"),
        ("account.rates.EUR=0", "account.rates.EUR: found 0, expected 1 to"),
        (f"widths_ns=[{2**64}]", "widths_ns.0: found 18446744073709551616"),
        (f"trade_from_ns=-{2**63 + 1}", "trade_from_ns: found -9223372036854775809"),
        (".".join("a" * 50_000) + "=1", "groups nested deeper than 32"),
        ("seed=" + "[" * 100_000, "seed"),
        ("account.base_currency=\udcff", r"--set account.base_currency=\\xff: found bytes that are no text"),
    ],
    ids=[
        "capital-70",
        "capital-62",
        "capital-0",
        "rate-high",
        "rate-0",
        "width",
        "time",
        "deep-name",
        "deep-value",
        "no-text",
    ],
)
def test_numbers_that_the_engine_cannot_count_in_are_refused_by_name(override, message):
    with pytest.raises(UsageError, match=message):
        load_settings(None, [override])
    load_settings(None, [f"account.capital_micros={10**17}", "account.rates.EUR=1100000"])


def test_a_risk_limit_out_of_range_is_a_mistake_of_the_user():
    with pytest.raises(UsageError, match="max_var"):
        load_settings(None, ["risk.portfolio.max_var=-1"])
    assert issubclass(RiskInputError, UsageError)


def test_a_file_that_cannot_be_read_or_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
    path = tmp_path / "a.toml"
    path.write_text("= 3", encoding="utf-8")
    with pytest.raises(UsageError, match="not a settings file"):
        load_settings(path)


def test_equal_trees_have_equal_hashes_and_every_change_another():
    one = load_settings(None, ['account.rates={"EUR":1,"CNY":2}'])
    two = load_settings(None, ['account.rates={"CNY":2,"EUR":1}'])
    assert settings_hash(one) == settings_hash(two) != settings_hash(RunSettings())
    assert msgspec.json.decode(msgspec.json.encode(one), type=RunSettings) == one


@pytest.mark.parametrize("kind", sorted(set(BUILT_IN) - {"grandmodel"}))
def test_built_in_agents_are_built_by_name_and_seed(kind):
    one, two, other = (build_agent(kind, {}, KNOWN, seed) for seed in (1, 1, 2))
    assert type(one) is BUILT_IN[kind]
    assert one.name == kind
    draws = [agent.generator.random() for agent in (one, two, other)]
    assert draws[0] == draws[1] != draws[2]


def test_the_learning_agent_without_a_model_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError, match=r"grandmodel model train strategic.*grandmodel model list"):
        build_agent("grandmodel", {"strategic": str(tmp_path / "none.safetensors")}, KNOWN, 1)


def test_an_agent_of_one_s_own_is_found_by_module_and_class():
    agent = build_agent("engine_runs:Restless", {}, KNOWN, 1)
    assert agent.name == "restless"
    assert isinstance(agent.generator, np.random.Generator)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("nobody", {}, "expected one of"),
        ("no_such_module:X", {}, "cannot be imported"),
        ("engine_runs:Nobody", {}, "cannot be imported"),
        ("engine_runs:FREE", {}, "expected a subclass"),
        ("json:JSONDecoder", {}, "expected a subclass"),
        ("random", {"speed": 3}, "do not fit"),
    ],
)
def test_an_agent_that_cannot_be_built_is_refused(kind, parameters, message):
    with pytest.raises(AgentError, match=message):
        build_agent(kind, parameters, KNOWN, 1)

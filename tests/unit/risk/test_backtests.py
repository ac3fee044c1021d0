"""VaR backtests against hand-worked counts, scipy and the published table of 250 days at 99 %."""

import json

import numpy as np
import pytest
from scipy import stats

from grandmodel.risk import backtests as b
from grandmodel.risk import distributions
from grandmodel.risk.errors import RiskInputError
from shared_data import shared


@pytest.mark.shared
def test_every_row_of_the_published_table() -> None:
    table = json.loads(shared("reference/regulatory/var_backtest_250d_99pct.json").read_text())
    for row in table["rows"]:
        exceptions = 10 if row["exceptions"] == "10+" else row["exceptions"]
        light = b.traffic_light(exceptions, 250, 0.99)
        assert light.zone == row["zone"]
        assert 100 * light.cumulative_probability == pytest.approx(row["cum_prob_pct"], abs=5e-5)
        assert light.multiplier == row["multiplier_MAR33"]
        if row["kupiec_LR"] is not None:
            test = b.kupiec(exceptions, 250, 0.99)
            assert test.statistic == pytest.approx(row["kupiec_LR"], abs=5e-7)
            assert test.p_value == pytest.approx(row["kupiec_p"], abs=5e-7)
    accepted = [x for x in range(11) if b.kupiec(x, 250, 0.99).statistic <= table["kupiec"]["reject_5pct_if_LR_gt"]]
    assert accepted == table["kupiec"]["accepted_x_at_5pct_T250"]


def test_kupiec_at_the_expected_rate_is_zero() -> None:
    found = b.kupiec(10, 1000, 0.99)
    assert found.statistic == pytest.approx(0.0, abs=1e-9)
    assert found.p_value == pytest.approx(1.0, abs=1e-4)
    assert found.expected == 10.0


def test_kupiec_at_both_ends() -> None:
    assert b.kupiec(0, 250, 0.99).statistic == pytest.approx(-2 * 250 * np.log(0.99))
    assert b.kupiec(5, 5, 0.95).statistic == pytest.approx(-2 * 5 * np.log(0.05))


def test_christoffersen_by_hand() -> None:
    # 0 1 1 0 0 1 0 0 0 0: transitions 00: 4, 01: 2, 10: 2, 11: 1.
    hits = np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 0], dtype=bool)
    joint, calm, struck = 3 / 9, 2 / 6, 1 / 3
    null = 6 * np.log(1 - joint) + 3 * np.log(joint)
    free = 4 * np.log(1 - calm) + 2 * np.log(calm) + 2 * np.log(1 - struck) + np.log(struck)
    found = b.christoffersen(hits, 0.9)
    assert found.independence.statistic == pytest.approx(2 * (free - null), abs=1e-12)
    coverage = b.kupiec(3, 10, 0.9)
    assert found.coverage.statistic == coverage.statistic
    assert found.statistic == pytest.approx(coverage.statistic + found.independence.statistic)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 2), rel=1e-12)


def test_christoffersen_sees_clusters_that_kupiec_does_not() -> None:
    spread = np.zeros(1000, dtype=bool)
    spread[::100] = True
    clustered = np.zeros(1000, dtype=bool)
    clustered[500:510] = True
    assert b.christoffersen(spread, 0.99).p_value > 0.5
    assert b.christoffersen(clustered, 0.99).p_value < 1e-6
    assert b.kupiec(10, 1000, 0.99).p_value > 0.99


@pytest.mark.parametrize("hits", [np.zeros(50, dtype=bool), np.ones(50, dtype=bool)])
def test_christoffersen_without_any_change_has_nothing_against_independence(hits: np.ndarray) -> None:
    assert b.christoffersen(hits, 0.99).independence.statistic == 0.0


def test_binomial_distribution_equals_scipy() -> None:
    for n, p in ((250, 0.01), (1000, 0.05), (7, 0.5), (8000, 0.01)):
        for k in (0, 1, n // 100, n // 7):
            assert b.binomial_distribution(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-10)


def test_the_multiplier_belongs_to_250_days_at_99_only() -> None:
    assert b.traffic_light(5, 250, 0.99).multiplier == 1.70
    assert b.traffic_light(25, 250, 0.99).multiplier == 2.0
    assert b.traffic_light(5, 500, 0.99).multiplier is None
    assert b.traffic_light(5, 250, 0.975).multiplier is None


def test_acerbi_szekely_by_hand() -> None:
    found = b.acerbi_szekely(np.array([-3.0, 1.0, -1.0, 2.0]), np.full(4, 2.0), np.full(4, 2.5), 0.75)
    assert found.statistic == pytest.approx(-3.0 / (4 * 0.25 * 2.5) + 1.0)
    assert found.exceptions == 1


@pytest.mark.shared
def test_the_simulated_five_percent_point_is_the_published_one() -> None:
    table = json.loads(shared("reference/regulatory/var_backtest_250d_99pct.json").read_text())
    expected = table["acerbi_szekely_Z2"]["simulated_critical"]["normal (200k paths)"]["5%"]
    draws = np.random.default_rng(0).standard_normal((20_000, 250))
    level = 0.975
    stated = np.full(250, distributions.normal_quantile(level))
    tail = np.full(250, distributions.normal_shortfall_factor(level))
    found = np.array([b.acerbi_szekely(path, stated, tail, level).statistic for path in draws])
    assert found.mean() == pytest.approx(0.0, abs=0.01)
    assert np.quantile(found, 0.05) == pytest.approx(expected, abs=0.03)


def test_impossible_counts_and_shapes_are_refused() -> None:
    for call in (
        lambda: b.kupiec(5, 4, 0.99),
        lambda: b.kupiec(-1, 4, 0.99),
        lambda: b.traffic_light(1, 0, 0.99),
        lambda: b.kupiec(1, 10, 1.0),
        lambda: b.christoffersen(np.array([True]), 0.99),
        lambda: b.acerbi_szekely(np.ones(3), np.ones(2), np.ones(3), 0.99),
        lambda: b.acerbi_szekely(np.ones(2), np.ones(2), np.zeros(2), 0.99),
        lambda: b.acerbi_szekely(np.array([np.nan, 1.0]), np.ones(2), np.ones(2), 0.99),
    ):
        with pytest.raises(RiskInputError):
            call()


def test_holms_step_down_by_hand() -> None:
    # Sorted: 0.01 <= 0.05/4, 0.02 > 0.05/3: the second and all after it stand, whatever their own size.
    assert b.holm([0.04, 0.01, 0.02, 0.03]) == [False, True, False, False]
    assert b.holm([0.0125, 0.0166, 0.025, 0.05]) == [True, True, True, True]
    assert b.holm([]) == []
    with pytest.raises(RiskInputError, match="p-values"):
        b.holm([0.5, 1.5])


def test_of_right_methods_holm_rejects_any_in_at_most_one_of_twenty_families() -> None:
    rng = np.random.default_rng(3)
    families = rng.uniform(size=(4_000, 30))
    wrong = np.mean([any(b.holm(family.tolist())) for family in families])
    assert wrong < 0.06
    assert np.mean((families < 0.05).any(axis=1)) > 0.7  # without it most families have one


def test_the_quantile_loss_is_least_at_the_true_quantile() -> None:
    rng = np.random.default_rng(5)
    pnl = rng.standard_normal(200_000)
    losses = {q: b.quantile_loss(pnl, np.full(len(pnl), q), 0.99) for q in (1.6, 2.1, 2.326, 2.6, 3.5)}
    assert min(losses, key=losses.__getitem__) == 2.326
    assert b.quantile_loss(np.array([-3.0, 1.0]), np.array([2.0, 2.0]), 0.99) == pytest.approx((0.99 + 0.03) / 2)
    with pytest.raises(RiskInputError, match="shapes"):
        b.quantile_loss(pnl, pnl[:5], 0.99)

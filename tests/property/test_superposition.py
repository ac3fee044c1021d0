"""The joint state of several agents: what a density matrix must be, and what its purity and entropy say of their agreement."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from grandmodel.models.architecture import EXECUTION_ACTIONS, RISK_ACTIONS
from grandmodel.models.errors import ModelError
from grandmodel.models.superposition import (
    MIDDLE,
    Superposition,
    collapse_by_draw,
    collapse_to_mode,
    eigenvalues,
    entropy_of,
    superpose,
    tactical_stances,
)

PART = st.one_of(st.floats(0.0, 1.0), st.sampled_from((0.0, 1e-300, 1e-12, 1.0)))


@st.composite
def distributions(draw, size):
    """A distribution over ``size`` outcomes; sure, flat and near-zero ones among them."""
    parts = np.array(draw(st.lists(PART, min_size=size, max_size=size)))
    assume(parts.sum() > 1e-3)
    return parts / parts.sum()


@st.composite
def agents(draw):
    """Beliefs (N, 3) and weights (N,), N from 1 to 5."""
    count = draw(st.integers(1, 5))
    return np.array([draw(distributions(3)) for _ in range(count)]), draw(distributions(count))


def by_numpy(beliefs, weights):
    """The definition, as it is written in the design."""
    psi = np.sqrt(beliefs)
    rho = sum(w * np.outer(p, p) for w, p in zip(weights, psi, strict=True))
    found = np.linalg.eigvalsh(rho).clip(0.0)
    positive = found[found > 0]
    return rho, float(np.trace(rho @ rho)), float(-(positive * np.log(positive)).sum())


@given(agents())
@settings(max_examples=400, deadline=None)
def test_the_joint_state_is_that_of_the_definition(given_agents):
    beliefs, weights = given_agents
    found = superpose(beliefs, weights)
    rho, purity, entropy = by_numpy(beliefs, weights)
    np.testing.assert_allclose(found.rho, rho, atol=1e-13)
    assert found.purity == pytest.approx(purity, abs=1e-12)
    assert found.entropy == pytest.approx(entropy, abs=1e-11)


@given(agents())
@settings(max_examples=200, deadline=None)
def test_rho_is_a_density_matrix_and_its_numbers_keep_their_bounds(given_agents):
    found = superpose(*given_agents)
    assert (found.rho == found.rho.T).all()
    assert np.trace(found.rho) == pytest.approx(1.0, abs=1e-14)
    assert np.linalg.eigvalsh(found.rho).min() > -1e-14
    assert 1 / 3 <= found.purity <= 1.0
    assert 0.0 <= found.entropy <= math.log(3) + 1e-12


@given(agents())
@settings(max_examples=200, deadline=None)
def test_the_diagonal_is_the_weighted_mean_of_the_beliefs(given_agents):
    beliefs, weights = given_agents
    np.testing.assert_allclose(superpose(beliefs, weights).belief, weights @ beliefs, atol=1e-14)


@given(distributions(3), distributions(4))
@settings(deadline=None)
def test_agents_who_agree_are_pure_however_unsure_they_are(belief, weights):
    found = superpose(np.tile(belief, (4, 1)), weights)
    assert found.purity == pytest.approx(1.0, abs=1e-12)
    assert found.entropy == pytest.approx(0.0, abs=1e-11)


@given(agents())
@settings(max_examples=200, deadline=None)
def test_purity_is_1_only_where_all_agents_that_carry_weight_agree(given_agents):
    """1 - purity is the weighted sum of what each pair lacks to agreement: sum of w_i w_j (1 - (psi_i psi_j)^2)."""
    beliefs, weights = given_agents
    overlap = np.sqrt(beliefs) @ np.sqrt(beliefs).T
    lacking = float(weights @ (1.0 - overlap**2) @ weights)
    found = superpose(beliefs, weights)
    assert 1.0 - found.purity == pytest.approx(max(lacking, 0.0), abs=1e-12)
    if lacking > 1e-6:
        assert found.purity < 1.0
        assert found.entropy > 0.0


def test_agents_sure_of_different_outcomes_disagree_as_much_as_can_be():
    found = superpose(np.eye(3), np.full(3, 1 / 3))
    assert (found.purity, found.entropy) == pytest.approx((1 / 3, math.log(3)), abs=1e-14)
    # Flat beliefs give the same collapsed belief and the opposite purity: this is what rho tells apart.
    flat = superpose(np.full((3, 3), 1 / 3), np.full(3, 1 / 3))
    np.testing.assert_allclose(flat.belief, found.belief)
    assert flat.purity == pytest.approx(1.0)


@given(agents(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_agents_does_not_matter(given_agents, random):
    beliefs, weights = given_agents
    order = list(range(len(weights)))
    random.shuffle(order)
    here, there = superpose(beliefs, weights), superpose(beliefs[order], weights[order])
    np.testing.assert_allclose(here.rho, there.rho, atol=1e-14)
    assert (here.purity, here.entropy) == pytest.approx((there.purity, there.entropy), abs=1e-11)


@given(agents(), distributions(3), st.floats(1e-9, 1e-3))
@settings(deadline=None)
def test_a_small_change_of_a_belief_is_a_small_change_of_the_state(given_agents, other, step):
    beliefs, weights = given_agents
    moved = beliefs.copy()
    moved[0] = (1.0 - step) * beliefs[0] + step * other
    here, there = superpose(beliefs, weights), superpose(moved, weights)
    # sqrt is Hoelder-continuous of order 1/2, and so are the state, its purity and (with a logarithm) its entropy.
    assert np.abs(here.rho - there.rho).max() <= 2.0 * math.sqrt(step)
    assert abs(here.purity - there.purity) <= 6.0 * math.sqrt(step)
    assert abs(here.entropy - there.entropy) <= 40.0 * step**0.25


@given(agents())
@settings(deadline=None)
def test_an_agent_without_weight_does_not_count(given_agents):
    beliefs, weights = given_agents
    here = superpose(beliefs, weights)
    there = superpose(np.vstack([beliefs, [[0.0, 0.0, 1.0]]]), np.append(weights, 0.0))
    np.testing.assert_allclose(here.rho, there.rho, atol=1e-15)
    only = superpose(beliefs, np.eye(len(beliefs))[0])
    assert only.purity == pytest.approx(1.0)


@given(st.lists(st.floats(-10, 10), min_size=6, max_size=6), st.floats(-12, 0))
@example([0.0, 0.0, 6.103557281753511e-273, 0.0, 0.0, 0.0], 0.0)
@settings(max_examples=300, deadline=None)
def test_eigenvalues_are_numpys(entries, power):
    matrix = np.zeros((3, 3))
    matrix[np.triu_indices(3)] = entries
    matrix[0, 1] *= 10.0**power
    matrix = matrix + np.triu(matrix, 1).T
    size = np.abs(matrix).max() + 1e-135  # Smaller than 1e-150 counts as 0.
    np.testing.assert_allclose(sorted(eigenvalues(matrix)), np.linalg.eigvalsh(matrix), atol=1e-13 * size)


@pytest.mark.parametrize(
    ("beliefs", "weights"),
    [
        ([[0.5, 0.5, 0.1]], [1.0]),
        ([[1.5, -0.5, 0.0]], [1.0]),
        ([[math.nan, 0.5, 0.5]], [1.0]),
        ([[1.0, 0.0, 0.0]], [0.9]),
        ([[1.0, 0.0, 0.0]], [math.nan]),
        ([[1.0, 0.0, 0.0]] * 2, [1.5, -0.5]),
        ([[1.0, 0.0]], [1.0]),
        ([[1.0, 0.0, 0.0]], [0.5, 0.5]),
        (np.empty((0, 3)), []),
    ],
)
def test_what_is_not_a_distribution_is_refused(beliefs, weights):
    with pytest.raises(ModelError, match="superposition: found"):
        superpose(np.array(beliefs, float), np.array(weights, float))


@given(distributions(3))
@settings(deadline=None)
def test_entropy_is_0_for_the_sure_and_log_3_for_the_flat(belief):
    positive = belief[belief > 0]
    assert entropy_of(belief) == pytest.approx(float(-(positive * np.log(positive)).sum()), abs=1e-12)
    assert entropy_of(np.full(3, 1 / 3)) == pytest.approx(math.log(3))
    assert entropy_of(np.array([0.0, 1.0, 0.0])) == 0.0


@given(distributions(3))
@settings(deadline=None)
def test_the_mode_is_the_largest_and_a_tie_commits_to_nothing(belief):
    place = collapse_to_mode(belief)
    if (belief == belief.max()).sum() == 1:
        assert belief[place] == belief.max()
    else:
        assert place == MIDDLE


def test_ties_of_every_kind():
    assert collapse_to_mode(np.array([0.4, 0.2, 0.4])) == MIDDLE
    assert collapse_to_mode(np.array([0.4, 0.4, 0.2])) == MIDDLE
    assert collapse_to_mode(np.full(3, 1 / 3)) == MIDDLE
    assert collapse_to_mode(np.array([0.2, 0.3, 0.5])) == 2


def test_draws_follow_the_belief_and_the_seed():
    belief = np.array([0.5, 0.2, 0.3])
    drawn = [collapse_by_draw(belief, np.random.default_rng(seed)) for seed in range(2_000)]
    counts = np.bincount(drawn, minlength=3)
    expected = 2_000 * belief
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # chi-square, 2 degrees of freedom, 1 in 1,000
    assert drawn[:50] == [collapse_by_draw(belief, np.random.default_rng(seed)) for seed in range(50)]
    generator = np.random.default_rng(0)
    sure = [collapse_by_draw(np.array([0.0, 0.0, 1.0]), generator) for _ in range(100)]
    assert set(sure) == {2}


@given(distributions(3), distributions(len(RISK_ACTIONS)), distributions(len(EXECUTION_ACTIONS)))
@settings(deadline=None)
def test_stances_are_what_the_actions_lean_to(tactical, risk, execution):
    stances = tactical_stances(tactical, risk, execution)
    by_name = dict(zip(RISK_ACTIONS, risk, strict=True))

    def of_scale(scale):
        return sum(value for name, value in by_name.items() if name.startswith(f"scale {scale} "))

    np.testing.assert_allclose(stances[0], tactical)
    np.testing.assert_allclose(stances[1], [of_scale("1"), of_scale("0.5"), of_scale("0")], atol=1e-15)
    trading = sum(execution[EXECUTION_ACTIONS.index(name)] for name in ("passive", "aggressive", "slice"))
    np.testing.assert_allclose(stances[2], [trading, execution[EXECUTION_ACTIONS.index("wait")], 0.0], atol=1e-15)
    assert isinstance(superpose(stances, np.full(3, 1 / 3)), Superposition)

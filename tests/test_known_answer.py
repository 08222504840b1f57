"""Known answers: the laws called true are true, floors are floors, and a model that peeks is caught."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers import dataset_of
from scipy import stats
from scipy.special import rel_entr

from configs import PRESETS
from data_pipeline.errors import BadInput
from data_pipeline.sources.processes import stationary_law
from data_pipeline.tokenizers import special, tokenizer_from_json
from mqc_jax.evaluation.known_answer import (
    TASKS,
    batch_means,
    below_floor,
    cross_entropy,
    divergence,
    entropy,
    excess,
    log_loss,
    recovery,
)
from mqc_jax.evaluation.known_answer.exam import exam_config
from mqc_jax.evaluation.known_answer.garch import moments
from mqc_jax.evaluation.known_answer.hidden import Hidden
from mqc_jax.evaluation.known_answer.markov import MarkovTokens
from mqc_jax.evaluation.known_answer.mle import fit
from mqc_jax.evaluation.known_answer.particle import particle_filter, resample
from mqc_jax.evaluation.known_answer.regimes import forward_filter
from mqc_jax.evaluation.known_answer.student import bin_masses, interval_mass

SHORT = {
    name: replace(task, length=200, n_particles=200) if isinstance(task, Hidden) else replace(task, length=500)
    for name, task in TASKS.items()
}
TRANSITION = np.array([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.0, 0.2, 0.8]])
EMISSION = np.array([[0.7, 0.2, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.1, 0.3, 0.6]])
START = np.array([0.5, 0.3, 0.2])

each_task = pytest.mark.parametrize("name", TASKS)


class HmmSpace:
    """A hidden Markov chain as the particle filter sees it: its regimes are the nodes."""

    masses_GK = EMISSION

    def start(self, shape, rng):
        return rng.choice(len(START), shape, p=START)

    def place(self, state_CP):
        return state_CP.astype(float)

    def advance(self, state_CP, token_C, rng):
        return (rng.random((*state_CP.shape, 1)) > np.cumsum(TRANSITION, axis=1)[state_CP]).sum(axis=-1)


@pytest.fixture(scope="module")
def drawn():
    """Data of each task and their true law, from 20,000 tokens (4,000 behind a particle filter)."""
    found = {}

    def of(name):
        if name not in found:
            task = SHORT[name]
            simulated = task.simulate(4_000 if isinstance(task, Hidden) else 20_000, seed=3)
            found[name] = task, simulated, task.conditional(simulated)
        return found[name]

    return of


@pytest.mark.parametrize("nu", [3.5, 6.0, 12.0, 30.0, np.inf])
def test_masses_are_those_of_the_t_law_far_into_both_tails(nu):
    edges, location, volatility = np.linspace(-0.12, 0.12, 41), np.array([0.0, 0.004]), np.array([0.01, 0.02])
    scale = volatility * (1 if np.isinf(nu) else np.sqrt((nu - 2) / nu))
    law = stats.norm if np.isinf(nu) else stats.t(nu)
    low, high = np.append(-np.inf, edges), np.append(edges, np.inf)
    x, y = ((e - location[:, None]) / scale[:, None] for e in (low, high))
    expected = np.where(x > 0, law.sf(x) - law.sf(y), law.cdf(y) - law.cdf(x))
    masses = bin_masses(edges, location, volatility, nu)
    np.testing.assert_allclose(masses, expected, rtol=1e-9, atol=2e-16)
    np.testing.assert_allclose(masses.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(interval_mass(x, y, nu), expected, rtol=1e-9, atol=2e-16)
    np.testing.assert_allclose(bin_masses(edges, location, volatility, np.full(2, nu)), masses, rtol=1e-6, atol=3e-16)


def test_rows_may_have_tails_of_their_own():
    edges, nu = np.linspace(-0.03, 0.03, 7), np.array([3.5, 6.0])
    together = bin_masses(edges, 0.0, np.full(2, 0.01), nu)
    for row, one in zip(together, nu, strict=True):
        np.testing.assert_allclose(row, bin_masses(edges, 0.0, 0.01, one), rtol=1e-9)


@each_task
def test_the_law_sums_to_one_and_what_happens_costs_its_entropy(name, drawn):
    task, simulated, masses = drawn(name)
    assert masses.shape == (len(simulated.tokens), len(task.bins.values)) and (masses > 0).all()
    np.testing.assert_allclose(masses.sum(axis=1), 1, atol=1e-12)
    surprise = batch_means(log_loss(masses, simulated.tokens) - entropy(masses))
    assert abs(surprise.nats) < 3 * surprise.standard_error


@each_task
def test_each_token_comes_as_often_as_the_law_says(name, drawn):
    """Standardised deviations of the counts, of which a law with a shifted bin would make some large."""
    _, simulated, masses = drawn(name)
    expected, spread = masses.sum(axis=0), np.sqrt((masses * (1 - masses)).sum(axis=0))
    count = np.bincount(simulated.tokens, minlength=masses.shape[1])
    assert np.abs((count - expected) / spread).max() < 4.5
    assert np.mean(((count - expected) / spread) ** 2) == pytest.approx(1, abs=0.7)


@each_task
def test_the_law_knows_neither_the_future_nor_other_histories(name):
    task = SHORT[name] if not isinstance(SHORT[name], Hidden) else replace(SHORT[name], n_particles=30)
    simulated = task.simulate(2 * task.length, seed=0)
    now = task.length // 2
    other = simulated.tokens.copy()
    other[now : task.length] = (other[now : task.length] + 7) % len(task.bins.values)
    changed = simulated._replace(tokens=other, values=task.bins.values[other])
    before, after = task.conditional(simulated), task.conditional(changed)
    np.testing.assert_array_equal(before[: now + 1], after[: now + 1])
    if not isinstance(task, Hidden):  # particles of all histories share their random numbers
        np.testing.assert_array_equal(before[task.length :], after[task.length :])
    np.testing.assert_array_equal(task.conditional(simulated, slice(5, 90)), before[5:90])


@each_task
def test_same_seed_same_bytes_and_more_tokens_are_more_histories(name):
    task = SHORT[name]
    few, many = task.simulate(2 * task.length, seed=7), task.simulate(3 * task.length, seed=7)
    assert few.tokens.tobytes() == many.tokens[: 2 * task.length].tobytes()
    assert few.values.tobytes() == replace(task).simulate(2 * task.length, seed=7).values.tobytes()
    assert (few.tokens != task.simulate(2 * task.length, seed=8).tokens).mean() > 0.5
    assert (few.tokens_CT[0] != few.tokens_CT[1]).mean() > 0.5


@pytest.mark.parametrize("name", ["S2", "S3", "S7", "S8", "S9"])
def test_what_the_simulation_drew_with_is_what_the_tokens_tell(name, drawn):
    """The step-by-step simulation and the filter over whole histories are two codes for one recursion."""
    task, simulated, masses = drawn(name)
    assert simulated.volatility is not None
    if name == "S7":
        expected = bin_masses(task.bins.edges, 0.0, simulated.volatility, task.nu)
        np.testing.assert_allclose(masses, expected, rtol=1e-6)
        return
    laws = simulated.laws or (task.law,) * len(simulated.tokens_CT)
    _, volatility_CT = moments(laws, simulated.values_CT, task.ar, task.seasons(task.length))
    np.testing.assert_allclose(volatility_CT.ravel(), simulated.volatility, rtol=1e-10)


def test_garch_law_by_hand():
    """Three tokens of S3, from the formulas alone."""
    task = SHORT["S3"]
    simulated = task.simulate(task.length, seed=1)
    law, v = task.law, simulated.values
    variance, mean = law.volatility**2, law.mean
    for t in range(3):
        scale = np.sqrt(variance * (law.nu - 2) / law.nu)
        expected = np.diff(stats.t.cdf((task.bins.edges - mean) / scale, law.nu), prepend=0, append=1)
        np.testing.assert_allclose(task.conditional(simulated)[t], expected, atol=1e-14)
        variance = law.omega + (law.alpha + law.gamma * (v[t] < 0)) * v[t] ** 2 + law.beta * variance
        mean = law.mean + task.ar * v[t]


def test_season_follows_the_clock(drawn):
    """The largest volatility is at the hour with the largest factor, by its ratio to the smallest."""
    task, simulated, _ = drawn("S8")
    spread = [np.std(simulated.values[simulated.clock == hour]) for hour in range(24)]
    assert max(spread) / min(spread) == pytest.approx(max(task.season) / min(task.season), rel=0.25)
    assert np.argmax(task.season) in np.argsort(spread)[-5:]


def test_long_memory_outlives_a_garch_of_the_same_first_autocorrelation():
    """|v| of S7 is still correlated after 22 bars."""
    magnitude = np.abs(TASKS["S7"].simulate(400_000, seed=0).values_CT)
    centred = magnitude - magnitude.mean()
    acf = [(centred[:, lag:] * centred[:, :-lag]).mean() / magnitude.var() for lag in (1, 22)]
    assert acf[1] > 0.4 * acf[0] > 0.05


def test_floor_of_independent_tokens_is_their_entropy(drawn):
    task, simulated, _ = drawn("S0")
    law = stats.t(task.law.nu, scale=task.law.volatility * np.sqrt((task.law.nu - 2) / task.law.nu))
    p = np.diff(law.cdf(task.bins.edges), prepend=0, append=1)
    assert task.entropy_rate == pytest.approx(-(p @ np.log(p)), abs=1e-12)
    assert task.floor(simulated).nats == pytest.approx(task.entropy_rate, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_floor_of_a_markov_chain_is_its_entropy_rate(order):
    """−Σ π P ln P over the chain of contexts, its stationary law solved for, and the floor of a simulation."""
    k = 5
    task = MarkovTokens("chain", 2_000, order=order, n_levels=k)
    n_contexts = k**order
    chain = np.zeros((n_contexts, n_contexts))
    for context, token in itertools.product(range(n_contexts), range(k)):
        chain[context, (context * k + token) % n_contexts] += task.transition[context, token]
    share = stationary_law(tuple(map(tuple, chain)))
    expected = -sum(
        share[s] * task.transition[s, j] * np.log(task.transition[s, j]) for s in range(n_contexts) for j in range(k)
    )
    assert task.entropy_rate == pytest.approx(expected, abs=1e-12)
    floor = task.floor(task.simulate(200_000, seed=0))
    assert abs(floor.nats - expected) < 3 * floor.standard_error


def test_unigram_of_n_tokens_is_half_its_parameters_over_n_too_high():
    task = SHORT["S0"]
    n, found = 100_000, []
    for seed in range(20):
        count = np.bincount(task.simulate(n, seed).tokens, minlength=64) + 1e-9
        found.append(excess(task.masses[None], np.log(count / count.sum())[None]))
    assert np.mean(found) == pytest.approx(63 / (2 * n), rel=0.15)


def test_forward_filter_is_the_sum_over_all_paths():
    tokens_CT = np.array([[0, 3, 2, 1, 1], [2, 2, 3, 0, 1]])
    regimes_CTS = forward_filter(START, TRANSITION, EMISSION, tokens_CT)
    for tokens, regimes_TS in zip(tokens_CT, regimes_CTS, strict=True):
        for t in range(len(tokens)):
            joint = np.zeros(3)
            for path in itertools.product(range(3), repeat=t + 1):
                steps = [TRANSITION[a, b] for a, b in itertools.pairwise(path)]
                seen = [EMISSION[s, x] for s, x in zip(path[:-1], tokens[:t], strict=True)]
                joint[path[-1]] += START[path[0]] * np.prod(steps) * np.prod(seen)
            np.testing.assert_allclose(regimes_TS[t], joint / joint.sum(), atol=1e-12)


def test_particle_filter_nears_the_exact_one_as_one_over_the_particles():
    rng = np.random.default_rng(0)
    tokens_CT = rng.integers(0, 4, (20, 60))
    exact = forward_filter(START, TRANSITION, EMISSION, tokens_CT) @ EMISSION
    loss = {}
    for particles in (30, 300, 3_000):
        estimate = particle_filter(HmmSpace(), tokens_CT, particles, np.random.default_rng(1))
        loss[particles] = divergence(exact, np.log(np.maximum(estimate, 1e-9))).mean()
    assert loss[30] > 5 * loss[300] > 25 * loss[3_000]
    assert loss[3_000] < 1e-4


def test_resampling_keeps_each_particle_as_often_as_its_weight_says():
    weights = np.random.default_rng(0).exponential(size=(3, 50))
    kept = resample(weights, np.random.default_rng(1))
    for c in range(3):
        count = np.bincount(kept[c] - 50 * c, minlength=50)
        assert (np.abs(count - 50 * weights[c] / weights[c].sum()) < 1).all() and count.sum() == 50


def test_stochastic_volatility_filter_equals_a_fine_hidden_chain():
    """h on 300 nodes is a hidden Markov chain, whose filter is exact but for the nodes (Kitagawa 1987)."""
    task = replace(SHORT["S6"], n_particles=4_000)
    simulated = task.simulate(1_000, seed=2)
    law = task.law
    spread = law.eta / np.sqrt(1 - law.phi**2)
    h = np.linspace(-6 * spread, 6 * spread, 300)
    step = np.exp(-0.5 * ((h[None] - law.phi * h[:, None]) / law.eta) ** 2)
    start = np.exp(-0.5 * (h / spread) ** 2)
    volatility = law.volatility * np.exp((h - spread**2 / 2) / 2)
    masses = np.diff(stats.norm.cdf(task.bins.edges / volatility[:, None]), prepend=0, append=1)
    regimes = forward_filter(start / start.sum(), step / step.sum(1, keepdims=True), masses, simulated.tokens_CT)
    exact = (regimes @ masses).reshape(-1, 64)
    bias = {}
    for particles in (100, 4_000):
        estimate = replace(task, n_particles=particles).conditional(simulated)
        bias[particles] = excess(exact, np.log(estimate))
    assert bias[4_000] < 1e-4 and bias[100] > 10 * bias[4_000]
    assert cross_entropy(exact, np.log(estimate)).mean() == pytest.approx(task.floor(simulated).nats, abs=0.02)


def test_hidden_volatility_is_that_of_the_process():
    task = SHORT["S6"]
    simulated = task.simulate(20 * task.length, seed=5)
    log_variance = 2 * np.log(simulated.volatility).reshape(-1, task.length)
    assert np.exp(log_variance).mean() == pytest.approx(task.law.volatility**2, rel=0.15)
    shock = log_variance[:, 1:] - task.law.phi * log_variance[:, :-1]
    assert shock.std() == pytest.approx(task.law.eta, rel=0.05)


def test_floor_of_binned_garch_lies_between_seeing_the_volatility_and_reading_tokens_as_returns(drawn):
    task, simulated, masses = drawn("S5")
    floor, bound = task.floor(simulated), task.lower_bound(simulated)
    assert floor.nats > bound.nats
    realised = batch_means(
        log_loss(masses, simulated.tokens) - log_loss(task.given_volatility(simulated), simulated.tokens)
    )
    assert abs(realised.nats - (floor.nats - bound.nats)) < 3 * realised.standard_error
    reading = replace(SHORT["S2"], length=task.length)
    assert reading.law == task.law
    naive = bin_masses(task.bins.edges, 0.0, reading.moments(simulated)[1], task.law.nu)
    assert cross_entropy(task.given_volatility(simulated), np.log(naive)).mean() > floor.nats


def test_excess_is_the_divergence_never_negative_and_zero_for_the_truth(drawn):
    _, _, masses = drawn("S2")
    other = np.roll(masses, 1, axis=1)
    assert excess(masses, np.log(masses)) == pytest.approx(0, abs=1e-14)
    assert excess(masses, np.log(other)) == pytest.approx(rel_entr(masses, other).sum(axis=1).mean(), rel=1e-12)
    random = np.random.default_rng(0).dirichlet(np.ones(64), len(masses))
    assert (divergence(masses, np.log(random)) > 0).all()
    sure = np.eye(4)[[1, 2]]
    with np.errstate(divide="ignore"):
        assert excess(sure, np.log(sure)) == 0  # what cannot happen costs nothing, though its logarithm is infinite
        assert excess(np.full((1, 4), 0.25), np.log(sure[:1])) == np.inf


def test_recovery_is_zero_for_the_unigram_and_one_for_the_truth():
    assert recovery(4.08, 4.08, 4.02) == 0 and recovery(4.02, 4.08, 4.02) == 1
    assert recovery(4.035, 4.08, 4.02) == pytest.approx(0.75)


def test_maximum_likelihood_is_half_its_parameters_over_n_above_the_floor():
    """GARCH-t has four of them. Mean over 6 fits; its spread is that of a χ² of 24 degrees of freedom."""
    task, n = TASKS["S2"], 4_000
    fresh = task.simulate(10_000, seed=100)
    truth = task.conditional(fresh)
    fits = [fit(task, task.simulate(n, seed)) for seed in range(6)]
    found = [excess(truth, np.log(one.conditional(fresh))) for one in fits]
    assert 0.4 < np.mean(found) / (4 / (2 * n)) < 2
    for one in fits:
        np.testing.assert_allclose(one.nats(fresh), log_loss(one.conditional(fresh), fresh.tokens), rtol=1e-9)
        assert not below_floor(one.nats(fresh), log_loss(truth, fresh.tokens))


@each_task
@pytest.mark.parametrize("told", [0.01, 0.05])
def test_a_model_that_is_told_the_next_token_falls_below_the_floor(name, told, drawn):
    _, simulated, masses = drawn(name)
    peeking = (1 - told) * masses
    peeking[np.arange(len(masses)), simulated.tokens] += told
    true_nats = log_loss(masses, simulated.tokens)
    assert below_floor(log_loss(peeking, simulated.tokens), true_nats)


@each_task
def test_honest_models_do_not_fall_below_the_floor(name, drawn):
    _, simulated, masses = drawn(name)
    true_nats = log_loss(masses, simulated.tokens)
    unigram = np.bincount(simulated.tokens[::2], minlength=masses.shape[1]) + 0.5
    for q in (masses, 0.7 * masses + 0.3 / masses.shape[1], np.tile(unigram / unigram.sum(), (len(masses), 1))):
        assert not below_floor(log_loss(q, simulated.tokens), true_nats)


def test_batch_means_see_that_neighbours_are_alike():
    """AR(1): the variance of the mean is (1 + φ) / (1 − φ) times that of as many independent values."""
    rng, phi, n = np.random.default_rng(0), 0.9, 200_000
    noise = rng.standard_normal(n)
    series = np.empty(n)
    level = 0.0
    for t in range(n):
        series[t] = level = phi * level + noise[t]
    expected = np.sqrt((1 + phi) / (1 - phi) * series.var() / n)
    assert batch_means(series).standard_error == pytest.approx(expected, rel=0.15)


@each_task
def test_the_pipeline_makes_the_process_own_tokens_of_its_returns(name):
    task = SHORT[name]
    simulated = task.simulate(3 * task.length, seed=0)
    tokenizer = tokenizer_from_json(task.tokenizer.to_json(), "here")
    dataset = dataset_of(task.series(simulated), tokenizer, train_end="2000-01-10", validation_end="2000-01-15")
    np.testing.assert_array_equal(dataset.tokens, simulated.tokens)
    np.testing.assert_array_equal(dataset.market.returns, simulated.values)
    if simulated.clock is not None:
        hours = (dataset.market.times - dataset.market.times[0]) // np.timedelta64(1, "h")
        np.testing.assert_array_equal(hours % 24, simulated.clock)


def test_panel_histories_begin_with_bos_and_have_parameters_of_their_own():
    task = SHORT["S9"]
    simulated = task.simulate(3 * task.length, seed=0)
    assert len(set(simulated.laws)) == 3
    dataset = dataset_of(task.series(simulated), task.tokenizer, special_tokens=True)
    marks = np.flatnonzero(dataset.tokens == 64 + special.BOS)
    assert len(marks) == 3
    np.testing.assert_array_equal(dataset.tokens[dataset.tokens < 64], simulated.tokens)
    with pytest.raises(BadInput, match="take what `simulate` returns"):
        task.conditional(simulated._replace(laws=None))


def test_wrong_sizes_are_refused():
    with pytest.raises(BadInput, match="1001 tokens are no multiple of length=500; try 1500"):
        SHORT["S2"].simulate(1_001, seed=0)
    with pytest.raises(BadInput, match="length=1 must be from 2"):
        replace(TASKS["S2"], length=1)
    with pytest.raises(BadInput, match="sum to less than 1"):
        replace(TASKS["S7"], weights=(0.5, 0.4, 0.2))


def test_an_exam_finds_little_above_the_floor_and_never_less():
    from configs import PRESETS
    from mqc_jax.evaluation.known_answer.exam import examine

    config = PRESETS["tiny"]
    config = replace(config, train=replace(config.train, num_epochs=3))
    for name, most in (("S0", 0.02), ("S2", 0.08)):
        found = examine(TASKS[name], config, 6_000, seeds=(0,), seed=3)
        assert 0 <= found.excess < most
        assert found.floor < found.unigram
        assert not found.below_floor
        assert found.n_scored > 500
        again = examine(TASKS[name], config, 6_000, seeds=(0,), seed=3)
        assert again == found, "same seed, same answer"


def test_tokens_without_an_order_are_names_to_the_model():
    config = PRESETS["daily"]
    assert exam_config(config, TASKS["S2"], 20_000).model.ordinal
    assert not exam_config(config, TASKS["S1"], 20_000).model.ordinal

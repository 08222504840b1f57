"""The scoreboard's parts put together: the same rows for all, nothing known before its time, nothing done twice."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers import dataset_of, garch_series, train_step, training_batch

from configs import PRESETS
from data_pipeline import BadInput, build_dataset
from data_pipeline.config import DataConfig
from mqc_jax.evaluation import evaluate, lineup
from mqc_jax.evaluation import walk_forward as walk
from mqc_jax.evaluation.classics import CLASSICS, Refit, annual_refits
from mqc_jax.evaluation.contest import MODELS, Entrant, frozen_contest, walking_contest
from mqc_jax.evaluation.linear import _features, fit_linear
from mqc_jax.evaluation.lineup import cached_fit, histories, scorable, token_law
from mqc_jax.laws.token_law import TokenLaw
from mqc_jax.run import new_model
from mqc_jax.training.batches import steps_per_epoch
from mqc_jax.training.ensemble import Ensemble, pooled_probabilities
from mqc_jax.training.optimizer import make_optimizer
from mqc_jax.training.step import first_state
from mqc_jax.training.validate import validation_loss

SMALL = replace(
    PRESETS["tiny"],
    model=replace(PRESETS["tiny"].model, sequence_len=32),
    train=replace(PRESETS["tiny"].train, num_epochs=1, batch_size=8, average_decay=0.9),
)
YEARS = (2002, 2004)  # the panel ends in 2003


def panel_series(shock: float = 0.0):
    """Four years of two assets, one of them interrupted in 2003; `shock` is added to every return of that year."""
    series = [garch_series(1400, 1, "A"), garch_series(1200, 2, "B", "2000-07-01")]
    starts = (np.arange(1200) == 0) | (series[1].times == np.datetime64("2003-05-01"))
    series[1] = replace(series[1], starts=starts)
    late = [one.times >= np.datetime64("2003-01-01") for one in series]
    return [replace(one, log_returns=one.log_returns + shock * after) for one, after in zip(series, late, strict=True)]


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def small_panel():
    return dataset_of(panel_series(), train_end="2001-12-31", validation_end="2002-06-30")


@pytest.fixture(scope="module")
def contest(small_panel, tmp_path_factory):
    model = new_model(SMALL.model, small_panel.tokenizer, small_panel.manifest, jax.random.key(0))
    cache = tmp_path_factory.mktemp("cache")
    return model, frozen_contest(Entrant(model, small_panel, 32), "test", cache=cache, say=quiet, note=quiet)


def test_every_model_is_scored_on_the_same_rows(small_panel, contest):
    model, found = contest
    assert list(found.board) == list(MODELS)
    assert len(found.outcomes.returns_N) == len(small_panel.rows("test"))
    report = evaluate(model, small_panel, "test")["shared_bins"]
    assert found.board["gpt"]["nats"] == pytest.approx(report["model_nats_per_return"], abs=1e-6)
    for figures in found.board.values():
        assert 3.5 < figures["nats"] < 5.0
        assert 0 <= figures["coverage_90"] <= 1
        assert set(figures["assets"]) == {"A", "B"}
    assert found.board["garch_t"]["nats"] < found.board["unconditional"]["nats"], "the data is a GARCH"
    assert found.board["gpt"]["verdict_vs_garch_t"] in {"no edge over garch_t", "worse than garch_t"}


@pytest.fixture(scope="module")
def walked(small_panel, tmp_path_factory):
    cache = tmp_path_factory.mktemp("walk")
    return cache, walking_contest(SMALL, small_panel, YEARS, seeds=(0, 1), cache=cache, say=quiet)


@pytest.mark.slow
def test_a_walk_forward_knows_nothing_of_later_years(tmp_path, walked):
    dataset = dataset_of(panel_series(0.01), train_end="2001-12-31", validation_end="2002-06-30")
    other = walking_contest(SMALL, dataset, YEARS, seeds=(0, 1), cache=tmp_path, say=quiet)
    early = other.outcomes.times_N < np.datetime64("2003-01-01")
    assert early.any()
    assert not early.all()
    for name, scores in walked[1].scores.items():
        for first, second in ((scores.nats_N, other.scores[name].nats_N), (scores.pit_N, other.scores[name].pit_N)):
            np.testing.assert_array_equal(first[early], second[early], err_msg=name)
            assert (first[~early] != second[~early]).any(), name


@pytest.mark.slow
def test_a_walk_forward_goes_on_where_it_was_interrupted(small_panel, walked, monkeypatch):
    cache, first = walked

    def trained_again(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(walk, "Ensemble", trained_again)
    again = walking_contest(SMALL, small_panel, YEARS, seeds=(0, 1), cache=cache, say=quiet)
    np.testing.assert_equal(again.board, first.board)
    with pytest.raises(AssertionError, match="trained again"):
        walking_contest(SMALL, small_panel, YEARS, seeds=(5,), cache=cache, say=quiet)


def test_a_fit_is_done_once(tmp_path, small_panel, monkeypatch):
    asset, classic = histories(small_panel)[0], CLASSICS["ewma_t"]
    first = cached_fit(tmp_path)(classic, asset)
    monkeypatch.setattr(type(classic), "fit", None)
    assert cached_fit(tmp_path)(classic, asset).to_json() == first.to_json()
    monkeypatch.setattr(lineup, "FITS_DEPEND_ON", (("data_pipeline/volatility.py",), ("scipy",)))
    with pytest.raises(TypeError):  # other code fits again
        cached_fit(tmp_path)(classic, asset)


def test_cutting_again_at_the_same_dates_changes_nothing(small_panel):
    refit = Refit(*np.array(["2002-01-01", "2002-01-01", "2002-07-01"], "datetime64[ns]"))
    again = walk.recut(small_panel, SMALL, refit)
    assert again.tokenizer.to_json() == small_panel.tokenizer.to_json()
    for name, array in small_panel.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name], err_msg=name)


def test_interleaved_assets_cannot_walk():
    dataset = dataset_of(panel_series(), layout="interleaved")
    with pytest.raises(BadInput, match="knows what others did on the same date"):
        walking_contest(SMALL, dataset, YEARS, seeds=(0,), cache=None, say=quiet)


def test_special_tokens_cannot_walk():
    dataset = dataset_of(panel_series(), special_tokens=True)
    with pytest.raises(BadInput, match="cannot be refitted yet"):
        walking_contest(SMALL, dataset, YEARS, seeds=(0,), cache=None, say=quiet)


def test_a_special_token_has_no_value_to_the_linear_map():
    dataset = dataset_of(panel_series(), special_tokens=True)
    basis_VP = fit_linear(dataset).basis_VP
    marks = np.flatnonzero(dataset.tokens >= dataset.tokenizer.vocab_size)
    assert len(marks)
    assert not _features(dataset, marks, basis_VP)[:, 8:-1].any()


def test_a_board_of_more_returns_than_it_can_hold_has_the_last_dates_of_all_assets(small_panel):
    said, refits = [], annual_refits(2002, 2003)
    rows = small_panel.rows("test")
    kept = scorable(small_panel, rows, refits, 200, said.append)
    times = small_panel.market.times
    assert 200 <= len(kept) <= 201, "two assets share a date"
    assert set(small_panel.assets_of(kept)) == {0, 1}
    assert times[kept].min() >= np.sort(times[np.setdiff1d(rows, kept)])[-1]
    assert "the last 200 of" in said[0]


def test_series_come_back_with_their_pieces():
    series = panel_series()[1]
    again = dataset_of([series], special_tokens=True).series(0)
    np.testing.assert_array_equal(again.piece_starts, series.piece_starts)


def test_a_member_is_the_model_that_train_py_makes_of_its_seed(small_panel):
    ensemble = Ensemble(SMALL, small_panel, seeds=(3, 4))
    ensemble.advance(12)
    tx = make_optimizer(SMALL.train, steps_per_epoch(small_panel, 32, 8))
    assert SMALL.train.average_decay
    init_key, key = jax.random.split(jax.random.key(4))
    model = new_model(SMALL.model, small_panel.tokenizer, small_panel.manifest, init_key)
    state = first_state(model, SMALL.train, tx)
    starts = small_panel.window_starts(32)
    for step in range(12):
        batch = training_batch(small_panel, starts, 32, 8, seed=4, step=step, inputs=True)
        state, _ = train_step(state, batch, key, tx=tx, config=SMALL.train)
    alone, member = jax.tree.leaves(state.average), jax.tree.leaves(jax.tree.map(lambda x: x[1], ensemble.members))
    for a, b in zip(alone, member, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    rows, masses = pooled_probabilities(jax.tree.map(lambda x: x[1:], ensemble.members), small_panel, "test")
    nats = -np.log(masses[np.arange(len(rows)), small_panel.tokens[rows]]).mean()
    assert nats == pytest.approx(validation_loss(state.result, small_panel, "test"), abs=1e-4)


def test_the_linear_map_is_at_its_minimum(small_panel):
    found = fit_linear(small_panel, ridge=5.0)
    rows = np.setdiff1d(small_panel.training_rows(), small_panel.segments[:, 1])
    tokens = small_panel.tokens[rows]

    def loss(weights):
        log_p = replace(found, weights_XP=weights).log_probabilities(small_panel, rows)
        return -log_p[np.arange(len(rows)), tokens].sum() + 2.5 * (weights**2).sum()

    least = loss(found.weights_XP)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-1):
        assert all(loss(found.weights_XP + size * rng.normal(size=found.weights_XP.shape)) > least for _ in range(10))
    np.testing.assert_allclose(np.exp(found.log_probabilities(small_panel, rows)).sum(axis=1), 1)
    assert _features(small_panel, rows, found.basis_VP).shape == (len(rows), 17)


KINDS = [("volatility", "log_return"), ("quantile", "log_return"), ("rolling", "log_return"), ("rolling", "delta")]


@pytest.mark.parametrize(("kind", "signal"), KINDS)
def test_the_law_of_a_return_integrates_to_one_and_its_density_is_its_slope(kind, signal):
    dataset = build_dataset(panel_series(), DataConfig("test", tokenizer=kind, signal=signal), vocab_size=32)
    rows = dataset.rows("test")[::200]
    masses = np.random.default_rng(0).dirichlet(np.ones(32), len(rows))
    law = token_law(dataset, rows, masses)
    assert isinstance(law, TokenLaw)
    points = dataset.market.volatility[rows][:, None] * np.linspace(-6, 6, 20_001)
    below = law.cdf(points)
    assert (np.diff(below) >= 0).all()
    middle = (points[:, 1:] + points[:, :-1]) / 2
    density = np.exp(law.take(np.repeat(np.arange(len(rows)), 20_000)).log_density(middle.ravel())).reshape(
        middle.shape
    )
    np.testing.assert_allclose((density * np.diff(points)).sum(axis=1), below[:, -1] - below[:, 0], atol=2e-3)
    far = law.cdf(np.tile([-0.9, 0.9], (len(rows), 1)))
    assert (far[:, 1] - far[:, 0] > 0.99).all()
    edges = dataset.tokenizer.return_edges(dataset.market.known_before[rows])
    np.testing.assert_allclose(law.cdf(edges), np.cumsum(masses, axis=1)[:, :-1], atol=1e-9)


def test_a_refit_trains_as_long_as_was_best_in_the_years_before_it(small_panel, tmp_path, monkeypatch):
    def pooled(cut, config, rows, seeds, cache):
        """4 epochs are right in the first years, 8 from 2002 on; what is right gives the true token ten times more."""
        late = small_panel.market.times[rows] >= np.datetime64("2002-01-01")
        right = np.eye(cut.tokenizer.vocab_size)[cut.tokens[rows]]
        masses = {epoch: 1 + 9 * right * (late == (epoch == 8))[:, None] for epoch in (4, 8)}
        return {epoch: mass / mass.sum(axis=1, keepdims=True) for epoch, mass in masses.items()}

    monkeypatch.setattr(walk, "_pooled_by_epoch", pooled)
    refits = annual_refits(2002, 2003)
    rows = small_panel.rows("test")
    rows = rows[small_panel.market.times[rows] < np.datetime64("2004-01-01")]
    every = np.sort(np.concatenate([small_panel.rows("validation"), rows]))
    _, chosen = walk.neural_laws(small_panel, SMALL, every, refits, seeds=(0,), cache=tmp_path, say=quiet)
    assert chosen == [4, 8]

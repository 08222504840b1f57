"""Canaries stay silent on the honest pipeline, and each leak that was planted makes one of them sing."""

import json
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dataset_of, garch_series

from configs import PRESETS
from data_pipeline import DataConfig, build_dataset
from data_pipeline.dataset import SPLITS, TokenDataset
from data_pipeline.errors import DamagedData
from data_pipeline.tokenizers import ReturnTokenizer, TokenIds
from data_pipeline.tokenizers.scaling import Rolling
from data_pipeline.volatility import INPUT_NAMES, filter_returns
from mqc_jax.config import ModelConfig
from mqc_jax.evaluation.canaries import (
    Canary,
    Figures,
    alarms,
    as_json,
    floor_canary,
    history_canary,
    predictions_canary,
    predictor,
    refuse_leaks,
    run_canaries,
    shuffled_canary,
    splits_canary,
    summary,
    tokenizer_canary,
)
from mqc_jax.evaluation.known_answer import log_loss
from mqc_jax.evaluation.known_answer.markov import MarkovTokens
from mqc_jax.model import GPT
from mqc_jax.run import load_run, new_model, open_run_dataset
from mqc_jax.training.batches import gather
from mqc_jax.training.ensemble import pooled_probabilities

CONTEXT, BINS = 16, 64
BASE = PRESETS["daily"]
CONFIG = replace(
    BASE,
    model=replace(BASE.model, sequence_len=CONTEXT, vocab_size=BINS, n_layer=1, n_embd=16, n_head=2, n_kv_head=2),
    train=replace(BASE.train, batch_size=16, learning_rate=0.01, warmup_steps=5),
)
KINDS = ["volatility", "quantile", "uniform", "rolling"]


def interrupted(n, seed, name="A", start="2000-01-03"):
    """A history in three pieces, with gaps and sessions."""
    t = np.arange(n)
    gaps = np.where(t % 97 == 50, 2, 0)
    clock = np.stack([np.log1p(gaps), t % 5, t % 7 == 0], axis=1).astype(np.float32)
    starts = (t == 0) | (t == 300) | (t == 500)
    return replace(garch_series(n, seed, name, start), starts=starts, gaps=gaps, opens=t % 7 == 0, clock=clock)


def ranged(series):
    """With highs and lows, but for every tenth bar."""
    rng = np.random.default_rng(len(series))
    log_range = np.log(np.abs(series.log_returns) + 0.005) + 0.2 * rng.normal(size=len(series))
    return replace(series, log_range=np.where(np.arange(len(series)) % 10, log_range, np.nan))


ASSETS = [interrupted(900, 1), interrupted(700, 2, "B", "2000-07-01")]
PLAIN = [garch_series(900, 1), garch_series(700, 2, "B", "2000-07-01")]
LAYOUTS = {
    "plain": (PLAIN, {}),
    "interrupted": (ASSETS, {}),
    "special": (ASSETS, {"special_tokens": True, "clock": True}),
    "clock": (ASSETS, {"clock": True}),
    "ranges": ([ranged(ASSETS[0]), ASSETS[1]], {"clock": True, "ranges": True}),
    "interleaved": (PLAIN, {"layout": "interleaved"}),
    "interleaved clock": (ASSETS, {"layout": "interleaved", "clock": True}),
}


def made(layout="plain", tokenizer="volatility") -> TokenDataset:
    series, options = LAYOUTS[layout]
    return dataset_of(series, tokenizer, BINS, **options)


@cache
def random_parameters(config: ModelConfig, n_inputs: int) -> GPT:
    model = GPT(config, jax.random.key(0), n_inputs)
    leaves, structure = jax.tree.flatten(model)
    rng = np.random.default_rng(0)
    noisy = [leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, noisy)


def random_gpt(dataset: TokenDataset, kind: type[GPT] = GPT) -> GPT:
    """Every parameter is random: the zero-initialised head would hide a leak."""
    config = replace(CONFIG.model, n_special=dataset.n_special, ordinal=False, inputs=dataset.market is not None)
    honest = random_parameters(config, len(dataset.manifest.get("inputs", ())))
    model = object.__new__(kind)
    vars(model).update(vars(honest))
    return model


def failed(canaries: list[Canary]) -> set[str]:
    return {canary.name for canary in canaries if canary.passed is False}


def skipped(canaries: list[Canary]) -> set[str]:
    return {canary.name for canary in canaries if canary.passed is None}


def predictions_of(model: GPT, dataset: TokenDataset) -> Canary:
    return predictions_canary(predictor(model, CONTEXT), dataset, "test", CONTEXT)


@pytest.fixture(scope="module")
def leaky_volatility():
    """The pipeline with a volatility that has already seen the return it scales."""

    def off_by_one(returns, typical_volatility=1.0):
        filtered = filter_returns(returns, typical_volatility)
        ahead = filter_returns(np.append(returns, 0.0), typical_volatility).volatility[1:]
        return filtered._replace(volatility=ahead)

    return off_by_one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_honest_pipeline_is_silent(layout, kind):
    dataset = made(layout, kind)
    for split in ("validation", "test"):
        predict = predictor(random_gpt(dataset), CONTEXT)
        found = run_canaries(predict, dataset, split, CONTEXT, figures=Figures(0.1, 0.02, 0.53))
        assert [canary for canary in found if not canary.passed] == []
    assert summary(found) == ["canaries: 7 of 7 silent"]
    refuse_leaks(found)


def test_a_trained_run_on_the_bundled_prices_is_silent(tiny_run):
    run = load_run(tiny_run)
    dataset, context = open_run_dataset(tiny_run, run.config), run.config.model.sequence_len
    untrained = new_model(run.config.model, run.tokenizer, run.manifest, jax.random.key(0))
    for model in (untrained, run.model):
        found = run_canaries(predictor(model, context), dataset, "test", context)
        assert summary(found) == ["canaries: 4 of 4 silent"]
    members = jax.tree.map(lambda *leaves: jnp.stack(leaves), untrained, run.model)
    assert predictions_canary(partial(pooled_probabilities, members), dataset, "test", context).passed


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tokenizer_is_what_the_training_dates_give_bit_by_bit(layout):
    dataset = made(layout)
    end = np.datetime64(dataset.manifest["splits"]["train_end"]) + np.timedelta64(1, "D")
    series = [dataset.series(number) for number in range(len(dataset.assets))]
    again = ReturnTokenizer.fit("volatility", [one.log_returns[one.times < end] for one in series], BINS)
    assert again.to_json() == dataset.tokenizer.to_json()


def test_what_cannot_be_tried_is_said():
    ids = TokenDataset(
        np.random.default_rng(0).integers(0, BINS, 400).astype(np.uint8),
        np.array([[0, 0, 200, 300, 400]]),
        TokenIds(BINS),
        {"source": "ids.txt", "assets": [{"unique_id": "tokens"}], "splits": {}},
    )
    found = run_canaries(predictor(random_gpt(ids), CONTEXT), ids, "test", CONTEXT, figures=Figures(0.1))
    assert skipped(found) == {"splits", "tokenizer", "history", "top1_accuracy", "direction"}
    assert summary(found) == [
        "canaries: 2 of 2 silent; not run: splits, tokenizer, history, top1_accuracy, direction",
    ]
    assert all(canary.detail.startswith("not run: ") for canary in found if canary.passed is None)
    other = replace(made(), tokenizer=TokenIds(BINS))
    found = run_canaries(predictor(random_gpt(other), CONTEXT), other, "test", CONTEXT)
    assert skipped(found) == {"tokenizer", "history"}
    assert not failed(found)


def test_a_tokenizer_that_came_from_elsewhere_is_not_fitted_again():
    other = dataset_of(PLAIN, made().tokenizer, train_end="2000-06-30")
    assert failed(run_canaries(predictor(random_gpt(other), CONTEXT), other, "test", CONTEXT)) == {"tokenizer"}
    found = run_canaries(predictor(random_gpt(other), CONTEXT), other, "test", CONTEXT, own_tokenizer=False)
    assert (failed(found), skipped(found)) == (set(), {"tokenizer"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_volatility_that_has_seen_its_return_is_caught(kind, leaky_volatility, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("data_pipeline.rows.filter_returns", leaky_volatility)
        dataset = made(tokenizer=kind)
        in_the_code = history_canary(dataset)
    assert not in_the_code.passed
    assert "at A 2000-03-04 change with returns from A 2000-03-04 on" in in_the_code.detail
    in_the_data = history_canary(dataset)
    assert not in_the_data.passed
    assert "not what its returns give" in in_the_data.detail


def test_a_rolling_window_that_holds_its_own_return_is_caught(monkeypatch):
    honest = Rolling.known_before

    def ahead(self, returns, volatility):
        return np.roll(honest(self, returns, volatility), -1, axis=0)

    monkeypatch.setattr(Rolling, "known_before", ahead)
    found = history_canary(made(tokenizer="rolling"))
    assert not found.passed
    assert found.detail.startswith(("tokens", "bin edges"))


def test_a_centred_convolution_in_the_tokens_is_caught(monkeypatch):
    honest = ReturnTokenizer.encode

    def smooth(self, returns, known):
        return honest(self, np.convolve(returns, [0.25, 0.5, 0.25], "same"), known)

    monkeypatch.setattr(ReturnTokenizer, "encode", smooth)
    found = history_canary(made())
    assert not found.passed
    assert found.detail.startswith("tokens at A 2000-03-03 change with returns from A 2000-03-04 on")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("until", ["2001-06-30", "2099-12-31"])
def test_a_tokenizer_fitted_beyond_the_training_dates_is_caught(kind, until):
    honest = made(tokenizer=kind)
    seen = [one.log_returns[one.times <= np.datetime64(until)] for one in PLAIN]
    peeking = ReturnTokenizer.fit(kind, seen, BINS)
    dataset = build_dataset(PLAIN, DataConfig("test", **honest.manifest["splits"]), tokenizer=peeking)
    found = tokenizer_canary(dataset)
    assert not found.passed
    assert ("all dates give it" in found.detail) == (until == "2099-12-31")
    assert tokenizer_canary(honest).passed


def test_one_return_more_than_allowed_is_enough():
    honest = made()
    end = np.datetime64(honest.manifest["splits"]["train_end"])
    for days, passed in ((0, True), (1, False)):
        past = [one.log_returns[one.times <= end + np.timedelta64(days, "D")] for one in PLAIN]
        dataset = build_dataset(
            PLAIN,
            DataConfig("test", **honest.manifest["splits"]),
            tokenizer=ReturnTokenizer.fit("volatility", past, BINS),
        )
        assert tokenizer_canary(dataset).passed is passed


class CentredConvolution(GPT):
    def embed_tokens(self, tokens):
        x_BTD = super().embed_tokens(tokens)
        return x_BTD + 0.01 * jnp.concatenate([x_BTD[:, 1:], x_BTD[:, -1:]], axis=1)


class NormedOverTime(GPT):
    def embed_tokens(self, tokens):
        x_BTD = super().embed_tokens(tokens)
        return x_BTD - 1e-4 * x_BTD.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", [CentredConvolution, NormedOverTime])
@pytest.mark.parametrize("layout", ["plain", "special", "interleaved"])
def test_a_model_that_looks_ahead_is_caught(kind, layout):
    dataset = made(layout)
    found = predictions_of(random_gpt(dataset, kind), dataset)
    assert not found.passed
    assert found.detail.endswith("on; make the model causal")
    assert predictions_of(random_gpt(dataset), dataset).passed


def test_attention_without_its_mask_is_caught(monkeypatch):
    dataset = made()
    seeing_all = "mqc_jax.model.attention.causal_attention"
    monkeypatch.setattr(seeing_all, lambda q, k, v, way: jax.nn.dot_product_attention(q, k, v))
    model = random_gpt(dataset, type("Unmasked", (GPT,), {}))  # a type of its own is compiled anew
    assert not predictions_of(model, dataset).passed


def test_inputs_of_the_row_that_is_predicted_are_caught(monkeypatch):
    def ahead(dataset, rows, inputs):
        batch = gather(dataset, rows, inputs)
        return batch._replace(inputs=jnp.asarray(dataset.market.inputs[rows[:, 1:]]))

    dataset = made()
    monkeypatch.setattr("mqc_jax.training.validate.gather", ahead)
    assert not predictions_of(random_gpt(dataset), dataset).passed


def with_inputs(dataset, inputs):
    return replace(dataset, market=dataset.market._replace(inputs=inputs.astype(np.float32)))


@pytest.mark.parametrize("column", range(len(INPUT_NAMES)))
def test_an_input_that_knows_the_next_return_is_caught(column):
    dataset = made()
    inputs = dataset.market.inputs.copy()
    inputs[:-1, column] = inputs[1:, column]
    found = history_canary(with_inputs(dataset, inputs))
    assert not found.passed
    assert found.detail.startswith("inputs at A 2000-01-03 are not what its returns give")


@pytest.mark.parametrize(
    "look", [np.copy, np.abs, lambda r: r + 0.3 * r.std() * np.random.default_rng(0).normal(size=len(r))]
)
def test_neither_a_further_column_nor_the_clock_may_know_the_next_return(look):
    dataset = made("clock")
    ahead = look(np.append(dataset.market.returns[1:], 0))
    further = with_inputs(dataset, np.column_stack([dataset.market.inputs, ahead]))
    assert "12 input columns, 11 can be derived" in history_canary(further).detail
    inputs = dataset.market.inputs.copy()
    inputs[:, -1] = ahead
    found = history_canary(with_inputs(dataset, inputs))
    assert not found.passed
    assert "opens_ahead of A has rank correlation" in found.detail


@pytest.fixture
def inputs_ahead(monkeypatch):
    """The pipeline with inputs that already know the next return."""

    def ahead(returns, typical_volatility=1.0):
        filtered = filter_returns(returns, typical_volatility)
        return filtered._replace(inputs=np.append(filtered.inputs[1:], filtered.inputs[-1:], axis=0))

    monkeypatch.setattr("data_pipeline.rows.filter_returns", ahead)


def test_filters_that_look_ahead_are_caught(inputs_ahead):
    found = history_canary(made())
    assert not found.passed
    assert found.detail.startswith("inputs at A 2000-03-03 change with returns from A 2000-03-04 on")


def test_special_tokens_that_know_the_return_behind_them_are_caught():
    dataset = made("special")
    marks = np.flatnonzero(np.isnan(dataset.market.returns))[3:]
    inputs = dataset.market.inputs.copy()
    inputs[marks[:-1]] = inputs[marks[:-1] + 1]
    found = history_canary(with_inputs(dataset, inputs))
    assert not found.passed
    assert "special token" in found.detail


@pytest.mark.parametrize("layout", ["plain", "special", "interleaved"])
@pytest.mark.parametrize("border", [2, 3])
def test_rows_in_the_wrong_split_are_caught(layout, border):
    dataset = made(layout)
    assert splits_canary(dataset, CONTEXT).passed
    block = 1 + len(dataset.assets) if dataset.interleaved else 1
    inside = (np.diff(dataset.segments[:, border - 1 : border + 2]) > 0).all(axis=1)
    for by in (-block, block):
        segments = dataset.segments.copy()
        segments[np.flatnonzero(inside)[-1], border] += by
        found = splits_canary(replace(dataset, segments=segments), CONTEXT)
        assert not found.passed
        earlier = SPLITS[border - 1] if by < 0 else SPLITS[border - 2]
        assert f"is in the {earlier} split" in found.detail


def test_training_windows_that_reach_into_the_next_split_are_caught(monkeypatch):
    dataset, honest = made(), TokenDataset.window_starts
    monkeypatch.setattr(TokenDataset, "window_starts", lambda self, length: honest(self, length - 1))
    found = splits_canary(dataset, CONTEXT)
    assert not found.passed
    assert "is in a training window" in found.detail


def test_dates_moved_in_the_manifest_are_caught():
    dataset = made()
    splits = dataset.manifest["splits"] | {"train_end": "2001-09-01"}
    moved = replace(dataset, manifest=dataset.manifest | {"splits": splits})
    assert not splits_canary(moved, CONTEXT).passed
    assert not tokenizer_canary(moved).passed


def test_too_good_to_be_true_is_a_warning_not_an_error():
    dataset = made()
    assert not failed(alarms(Figures(0.24, 0.04, 0.56), dataset))
    found = alarms(Figures(0.26, 0.2, 0.58), dataset)
    assert failed(found) == {"gain", "top1_accuracy", "direction"}
    refuse_leaks(found)
    head, *lines = summary(found)
    assert head == "canaries: 0 of 3 silent"
    assert lines[0].startswith("warning: gain: 0.260, at most 0.250 is plausible; ")
    assert skipped(alarms(Figures(direction_right=np.nan), dataset)) == {"gain", "top1_accuracy", "direction"}


def about(dataset, **fields):
    assets = [asset | fields for asset in dataset.manifest["assets"]]
    return replace(dataset, manifest=dataset.manifest | {"assets": assets})


@pytest.mark.parametrize(
    ("interval", "rings"), [("1d", True), ("1w", True), ("1mo", True), ("1h", False), ("5min", False)]
)
def test_alarms_go_by_the_interval_of_the_bars(interval, rings):
    dataset = about(made(), interval=interval)
    assert failed(alarms(Figures(0.4, 0.01, 0.6), dataset)) == ({"gain", "direction"} if rings else set())


def test_alarms_know_coarse_vocabularies_and_synthetic_data():
    coarse = dataset_of(PLAIN, "quantile", 8)
    assert not failed(alarms(Figures(None, 0.24), coarse))
    assert failed(alarms(Figures(None, 0.30), coarse)) == {"top1_accuracy"}
    synthetic = replace(coarse, manifest=coarse.manifest | {"source": "synthetic:garch"})
    assert skipped(alarms(Figures(1.0, 0.9, 0.9), synthetic)) == {"gain", "top1_accuracy", "direction"}


def test_a_leak_ends_the_command_as_damaged_data_and_is_in_its_figures(tmp_path):
    dataset = made()
    found = run_canaries(predictor(random_gpt(dataset, CentredConvolution), CONTEXT), dataset, "test", CONTEXT)
    assert failed(found) == {"predictions"}
    assert summary(found)[0] == "canaries: 3 of 4 silent"
    assert summary(found)[1].startswith("leak: predictions: that of A 200")
    with pytest.raises(DamagedData, match=r"^leak: predictions: that of A 200") as error:
        refuse_leaks(found)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    again = json.loads(json.dumps(error.value.figures))
    assert again == {"canaries": as_json(found)}
    assert again["canaries"][3] | {"detail": ""} == {
        "name": "predictions",
        "passed": False,
        "detail": "",
        "alarm": False,
    }


@pytest.mark.slow
def test_nothing_is_gained_on_shuffled_returns():
    found = shuffled_canary(made(), CONFIG, n_steps=40)
    assert found.passed, found.detail


@pytest.mark.slow
def test_a_gain_on_shuffled_returns_is_a_leak(inputs_ahead):
    found = shuffled_canary(made(), CONFIG, n_steps=40)
    assert not found.passed, found.detail


def test_no_model_is_better_than_the_truth():
    task = MarkovTokens("S1", 500)
    simulated = task.simulate(10_000, seed=0)
    truth = task.conditional(simulated)
    true_nats = log_loss(truth, simulated.tokens)
    assert floor_canary(true_nats, true_nats).passed
    assert floor_canary(log_loss(0.9 * truth + 0.1 / 32, simulated.tokens), true_nats).passed
    peeked = 0.99 * truth + 0.01 * np.eye(32)[simulated.tokens]
    assert not floor_canary(log_loss(peeked, simulated.tokens), true_nats).passed

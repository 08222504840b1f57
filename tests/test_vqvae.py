"""The VQ-VAE keeps the promises of every tokenizer: causal bit for bit, fitted on what it is given, one saved state."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers import garch_series
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import BadInput
from data_pipeline.tokenizers.vqvae import VQVAETokenizer, tokenizer
from data_pipeline.tokenizers.vqvae.arithmetic import (
    GRID,
    LARGEST,
    LIMIT,
    WIDEST,
    WIDEST_CODE,
    fixed_point,
    relative_distances,
    rounded,
    squash,
    unsquash,
)
from data_pipeline.tokenizers.vqvae.network import DILATIONS, TAPS, CausalConv, Stack
from data_pipeline.tokenizers.vqvae.train import BATCH, STEPS, WINDOW, Codebook, draw_windows, first_state, run_epoch

RETURNS = garch_series(1500, 0).log_returns
SMALL = {"codes": 16, "code_dim": 8, "hidden": 16, "epochs": 10}


def random_stack(rng: np.random.Generator, width_in: int, hidden: int, width_out: int, size: float = 0.3) -> Stack:
    widths = (width_in, hidden, hidden, width_out)
    return Stack(
        [
            CausalConv(fixed_point(size * rng.normal(size=(TAPS, a, b))), fixed_point(0.1 * rng.normal(size=b)), d)
            for a, b, d in zip(widths[:-1], widths[1:], DILATIONS, strict=True)
        ]
    )


def random_tokenizer(patch: int, seed: int = 0) -> VQVAETokenizer:
    """Every number random: a trained network may hardly look back, and would hide a look ahead as well."""
    rng = np.random.default_rng(seed)
    encoder, decoder = random_stack(rng, patch, 12, 5), random_stack(rng, 5, 12, patch)
    return VQVAETokenizer(patch, 0.0003, 0.01, encoder, decoder, fixed_point(rng.normal(size=(40, 5))))


@pytest.fixture(scope="module")
def fitted() -> VQVAETokenizer:
    return VQVAETokenizer.fit([RETURNS[:1000]], **SMALL)


@settings(max_examples=60, deadline=None)
@given(
    patch=st.integers(1, 4),
    t=st.integers(0, 299),
    future=st.lists(st.floats(-1e3, 1e3) | st.floats(-0.1, 0.1), min_size=1, max_size=40),
    cut=st.booleans(),
)
def test_changing_the_future_leaves_tokens_and_decoded_returns_bit_identical(patch, t, future, cut):
    tok, past = random_tokenizer(patch), RETURNS[: t + 1]
    changed = past if cut else np.concatenate([past, future])
    known = len(past) // patch
    whole = tok.encode(RETURNS[:300])
    np.testing.assert_array_equal(whole[:known], tok.encode(changed)[:known])
    other = np.concatenate([whole[:known], np.arange(20)])
    np.testing.assert_array_equal(tok.decode(whole)[: known * patch], tok.decode(other)[: known * patch])


def test_a_token_depends_on_as_many_returns_as_documented_and_on_no_more():
    tok = random_tokenizer(2)
    assert tok.receptive_field == 18
    patches = rounded(squash(RETURNS[:200].reshape(-1, 2), tok.mean, tok.scale))
    before = tok.encoder(patches, rounded)
    changed = patches.copy()
    changed[40, 0] += 1.0
    moved = np.flatnonzero((tok.encoder(changed, rounded) != before).any(-1))
    assert moved[0] == 40
    assert moved[-1] == 40 + tok.receptive_field // tok.patch - 1


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_do_not_show(chunk, monkeypatch):
    tok = random_tokenizer(2)
    tokens = tok.encode(RETURNS)
    decoded = tok.decode(tokens)
    monkeypatch.setattr(tokenizer, "CHUNK", chunk)
    np.testing.assert_array_equal(tok.encode(RETURNS), tokens)
    np.testing.assert_array_equal(tok.decode(tokens), decoded)


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_convolution_is_its_formula_in_numpy_and_in_jax(dilation):
    rng = np.random.default_rng(0)
    conv = CausalConv(rng.normal(size=(TAPS, 3, 4)), rng.normal(size=4), dilation)
    x = rng.normal(size=(2, 10, 3))
    expected = np.tile(conv.bias[...], (2, 10, 1))
    for t in range(10):
        for k in range(TAPS):
            if t - k * dilation >= 0:
                expected[:, t] += x[:, t - k * dilation] @ conv.weight[k]
    np.testing.assert_allclose(conv(x), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(conv)(jax.numpy.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_summation_which_libraries_and_machines_choose_does_not_show():
    rng = np.random.default_rng(0)
    order = rng.permutation(512)
    stack = random_stack(rng, 2, 512, 32, size=0.05)
    first, second, third = stack.layers
    other = Stack(
        [
            CausalConv(first.weight[:, :, order], first.bias[order], first.dilation),
            CausalConv(second.weight[:, order], second.bias[...], second.dilation),
            third,
        ]
    )
    x = rounded(rng.normal(size=(200, 2)))

    def sums(stack: Stack) -> list[np.ndarray]:
        seen = []
        stack(x, lambda s: seen.append(s) or rounded(s))
        return seen

    ours, theirs = sums(stack), sums(other)
    assert len(ours) == 3, "every layer's output is rounded"
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_array_equal(ours[2], theirs[2])


def test_the_largest_sums_that_the_bounds_allow_are_those_of_whole_numbers():
    rng = np.random.default_rng(0)
    weight = fixed_point(LARGEST - rng.uniform(0, 1, (TAPS, WIDEST, 8)))
    x = rounded(LIMIT - rng.uniform(0, 1, (20, WIDEST)))
    sums = CausalConv(weight, np.zeros(8), 1)(x)[-1] * GRID**2
    terms = (x[-TAPS:][::-1, :, None] * GRID).astype(np.int64) * (weight * GRID).astype(np.int64)
    np.testing.assert_array_equal(sums.astype(np.int64), terms.sum((0, 1)))
    assert sums.min() > 2**52


def test_the_largest_distances_that_the_bounds_allow_are_those_of_whole_numbers():
    rng = np.random.default_rng(0)
    z, codes = (rounded(LIMIT - rng.uniform(0, 1, (20, WIDEST_CODE))) for _ in range(2))
    units = (GRID * z).astype(np.int64), (GRID * codes).astype(np.int64)
    for sign in (1, -1):
        expected = (units[1] ** 2).sum(-1) - 2 * sign * units[0] @ units[1].T
        found = GRID**2 * relative_distances(sign * z, codes)
        np.testing.assert_array_equal(found.astype(np.int64), expected)
    assert expected.min() > 2**52


def test_a_last_patch_that_is_not_complete_gets_no_token():
    tok = random_tokenizer(4)
    assert [len(tok.encode(RETURNS[:n])) for n in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]
    assert tok.decode(tok.encode(RETURNS[:10])).shape == (8,)
    assert tok.decode(np.array([], int)).shape == (0,)


@given(z=st.floats(-1500, 1500))
def test_squashed_returns_come_back(z):
    r = 0.0003 + 0.01 * z
    assert unsquash(squash(np.array([r]), 0.0003, 0.01), 0.0003, 0.01)[0] == pytest.approx(r, rel=1e-9, abs=1e-15)


def test_json_gives_the_same_tokenizer_back(fitted):
    fields = json.loads(json.dumps(fitted.to_json()))
    again = VQVAETokenizer.from_json(fields)
    tokens = fitted.encode(RETURNS)
    assert again.to_json() == fitted.to_json()
    np.testing.assert_array_equal(again.encode(RETURNS), tokens)
    np.testing.assert_array_equal(again.decode(tokens), fitted.decode(tokens))
    for part in (fields["codes"], fields["encoder"][1]["weight"]):
        np.testing.assert_array_equal(np.float32(part), np.float64(part))


@pytest.mark.parametrize(
    "path, value",
    [
        (["patch"], 16),
        (["patch"], 2.5),
        (["patch"], None),
        (["mean"], float("nan")),
        (["scale"], 0.0),
        (["codes"], [[1.0] * 5]),
        (["codes"], [[1.0] * 4] * 3),
        (["codes", 0, 0], 1e-9),
        (["codes", 0, 0], 65.0),
        (["codes", 0, 0], float("inf")),
        (["encoder"], []),
        (["encoder", 1, "weight"], [[[1.0]]]),
        (["encoder", 1, "dilation"], 4),
        (["decoder", 2, "bias"], [0.0]),
        (["decoder", 0, "bias", 0], 17.0),
    ],
)
def test_what_is_no_tokenizer_is_refused(path, value):
    fields = random_tokenizer(2).to_json()
    assert VQVAETokenizer.from_json(fields).patch == 2
    *parents, last = path
    place = fields
    for step in parents:
        place = place[step]
    place[last] = value
    with pytest.raises(ValueError):
        VQVAETokenizer.from_json(fields)
    del place[last]
    with pytest.raises(ValueError):
        VQVAETokenizer.from_json(fields)


def test_the_same_seed_gives_the_same_tokenizer_and_another_seed_another(fitted):
    again, other = (VQVAETokenizer.fit([RETURNS[:1000]], **SMALL, seed=seed) for seed in (0, 1))
    assert again.to_json() == fitted.to_json()
    assert other.to_json() != fitted.to_json()


def test_the_fit_sees_only_what_it_is_given(fitted):
    wild = RETURNS.copy()
    wild[1000:] *= 10
    assert VQVAETokenizer.fit([wild[:1000]], **SMALL).to_json() == fitted.to_json()
    assert fitted.mean == pytest.approx(RETURNS[:1000].mean())
    assert fitted.scale == pytest.approx(RETURNS[:1000].std())


def test_reconstruction_beats_every_constant_and_every_single_code(fitted):
    later = RETURNS[1000:]
    report = fitted.reconstruction([later])
    one_code = [replace(fitted, codes=fitted.codes[[k, k]]).reconstruction([later]) for k in range(fitted.vocab_size)]
    assert report["rmse_log_return"] < 0.5 * min(one["rmse_log_return"] for one in one_code)
    assert report["r2"] > 0.75
    assert report["r2_absolute"] > 0.5
    assert report["codes_used_share"] > 0.8
    assert 4 < report["codebook_perplexity_codes"] <= fitted.vocab_size


@pytest.mark.parametrize("place", [100, 101])  # first and second of a patch
def test_a_crash_worse_than_any_before_is_still_a_large_fall(fitted, place):
    crash = RETURNS[:110].copy()
    crash[place] = -30 * fitted.scale
    assert fitted.decode(fitted.encode(crash))[place] < -1.5 * fitted.scale


def test_the_report_counts_codes_and_errors_as_defined(fitted):
    tokens = fitted.encode(RETURNS)
    error = fitted.decode(tokens) - RETURNS
    share = np.unique(tokens, return_counts=True)[1] / len(tokens)
    report = fitted.reconstruction([RETURNS[:0], RETURNS])
    assert report["codes_used_share"] == len(share) / 16
    assert report["codebook_perplexity_codes"] == pytest.approx(np.prod(share**-share))
    assert report["rmse_log_return"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert report["r2"] == pytest.approx(1 - np.mean(error**2) / RETURNS.var())
    sizes = np.abs(RETURNS)
    assert report["r2_absolute"] == pytest.approx(1 - np.mean((sizes - np.abs(RETURNS + error)) ** 2) / sizes.var())
    largest = np.argsort(sizes)[-15:]
    assert report["rmse_log_return_largest_1_percent"] == pytest.approx(np.sqrt(np.mean(error[largest] ** 2)))


def test_a_collapsed_codebook_recovers():
    rng = np.random.default_rng(0)
    x = squash(RETURNS, 0.0, 0.01).astype(np.float32)

    def batches(*shape: int) -> np.ndarray:
        return draw_windows([x], 2 * WINDOW, int(np.prod(shape)), rng).reshape(*shape, WINDOW, 2)

    state = first_state(batches(16), 16, 8, 16, rng, jax.random.key(0))
    collapsed = Codebook(np.tile(state.codebook.codes[:1], (16, 1)), state.codebook.counts)
    state = state._replace(codebook=collapsed)
    used = []
    for epoch in range(8):
        state = run_epoch(state, batches(STEPS, BATCH), np.full(STEPS, epoch / 10, np.float32))
        counts = np.asarray(state.codebook.counts)
        used.append(np.mean(counts > 0.01 * counts.mean()))
    codes = np.asarray(state.codebook.codes)
    assert len(np.unique(codes.round(3), axis=0)) == 16
    assert used[-1] > 0.5


def test_windows_stay_inside_one_asset_and_reach_every_place():
    series = [np.arange(0, 50), np.arange(100, 105), np.arange(200, 210)]
    windows = draw_windows(series, 8, 4000, np.random.default_rng(0))
    assert (np.diff(windows, axis=1) == 1).all()
    starts, counts = np.unique(windows[:, 0], return_counts=True)
    np.testing.assert_array_equal(starts, [*range(43), 200, 201, 202])
    assert counts.min() > 0.5 * 4000 / 46


@pytest.mark.parametrize(
    "returns, arguments, message",
    [
        ([RETURNS], {"patch": 0}, "patch=0 is out of range; give a whole number from 1"),
        ([RETURNS], {"codes": 1}, "codes=1 is out of range"),
        ([RETURNS], {"hidden": 513}, "hidden=513 is out of range; .* to 512"),
        ([RETURNS], {"code_dim": 129}, "code_dim=129 is out of range"),
        ([RETURNS], {"epochs": 1.5}, "epochs=1.5 is out of range"),
        ([RETURNS], {"seed": -1}, "seed=-1 is out of range"),
        ([RETURNS[:1000]], {}, "1000 training returns .* 128 codes of 2 returns need 1024"),
        ([RETURNS[:31]] * 100, {}, "0 training returns in assets of at least 32"),
        ([], {}, "0 training returns"),
        ([RETURNS, np.array([0.1, np.nan])], {}, "asset 1 of 2: return 1 is nan"),
        ([RETURNS[None]], {}, r"asset 0 of 1: returns have shape \(1, 1500\)"),
        ([np.full(2000, 0.001)], {}, "the price never moves"),
    ],
)
def test_a_fit_that_cannot_be_says_why(returns, arguments, message):
    with pytest.raises(BadInput, match=message) as caught:
        VQVAETokenizer.fit(returns, **arguments)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_encoded_or_decoded_is_named():
    tok = random_tokenizer(2)
    with pytest.raises(BadInput, match="return 3 is inf"):
        tok.encode(np.array([0.0, 0.1, 0.0, np.inf]))
    with pytest.raises(BadInput, match="tokens run from 0 to 40, the codes from 0 to 39"):
        tok.decode(np.array([0, 40]))
    with pytest.raises(BadInput, match="tokens run from -1"):
        tok.decode(np.array([-1]))
    with pytest.raises(BadInput, match="tokens are float64"):
        tok.decode(np.array([1.0]))
    for nothing in (RETURNS[:1], np.zeros(100)):
        with pytest.raises(BadInput, match="no whole patch of 2 returns that move"):
            tok.reconstruction([nothing])


@pytest.mark.slow
def test_encoding_claims_no_device_and_importing_needs_no_jax(tmp_path):
    """Workers that tokenize must not each take the memory of an accelerator."""
    tok, file = random_tokenizer(2), tmp_path / "tokenizer.json"
    file.write_text(json.dumps(tok.to_json()))
    script = (
        "import json, sys, numpy as np\n"
        "from data_pipeline.tokenizers.vqvae import VQVAETokenizer\n"
        "assert not {'jax', 'flax'} & set(sys.modules)\n"
        f"tok = VQVAETokenizer.from_json(json.load(open({str(file)!r})))\n"
        "r = 0.01 * np.sin(np.arange(5000.0) ** 2)\n"
        "print(tok.encode(r).sum(), np.isfinite(tok.decode(tok.encode(r))).all())\n"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "no_such_platform"}  # any use of JAX's arrays fails
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tok.encode(0.01 * np.sin(np.arange(5000.0) ** 2)).sum()), "True"]

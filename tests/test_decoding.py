"""What the decoder promises: exact caches, independent and repeatable draws, samplers that do what they say."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RICH, TINY, random_inputs, random_model, random_tokens

from mqc_jax.decoding import Sampler, empty_cache, generate
from mqc_jax.decoding.sampler import keep_top_k, keep_top_p
from mqc_jax.model import GPT


@pytest.mark.parametrize("config", [TINY, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("cut", range(1, 16))
def test_cached_forward_matches_full_forward(config, cut):
    config = replace(config, attention="xla")  # the cache's own; test_step compares it with blocks
    model, tokens, inputs = random_model(config, 0), random_tokens(config, (2, 16)), random_inputs(config, (2, 16))
    full = model(tokens, inputs)
    first, second = (inputs[:, :cut], inputs[:, cut:]) if inputs is not None else (None, None)
    head, cache = model(tokens[:, :cut], first, cache=empty_cache(config, batch=2, capacity=20))
    tail, cache = model(tokens[:, cut:], second, cache=cache)
    np.testing.assert_allclose(np.concatenate([head, tail], axis=1), full, atol=1e-5)
    assert int(cache.length) == 16


def test_cached_token_by_token_matches_full_forward_beyond_the_context():
    model, tokens = random_model(TINY, 0), random_tokens(TINY, (2, 40))  # context 16
    cache, steps = empty_cache(TINY, batch=2, capacity=40), []
    for t in range(40):
        logits, cache = model(tokens[:, t : t + 1], cache=cache)
        steps.append(logits)
    np.testing.assert_allclose(np.concatenate(steps, axis=1), model(tokens), atol=2e-5)


def test_generate_is_greedy_decoding_of_the_full_forward():
    model, prompt = random_model(TINY, 0), random_tokens(TINY, (3, 5))
    tokens = prompt
    for _ in range(12):
        tokens = jnp.concatenate([tokens, jnp.argmax(model(tokens)[:, -1], -1)[:, None]], axis=1)
    drawn = generate(model, prompt, jax.random.key(0), steps=12, sampler=Sampler(temperature=0))
    np.testing.assert_array_equal(drawn, tokens[:, 5:])


def test_same_key_same_tokens_and_rows_differ():
    model, prompt = random_model(TINY, 0), jnp.broadcast_to(random_tokens(TINY, (1, 5)), (5, 5))
    first, again, other = (
        np.asarray(generate(model, prompt, jax.random.key(k), steps=20, sampler=Sampler())) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({tuple(row) for row in first}) == 5, "samples of one prompt share their draws"
    assert first.min() >= 0
    assert first.max() < TINY.vocab_size


def test_every_step_draws_anew():
    """Under a uniform law, a key used twice would repeat its token."""
    uniform = GPT(TINY, jax.random.key(0))
    drawn = np.asarray(generate(uniform, jnp.zeros((50, 1), int), jax.random.key(0), steps=60, sampler=Sampler()))
    for lag in (1, 2, 3):
        assert (drawn[:, lag:] == drawn[:, :-lag]).mean() == pytest.approx(1 / 70, abs=0.01)
    assert (drawn[1:] == drawn[:-1]).mean() == pytest.approx(1 / 70, abs=0.01), "rows share their draws"


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_path_does_not_depend_on_how_many_are_drawn(batch):
    model, prompt = random_model(TINY, 0), jnp.broadcast_to(random_tokens(TINY, (1, 5)), (9, 5))
    many = generate(model, prompt, jax.random.key(0), steps=20, sampler=Sampler())
    few = generate(model, prompt[:batch], jax.random.key(0), steps=20, sampler=Sampler())
    np.testing.assert_array_equal(few, many[:batch])


def test_draws_follow_the_model():
    """Chi-square of 20,000 first draws against the softmax."""
    model, prompt = random_model(TINY, 0), jnp.broadcast_to(random_tokens(TINY, (1, 5)), (20_000, 5))
    drawn = np.asarray(generate(model, prompt, jax.random.key(3), steps=1, sampler=Sampler()))[:, 0]
    expected = 20_000 * np.asarray(jax.nn.softmax(model(prompt[:1])[0, -1]), np.float64)
    common = expected >= 5
    observed = np.bincount(drawn, minlength=70)
    statistic = ((observed - expected)[common] ** 2 / expected[common]).sum()
    assert statistic < common.sum() + 4 * np.sqrt(2 * common.sum())


def test_feedback_reaches_the_model():
    """Inputs handed back by the feedback are those a full forward over the drawn tokens would get."""
    model, prompt = random_model(RICH, 0), random_tokens(RICH, (2, 4))
    inputs = random_inputs(RICH, (2, 4))

    def feedback(state, token_B):
        state = 0.5 * state + token_B[:, None] / 70
        return state, jnp.tile(state, (1, 8))

    state = jnp.zeros((2, 1))
    drawn = generate(
        model, prompt, jax.random.key(0), steps=6, sampler=Sampler(0), inputs_BTF=inputs, state=state, feedback=feedback
    )
    tokens, everything = prompt, inputs
    for t in range(6):
        best = jnp.argmax(model(tokens, everything)[:, -1], -1)
        np.testing.assert_array_equal(drawn[:, t], best)
        state, fed = feedback(state, best)
        tokens = jnp.concatenate([tokens, best[:, None]], 1)
        everything = jnp.concatenate([everything, fed[:, None]], 1)


def rows_of_logits():
    return jax.random.normal(jax.random.key(0), (64, 50)) * 2


@pytest.mark.parametrize("k", [1, 3, 50, 99])
def test_top_k_keeps_exactly_the_k_likeliest(k):
    kept = np.isfinite(np.asarray(keep_top_k(rows_of_logits(), k)))
    rank = np.argsort(np.argsort(-np.asarray(rows_of_logits())))
    np.testing.assert_array_equal(kept, rank < k)


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 1.0])
def test_top_p_keeps_the_smallest_set_that_holds_p(p):
    probability = np.asarray(jax.nn.softmax(rows_of_logits()), np.float64)
    kept = np.isfinite(np.asarray(keep_top_p(rows_of_logits(), p)))
    for row, keep in zip(probability, kept, strict=True):
        assert row[keep].sum() >= p - 1e-6
        assert row[keep].min() >= row[~keep].max(initial=0)
        assert row[keep].sum() - row[keep].min() < p + 1e-6, "one token too many"


def test_samplers_agree_where_they_must():
    keys, logits = jax.random.split(jax.random.key(1), 64), rows_of_logits()
    greedy = Sampler(temperature=0)(keys, logits)
    np.testing.assert_array_equal(Sampler(top_k=1)(keys, logits), greedy)
    np.testing.assert_array_equal(Sampler(top_p=1e-6)(keys, logits), greedy)
    np.testing.assert_array_equal(Sampler(top_k=50, top_p=1.0)(keys, logits), Sampler()(keys, logits))
    cold, hot = (Sampler(temperature=t)(keys, logits) for t in (0.1, 10.0))
    assert (cold == greedy).mean() > (hot == greedy).mean()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": 0}, "top_k=0 keeps no token"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_impossible_samplers_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        Sampler(**wrong)


def test_a_bfloat16_model_keeps_a_bfloat16_cache():
    config = replace(TINY, dtype="bfloat16", attention="xla")
    model, tokens = random_model(config, 0), random_tokens(config, (2, 8))
    cache = empty_cache(config, batch=2, capacity=8)
    assert cache.keys_LBSKH.dtype == jnp.bfloat16
    cached, _ = model(tokens, cache=cache)
    np.testing.assert_allclose(cached, model(tokens), atol=0.05)

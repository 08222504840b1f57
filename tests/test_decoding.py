"""What the decoder promises: exact caches, independent and repeatable draws, samplers that do what they say."""

import re
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RICH, TINY, random_inputs, random_model, random_tokens
from scipy.stats import kstest

from mqc_jax.decoding import Prompts, Sampler, decode, empty_cache, generate, stream
from mqc_jax.decoding.cache import decoder_cache
from mqc_jax.decoding.sampler import keep_min_p, keep_top_k, keep_top_p
from mqc_jax.decoding.step import step
from mqc_jax.decoding.weights import decoder_weights
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

    def feedback(state, token_B, share_B):
        state = 0.5 * state + token_B[:, None] / 70
        return state, jnp.tile(state, (1, 8)), state[:, 0]

    state = jnp.zeros((2, 1))
    drawn = generate(
        model, prompt, jax.random.key(0), steps=6, sampler=Sampler(0), inputs_BTF=inputs, state=state, feedback=feedback
    )
    tokens, everything = prompt, inputs
    for t in range(6):
        best = jnp.argmax(model(tokens, everything)[:, -1], -1)
        np.testing.assert_array_equal(drawn[:, t], best)
        state, fed, _ = feedback(state, best, None)
        tokens = jnp.concatenate([tokens, best[:, None]], 1)
        everything = jnp.concatenate([everything, fed[:, None]], 1)


GROUPED = replace(TINY, n_kv_head=1)
LENGTHS = jnp.array([3, 7, 5])


def stepped_logits(config, n_paths, capacity, n_steps, cache_dtype="float32"):
    """Of every step behind three prompts of unlike length, all with the same tokens; and of the full forward."""
    model, tokens, inputs = random_model(config, 0), random_tokens(config, (3, 7)), random_inputs(config, (3, 7))
    more, more_inputs = random_tokens(config, (3, n_steps), seed=5), random_inputs(config, (3, n_steps))
    _, read = model(tokens, inputs, cache=empty_cache(config, batch=3, capacity=7))
    cache, weights = decoder_cache(read, LENGTHS, n_paths, capacity, cache_dtype), decoder_weights(model)

    def row(cache, t):
        token_B = jnp.repeat(more[:, t], n_paths)
        inputs_BF = None if more_inputs is None else jnp.repeat(more_inputs[:, t], n_paths, axis=0)
        logits, cache = step(model, weights, cache, token_B, inputs_BF)
        return cache, logits

    _, found_SBV = jax.lax.scan(row, cache, jnp.arange(n_steps))
    wanted = []
    for m, length in enumerate(LENGTHS.tolist()):
        whole = jnp.concatenate([tokens[m, :length], more[m]])[None]
        beside = None if inputs is None else jnp.concatenate([inputs[m, :length], more_inputs[m]])[None]
        wanted.append(jnp.repeat(model(whole, beside)[:, length:], n_paths, axis=0))
    return np.asarray(found_SBV).swapaxes(0, 1), np.concatenate(wanted)


@pytest.mark.parametrize("n_paths", [1, 4], ids=["own prompts", "shared prompts"])
@pytest.mark.parametrize("config", [TINY, GROUPED, RICH], ids=["plain", "grouped", "rich"])
def test_the_decoder_is_the_network_also_beyond_the_context(config, n_paths):
    """Context 16, 40 steps: the ring goes round twice, and prompts leave the window one by one."""
    found, wanted = stepped_logits(replace(config, attention="xla"), n_paths, 16, 40)
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_bfloat16_decoder_is_as_near_to_float32_as_the_bfloat16_network():
    half = replace(TINY, dtype="bfloat16", attention="xla")
    found, rounded = stepped_logits(half, 4, 16, 20, "bfloat16")
    exact, _ = stepped_logits(TINY, 4, 16, 20)
    assert np.abs(found - exact).mean() < 1.2 * np.abs(rounded - exact).mean()


@pytest.mark.parametrize("n_paths", [1, 4])
def test_int8_keys_and_values_change_logits_little(n_paths):
    exact, wanted = stepped_logits(TINY, n_paths, 16, 30)
    coarse, _ = stepped_logits(TINY, n_paths, 16, 30, "int8")
    assert np.abs(exact - wanted).max() < 2e-5
    assert 0 < np.abs(coarse - wanted).mean() < 0.01 * np.abs(wanted).mean()


def test_paths_of_a_shared_prompt_equal_those_of_replicated_prompts():
    model, prompts = random_model(TINY, 0), random_tokens(TINY, (3, 7))
    key_MR = jax.random.split(jax.random.key(1), (3, 4))
    shared = decode(model, Prompts(prompts, None, LENGTHS), key_MR, steps=30, sampler=Sampler())
    replicated = Prompts(jnp.repeat(prompts, 4, axis=0), None, jnp.repeat(LENGTHS, 4))
    own = decode(model, replicated, key_MR.reshape(12, 1), steps=30, sampler=Sampler())
    np.testing.assert_array_equal(shared.tokens_SB, own.tokens_SB)


@pytest.mark.parametrize("m", [0, 1, 2])
def test_a_prompt_alone_has_the_paths_it_has_in_company(m):
    model, prompts = random_model(TINY, 0), random_tokens(TINY, (3, 7))
    key_MR = jax.random.split(jax.random.key(1), (3, 4))
    together = decode(model, Prompts(prompts, None, LENGTHS), key_MR, steps=30, sampler=Sampler()).tokens_SB
    alone = Prompts(prompts[m : m + 1, : LENGTHS[m]], None, LENGTHS[m : m + 1])
    drawn = decode(model, alone, key_MR[m : m + 1], steps=30, sampler=Sampler()).tokens_SB
    np.testing.assert_array_equal(drawn, together.reshape(30, 3, 4)[:, m])


@pytest.mark.parametrize("at_once", [1, 4, 50])
def test_a_stream_yields_the_same_tokens_as_they_come(at_once):
    model, prompts = random_model(TINY, 0), Prompts(random_tokens(TINY, (3, 7)), None, LENGTHS)
    key_MR = jax.random.split(jax.random.key(1), (3, 2))
    parts = list(stream(model, prompts, key_MR, steps=30, sampler=Sampler(), at_once=at_once))
    assert [len(part.tokens_SB) for part in parts] == [at_once] * (30 // at_once) + [30 % at_once] * (30 % at_once > 0)
    whole = decode(model, prompts, key_MR, steps=30, sampler=Sampler()).tokens_SB
    np.testing.assert_array_equal(np.concatenate([part.tokens_SB for part in parts]), whole)


def test_tokens_of_a_schedule_stand_in_every_path_and_are_read():
    model, prompts = random_model(TINY, 0), Prompts(random_tokens(TINY, (3, 7)), None, LENGTHS)
    key_MR = jax.random.split(jax.random.key(1), (3, 2))
    schedule = np.full(12, -1)
    schedule[[0, 5]] = 7, 9
    drawn = np.asarray(decode(model, prompts, key_MR, steps=12, sampler=Sampler(0), schedule=schedule).tokens_SB)
    assert (drawn[0] == 7).all()
    assert (drawn[5] == 9).all()
    for b in range(6):
        before = prompts.tokens_MP[b // 2, : LENGTHS[b // 2]]
        logits = model(jnp.concatenate([before, drawn[:-1, b]])[None])[0, len(before) - 1 :]
        expected = np.where(schedule < 0, np.argmax(logits, axis=-1), schedule)
        np.testing.assert_array_equal(drawn[:, b], expected)


def test_no_step_copies_the_cache():
    """A copied ring would cost more than all else; it is as large as nothing else in the compiled loop."""
    config = replace(TINY, sequence_len=256)
    model, prompts = random_model(config, 0), Prompts(random_tokens(config, (1, 7)), None, LENGTHS[:1])
    generate_module = sys.modules["mqc_jax.decoding.generate"]
    about = {"steps": 256, "state": None, "schedule": None, "cache_dtype": "bfloat16"}
    decoding = generate_module._read(model, prompts, jax.random.split(jax.random.key(1), (1, 64)), **about)
    lowered = generate_module._advance.lower(model, decoding, 256, size=256, sampler=Sampler(), feedback=None)
    program = lowered.compile().as_text()
    ring = decoding.cache.rings[0].keys_CKHB.numbers
    shape = f"u16[{','.join(map(str, ring.shape))}]"
    assert shape in program
    assert not re.findall(rf"= {re.escape(shape)}\S* (?:copy|convert|transpose)\(", program)
    assert not re.findall(rf"= (?:f32|bf16)\[{','.join(map(str, ring.shape))}\]", program), "the ring is widened whole"


def test_prompts_and_steps_of_like_length_share_a_program():
    model, generate_module = random_model(TINY, 0), sys.modules["mqc_jax.decoding.generate"]
    sizes = []
    for length, steps in [(5, 9), (6, 12), (8, 16)]:
        generate(model, random_tokens(TINY, (2, length)), jax.random.key(0), steps=steps, sampler=Sampler(0))
        sizes.append((generate_module._start._cache_size(), generate_module._advance._cache_size()))
    assert len(set(sizes)) == 1, f"programs compiled: {sizes}"


def test_shares_are_uniform_and_independent_of_the_token():
    keys = jax.random.split(jax.random.key(1), 20_000)
    logits = jnp.zeros((20_000, 10))
    token, share = Sampler()(keys, logits), np.asarray(Sampler().share(keys))
    assert kstest(share, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(np.asarray(token), share)[0, 1]) < 4 / np.sqrt(20_000)
    assert (np.asarray(Sampler(0).share(keys)) == 0.5).all()


def test_a_token_of_no_probability_is_never_drawn():
    keys = jax.random.split(jax.random.key(1), 50_000)
    logits = jnp.tile(jnp.array([-jnp.inf, 0.0, -jnp.inf, 1e-3, -jnp.inf, -jnp.inf]), (50_000, 1))
    assert set(np.asarray(Sampler()(keys, logits)).tolist()) == {1, 3}


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


@pytest.mark.parametrize("p", [0.01, 0.5, 1.0])
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(p):
    probability = np.asarray(jax.nn.softmax(rows_of_logits()), np.float64)
    kept = np.isfinite(np.asarray(keep_min_p(rows_of_logits(), p)))
    ratio = probability / probability.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(kept, ratio >= p * (1 - 1e-6))
    keys = jax.random.split(jax.random.key(1), 64)
    drawn = np.asarray(Sampler(min_p=p)(keys, rows_of_logits()))
    assert kept[np.arange(64), drawn].all()


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
        ({"min_p": 0.0}, "min_p=0.0"),
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

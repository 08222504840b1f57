"""Speculative decoding draws what plain decoding draws, whatever guesses; a good draft is right often."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RICH, TINY, random_inputs, random_model, random_tokens

from mqc_jax.decoding import Bigram, Prompts, Sampler, SmallModel, decode, speculate

RACE = Sampler(gumbel=True)


def plain(model, prompt_T, key, steps, sampler, **about):
    prompts = Prompts(prompt_T[None], about.pop("inputs_TF", None), jnp.array([len(prompt_T)]))
    return np.asarray(decode(model, prompts, key[None, None], steps=steps, sampler=sampler, **about).tokens_SB[:, 0])


def drafts():
    tokens = np.asarray(random_tokens(TINY, (500,), seed=9))
    return {
        "bigram": Bigram.of_tokens(tokens, 70),
        "small": SmallModel(random_model(replace(TINY, n_layer=1), 5)),
        "itself": SmallModel(random_model(TINY, 0)),
    }


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("bigram", Sampler(0)),
        ("bigram", Sampler()),
        ("bigram", Sampler(top_k=5)),
        ("bigram", RACE),
        ("small", RACE),
        ("itself", RACE),
    ],
)
def test_the_tokens_are_those_of_plain_decoding(name, sampler):
    """Also beyond the context, which is 16."""
    model, prompt, key = random_model(TINY, 0), random_tokens(TINY, (7,)), jax.random.key(3)
    found = speculate(model, drafts()[name], prompt, key, steps=30, sampler=sampler)
    np.testing.assert_array_equal(found.tokens_S, plain(model, prompt, key, 30, sampler))
    assert int(found.n_rounds) + int(found.n_right) >= 29
    if name == "itself":
        assert int(found.n_rounds) == 6, "29 tokens behind the first, five in each round"


def test_float_inputs_follow_the_tokens_that_are_taken():
    model, prompt, inputs = random_model(RICH, 0), random_tokens(RICH, (4,)), random_inputs(RICH, (4,))

    def feedback(state, token_B, share_B):
        state = 0.5 * state + token_B[:, None] / 70 + 0.01 * share_B[:, None]
        return state, jnp.tile(state, (1, 8)), state[:, 0]

    about = {"state": jnp.zeros((1, 1)), "feedback": feedback}
    draft = Bigram.of_tokens(np.asarray(random_tokens(RICH, (500,), seed=9)), 70)
    for seed in range(5):
        key = jax.random.key(seed)
        found = speculate(model, draft, prompt, key, steps=20, sampler=RACE, inputs_TF=inputs, **about)
        wanted = plain(model, prompt, key, 20, RACE, inputs_TF=inputs[None], **about)
        np.testing.assert_array_equal(found.tokens_S, wanted)


def test_both_ways_of_drawing_have_the_models_law():
    """Chi-square of the third token of 5,000 speculated paths against 5,000 plain ones that draw in the other way."""
    model, prompt = random_model(TINY, 0), random_tokens(TINY, (7,))
    draft, key_N = drafts()["bigram"], jax.random.split(jax.random.key(0), 5000)
    race = jax.vmap(lambda key: speculate(model, draft, prompt, key, steps=3, sampler=RACE).tokens_S)(key_N)
    prompts = Prompts(prompt[None], None, jnp.array([7]))
    other = jax.random.split(jax.random.key(1), (1, 5000))
    cdf = decode(model, prompts, other, steps=3, sampler=Sampler()).tokens_SB
    one, two = (np.bincount(np.asarray(x), minlength=70) for x in (race[:, 2], cdf[2]))
    common = one + two >= 10
    statistic = ((one - two)[common] ** 2 / (one + two)[common]).sum()
    assert statistic < common.sum() + 4 * np.sqrt(2 * common.sum())


def test_a_draft_with_nearly_the_models_law_is_mostly_right_by_the_race_alone():
    model = random_model(TINY, 0)
    near = SmallModel(jax.tree.map(lambda x: x * 1.03, model))
    prompt, right = random_tokens(TINY, (7,)), {}
    for sampler in (RACE, Sampler()):
        found = speculate(model, near, prompt, jax.random.key(3), steps=200, sampler=sampler)
        right[sampler] = int(found.n_right) / (4 * int(found.n_rounds))
    assert right[RACE] > 0.6
    assert right[RACE] > right[Sampler()]

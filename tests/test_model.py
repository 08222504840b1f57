"""What the network promises: causality, invariances, the seed's initialisation."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RICH, TINY, random_inputs, random_model, random_tokens

from mqc_jax.config import ModelConfig
from mqc_jax.model import GPT, OrdinalBins
from mqc_jax.model.layers import dropout, linear, rms_norm
from mqc_jax.model.ordinal import ordinal_basis
from mqc_jax.training.step import Batch, cross_entropy


@pytest.mark.parametrize("config", [TINY, RICH], ids=["plain", "rich"])
def test_no_position_feels_a_later_one(config):
    """Causality, through the gradient of every logit with respect to every embedded position."""
    model, inputs = random_model(config, 0), random_inputs(config, (1, 8))
    tokens = random_tokens(config, (1, 8))
    if inputs is None:
        embedding = model.embed[...]
        rows = embedding[tokens[0]]  # one free row per position

        def logits(rows):
            free = jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(model))
            free.embed[...] = jnp.zeros_like(embedding).at[: rows.shape[0]].set(rows)
            return free(jnp.arange(8)[None])[0]

        influence = jax.jacobian(logits)(rows)  # (T out, V, T in, D)
        influence = jnp.abs(influence).sum((1, 3))
    else:
        influence = jax.jacobian(lambda x: model(tokens, x)[0])(inputs)  # (T out, V, 1, T in, F)
        influence = jnp.abs(influence).sum((1, 2, 4))
    later = np.triu(np.ones((8, 8), bool), k=1)
    assert (np.asarray(influence)[later] == 0).all(), "a logit depends on a later position"
    assert (np.asarray(influence)[~later] > 0).all(), "a logit ignores a position it should see"


@pytest.mark.parametrize("config", [TINY, RICH], ids=["plain", "rich"])
def test_changing_the_future_leaves_earlier_logits_bit_identical(config):
    model, tokens, inputs = random_model(config, 0), random_tokens(config, (2, 16)), random_inputs(config, (2, 16))
    changed = tokens.at[:, 9:].set((tokens[:, 9:] + 1) % config.vocab_size)
    before = np.asarray(model(tokens, inputs))
    after = np.asarray(model(changed, None if inputs is None else inputs.at[:, 9:].add(1.0)))
    np.testing.assert_array_equal(before[:, :9], after[:, :9])
    assert not np.array_equal(before[:, 9:], after[:, 9:])


def test_attention_does_not_look_back_further_than_the_context():
    model = random_model(ModelConfig(sequence_len=4, vocab_size=70, n_layer=1, n_head=2, n_kv_head=2, n_embd=16), 0)
    tokens = random_tokens(model.config, (1, 12))
    full = np.asarray(model(tokens))[0, -1]
    np.testing.assert_allclose(np.asarray(model(tokens.at[0, :8].set(0)))[0, -1], full, atol=1e-6)
    assert not np.allclose(np.asarray(model(tokens.at[0, 8].add(1)))[0, -1], full, atol=1e-4)


def test_attention_knows_distances_not_positions():
    """Rotary positions: with one layer, moving a whole window does not change what its last position sees."""
    model = random_model(ModelConfig(sequence_len=4, vocab_size=70, n_layer=1, n_head=2, n_kv_head=2, n_embd=16), 0)
    window = random_tokens(model.config, (1, 4))
    moved = jnp.concatenate([random_tokens(model.config, (1, 9), seed=5), window], axis=1)
    np.testing.assert_allclose(np.asarray(model(moved))[0, -1], np.asarray(model(window))[0, -1], atol=1e-5)


def test_grouped_queries_equal_repeated_key_value_heads():
    grouped = random_model(TINY, 0)
    full = random_model(ModelConfig(**{**vars(TINY), "n_kv_head": TINY.n_head}), 0)
    for name in ("query", "out"):
        getattr(full.blocks.attention, name)[...] = getattr(grouped.blocks.attention, name)[...]
    for name in ("key", "value"):
        weight = getattr(grouped.blocks.attention, name)[...].reshape(2, 32, 2, 8)
        getattr(full.blocks.attention, name)[...] = jnp.repeat(weight, 2, axis=2).reshape(2, 32, 32)
    for part in ("embed", "head"):
        getattr(full, part)[...] = getattr(grouped, part)[...]
    for name in ("fc", "proj"):
        getattr(full.blocks.mlp, name)[...] = getattr(grouped.blocks.mlp, name)[...]
    tokens = random_tokens(TINY, (2, 16))
    np.testing.assert_allclose(full(tokens), grouped(tokens), atol=2e-5)


@pytest.mark.parametrize("config", [TINY, RICH], ids=["plain", "rich"])
def test_probabilities_sum_to_one_over_the_vocabulary(config):
    logits = random_model(config, 0)(random_tokens(config, (2, 16)), random_inputs(config, (2, 16)))
    assert logits.shape == (2, 16, config.vocab_size)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(jax.nn.softmax(logits).sum(-1), 1, atol=1e-6)


def test_logits_are_soft_capped():
    model = random_model(TINY, 0)
    model.head[...] = model.head[...] * 1e4
    assert float(jnp.abs(model(random_tokens(TINY, (2, 16)))).max()) <= 15


def test_a_fresh_model_predicts_the_uniform_or_the_training_law():
    tokens = random_tokens(TINY, (1, 4))
    assert np.ptp(GPT(TINY, jax.random.key(0))(tokens)) == 0
    masses = np.random.default_rng(0).dirichlet(np.ones(70))
    bins = OrdinalBins(tuple(np.linspace(-2, 2, 70)), tuple(np.log(masses)))
    config = ModelConfig(**{**vars(TINY), "ordinal": True})
    law = jax.nn.softmax(GPT(config, jax.random.key(0), 0, bins)(tokens))
    np.testing.assert_allclose(law, np.broadcast_to(masses, law.shape), rtol=1e-4)


def test_initialisation_is_the_seeds():
    config = ModelConfig(sequence_len=8, n_layer=3, n_embd=256)
    model = GPT(config, jax.random.key(0))
    std = {path: float(jnp.std(leaf)) for path, leaf in leaves(model)}
    assert std[".embed"] == pytest.approx(1, rel=0.05)
    for name in ("query", "key", "value"):
        assert std[f".blocks.attention.{name}"] == pytest.approx(256**-0.5, rel=0.05)
    assert std[".blocks.mlp.fc"] == pytest.approx(256**-0.5, rel=0.05)
    for name in (".head", ".blocks.attention.out", ".blocks.mlp.proj"):
        assert std[name] == 0
    blocks = model.blocks.attention.query[...]
    assert not np.array_equal(blocks[0], blocks[1]), "layers share their initial weights"


def leaves(model):
    flat = jax.tree_util.tree_flatten_with_path(model)[0]
    return [(jax.tree_util.keystr(path).removesuffix(".value"), leaf) for path, leaf in flat]


def test_all_parameters_get_a_gradient():
    model, tokens, inputs = random_model(RICH, 0), random_tokens(RICH, (2, 16)), random_inputs(RICH, (2, 16))
    gradients = jax.grad(lambda m: jnp.square(m(tokens, inputs)).mean())(model)
    for path, leaf in leaves(gradients):
        assert float(jnp.abs(leaf).max()) > 0, f"{path} has no gradient"


def test_bfloat16_compute_stays_near_float32():
    low = random_model(ModelConfig(**{**vars(TINY), "dtype": "bfloat16"}), 0)
    tokens = random_tokens(TINY, (2, 16))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(low)), "parameters stay float32"
    full, near = np.asarray(random_model(TINY, 0)(tokens)), np.asarray(low(tokens))
    assert 0 < np.abs(full - near).max() < 0.1 * np.abs(full).max()


@pytest.mark.parametrize("attention", ["blocks", "xla"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [TINY, RICH], ids=["plain", "rich"])
def test_no_product_of_float32_may_be_rounded_by_the_hardware(config, dtype, attention):
    """GPUs and TPUs would take TF32 or bfloat16 for float32, unless a product asks for more."""
    model = random_model(replace(config, dtype=dtype, attention=attention), 0)

    def loss(model, length):
        tokens = random_tokens(config, (2, length + 1))
        return jnp.mean(cross_entropy(model, Batch(tokens, random_inputs(config, (2, length)))))

    precise, n_bfloat16 = [], 0
    for length in (config.sequence_len, config.sequence_len + 3):  # the longer one is masked
        program = jax.jit(jax.grad(loss), static_argnums=1).lower(model, length).as_text()
        for line in program.splitlines():
            if "dot_general" in line:
                operands = re.findall(r"tensor<[0-9x]+x(f32|bf16)>", line.partition(" -> ")[0])
                n_bfloat16 += "bf16" in operands
                if operands == ["f32", "f32"]:
                    precise.append("precision = [HIGHEST, HIGHEST]" in line)
                else:
                    assert "HIGHEST" not in line, "it would be slow for nothing"
    assert all(precise)
    assert bool(precise) == (dtype == "float32" or config.ordinal)
    assert bool(n_bfloat16) == (dtype == "bfloat16")


def test_rms_norm_and_linear_keep_their_rules():
    x = jax.random.normal(jax.random.key(0), (5, 64)) * 3
    np.testing.assert_allclose(jnp.square(rms_norm(x)).mean(-1), 1, rtol=1e-5)
    # float32 sums: 4096 products of 1/64 in bfloat16 would stall at 8
    ones = jnp.full((1, 4096), 1.0), jnp.full((4096, 1), 1 / 64)
    assert float(linear(*ones, "bfloat16")[0, 0]) == 64


def test_dropout_keeps_the_mean_and_needs_a_key():
    x = jnp.ones(100_000)
    assert dropout(x, 0.3, None) is x
    dropped = dropout(x, 0.3, jax.random.key(0))
    assert float((dropped == 0).mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)


def test_dropout_differs_between_layers_and_keys():
    model, tokens, inputs = random_model(RICH, 0), random_tokens(RICH, (2, 16)), random_inputs(RICH, (2, 16))
    first, second = (model(tokens, inputs, key=jax.random.key(k)) for k in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, model(tokens, inputs, key=jax.random.key(0)))
    np.testing.assert_array_equal(model(tokens, inputs), model(tokens, inputs))


def test_ordinal_basis_is_standardised_smooth_and_independent():
    values = np.linspace(-4, 4, 128)
    basis = ordinal_basis(values)
    np.testing.assert_allclose(basis.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(basis.std(0), 1, atol=1e-5)
    assert np.linalg.matrix_rank(basis) == 8
    jump, finer = (np.abs(np.diff(ordinal_basis(np.linspace(-4, 4, n)), axis=0)).max() for n in (128, 256))
    assert finer < 0.6 * jump, "neighbouring bins must look alike: half the distance, half the difference"


def test_what_the_model_needs_is_asked_for():
    with pytest.raises(ValueError, match="no float inputs"):
        GPT(RICH, jax.random.key(0))
    with pytest.raises(ValueError, match="no bin values"):
        GPT(RICH, jax.random.key(0), 8)
    with pytest.raises(ValueError, match="vocab_size=70, but the tokenizer has 3"):
        GPT(RICH, jax.random.key(0), 8, OrdinalBins((0.0, 1.0, 2.0), (-1.0, -1.0, -1.0)))
    with pytest.raises(ValueError, match="pass inputs_BTF"):
        random_model(RICH, 0)(random_tokens(RICH, (1, 4)))


def test_the_model_package_stays_small():
    from conftest import ROOT

    lines = sum(len(path.read_text().splitlines()) for path in (ROOT / "mqc_jax/model").glob("*.py"))
    assert lines <= 400

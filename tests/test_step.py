"""A step is the same step however it is computed: cut in parts, laid out or looped, in blocks or at once."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import RICH, TINY, random_inputs, random_model, random_tokens, train_step

from mqc_jax.config import MAX_HEAD_DIM, Config, ModelConfig, TrainConfig
from mqc_jax.kernels.causal import best_way, causal_attention
from mqc_jax.model import GPT
from mqc_jax.model.layers import linear
from mqc_jax.training.batches import Table, Windows
from mqc_jax.training.dispatch import steps_per_dispatch, take_steps
from mqc_jax.training.optimizer import is_matrix, learning_rate, make_optimizer, stacked_matrices
from mqc_jax.training.step import Batch, cross_entropy, first_state


def a_batch(config, size=4, weights=None):
    shape = (size, config.sequence_len + 1)
    inputs = random_inputs(config, (size, config.sequence_len))
    return Batch(random_tokens(config, shape), inputs, weights)


def after_a_step(model_config, train, batch=None):
    """The parameters, from the same weights, after one step of plain descent: Adam's would hide a scale."""
    model = random_model(model_config, 0)
    state = first_state(model, train, optax.sgd(0.1))
    state, metrics = train_step(
        state, a_batch(model_config) if batch is None else batch, jax.random.key(0), tx=optax.sgd(0.1), config=train
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.model)], float(metrics["loss"])


def assert_same(a, b, atol):
    for one, other in zip(a[0], b[0], strict=True):
        np.testing.assert_allclose(one, other, atol=atol)
    assert a[1] == pytest.approx(b[1], abs=atol)


@pytest.mark.parametrize("changes", [{"unroll": 1}, {"remat": "dots"}, {"remat": "all"}, {"attention": "xla"}], ids=str)
def test_how_layers_are_computed_changes_no_step(changes):
    config = replace(TINY, sequence_len=100)
    whole = after_a_step(config, TrainConfig())
    assert_same(after_a_step(replace(config, **changes), TrainConfig()), whole, 1e-5)


def test_a_step_in_parts_is_the_step_though_weights_lie_unevenly():
    weights = jnp.ones((4, 16)).at[0].set(0).at[2, 5:].set(0)
    whole = after_a_step(TINY, TrainConfig(batch_size=4), a_batch(TINY, weights=weights))
    for parts in (2, 4):
        train = TrainConfig(batch_size=4, accumulate=parts)
        assert_same(after_a_step(TINY, train, a_batch(TINY, weights=weights)), whole, 1e-5)


def test_parts_must_be_equal():
    with pytest.raises(ValueError, match="batch_size=32 cannot be cut into accumulate=3 equal parts; try"):
        TrainConfig(accumulate=3)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("groups", [1, 2])
def test_blocks_are_causal_attention(length, groups):
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (2, length, 2 * groups, 8))
    key, value = (jax.random.normal(k, (2, length, 2, 8)) for k in keys[1:])

    def both(way):
        total = jax.jit(jax.value_and_grad(lambda *x: jnp.sum(jnp.sin(causal_attention(*x, way))), (0, 1, 2)))
        return total(query, key, value)

    for a, b in zip(jax.tree.leaves(both("blocks")), jax.tree.leaves(both("xla")), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


def test_the_largest_heads_may_have_the_largest_scores():
    """Blocks take no maximum off: the first position has the least score there is, half of the others the greatest."""
    sign_T = jnp.where(jnp.arange(65) % 2, 1.0, -1.0)
    query = jnp.ones((1, 65, 1, MAX_HEAD_DIM))
    key = query * sign_T[:, None, None]
    value = jax.random.normal(jax.random.key(0), query.shape)

    def both(way):
        return jax.value_and_grad(lambda *x: jnp.sum(jnp.sin(causal_attention(*x, way))), (0, 1, 2))(query, key, value)

    for a, b in zip(jax.tree.leaves(both("blocks")), jax.tree.leaves(both("xla")), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("backend", "dtype", "head_dim", "way"),
    [
        ("ampere", "bfloat16", 64, "cudnn"),
        ("ampere", "bfloat16", 128, "cudnn"),
        ("ampere", "bfloat16", 136, "xla"),  # the kernel's limit
        ("ampere", "bfloat16", 12, "xla"),  # heads of eights
        ("ampere", "float32", 64, "xla"),  # half precision only
        ("gpu", "bfloat16", 64, "xla"),  # of another kind
        ("tpu", "bfloat16", 64, "xla"),
        ("cpu", "float32", 8, "blocks"),
        ("cpu", "bfloat16", 64, "blocks"),
    ],
)
def test_the_kernel_is_chosen_by_what_it_may_do(backend, dtype, head_dim, way):
    assert best_way(backend, jnp.dtype(dtype), head_dim) == way


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_the_linear_layer_and_its_slopes_are_those_of_a_product(dtype, tolerance):
    x, weight = (0.3 * jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(2, 5, 48), (48, 32)]))

    def slopes(product):
        return jax.grad(lambda x, w: jnp.mean(jnp.sin(product(x, w))), (0, 1))(x, weight)

    found = slopes(lambda x, w: linear(x, w, dtype).astype(jnp.float32))
    wanted = slopes(lambda x, w: x @ w)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max()))


def test_training_in_bfloat16_keeps_float32_weights_and_falls_like_float32():
    losses = {}
    for dtype in ("float32", "bfloat16"):
        model_config, train = replace(TINY, dtype=dtype), TrainConfig(num_epochs=60, learning_rate=1e-2)
        tx = make_optimizer(train, 1)
        state = first_state(GPT(model_config, jax.random.key(0)), train, tx)
        for _ in range(60):
            state, metrics = train_step(state, a_batch(model_config), jax.random.key(0), tx=tx, config=train)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.model)} == {jnp.dtype("float32")}
        losses[dtype] = float(metrics["loss"])
    assert losses["float32"] < 2.0
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.15)


def test_label_smoothing_lays_mass_on_the_neighbours():
    model, batch = random_model(TINY, 0), a_batch(TINY)
    batch = batch._replace(tokens=batch.tokens.at[0, 1].set(0).at[0, 2].set(69))  # the first and the last bin
    log_p = np.asarray(jax.nn.log_softmax(model(batch.tokens[:, :-1])))
    targets = np.asarray(batch.tokens[:, 1:])
    found = np.asarray(cross_entropy(model, batch, smoothing=0.2))
    for place in np.ndindex(targets.shape):
        y, row = targets[place], log_p[place]
        sides = [s for s in (y - 1, y + 1) if 0 <= s < 70]
        wanted = -0.8 * row[y] - 0.2 * np.mean([row[s] for s in sides])
        assert found[place] == pytest.approx(wanted, abs=1e-5)
    plain = np.asarray(cross_entropy(model, batch))
    np.testing.assert_allclose(plain, -np.take_along_axis(log_p, targets[..., None], -1)[..., 0], atol=1e-5)


def test_muon_makes_the_updates_of_stacked_matrices_orthogonal():
    """One matrix per layer; the tables around the blocks are AdamW's."""
    model = random_model(TINY, 0)
    numbers = stacked_matrices(model)
    chosen = jax.tree.leaves(numbers, is_leaf=lambda x: hasattr(x, "reduction_axis"))
    assert len(chosen) == len(jax.tree.leaves(model.blocks))
    train = TrainConfig(num_epochs=10, optimizer="muon", learning_rate=1.0, weight_decay=0.0, max_grad_norm=1e9)
    tx = make_optimizer(train, 10)
    gradient = jax.jit(jax.grad(lambda m: cross_entropy(m, a_batch(TINY)).mean()))(model)
    update, _ = jax.jit(tx.update)(gradient, tx.init(model), model)
    for layer in range(TINY.n_layer):
        size = np.linalg.svd(np.asarray(update.blocks.mlp.fc[...][layer]), compute_uv=False)
        assert size.min() > 0.5 * size.max(), "an orthogonal matrix has equal singular values"
    embedding = np.abs(np.asarray(update.embed[...]))
    moved = embedding[embedding > 1e-3]  # Adam's first step has one length
    np.testing.assert_allclose(moved, np.median(moved), rtol=0.02)


def test_all_that_decays_are_matrices():
    assert all(jax.tree.leaves(is_matrix(random_model(RICH, 0))))
    vectors = {"gain": jnp.ones(3), "embed": jnp.ones((3, 2))}
    assert is_matrix(vectors) == {"gain": False, "embed": True}


def test_warm_up_stable_decay():
    config = TrainConfig(num_epochs=10, schedule="wsd", warmup_steps=10, learning_rate=1.0)
    rate = learning_rate(config, 10)
    found = np.array([float(rate(step)) for step in range(101)])
    assert (np.diff(found[:11]) > 0).all()
    assert (found[10:81] == 1.0).all()
    np.testing.assert_allclose(np.diff(found[80:]), -1 / 20, atol=1e-6)
    assert found[100] == 0


def test_any_number_of_steps_is_the_same_program_with_the_same_bits():
    config = Config(model=replace(TINY, dropout=0.2), train=TrainConfig(batch_size=4))
    tx = make_optimizer(config.train, 7)
    table = Table(random_tokens(TINY, (500,)), None)
    first = np.random.default_rng(0).integers(0, 480, (7, 4)).astype(np.int32)

    def run(*cuts):
        state = first_state(random_model(config.model, 0), config.train, tx)
        for low, high in zip((0, *cuts), (*cuts, 7), strict=True):
            rows = np.roll(first, -low, axis=0)
            state, _ = take_steps(
                state, table, Windows(rows, None), low, high - low, jax.random.key(0), tx=tx, config=config
            )
        return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]

    compiled = take_steps._cache_size()
    whole = run()
    for cuts in ((1,), (2, 5), (1, 2, 3, 4, 5, 6)):
        for a, b in zip(run(*cuts), whole, strict=True):
            np.testing.assert_array_equal(a, b)
    assert take_steps._cache_size() == compiled + 1


def test_large_models_take_few_steps_at_once_and_small_ones_many():
    assert steps_per_dispatch(1e15) == 1
    assert steps_per_dispatch(1.0) == 100


def test_auto_precision_is_one_of_the_two():
    model = GPT(replace(TINY, dtype="auto"), jax.random.key(0))
    assert model.config.dtype in ("float32", "bfloat16")
    assert ModelConfig().dtype == "float32"


def test_in_bfloat16_a_frequent_tokens_slope_is_summed_in_float32():
    """Half of 16,384 tokens are one: a bfloat16 sum of so many stops growing."""
    tokens = random_tokens(TINY, (1024, 17))
    tokens = jnp.where(tokens % 2 == 0, 3, tokens)

    def slope(dtype):
        model = random_model(replace(TINY, dtype=dtype), 0)
        found = jax.jit(jax.grad(lambda m: jnp.mean(cross_entropy(m, Batch(tokens, None)))))(model)
        return np.asarray(found.embed[...], np.float64)

    exact, found = slope("float32"), slope("bfloat16")
    assert np.linalg.norm(found - exact) < 0.03 * np.linalg.norm(exact)

"""Configurations refuse what cannot work, survive JSON, and every field changes something."""

import json
from dataclasses import fields, replace

import jax
import numpy as np
import pytest
from helpers import random_inputs, random_model, random_tokens

from configs import PRESETS
from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mqc_jax.model import GPT, count_parameters
from mqc_jax.training.optimizer import learning_rate, make_optimizer


@pytest.mark.parametrize(
    ("kind", "wrong", "mend"),
    [
        (ModelConfig, {"n_embd": 30, "n_head": 8}, "--n_embd 32"),
        (ModelConfig, {"n_embd": 24, "n_head": 8}, "odd size 3"),
        (ModelConfig, {"n_head": 8, "n_kv_head": 3}, "--n_kv_head 8"),
        (ModelConfig, {"n_embd": 8192, "n_head": 1, "n_kv_head": 1}, "heads of size 8192"),
        (ModelConfig, {"n_layer": 0}, "n_layer=0 must be above 0"),
        (ModelConfig, {"sequence_len": -1}, "sequence_len=-1"),
        (ModelConfig, {"dropout": 1.0}, "dropout=1.0"),
        (ModelConfig, {"dtype": "float15"}, "dtype='float15' must be one of auto, float32, bfloat16"),
        (ModelConfig, {"n_layer": 2.5}, "n_layer=2.5 must be an integer"),
        (ModelConfig, {"inputs": 1}, "inputs=1 must be true or false"),
        (TrainConfig, {"schedule": "epcoh"}, "schedule='epcoh' must be one of cosine, cosine_by_epoch, wsd"),
        (TrainConfig, {"learning_rate": float("inf")}, "learning_rate=inf must be a finite number"),
        (TrainConfig, {"seed": 2**40}, "below 2**32"),
        (DataConfig, {"tokenizer": "bpe"}, "tokenizer='bpe' must be one of"),
        (TrainConfig, {"learning_rate": 0.0}, "learning_rate=0.0"),
        (TrainConfig, {"patience": -1}, "patience=-1"),
        (TrainConfig, {"beta2": 1.0}, "beta2=1.0"),
    ],
)
def test_impossible_values_are_refused_with_the_value_and_the_rule(kind, wrong, mend):
    with pytest.raises(ValueError, match=r"must|multiple|odd") as error:
        kind(**wrong)
    assert mend in str(error.value)


@pytest.mark.parametrize(("n_embd", "n_head"), [(4098, 1), (8192, 1), (16384, 2), (30030, 3), (16380, 2)])
def test_heads_too_large_come_with_a_number_of_heads_that_is_accepted(n_embd, n_head):
    with pytest.raises(ValueError, match="must be at most 4096; try --n_head") as error:
        ModelConfig(n_embd=n_embd, n_head=n_head, n_kv_head=n_head)
    heads = int(str(error.value).rsplit(" ", 1)[1])
    assert ModelConfig(n_embd=n_embd, n_head=heads, n_kv_head=n_head).head_dim <= 4096
    assert ModelConfig(n_embd=4096, n_head=1, n_kv_head=1).head_dim == 4096


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    assert Config.from_json(json.loads(json.dumps(PRESETS[name].to_json()))) == PRESETS[name]


def test_unknown_and_missing_fields_are_named():
    value = Config().to_json()
    value["model"]["n_layers"] = value["model"].pop("n_layer")
    with pytest.raises(ValueError, match=r"n_layer.*n_layers"):
        Config.from_json(value)


@pytest.mark.parametrize(("preset", "parameters"), [("seed", 25_296_896), ("reference", 19_005_440)])
def test_presets_have_the_originals_size(preset, parameters):
    model = jax.eval_shape(lambda: GPT(PRESETS[preset].model, jax.random.key(0)))
    assert count_parameters(model) == parameters


BASE = ModelConfig(sequence_len=16, vocab_size=70, n_layer=2, n_head=4, n_kv_head=4, n_embd=32)
MODEL_CHANGES = {
    "sequence_len": 4,
    "vocab_size": 64,
    "n_special": 64,
    "n_layer": 1,
    "n_head": 8,
    "n_kv_head": 2,
    "n_embd": 64,
    "inputs": True,
    "ordinal": True,
    "dropout": 0.5,
    "dtype": "bfloat16",
    "rope_dtype": "bfloat16",
}


HOW = {"attention", "unroll", "remat"}  # that the logits are the same however they are computed: test_step.py


@pytest.mark.parametrize("name", [f.name for f in fields(ModelConfig) if f.name not in HOW])
def test_every_model_field_changes_the_logits(name):
    changed = replace(BASE, **{name: MODEL_CHANGES[name]})

    def logits(config):
        tokens = random_tokens(BASE, (2, 12)) % 64
        return np.asarray(random_model(config, 0)(tokens, random_inputs(config, (2, 12)), key=jax.random.key(9)))

    before, after = logits(BASE), logits(changed)
    assert before.shape != after.shape or not np.array_equal(before, after)


TRAIN_CHANGES = {
    "learning_rate": 1e-2,
    "warmup_steps": 3,
    "weight_decay": 1.0,
    "beta1": 0.5,
    "beta2": 0.5,
    "max_grad_norm": 100.0,
    "num_epochs": 2,
    "schedule": "cosine_by_epoch",
    "optimizer": "muon",
}


@pytest.mark.parametrize("name", TRAIN_CHANGES)
def test_every_optimizer_field_changes_the_updates(name):
    def weights_after(config):
        tx = make_optimizer(config, steps_per_epoch=4)
        weights = {"w": jax.numpy.ones((1, 3))}
        state = tx.init(weights)
        for step in range(6):
            gradient = {"w": jax.numpy.array([[1.0, -2.0, 0.5 * step]])}
            updates, state = tx.update(gradient, state, weights)
            weights = jax.tree.map(jax.numpy.add, weights, updates)
        return np.asarray(weights["w"])

    base = TrainConfig(num_epochs=3)
    assert not np.array_equal(weights_after(base), weights_after(replace(base, **{name: TRAIN_CHANGES[name]})))


def test_learning_rate_warms_up_then_falls_to_zero():
    rate = learning_rate(TrainConfig(num_epochs=10, learning_rate=1.0, warmup_steps=5), steps_per_epoch=10)
    values = np.array([float(rate(step)) for step in range(101)])
    assert values.argmax() == 5
    assert values[5] == pytest.approx(1.0)
    assert (np.diff(values[5:]) < 0).all()
    assert values[100] == pytest.approx(0.0, abs=1e-6)


def test_an_epochs_constant_rate_does_not_flatten_the_warm_up():
    config = TrainConfig(num_epochs=10, learning_rate=1.0, warmup_steps=10, schedule="cosine_by_epoch")
    rate = learning_rate(config, steps_per_epoch=7)
    values = np.array([float(rate(step)) for step in range(70)])
    assert (np.diff(values[:11]) > 0).all()
    assert values[10] == pytest.approx(1.0)
    assert (np.diff(values[14:].reshape(8, 7)) == 0).all()


def test_epoch_schedule_is_constant_within_an_epoch_and_is_the_originals_cosine():
    rate = learning_rate(TrainConfig(num_epochs=10, learning_rate=1.0, schedule="cosine_by_epoch"), steps_per_epoch=7)
    by_epoch = np.array([float(rate(step)) for step in range(70)]).reshape(10, 7)
    assert (by_epoch == by_epoch[:, :1]).all()
    np.testing.assert_allclose(by_epoch[:, 0], (1 + np.cos(np.pi * np.arange(10) / 10)) / 2, atol=1e-6)

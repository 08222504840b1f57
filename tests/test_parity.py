"""The network computes what the original's rules say: against stored arrays, and, where torch is there, against torch.

`python tests/test_parity.py` (with torch) writes the stored arrays anew.
"""

from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mqc_jax.config import ModelConfig
from mqc_jax.model import GPT
from mqc_jax.original import from_original

GOLDEN = Path(__file__).parent / "golden"
SHAPES = {
    "mha": {"sequence_len": 24, "vocab_size": 128, "n_layer": 2, "n_head": 4, "n_kv_head": 4, "n_embd": 16},
    "gqa_padded": {"sequence_len": 24, "vocab_size": 70, "n_layer": 3, "n_head": 4, "n_kv_head": 2, "n_embd": 16},
}


def our_loss(model: GPT, tokens: jax.Array) -> jax.Array:
    log_p = jax.nn.log_softmax(model(tokens[:, :-1]))
    return -jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1).mean()


def assert_parity(config, weights, tokens, logits, gradients):
    """Logits to 1e-4 absolute; each parameter's gradient to 1e-4 of its norm."""
    model = from_original(config, weights, "torch")
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(model(tokens[:, :-1]), logits, atol=1e-4, rtol=0)
        ours = jax.grad(our_loss)(model, tokens)
    theirs = from_original(config, gradients, "gradients")
    flat = jax.tree_util.tree_flatten_with_path(ours)[0]
    for (path, ours_leaf), theirs_leaf in zip(flat, jax.tree.leaves(theirs), strict=True):
        error = np.linalg.norm(ours_leaf - theirs_leaf) / np.linalg.norm(theirs_leaf)
        assert error <= 1e-4, f"{jax.tree_util.keystr(path)}: relative gradient error {error:.1e}"


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_and_gradients_match_the_stored_arrays(shape):
    with np.load(GOLDEN / f"{shape}.npz", allow_pickle=False) as stored:
        weights = {name[2:]: stored[name] for name in stored if name.startswith("w:")}
        gradients = {name[2:]: stored[name] for name in stored if name.startswith("g:")}
        tokens, logits = jnp.asarray(stored["tokens"]), stored["logits"]
    assert_parity(ModelConfig(**SHAPES[shape], rope_dtype="bfloat16"), weights, tokens, logits, gradients)


def torch_example(config: ModelConfig, seed: int, batch: int = 2):
    import torch

    from benchmarks.torch_gpt import GPTConfig, TorchGPT, randomise

    fields = {name: value for name, value in asdict(config).items() if name in SHAPES["mha"]}
    model = TorchGPT(GPTConfig(**fields), getattr(torch, config.rope_dtype))
    randomise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, config.vocab_size, (batch, config.sequence_len + 1), generator=generator)
    model.loss(tokens).backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    logits = model(tokens[:, :-1]).detach().numpy()
    return weights, jnp.asarray(tokens.numpy()), logits, gradients


@pytest.mark.parametrize("rope_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("n_kv_head", [8, 4, 1])
@pytest.mark.parametrize("vocab_size", [128, 100])
def test_logits_and_gradients_match_torch(rope_dtype, n_kv_head, vocab_size):
    pytest.importorskip("torch", reason="the torch extra is not installed; the stored arrays are checked without it")
    config = ModelConfig(
        sequence_len=64,
        vocab_size=vocab_size,
        n_layer=3,
        n_head=8,
        n_kv_head=n_kv_head,
        n_embd=64,
        rope_dtype=rope_dtype,
    )
    assert_parity(config, *torch_example(config, seed=n_kv_head))


def test_weights_that_do_not_fit_are_named():
    config = ModelConfig(**SHAPES["mha"])
    with np.load(GOLDEN / "mha.npz", allow_pickle=False) as stored:
        weights = {name[2:]: stored[name] for name in stored if name.startswith("w:")}
    missing = {name: w for name, w in weights.items() if name != "transformer.h.1.mlp.c_fc.weight"}
    with pytest.raises(ValueError, match=r"no parameter 'transformer\.h\.1\.mlp\.c_fc\.weight'"):
        from_original(config, missing, "x.pt")
    with pytest.raises(ValueError, match=r"lm_head\.weight has shape \(3, 16\)"):
        from_original(config, weights | {"lm_head.weight": np.zeros((3, 16))}, "x.pt")
    with pytest.raises(ValueError, match="left over"):
        from_original(config, weights | {"transformer.h.9.mlp.c_fc.weight": np.zeros((3, 16))}, "x.pt")


if __name__ == "__main__":
    for shape_name, shape_fields in SHAPES.items():
        found = torch_example(ModelConfig(**shape_fields, rope_dtype="bfloat16"), seed=1)
        arrays = {"tokens": np.asarray(found[1], np.int32), "logits": found[2]}
        arrays |= {f"w:{name}": w for name, w in found[0].items()} | {f"g:{name}": g for name, g in found[3].items()}
        GOLDEN.mkdir(exist_ok=True)
        np.savez(GOLDEN / f"{shape_name}.npz", **arrays)

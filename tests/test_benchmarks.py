"""The benchmarks' arithmetic: ratios, rounds that were disturbed, and a rival with our weights."""

import jax
import numpy as np
import pytest
from helpers import RICH, TINY, random_inputs, random_model, random_tokens

from benchmarks import rounds
from benchmarks.exported import torch_weights
from benchmarks.markov_bound import excess
from benchmarks.our_trainer import scores_and_kernel
from benchmarks.train_step import loss_faults
from mqc_jax.config import Config, TrainConfig
from mqc_jax.evaluation.known_answer.markov import MarkovTokens
from mqc_jax.model.ordinal import ordinal_basis
from mqc_jax.original import from_original


def test_the_ratio_is_the_median_over_rounds_inside_its_interval():
    found = rounds.ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    assert found.median == 2.0
    assert (found.low, found.high) == (2.0, 3.0)


def test_a_drift_that_both_share_leaves_no_trace_in_the_ratio():
    drift = np.linspace(1, 5, 12)
    assert rounds.ratio(3 * drift, 2 * drift) == (1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("foreign", "kept"),
    [
        ([0.0, 0.2, 0.01, 0.04, 0.0, 0.05, 0.06], [0, 2, 3, 4, 5]),
        ([0.3, 0.2, 0.0, 0.4, 0.1, 0.5], [0, 1, 2, 3, 4]),  # too few quiet ones: the five quietest
        ([0.9, 0.9], [0, 1]),
    ],
)
def test_disturbed_rounds_are_dropped_but_five_stay(foreign, kept):
    assert rounds.quiet_rounds(foreign) == kept


def test_every_other_round_runs_backwards_and_dropped_ones_are_counted(monkeypatch, capsys):
    shares, order = iter([0.0, 0.9, 0.0, 0.0, 0.0, 0.0]), []

    class Others:
        def __enter__(self):
            self.share = next(shares)
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(rounds, "ForeignCpu", Others)
    found, n_dropped = rounds.interleave("ABC", 6, lambda name, r: order.append(name) or r)
    assert "".join(order) == "ABCCBA" * 3
    assert n_dropped == 1
    assert [one["A"] for one in found] == [0, 2, 3, 4, 5]
    assert "dropped 1 of 6 rounds" in capsys.readouterr().out


def test_losses_that_differ_are_named_and_bfloat16_may_differ_more():
    one = {
        "ours": {"losses": [4.8, 4.7]},
        "original": {"losses": [4.8, 4.7005]},
        "best": {"losses": [4.81, 4.7]},
    }
    assert loss_faults(one, "float32", "bfloat16-eager") == []
    assert "best differ from ours by 1.0e-02" in loss_faults(one, "float32", "float32-eager")[0]
    one["original"]["losses"][1] = float("nan")
    assert "original differ from ours by nan" in loss_faults(one, "bfloat16", "float32-eager")[0]


def test_a_program_with_all_scores_or_without_the_kernel_is_found():
    config = Config(model=TINY, train=TrainConfig(batch_size=2))
    good = 'f32[2,16,32]{2,1,0} custom-call(), custom_call_target="__cudnn$fmhaSoftmax"'
    assert scores_and_kernel(good, config) == []
    assert scores_and_kernel("f32[2,4,16,16] dot()", config) == [
        "no __cudnn$fmha call",
        "a buffer of shape [2, 4, 16, 16]",
    ]


def test_exported_weights_come_back_through_the_import():
    model = random_model(TINY, seed=3)
    again = from_original(TINY, torch_weights(model), "export")
    assert jax.tree.all(jax.tree.map(lambda x, y: (x == y).all(), model, again))


@pytest.mark.parametrize("config", [TINY, RICH], ids=["plain", "inputs_ordinal"])
def test_the_rival_computes_our_logits_from_our_weights(config):
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    from benchmarks.torch_gpt import GPTConfig, TorchGPT

    model = random_model(config, seed=1)
    tokens, inputs = random_tokens(config, (2, 16)), random_inputs(config, (2, 16))
    fields = {name: getattr(config, name) for name in GPTConfig.__dataclass_fields__ if name not in ("n_inputs",)}
    bins = model.bins
    rival = TorchGPT(
        GPTConfig(**fields, n_inputs=0 if inputs is None else inputs.shape[-1]),
        torch.float32,
        None if bins is None else ordinal_basis(np.array(bins.values)),
        None if bins is None else np.array(bins.log_masses),
    ).eval()
    rival.load_state_dict({name: torch.tensor(weight) for name, weight in torch_weights(model).items()})
    with torch.no_grad():
        theirs = rival(
            torch.tensor(np.array(tokens)).long(), None if inputs is None else torch.tensor(np.array(inputs))
        )
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(model(tokens, inputs), theirs.numpy(), atol=1e-4, rtol=0)


def test_the_bound_of_a_markov_chain_is_what_estimating_its_rows_costs():
    chain = MarkovTokens("chain", 100, n_levels=4)
    found = {n: np.mean([excess(chain, n, np.random.default_rng(seed)) for seed in range(50)]) for n in (400, 4_000)}
    for n, nats in found.items():
        np.testing.assert_allclose(nats, 4 * 3 / (2 * n), rtol=0.3)  # (K − 1) K / 2N, what estimating them costs

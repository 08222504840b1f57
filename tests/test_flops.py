"""FLOPs are counted as by hand, and peaks are found by the names of devices."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest
from helpers import N_INPUTS

from configs import PRESETS
from mqc_jax.config import ModelConfig
from mqc_jax.model import GPT, OrdinalBins, count_parameters
from mqc_jax.training.flops import PEAKS, mfu, peak_flops, train_flops_per_token


def parameters(model: ModelConfig) -> int:
    bins = OrdinalBins(tuple(range(model.vocab_size)), tuple(range(model.vocab_size)))
    return count_parameters(jax.eval_shape(lambda: GPT(model, jax.random.key(0), N_INPUTS, bins)))


def test_flops_of_the_seeds_model_are_those_counted_by_hand():
    seed = PRESETS["seed"].model
    layer = 4 * 512 * 512 + 2 * 512 * 2048  # query, key, value, out; MLP up and down
    head = 512 * 128
    forward = 2 * (8 * layer + head) + 8 * 2 * 2 * 512 * (512 / 2)  # attention: scores and mix, half the window
    assert train_flops_per_token(seed, parameters(seed)) == 3 * forward


def test_the_ordinal_embedding_is_multiplied_and_counts():
    plain = PRESETS["daily"].model
    n = parameters(plain)
    looked_up = replace(plain, ordinal=False)
    difference = train_flops_per_token(plain, n) - train_flops_per_token(looked_up, n)
    assert difference == 6 * plain.padded_vocab_size * plain.n_embd


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("Tesla K80", None),
    ],
)
def test_peaks_are_found_by_the_names_jax_gives(kind, peak):
    device = SimpleNamespace(platform="gpu", device_kind=kind)
    assert peak_flops(device) == peak
    share = mfu(2e6, 164e6, device)
    assert share == (None if peak is None else pytest.approx(2e6 * 164e6 / peak))


def test_no_peak_hides_another():
    for place, (part, _) in enumerate(PEAKS):
        assert not any(earlier in part for earlier, _ in PEAKS[:place])


def test_a_cpu_has_no_peak():
    assert peak_flops(jax.devices("cpu")[0]) is None
    assert mfu(1e3, 1e6, jax.devices("cpu")[0]) is None

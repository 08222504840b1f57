"""One dial sets the size of a model, and what is too large for its data says so."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from helpers import N_INPUTS

from configs import PRESETS
from data_pipeline import BadInput
from mqc_jax.cli import run_script
from mqc_jax.commands import train
from mqc_jax.config import ModelConfig
from mqc_jax.depth import at_depth, overfit_warning
from mqc_jax.model import GPT, OrdinalBins, count_parameters


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parameters(model: ModelConfig) -> int:
    bins = OrdinalBins(tuple(range(model.vocab_size)), tuple(range(model.vocab_size)))
    return count_parameters(jax.eval_shape(lambda: GPT(model, jax.random.key(0), N_INPUTS, bins)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_at_its_own_depth_is_itself(name):
    assert at_depth(PRESETS[name], PRESETS[name].model.n_layer) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_shape_and_learning_rate_follow_the_depth(name):
    preset = PRESETS[name]
    before = 0
    for depth in range(1, 13):
        found = at_depth(preset, depth)
        model, old = found.model, preset.model
        assert model.n_layer == depth
        assert model.head_dim == old.head_dim
        assert abs(model.n_embd - old.n_embd / old.n_layer * depth) <= old.head_dim / 2, "the aspect ratio"
        assert found.train.learning_rate**2 * model.n_embd == pytest.approx(preset.train.learning_rate**2 * old.n_embd)
        assert found.tokens_per_step == preset.tokens_per_step
        assert before < parameters(model)
        before = parameters(model)


def test_shared_key_heads_stay_shared_where_they_can_be():
    grouped = replace(PRESETS["daily"], model=replace(PRESETS["daily"].model, n_head=4, n_kv_head=1))
    assert [at_depth(grouped, d).model.n_head for d in (1, 2, 3, 4)] == [2, 4, 6, 8]
    assert [at_depth(grouped, d).model.n_kv_head for d in (1, 2, 3, 4)] == [1, 1, 1, 2]


@pytest.mark.parametrize("depth", [0, -3, 1001])
def test_a_depth_out_of_range_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth={depth} must be from 1 to 1000"):
        at_depth(PRESETS["tiny"], depth)


def test_flags_on_the_command_line_win_over_the_dial():
    deep = at_depth(PRESETS["daily"], 3)
    given = train.flags(["--depth", "3"])
    assert (given.model, given.train) == (deep.model, deep.train)
    assert train.flags(["--depth=3"]).model == deep.model
    given = train.flags(["--n_embd", "96", "--learning_rate", "0.002", "--depth", "3"])
    assert (given.model.n_layer, given.model.n_embd, given.model.n_head) == (3, 96, 6)
    assert given.train.learning_rate == PRESETS["daily"].train.learning_rate
    assert train.flags([]).model == PRESETS["daily"].model


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--depth", "two"], "--depth two: not a whole number; try --depth 2"),
        (["--depth", "2.5"], "--depth 2.5: not a whole number"),
        (["--depth", "0"], "depth=0 must be from 1"),
        (["--param_data_ratio", "0"], "param_data_ratio=0.0 must be above 0"),
    ],
)
def test_what_is_no_depth_is_one_line(argv, says):
    with pytest.raises(BadInput, match=says):
        train.flags(argv)


def test_the_depth_of_a_run_is_not_changed_on_resume(tiny_run):
    with pytest.raises(BadInput, match="leave out --depth"):
        train.flags(["--resume", "--out", str(tiny_run), "--depth", "1"])


def test_the_default_fits_the_bundled_data_and_the_originals_sizes_do_not():
    assert parameters(PRESETS["daily"].model) == 25_344
    assert overfit_warning(PRESETS["daily"], PRESETS["daily"], 12_160, parameters) is None
    warning = overfit_warning(PRESETS["seed"], PRESETS["seed"], 12_160, parameters)
    assert warning == (
        "25,296,896 parameters for 12,160 training tokens (2080 a token, --param_data_ratio 5): it will overfit; "
        "no --depth of it is small enough: try --config daily, or more data"
    )


def test_the_depth_that_is_advised_is_the_deepest_that_passes():
    preset = PRESETS["daily"]
    for n_tokens in (2_000, 12_160, 30_000, 100_000):
        warning = overfit_warning(at_depth(preset, 9), preset, n_tokens, parameters)
        assert warning is not None
        advised = int(warning.rpartition(" ")[2])
        assert overfit_warning(at_depth(preset, advised), preset, n_tokens, parameters) is None
        assert overfit_warning(at_depth(preset, advised + 1), preset, n_tokens, parameters) is not None


def test_a_width_of_ones_own_is_advised_against_not_the_depth():
    preset = PRESETS["daily"]
    wide = replace(preset, model=replace(preset.model, n_embd=512))
    warning = overfit_warning(wide, preset, 12_160, parameters)
    assert warning is not None
    assert warning.endswith("try --depth 2")


def test_training_says_that_a_network_is_too_large(prices_csv, capsys):
    argv = ["--config", "tiny", "--data", str(prices_csv), "--num_epochs", "1", "--param_data_ratio", "6"]
    assert run_script("train", [*argv, "--out", "a", "--depth", "3"]) == 0
    assert "a token, --param_data_ratio 6): it will overfit; try --depth 1" in capsys.readouterr().out
    assert json.loads(Path("a/config.json").read_text())["model"]["n_embd"] == 48
    assert run_script("train", [*argv, "--out", "b"]) == 0
    assert "overfit" not in capsys.readouterr().out
    assert run_script("train", [*argv, "--out", "c", "--n_layer", "2"]) == 0
    assert "overfit" in capsys.readouterr().out

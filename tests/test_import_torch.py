"""An original checkpoint becomes a run with the same logits; a hostile one is refused before it can run."""

import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from mqc_jax.cli import run_script
from mqc_jax.run import load_run

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

FIELDS = {"sequence_len": 48, "vocab_size": 100, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32}


class Payload:
    """Runs `open(marker, 'w')` when it is unpickled without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture
def original():
    from benchmarks.torch_gpt import GPTConfig, TorchGPT, randomise

    model = TorchGPT(GPTConfig(**FIELDS))
    randomise(model, 3)
    return model


def as_original_class(module_name: str):
    """A dataclass that pickles under the name the original's scripts give it."""
    from dataclasses import make_dataclass

    module = types.ModuleType(module_name)
    cls = make_dataclass("GPTConfig", [(name, int) for name in FIELDS])
    cls.__module__ = module_name
    module.GPTConfig = cls
    sys.modules[module_name] = module
    return cls(**FIELDS)


def save(path, model, config, **more):
    stored = {
        "model_state_dict": model.state_dict(),
        "config": config,
        "epoch": 7,
        "train_loss": 4.5,
        "val_loss": 4.6,
        "optimizer_state_dict": torch.optim.AdamW(model.parameters()).state_dict(),
    }
    torch.save(stored | more, path)


@pytest.mark.parametrize("module", ["gpt_model", "src.gpt_model", "__mp_main__"])
def test_an_imported_checkpoint_has_the_originals_logits(tmp_path, original, module, monkeypatch):
    monkeypatch.setitem(sys.modules, "src", types.ModuleType("src"))
    monkeypatch.setitem(sys.modules, module, None)
    save(tmp_path / "best_model.pt", original, as_original_class(module))
    assert run_script("import-torch", [str(tmp_path / "best_model.pt"), str(tmp_path / "run")]) == 0
    run = load_run(tmp_path / "run")
    tokens = torch.randint(0, 100, (3, 48))
    expected = original(tokens).detach().numpy()
    np.testing.assert_allclose(run.model(jnp.asarray(tokens.numpy())), expected, atol=1e-4, rtol=0)
    assert run.manifest["imported"] == {"epoch": 7, "train_loss": 4.5, "val_loss": 4.6}


def test_an_imported_run_samples_and_is_scored_on_a_token_file(tmp_path, original, capsys):
    save(tmp_path / "m.pt", original, FIELDS)  # a plain dict of fields is read too
    assert run_script("import-torch", [str(tmp_path / "m.pt"), str(tmp_path / "run")]) == 0
    run = ["--checkpoint", str(tmp_path / "run")]
    assert run_script("sample", [*run, "--seed_tokens", "80 81 83 89 66", "--num_generate", "20"]) == 0
    assert run_script("sample", run) == 2
    assert "--seed_tokens" in capsys.readouterr().err
    (tmp_path / "all_tokens.txt").write_text(" ".join(str(i * 7 % 100) for i in range(2000)))
    assert run_script("evaluate", [*run, "--data_file", str(tmp_path / "all_tokens.txt")]) == 0
    assert run_script("evaluate", run) == 2


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, original, capsys):
    marker = tmp_path / "owned"
    save(tmp_path / "m.pt", original, FIELDS, extra=Payload(marker))
    assert run_script("import-torch", [str(tmp_path / "m.pt"), str(tmp_path / "run")]) == 2
    assert "refused, it would load" in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


def test_a_class_of_another_name_is_refused(tmp_path, original, capsys):
    config = as_original_class("gpt_model")
    type(config).__name__ = type(config).__qualname__ = "Config"
    sys.modules["gpt_model"].Config = type(config)
    save(tmp_path / "m.pt", original, config)
    assert run_script("import-torch", [str(tmp_path / "m.pt"), str(tmp_path / "run")]) == 2
    assert "gpt_model.Config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_bytes(b"not a checkpoint"), "not a readable PyTorch checkpoint"),
        (lambda p: p.write_bytes(p.read_bytes()[:2000]), "not a readable PyTorch checkpoint"),
        (lambda p: torch.save({"weights": {}}, p), "no 'model_state_dict'"),
        (lambda p: torch.save({"model_state_dict": {}, "config": {}}, p), "its config lacks sequence_len"),
        (lambda p: torch.save({"model_state_dict": {}, "config": FIELDS}, p), "no parameter"),
        (lambda p: torch.save({"model_state_dict": {}, "config": FIELDS | {"n_embd": 33}}, p), "n_embd=33"),
    ],
)
def test_what_is_no_original_checkpoint_is_refused(tmp_path, original, capsys, harm, says):
    save(tmp_path / "m.pt", original, FIELDS)
    harm(tmp_path / "m.pt")
    assert run_script("import-torch", [str(tmp_path / "m.pt"), str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()

"""What README.md and docs/data.md tell readers with prices of their own, as they would type it, in a clean copy."""

import importlib.util
import json
from pathlib import Path

import pytest
from pages import blocks, type_all

pytestmark = pytest.mark.slow


def save_original_checkpoint(path: Path) -> None:
    import torch

    from benchmarks.torch_gpt import GPTConfig, TorchGPT

    config = GPTConfig(n_layer=1, n_embd=64)
    torch.save({"model_state_dict": TorchGPT(config).state_dict(), "config": vars(config)}, path)


def test_every_readme_command_for_own_data_works_as_typed(clone):
    place, environment = clone
    _, _, *own = blocks("README.md")
    typed = [command for block in own for command in block]
    if importlib.util.find_spec("torch") is not None:  # an extra; CI installs it
        save_original_checkpoint(place / "best_model.pt")
    else:
        typed = [command for command in typed if not command.startswith("mqc import-torch")]
    type_all(typed, place, environment)


def test_from_my_csv_to_a_trained_model_in_five_commands(clone):
    place, environment = clone
    (typed,) = blocks("docs/data.md")
    assert len(typed) == 5
    type_all(typed, place, environment)
    test = json.loads((place / "runs/prices/report.json").read_text())["test"]
    assert test["n_targets"] > 100
    assert test["nats_per_token"] < test["token_histogram_nats_per_token"] + 0.05
    for picture in ("findings.png", "tokens.png"):
        assert (place / picture).stat().st_size > 10_000

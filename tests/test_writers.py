"""Metrics reach every writer that is asked for, and a run that goes on continues where it stopped."""

import json
import sys
import types
from dataclasses import replace

import pytest

from data_pipeline import BadInput
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.cli import run_script
from mqc_jax.config import TrainConfig
from mqc_jax.run import read_metrics
from mqc_jax.training.writers import PACKAGES, MetricsFile, check_writers, open_writers

CONFIG = {"model": {"n_layer": 1}}


def line(step, **more):
    return {"step": step, "epoch": step // 2, "loss": 5.0 - step / 8, "validation_loss": None, **more}


class FakeRun:
    """A run as wandb and trackio hand it out."""

    def __init__(self, **asked):
        self.asked, self.logged, self.finished = asked, [], False

    def log(self, metrics, step):
        assert not self.finished
        self.logged.append((step, metrics))

    def finish(self):
        print("a service says goodbye")
        self.finished = True


@pytest.fixture
def service(monkeypatch, request):
    """A stand-in for the package `request.param`; its name, and the runs it has started."""
    runs = []

    def init(**asked):
        print("a service says hello")
        runs.append(FakeRun(**asked))
        return runs[-1]

    module = types.SimpleNamespace(init=init, Settings=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, request.param, module)
    return request.param, runs


def test_the_file_keeps_what_the_checkpoint_has_seen_and_goes_on_behind_it(tmp_path):
    file = MetricsFile(tmp_path, keep_through_step=0)
    for step in (2, 4, 6):
        file.write(line(step))
    with open(tmp_path / "metrics.jsonl", "a") as torn:
        torn.write('{"step": 8, "lo')
    again = MetricsFile(tmp_path, keep_through_step=4)
    assert read_metrics(tmp_path) == [line(2), line(4)]
    again.write(line(6, loss=1.0))
    assert read_metrics(tmp_path) == [line(2), line(4), line(6, loss=1.0)]


def test_the_file_is_there_without_any_other_writer(tmp_path):
    with open_writers((), tmp_path, CONFIG, 0, print) as write:
        write(line(2))
    assert read_metrics(tmp_path) == [line(2)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("service", ["wandb", "trackio"], indirect=True)
def test_a_service_gets_every_number_and_a_resumed_run_is_the_same_run(tmp_path, service, capsys):
    name, runs = service
    out = tmp_path / "run"
    out.mkdir()
    with open_writers([name], out, CONFIG, 0, print) as write:
        write(line(2))
        write(line(4, validation_loss=4.8))
    with open_writers([name], out, CONFIG, 4, print) as write:
        write(line(6))
    first, second = runs
    assert first.logged == [
        (2, {"epoch": 1, "loss": 4.75}),
        (4, {"epoch": 2, "loss": 4.5, "validation_loss": 4.8}),
    ]
    assert [step for step, _ in second.logged] == [6]
    assert first.finished
    assert second.finished
    identity = "id" if name == "wandb" else "name"
    assert first.asked[identity] == second.asked[identity]
    assert first.asked["resume"] == second.asked["resume"] == "allow"
    assert first.asked["config"] == CONFIG
    assert read_metrics(out) == [line(2), line(4, validation_loss=4.8), line(6)]
    if name == "trackio":
        assert capsys.readouterr().out == "", "the standard output is the command's: --json - goes there"


@pytest.mark.parametrize("service", ["wandb", "trackio"], indirect=True)
def test_runs_of_one_name_in_two_places_are_two_runs(tmp_path, service):
    name, runs = service
    for place in ("a", "b"):
        out = tmp_path / place / "daily"
        out.mkdir(parents=True)
        with open_writers([name], out, CONFIG, 0, print) as write:
            write(line(2))
    identity = "id" if name == "wandb" else "name"
    assert runs[0].asked[identity] != runs[1].asked[identity]


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_a_service_is_closed_when_training_fails(tmp_path, service):
    with pytest.raises(ZeroDivisionError), open_writers(["wandb"], tmp_path, CONFIG, 0, print) as write:
        write(line(2))
        raise ZeroDivisionError
    assert service[1][0].finished


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_a_service_that_does_not_start_is_one_line(tmp_path, service, monkeypatch):
    def no_key(**_):
        raise RuntimeError("No API key configured.")

    monkeypatch.setattr(sys.modules["wandb"], "init", no_key)
    with pytest.raises(BadInput, match=r"--log_to wandb did not start \(No API key configured\.\)"):
        open_writers(["wandb"], tmp_path, CONFIG, 0, print).__enter__()


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
@pytest.mark.parametrize("where", ["log", "finish"])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space\nleft"), KeyError()])
def test_a_service_that_fails_is_dropped_with_one_warning_and_the_file_goes_on(
    tmp_path, service, monkeypatch, where, error
):
    tried, said = [], []

    def failing(self, *_, **__):
        tried.append(where)
        raise error

    monkeypatch.setattr(FakeRun, where, failing)
    with open_writers(["wandb"], tmp_path, CONFIG, 0, said.append) as write:
        write(line(2))
        write(line(4))
    assert read_metrics(tmp_path) == [line(2), line(4)]
    assert len(tried) == len(said) == 1
    assert "\n" not in said[0]
    reason = " ".join(str(error).split()) or "KeyError"
    assert said == [f"warning: --log_to wandb failed ({reason}); metrics.jsonl goes on without it"]


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_the_file_of_metrics_may_not_fail(tmp_path, service, monkeypatch):
    def full(self, line):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MetricsFile, "write", full)
    with pytest.raises(OSError, match="No space"), open_writers(["wandb"], tmp_path, CONFIG, 0, print) as write:
        write(line(2))
    assert service[1][0].finished


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_a_service_that_dies_under_training_costs_no_epoch(tmp_path, service, monkeypatch, capsys):
    def dead(self, metrics, step):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(FakeRun, "log", dead)
    short = ["--config", "tiny", "--num_epochs", "2", "--data", "synthetic:garch?symbols=1&bars=400"]
    assert run_script("train", [*short, "--log_to", "wandb", "--out", str(tmp_path / "r")]) == 0
    assert capsys.readouterr().out.count("--log_to wandb failed") == 1
    assert [line["epoch"] for line in read_metrics(tmp_path / "r")] == [1, 2]
    with Checkpoints(tmp_path / "r" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest == read_metrics(tmp_path / "r")[-1]["step"]


class FakeSummaryWriter:
    """The calls of tensorboardX that are used, as event files would keep them."""

    opened: list = []  # noqa: RUF012

    def __init__(self, logdir, purge_step, filename_suffix):
        self.file = logdir, filename_suffix
        self.logdir, self.purge_step, self.scalars, self.texts, self.closed = logdir, purge_step, [], [], False
        self.unflushed = 0
        self.opened.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))
        self.unflushed += 1

    def add_text(self, name, text, step):
        self.texts.append(text)

    def flush(self):
        self.unflushed = 0

    def close(self):
        self.closed = True


def test_tensorboard_gets_scalars_at_once_and_later_steps_are_purged_on_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeSummaryWriter, "opened", [])
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=FakeSummaryWriter))
    for step in (0, 4):
        with open_writers(["tensorboard"], tmp_path, CONFIG, step, print) as write:
            write(line(step + 2))
            assert FakeSummaryWriter.opened[-1].unflushed == 0
    first, second = FakeSummaryWriter.opened
    assert first.logdir == second.logdir == str(tmp_path / "tensorboard")
    assert first.file != second.file, "a file of the same second would be written over"
    assert first.scalars == [("epoch", 1, 2), ("loss", 4.75, 2)]
    assert '"n_layer": 1' in first.texts[0]
    assert second.purge_step == 5, "steps behind the checkpoint are seen again"
    assert first.closed
    assert second.closed


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_with_its_mend(name, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(BadInput, match=rf"--log_to {name} needs {PACKAGES[name]}; pip install 'mqc-jax\[{name}\]'"):
        check_writers([name])


def test_a_missing_package_stops_training_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run_script("train", ["--config", "tiny", "--log_to", "wandb"]) == 2
    assert "pip install 'mqc-jax[wandb]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_writers_are_refused_and_spaces_and_repeats_are_not():
    with pytest.raises(ValueError, match="'tensorbord' is no writer; choose from tensorboard, wandb, trackio"):
        TrainConfig(log_to="wandb,tensorbord")
    assert TrainConfig(log_to=" wandb, tensorboard,wandb,").writers == ("wandb", "tensorboard")
    assert replace(TrainConfig(), log_to="").writers == ()


def test_every_writer_has_an_extra_that_installs_it():
    import tomllib

    from conftest import ROOT

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, package in PACKAGES.items():
        assert any(required.startswith(package) for required in extras[name]), json.dumps(extras)

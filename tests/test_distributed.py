"""What one of several processes meets, all end with: two, played one after the other over a store that is a dict."""

import itertools
import re
import sys
from functools import partial
from types import SimpleNamespace

import jax
import pytest
from conftest import ROOT

from data_pipeline.errors import BadInput, SomeFailed, outcome
from mqc_jax.cli import run_script
from mqc_jax.flags import run_command
from mqc_jax.training import distributed
from mqc_jax.training.distributed import at_first

GONE = jax.errors.JaxRuntimeError("UNAVAILABLE: Connection reset by peer")
FULL_MEMORY = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")


@pytest.fixture
def as_process(monkeypatch):
    """Makes this process the one of that number, of two."""
    said = {}
    store = SimpleNamespace(key_value_set=said.__setitem__, blocking_key_value_get=lambda place, _: said[place])
    monkeypatch.setattr(distributed, "_store", lambda: store)
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def become(number):
        monkeypatch.setattr(jax, "process_index", lambda: number)
        monkeypatch.setattr(distributed, "_turns", itertools.count())

    return become


def test_the_others_hear_what_the_first_found(as_process):
    for number in range(2):
        as_process(number)
        assert at_first(lambda: {"step": 3} if distributed.is_first() else pytest.fail("its work alone")) == {"step": 3}


@pytest.mark.parametrize(
    "error, code",
    [
        (BadInput("r exists"), 2),
        (SomeFailed("two of five", 3, {}), 3),
        (OSError(28, "No space left on device", "r/config.json"), 5),
        (PermissionError(13, "Permission denied", "r"), 2),
        (MemoryError(), 5),
        (FULL_MEMORY, 5),
    ],
)
def test_all_end_with_the_line_and_the_exit_code_of_the_first(as_process, capsys, error, code):
    def work():
        raise error

    ended, told = [], []
    for number in range(2):
        as_process(number)
        ended.append(run_command(lambda *_: at_first(work), lambda _: SimpleNamespace(json=None), []))
        told.append(capsys.readouterr().err)
    assert ended == [code, code]
    assert told[0] == told[1]
    assert told[0].count("\n") == 1


def test_a_mistake_of_ours_is_no_success_of_the_others(as_process):
    def work():
        raise ZeroDivisionError("division by zero")

    as_process(0)
    with pytest.raises(ZeroDivisionError):
        at_first(work)
    as_process(1)
    assert run_command(lambda *_: at_first(work), lambda _: SimpleNamespace(json=None), []) == 1


def test_a_closed_pipe_has_its_shells_code():
    assert outcome(BrokenPipeError(32, "Broken pipe")) == ("whoever read the output has gone", 141)


def test_where_one_is_gone_before_there_is_a_run_the_others_end_in_a_line(tmp_path, as_process, monkeypatch, capsys):
    def gone(*_):
        raise GONE

    def leave(code):
        raise SystemExit(code)

    as_process(1)
    monkeypatch.setattr(distributed._store(), "blocking_key_value_get", gone)
    monkeypatch.setattr(distributed, "initialize", lambda *_: None)
    monkeypatch.setattr("os._exit", leave)
    meet = ["--coordinator", "10.0.0.1:1", "--num_processes", "2", "--process_id", "1", "--mesh", "data=1"]
    with pytest.raises(SystemExit) as left:
        run_script("train", ["--config", "tiny", "--out", str(tmp_path / "r"), *meet])
    assert left.value.code == 5
    assert capsys.readouterr().err == (
        "error: another process is gone (UNAVAILABLE: Connection reset by peer); start all again\n"
    )


class FakeRay:
    """Ray on this machine: an actor's method runs at once."""

    util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")

    @staticmethod
    def remote(**resources):
        assert resources == {"num_gpus": 8}

        def actor(kind):
            def method(name):
                return property(lambda self: SimpleNamespace(remote=partial(getattr(kind, name), self)))

            names = [name for name in vars(kind) if not name.startswith("_")]
            return SimpleNamespace(remote=type(kind.__name__, (), {name: method(name) for name in names}))

        return actor

    @staticmethod
    def get(found):
        return found


@pytest.mark.parametrize("there", [False, True])
def test_the_recipe_for_ray_begins_a_run_and_goes_on_with_one_that_is_there(tmp_path, monkeypatch, there):
    _, recipe = (ROOT / "docs/scale.md").read_text().split("## Ray")
    (code,) = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)
    assert "/shared/base" in code
    out = tmp_path / "base"
    if there:
        out.mkdir()
        (out / "config.json").touch()
    started = []
    monkeypatch.setitem(sys.modules, "ray", FakeRay)
    monkeypatch.setattr("subprocess.run", lambda command: started.append(command) or SimpleNamespace(returncode=0))
    exec(code.replace("/shared/base", str(out)), {})
    assert [command[:2] for command in started] == [["python", "train.py"]] * 2
    for number, command in enumerate(started):
        words = dict(itertools.zip_longest(command[2:], command[3:], fillvalue=""))
        assert ("--resume" in words, "--config" in words) == (there, not there)
        assert words["--out"] == str(out)
        assert words["--process_id"] == str(number)

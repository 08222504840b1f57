"""Workers do what they are asked and say nothing: not when they start, not when they work, not at Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
WORK = """
import sys, time
from data_pipeline.engine import start
if __name__ == "__main__":
    try:
        with start(sys.argv[1], 2) as mapper:
            for _ in mapper(time.sleep, [float(text) for text in sys.argv[2:]]):
                print("done", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def work(tmp_path, engine, *seconds):
    script = tmp_path / "work.py"
    script.write_text(WORK)
    command = [sys.executable, str(script), engine, *map(str, seconds)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_workers_are_silent(tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray", reason="the extra 'ray'; CI installs it")
    process = work(tmp_path, engine, 0, 0)
    assert process.communicate(timeout=120) == ("done\ndone\n", "")
    assert process.returncode == 0


def test_ctrl_c_reaches_every_process_and_one_answers(tmp_path):
    process = work(tmp_path, "local", 1, 1, 30)
    assert [process.stdout.readline() for _ in range(2)] == ["done\n"] * 2  # by now both are there, and one is idle
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")

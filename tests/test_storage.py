"""A file is replaced as a whole, and durably, or stays as it is."""

import errno
import os

import pytest

from data_pipeline.storage import read_json, write_json


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_json_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    write_json(tmp_path / "a.json", {"version": 1})
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(os, step, full)
        write_json(tmp_path / "a.json", {"version": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "a.json") == {"version": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    write_json(tmp_path / "a.json", {"name": "Ä"})
    assert read_json(tmp_path / "a.json") == {"name": "Ä"}

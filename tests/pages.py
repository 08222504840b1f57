"""The commands of a page, typed one after another as a reader would."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from conftest import ROOT

NOT_HERE = ("git clone", "cd ", "make test", "source ")  # tests of pages are part of `make test`


def blocks(page: str) -> list[list[str]]:
    """The commands of each block of the page."""
    found = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [[line for text in block.splitlines() if (line := _command(text))] for block in found]


def type_all(commands: list[str], place: Path, environment: dict[str, str]) -> None:
    """Each must end well."""
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"


def _command(text: str) -> str:
    line = text.split("  #")[0].strip()
    return "" if line.startswith(("#", *NOT_HERE)) else line

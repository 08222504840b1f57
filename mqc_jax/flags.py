"""Commands: a dataclass of flags, a function, one way to parse, print and fail."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import tyro
from rich.console import Console

from data_pipeline.errors import BadInput, MqcError, outcome
from data_pipeline.storage import write_json

Flags = TypeVar("Flags")
CONFIG = (tyro.conf.OmitArgPrefixes,)


def parse(flags: type[Flags], argv: Sequence[str], prog: str, default: Flags | None = None) -> Flags:
    """Flags from the command line; `--num_epochs` and `--num-epochs` are the same.

    Raises BadInput with one line for a value of the wrong type or range, or an unknown flag, naming the nearest one.
    """
    names = _names(flags)
    for word in argv:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and name.removeprefix("no_") not in names and name != "help":
            raise BadInput(f"{prog}: unknown flag {word}; {_nearest(name, names, prog)}")
    given: dict[str, Any] = {} if default is None else {"default": default}
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            parsed, unknown = tyro.cli(
                flags,
                args=list(argv),
                prog=prog,
                use_underscores=True,
                config=CONFIG,
                return_unknown_args=True,
                **given,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise BadInput(_first_sentence(stderr.getvalue())) from None
    except ValueError as error:
        raise BadInput(str(error)) from None
    if unknown:
        raise BadInput(f"{prog}: unknown argument {unknown[0]!r}; every value follows its flag, see '{prog} --help'")
    return parsed


def _nearest(flag: str, names: list[str], prog: str) -> str:
    initials = ["".join(part[0] for part in name.split("_")) for name in names]
    near = [name for name, short in zip(names, initials, strict=True) if short == flag]
    near += difflib.get_close_matches(flag, names, 1, 0.5)
    return f"did you mean --{near[0]}?" if near else f"'{prog} --help' lists them"


def _names(flags: Any) -> list[str]:
    """Flag names of a dataclass, those of the dataclasses inside it included."""
    names = []
    for f in fields(flags):
        inner = f.default_factory
        names += _names(inner) if is_dataclass(inner) else [f.name]
    return names


def _first_sentence(box: str) -> str:
    """The message inside the parser's drawn box, on one line."""
    lines = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    message = []
    for line in lines:
        if re.fullmatch("─+", line):
            break
        message.append(line)
    sentence = " ".join(" ".join(message).split()) or " ".join(box.split())
    return re.sub("^Error parsing (model|data|train): ", "", sentence)


def run_command(
    command: Callable[[Any, Console], dict[str, Any]], flags: Callable[[Sequence[str]], Any], argv: Sequence[str]
) -> int:
    """Parse, run, write `--json`, and turn every failure into one line and its exit code (`data_pipeline.errors`)."""
    for library in ("absl", "asyncio"):  # Orbax reports every save, and every failed one by tracebacks
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        parsed = flags(argv)
        if parsed.json not in (None, "-"):
            check_place(parsed.json, "--json")
        to_stdout = parsed.json == "-"
        try:
            figures = command(parsed, Console(stderr=to_stdout, soft_wrap=True, markup=False, highlight=False))
        except MqcError as error:
            if parsed.json and error.figures is not None:
                _write_json(parsed.json, error.figures)
            raise
        if parsed.json and figures:  # of several processes the first has them
            _write_json(parsed.json, figures)
        return 0
    except BrokenPipeError:  # `mqc … | head`: whoever read us has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        told = outcome(error)
        if told is None:
            raise
        line, code = told
        print("error: " + " ".join(line.split()), file=sys.stderr)
        return code


def check_place(path: str, flag: str) -> None:
    """Raise BadInput when `path` cannot be written because its folder is not there."""
    if not Path(path).absolute().parent.is_dir():
        raise BadInput(f"{flag} {path}: no folder {Path(path).parent}; make it first")


def check_picture(path: str, flag: str) -> None:
    """Raise BadInput unless `path` can be written and is named as a picture."""
    check_place(path, flag)
    if not path.endswith(".png"):
        raise BadInput(f"{flag} {path}: pictures are PNG files; give a name that ends in .png")


def check_range(flags: Any, **most: int) -> None:
    """Raise BadInput unless each named flag is from 1 to its bound."""
    for name, bound in most.items():
        if not 1 <= getattr(flags, name) <= bound:
            raise BadInput(f"--{name} {getattr(flags, name)} must be from 1 to {bound}")


def check_seed(seed: int) -> None:
    """Raise BadInput for a seed that JAX cannot take."""
    if not 0 <= seed < 2**32:
        raise BadInput(f"--seed {seed} must be from 0 to {2**32 - 1}")


def _write_json(place: str, figures: dict[str, Any]) -> None:
    if place == "-":
        sys.stdout.write(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        return
    write_json(Path(place), figures)

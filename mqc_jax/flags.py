"""Commands: a dataclass of flags, a function, one way to parse, print and fail."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import tyro
from rich.console import Console

from data_pipeline.errors import BadInput, MqcError, OutOfResources

Flags = TypeVar("Flags")
CONFIG = (tyro.conf.OmitArgPrefixes,)


def parse(flags: type[Flags], argv: Sequence[str], prog: str, default: Flags | None = None) -> Flags:
    """Flags from the command line; `--num_epochs` and `--num-epochs` are the same.

    Raises BadInput with one line for a value of the wrong type or range, or an unknown flag, naming the nearest one.
    """
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
        raise BadInput(f"{prog}: {_unknown(unknown[0], _names(flags), prog)}")
    return parsed


def _unknown(word: str, names: list[str], prog: str) -> str:
    if not word.startswith("-"):
        return f"unknown argument {word!r}; every value follows its flag, see '{prog} --help'"
    flag = word.partition("=")[0].lstrip("-").replace("-", "_")
    initials = ["".join(part[0] for part in name.split("_")) for name in names]
    near = [name for name, short in zip(names, initials, strict=True) if short == flag]
    near += difflib.get_close_matches(flag, names, 1, 0.5)
    hint = f"did you mean --{near[0]}?" if near else f"'{prog} --help' lists them"
    return f"unknown flag {word}; {hint}"


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
    try:
        parsed = flags(argv)
        to_stdout = parsed.json == "-"
        figures = command(parsed, Console(stderr=to_stdout, soft_wrap=True))
        if parsed.json:
            _write_json(parsed.json, figures)
        return 0
    except MqcError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; what was saved before is intact", 130)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return _fail(f"{error.filename or 'disk'}: no space left; free some and run the command again", 5)
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}", 2)
    except MemoryError:
        return _fail("out of memory; try a smaller --batch_size", OutOfResources.exit_code)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return _fail("out of memory on the device; try a smaller --batch_size", OutOfResources.exit_code)
        raise


def _write_json(place: str, figures: dict[str, Any]) -> None:
    text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    if place == "-":
        sys.stdout.write(text)
        return
    partial = f"{place}.partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(partial, place)


def _fail(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code

"""The `mqc` command and the three scripts beside it."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from mqc_jax.compiled import keep_compiled

COMMANDS = {
    "train": "fit a model to prices or tokens",
    "evaluate": "score a run on dates it never saw",
    "sample": "draw tokens behind a prompt",
    "forecast": "simulate the next bars of an asset, with bands",
    "predict": "the next close of a file of prices, with its uncertainty",
    "sweep": "train a run per depth, and compare them by their compute",
    "plot": "draw the learning curves of runs",
    "known-answer": "measure what a model loses on processes whose law is known",
    "data": "fetch, check and tokenize prices",
    "import-torch": "bring in a checkpoint of the original PyTorch project",
}
GROUPS = {
    "data": {
        "fetch": "prices from Yahoo into the local store",
        "list": "what is in the local store",
        "check": "look for gaps, bad prices, unadjusted splits and more",
        "prepare": "prices to a token dataset, ready for train.py --data",
        "tokenize": "prices to a table of tokens, by a tokenizer that is there",
        "decode": "tokens back to returns and prices",
        "analyze": "entropy, transitions, frequent runs and outliers of tokens",
    }
}
ALIASES = {"eval": "evaluate", "generate": "sample"}  # what the original's users type


def run_script(command: str, argv: Sequence[str]) -> int:
    """Run one command with its arguments and return its exit code."""
    keep_compiled()
    try:  # the imports take seconds, in which Ctrl-C comes too
        from mqc_jax.flags import run_command

        module = importlib.import_module(f"mqc_jax.commands.{command.replace('-', '_')}")
        return run_command(module.run, module.flags, argv)
    except KeyboardInterrupt:
        print("error: interrupted; what was saved before is intact", file=sys.stderr)
        return 130


def main(argv: Sequence[str] | None = None) -> int:
    """`mqc COMMAND …`; the exit codes are those of `data_pipeline.errors`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return _dispatch("mqc", COMMANDS, "", argv)


def _dispatch(prog: str, commands: dict[str, str], folder: str, argv: list[str]) -> int:
    """Run the command that `argv` begins with, from `mqc_jax.commands` or a folder in it."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(f"usage: {prog} COMMAND [flags]; '{prog} COMMAND --help' lists the flags\n")
        print("\n".join(f"  {name:<14}{what}" for name, what in commands.items()))
        return 0 if argv else 2
    command = argv[0] if folder else ALIASES.get(argv[0], argv[0])
    if command not in commands:
        near = difflib.get_close_matches(command, [*commands, *(() if folder else ALIASES)], 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(commands)}"
        print(f"error: {prog}: unknown command {argv[0]}; {hint}", file=sys.stderr)
        return 2
    if command in GROUPS:
        return _dispatch(f"{prog} {command}", GROUPS[command], f"{command}.", argv[1:])
    return run_script(folder + command, argv[1:])


if __name__ == "__main__":
    sys.exit(main())

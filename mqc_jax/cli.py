"""The `mqc` command and the three scripts beside it."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "fit a model to prices or tokens",
    "evaluate": "score a run on dates it never saw",
    "sample": "draw tokens behind a prompt",
    "forecast": "simulate the next bars of an asset, with bands",
    "data": "prepare token datasets from prices",
    "import-torch": "bring in a checkpoint of the original PyTorch project",
}
ALIASES = {"eval": "evaluate", "generate": "sample"}  # what the original's users type


def run_script(command: str, argv: Sequence[str]) -> int:
    """Run one command with its arguments and return its exit code."""
    from mqc_jax.flags import run_command

    module = importlib.import_module(f"mqc_jax.commands.{command.replace('-', '_')}")
    return run_command(module.run, module.flags, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """`mqc COMMAND …`; the exit codes are those of `data_pipeline.errors`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print("usage: mqc COMMAND [flags]; 'mqc COMMAND --help' lists the flags\n")
        print("\n".join(f"  {name:<14}{what}" for name, what in COMMANDS.items()))
        return 0 if argv else 2
    command = ALIASES.get(argv[0], argv[0])
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, [*COMMANDS, *ALIASES], 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        print(f"error: mqc: unknown command {argv[0]}; {hint}", file=sys.stderr)
        return 2
    return run_script(command, argv[1:])


if __name__ == "__main__":
    sys.exit(main())

"""python evaluate.py --help lists the flags; the work is in mqc_jax/commands/evaluate.py."""

import sys

from mqc_jax.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("evaluate", sys.argv[1:]))

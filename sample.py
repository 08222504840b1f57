"""python sample.py --help lists the flags; the work is in mqc_jax/commands/sample.py."""

import sys

from mqc_jax.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("sample", sys.argv[1:]))

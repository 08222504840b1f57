"""What the best estimator loses on a Markov chain: python -m benchmarks.markov_bound [--n_tokens 18760] [--json FILE]

The rows of S1's matrix are drawn from a flat Dirichlet law. Who knows that, and that one token back is all that counts,
predicts by the posterior mean, (count + 1) / (sum + K), and nobody does better on average. The excess is exact for each
draw of the counts; the figures are mean and standard deviation over draws.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.rounds import report
from mqc_jax.evaluation.known_answer import TASKS
from mqc_jax.evaluation.known_answer.floors import divergence
from mqc_jax.evaluation.known_answer.markov import MarkovTokens


def excess(task: MarkovTokens, n_tokens: int, rng: np.random.Generator) -> float:
    """Mean divergence of the posterior mean from the true law after `n_tokens`, nats per token."""
    seen_S = rng.multinomial(n_tokens, task.stationary)
    counts_SK = np.stack([rng.multinomial(n, row) for n, row in zip(seen_S, task.transition, strict=True)]) + 1
    lost_S = divergence(task.transition, np.log(counts_SK / counts_SK.sum(axis=1, keepdims=True)))
    return float(task.stationary @ lost_S)


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--n_tokens", type=int, default=18_760, help="training tokens")
    flags.add_argument("--draws", type=int, default=100)
    flags.add_argument("--json", help="write the figures to this file")
    args = flags.parse_args()
    task = TASKS["S1"]
    if not isinstance(task, MarkovTokens):
        raise TypeError("S1 is no Markov chain")
    found = [excess(task, args.n_tokens, np.random.default_rng(seed)) for seed in range(args.draws)]
    figures = {"n_tokens": args.n_tokens, "draws": args.draws}
    figures |= {"excess_nats_mean": float(np.mean(found)), "excess_nats_deviation": float(np.std(found))}
    report(figures, args.json)


if __name__ == "__main__":
    main()

"""The original's tokenizer, made causal: a VQ-VAE over patches of normalised log returns.

An encoder reads a patch and the eight before it; the token is the number of the nearest of K learned codes. A decoder
reads codes in the same way and gives returns. What differs from the original: the convolutions look back only, the
normalisation and the network are fitted on training dates only, and the patch length is part of what is saved.

There is no likelihood of returns here. The returns that share a code are a region that depends on the past and has no
formula, so probabilities of tokens are no distribution over returns, and a model of these tokens cannot be scored in
bits against GARCH. Those of the tokenizers with bins can.

Nor are there tails: what is worse than the training dates becomes about the worst of them, or less. Trained on the
S&P 500 of 1999 to 2012, whose worst day was −7 standard deviations, a day of −20 decodes to between −3 and −7. Do not
read risk off these tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers.vqvae.arithmetic import (
    LIMIT,
    WIDEST,
    WIDEST_CODE,
    fixed_point,
    read_fixed_point,
    relative_distances,
    rounded,
    squash,
    unsquash,
)
from data_pipeline.tokenizers.vqvae.report import reconstruction_figures

if TYPE_CHECKING:  # JAX and Flax are imported when a tokenizer is fitted or opened, not with the data pipeline
    from data_pipeline.tokenizers.vqvae.network import Stack

CHUNK = 2048  # patches at a time: memory stays flat however long the history
PATCHES_PER_CODE = 4  # that a fit needs
RANGES = {
    "codes": (2, 4096),
    "code_dim": (1, WIDEST_CODE),
    "hidden": (1, WIDEST),
    "patch": (1, WIDEST),
    "epochs": (1, 10_000),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True, eq=False)
class VQVAETokenizer:
    """One token for `patch` returns. Tokens and returns depend on the past only, exactly: see arithmetic.py."""

    patch: int
    mean: float  # of training returns; log return per bar
    scale: float  # their standard deviation
    encoder: Stack  # (T, patch) to (T, D)
    decoder: Stack  # (T, D) to (T, patch)
    codes: np.ndarray  # (K, D)
    kind: ClassVar[str] = "vqvae"
    exact_likelihood: ClassVar[bool] = False

    @classmethod
    def fit(
        cls,
        training_returns: Sequence[np.ndarray],
        *,
        codes: int = 128,
        code_dim: int = 32,
        hidden: int = 64,
        patch: int = 2,
        epochs: int = 50,
        seed: int = 0,
    ) -> Self:
        """Fit on the training dates of each asset; one array of log returns per asset.

        An epoch is a fixed number of windows drawn at random, so the time does not grow with the data. The same
        arguments give the same tokenizer on the same machine.

        Raises BadInput for arguments out of range, returns that are not finite, and too few returns.
        """
        _check_ranges(codes=codes, code_dim=code_dim, hidden=hidden, patch=patch, epochs=epochs, seed=seed)
        from data_pipeline.tokenizers.vqvae.network import fixed_point_stack
        from data_pipeline.tokenizers.vqvae.train import WINDOW, train

        checked = [_checked(r, f"asset {i} of {len(training_returns)}: ") for i, r in enumerate(training_returns)]
        usable = [r for r in checked if len(r) >= WINDOW * patch]
        found, needed = sum(map(len, usable)), max(PATCHES_PER_CODE * codes, WINDOW) * patch
        if found < needed:
            raise BadInput(
                f"{found} training returns in assets of at least {WINDOW * patch}; {codes} codes of {patch} returns "
                f"need {needed}; give a longer history or fewer codes"
            )
        mean = sum(float(r.sum()) for r in usable) / found
        scale = (sum(float(((r - mean) ** 2).sum()) for r in usable) / found) ** 0.5
        if max(map(np.ptp, usable)) == 0 or scale == 0:
            raise BadInput("the price never moves in the training dates; there is nothing to learn from it")
        state = train(
            usable, mean, scale, codes=codes, code_dim=code_dim, hidden=hidden, patch=patch, epochs=epochs, seed=seed
        )
        encoder, decoder = (fixed_point_stack(stack) for stack in state.stacks)
        return cls(patch, mean, scale, encoder, decoder, fixed_point(state.codebook.codes))

    @property
    def typical_volatility(self) -> float:
        """Of a patch of training returns; log return."""
        return self.scale * self.patch**0.5

    @property
    def vocab_size(self) -> int:
        return len(self.codes)

    @property
    def receptive_field(self) -> int:
        """How many returns, those of its own patch included, a token depends on."""
        return (self.encoder.context + 1) * self.patch

    def encode(self, returns: np.ndarray) -> np.ndarray:
        """Tokens of one asset's log returns, (T,) to (T // patch,).

        Token i depends on returns[: (i + 1) * patch] only; a last patch that is not complete gets no token.
        Raises BadInput for returns that are not finite.
        """
        returns = _checked(returns)

        def tokens_of(patches: np.ndarray) -> np.ndarray:
            z = self.encoder(rounded(squash(patches, self.mean, self.scale)), rounded)
            return relative_distances(z, self.codes).argmin(-1)

        whole = returns[: len(returns) // self.patch * self.patch].reshape(-1, self.patch)
        return _in_chunks(tokens_of, whole, self.encoder.context)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Representative log returns, (N,) to (N * patch,); those of token i depend on the tokens up to i only.

        Raises BadInput for what is no token of this codebook.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise BadInput(f"tokens are {tokens.dtype} of shape {tokens.shape}; give one row of whole numbers")
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise BadInput(
                f"tokens run from {tokens.min()} to {tokens.max()}, the codes from 0 to {self.vocab_size - 1}; "
                "decode with the tokenizer that made them"
            )

        def returns_of(tokens: np.ndarray) -> np.ndarray:
            return unsquash(self.decoder(self.codes[tokens], rounded), self.mean, self.scale)

        return _in_chunks(returns_of, tokens, self.decoder.context).ravel()

    def reconstruction(self, returns: Sequence[np.ndarray]) -> dict[str, float]:
        """What encoding and decoding keeps of the log returns of each asset, pooled.

        For the figures, see report.py. Raises BadInput when there is no whole patch, or no move in it.
        """
        tokens = [self.encode(r) for r in returns]
        real = np.concatenate([r[: len(t) * self.patch] for r, t in zip(returns, tokens, strict=True)])
        if not len(real) or np.ptp(np.abs(real)) == 0:
            raise BadInput(f"there is no whole patch of {self.patch} returns that move; give a longer history")
        counts = np.bincount(np.concatenate(tokens), minlength=self.vocab_size)
        return reconstruction_figures(counts, real, np.concatenate([self.decode(t) for t in tokens]))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "patch": self.patch,
            "mean": self.mean,
            "scale": self.scale,
            "encoder": self.encoder.to_json(),
            "decoder": self.decoder.to_json(),
            "codes": self.codes.tolist(),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Rebuild from `to_json`. Raises ValueError for what cannot be a tokenizer."""
        from data_pipeline.tokenizers.vqvae.network import Stack

        try:
            patch, mean, scale = int(fields["patch"]), float(fields["mean"]), float(fields["scale"])
            encoder, decoder = Stack.from_json(fields["encoder"]), Stack.from_json(fields["decoder"])
            codes = read_fixed_point(fields["codes"], 2, LIMIT)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"a field is missing or has the wrong type: {error!r}") from None
        if not (patch == fields["patch"] and np.isfinite(mean) and 0 < scale < np.inf):
            raise ValueError(f"patch {fields['patch']!r}, mean {mean} and scale {scale} cannot be")
        code_dim = codes.shape[1]
        if code_dim > WIDEST_CODE:
            raise ValueError(f"codes are {code_dim} wide, the most is {WIDEST_CODE}")
        if encoder.widths != (patch, code_dim) or decoder.widths != (code_dim, patch) or len(codes) < 2:
            raise ValueError(
                f"an encoder of {encoder.widths}, a decoder of {decoder.widths}, codes of {codes.shape} and "
                f"patch {patch} do not fit together"
            )
        return cls(patch, mean, scale, encoder, decoder, codes)


def _check_ranges(**arguments: int) -> None:
    for name, value in arguments.items():
        low, high = RANGES[name]
        if not (isinstance(value, int) and low <= value <= high):
            raise BadInput(f"{name}={value} is out of range; give a whole number from {low} to {high}")


def _checked(returns: np.ndarray, where: str = "") -> np.ndarray:
    returns = np.asarray(returns, np.float64)
    if returns.ndim != 1:
        raise BadInput(f"{where}returns have shape {returns.shape}; give one row of log returns per asset")
    bad = np.flatnonzero(~np.isfinite(returns))
    if len(bad):
        raise BadInput(f"{where}return {bad[0]} is {returns[bad[0]]}; drop the bars without a price first")
    return returns


def _in_chunks(function: Callable[[np.ndarray], np.ndarray], steps: np.ndarray, context: int) -> np.ndarray:
    """`function` of the steps, CHUNK at a time, each chunk with the `context` steps before it that it depends on."""
    if not len(steps):
        return function(steps)
    chunks = []
    for start in range(0, len(steps), CHUNK):
        low = max(0, start - context)
        chunks.append(function(steps[low : start + CHUNK])[start - low :])
    return np.concatenate(chunks)

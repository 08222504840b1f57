"""Presets, one module each: what it is, how long it takes, what to expect."""

from configs import base, daily, reference, seed, tiny
from mqc_jax.config import Config

PRESETS: dict[str, Config] = {
    "daily": daily.CONFIG,
    "base": base.CONFIG,
    "tiny": tiny.CONFIG,
    "seed": seed.CONFIG,
    "reference": reference.CONFIG,
}

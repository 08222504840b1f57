"""Which precision of matrix products this machine is made for."""

from __future__ import annotations

import re
from typing import Literal

import jax

from mqc_jax.machine import cpu_features

Precision = Literal["float32", "bfloat16"]


def native_precision() -> Precision:
    """bfloat16 where the default device multiplies it in hardware, else float32."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return "bfloat16" if cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"
    if device.platform == "gpu":
        return "bfloat16" if is_ampere_or_newer() else "float32"
    return "bfloat16"


def is_ampere_or_newer() -> bool:
    """Whether the default device is a GPU of NVIDIA with bfloat16 and its fused kernels; others tell no such number."""
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return bool(re.fullmatch(r"[0-9]+\.[0-9]+", capability)) and float(capability) >= 8

"""Which precision of matrix products this machine is made for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import jax

Precision = Literal["float32", "bfloat16"]


def native_precision() -> Precision:
    """bfloat16 where the default device multiplies it in hardware, else float32."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return "bfloat16" if _cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"
    if device.platform == "gpu":
        return "bfloat16" if is_ampere_or_newer() else "float32"
    return "bfloat16"


def is_ampere_or_newer() -> bool:
    """Whether the default device is a GPU of NVIDIA with bfloat16 and its fused kernels; others tell no such number."""
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return bool(re.fullmatch(r"[0-9]+\.[0-9]+", capability)) and float(capability) >= 8


def _cpu_features() -> set[str]:
    """Words that the system uses for what the processor can do; none where it does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}

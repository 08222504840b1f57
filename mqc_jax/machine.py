"""What the system tells of the processor; no import of JAX, which some must come before."""

from __future__ import annotations

from pathlib import Path


def cpu_features() -> frozenset[str]:
    """Words for the instructions that the processor has, like avx512_bf16; none where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith(("flags", "Features")) for word in line.split())

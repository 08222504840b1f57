"""How much arithmetic training takes, and what share of the device's peak it gets."""

from __future__ import annotations

from typing import Protocol

from mqc_jax.config import ModelConfig

# Peak of dense bfloat16 products with float32 sums, FLOP/s per device as JAX counts them: the makers' data sheets,
# halved where they give the figure with sparsity. The first part of a device's kind that is found counts.
PEAKS = (
    ("GB200", 2500e12),  # nvidia.com/en-us/data-center/gb200-nvl72
    ("B200", 2250e12),  # nvidia.com/en-us/data-center/hgx
    ("H200", 989e12),  # SXM, and GH200; nvidia.com/en-us/data-center/h200
    ("H100 PCIe", 756e12),  # nvidia.com/en-us/data-center/h100
    ("H100 NVL", 835e12),
    ("H100", 989e12),  # SXM
    ("A100", 312e12),  # nvidia.com/en-us/data-center/a100
    ("L40S", 362e12),  # nvidia.com/en-us/data-center/l40s
    ("L40", 181e12),  # nvidia.com/en-us/data-center/l40
    ("L4", 121e12),  # nvidia.com/en-us/data-center/l4
    ("A10G", 70e12),  # NVIDIA A10G data sheet
    ("RTX 5090", 209.5e12),  # NVIDIA RTX Blackwell GPU architecture, appendix A
    ("RTX 4090", 165.2e12),  # NVIDIA Ada GPU architecture, appendix A
    ("RTX 3090", 71e12),  # NVIDIA Ampere GA102 GPU architecture, appendix A
    ("MI300X", 1307.4e12),  # amd.com/en/products/accelerators/instinct/mi300/mi300x.html
    ("TPU v6 lite", 918e12),  # v6e; cloud.google.com/tpu/docs/v6e
    ("TPU v5 lite", 197e12),  # v5e; cloud.google.com/tpu/docs/v5e
    ("TPU v5", 459e12),  # v5p; cloud.google.com/tpu/docs/v5p
    ("TPU v4", 275e12),  # cloud.google.com/tpu/docs/v4
)


class Device(Protocol):
    """What JAX tells of a device."""

    @property
    def platform(self) -> str: ...

    @property
    def device_kind(self) -> str: ...


def train_flops_per_token(config: ModelConfig, n_parameters: int) -> int:
    """FLOPs of a forward and a backward pass per training token.

    Six per parameter that is multiplied: an embedding that is looked up is not, the ordinal one is. And those of causal
    attention, 6 · layers · width · context: half of 12, for a token sees half of its window on average (Kaplan et al.
    2020, section 2.1; Chowdhery et al. 2022, PaLM, appendix B). Norms, softmax and the optimizer are left out.
    """
    looked_up = 0 if config.ordinal else config.padded_vocab_size * config.n_embd
    return 6 * (n_parameters - looked_up) + 6 * config.n_layer * config.n_embd * config.sequence_len


def peak_flops(device: Device) -> float | None:
    """Peak FLOP/s of a device in bfloat16; None for a CPU, and for what is not in the table."""
    if device.platform == "cpu":
        return None
    return next((peak for part, peak in PEAKS if part in device.device_kind), None)


def mfu(tokens_per_second: float, flops_per_token: float, device: Device) -> float | None:
    """Model FLOPs utilization of one device: the share of its peak that goes into training; None without a peak.

    Against the bfloat16 peak whatever the precision, as the field reports it.
    """
    peak = peak_flops(device)
    return None if peak is None else tokens_per_second * flops_per_token / peak

"""Which device JAX computes on."""

from __future__ import annotations

from typing import Literal

import jax

from data_pipeline.errors import BadInput

Device = Literal["auto", "cpu", "gpu", "tpu"]


def use_device(device: Device) -> None:
    """Let JAX choose, or insist. Raises BadInput when there is no such device."""
    if device != "auto":
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(device, device))
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # without a GPU, JAX merely asserts that it found something
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise BadInput(f"--device {device}: no such device here{reason}; leave it out to use what there is") from None

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
    except RuntimeError as error:
        raise BadInput(f"--device {device}: {str(error).splitlines()[0]}; leave it out to use what there is") from None

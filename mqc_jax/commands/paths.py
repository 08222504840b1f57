"""Of which runs paths can be drawn."""

from __future__ import annotations

from typing import Any

from data_pipeline.errors import BadInput


def check_paths(run: str, manifest: dict[str, Any]) -> None:
    """Raise BadInput for a run whose tokens do not simply follow one another."""
    if manifest.get("options", {}).get("layout") == "interleaved":
        raise BadInput(f"{run}: its assets take turns, so no path of one can be drawn yet; train on --layout by_asset")
    intraday = any(asset.get("interval", "1d")[-1] not in "dwo" for asset in manifest["assets"])
    if manifest.get("special_tokens") and intraday:
        raise BadInput(
            f"{run}: paths through the opens and closes of sessions, which its special tokens mark, cannot be drawn "
            "yet; train without --special_tokens, --clock tells of sessions too"
        )

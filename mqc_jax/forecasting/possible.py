"""What can be forecast by which run."""

from __future__ import annotations

from typing import Any

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers import ReturnTokenizer, Tokenizer, VQVAETokenizer
from data_pipeline.tokenizers.scaling import WITHIN_BAR


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


def return_tokenizer(run: str, tokenizer: Tokenizer, manifest: dict[str, Any]) -> ReturnTokenizer:
    """The tokenizer, when it knows returns. Raises BadInput for a run that cannot be forecast from."""
    if isinstance(tokenizer, VQVAETokenizer):
        raise BadInput(
            f"{run}: vqvae tokens have no exact likelihood of returns, and no paths are drawn from them yet; train "
            "with another --tokenizer"
        )
    if not isinstance(tokenizer, ReturnTokenizer) or "options" not in manifest:
        raise BadInput(f"{run}: trained on bare token ids, so nothing is known of prices; train on prices")
    check_paths(run, manifest)
    return tokenizer


def check_prices(run: str, manifest: dict[str, Any]) -> None:
    """Raise BadInput for a run that knows no move from one bar to the next."""
    if manifest["options"]["signal"] in WITHIN_BAR:
        raise BadInput(f"{run}: knows moves within bars only, so no price over several; use log_return")

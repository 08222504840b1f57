"""Patches of returns to codes of a learned codebook, and back."""

from data_pipeline.tokenizers.vqvae.tokenizer import VQVAETokenizer

__all__ = ["VQVAETokenizer"]

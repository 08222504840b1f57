"""Token ids that came without returns: the seed's `all_tokens.txt`, or an imported checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class TokenIds:
    """A vocabulary whose ids mean nothing to us: no returns, no scores in return space."""

    vocab_size: int
    kind: ClassVar[str] = "ids"
    exact_likelihood: ClassVar[bool] = False

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocab_size": self.vocab_size}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        return cls(fields["vocab_size"])

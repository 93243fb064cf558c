"""What an encoder has on top of its hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Heads:
    """Which heads a model has; none of them: it gives hidden states only. A classifier has none of pretraining."""

    mlm: bool = False
    """Tells masked tokens."""
    nsp: bool = False
    """Tells whether the second half of a pair follows the first (Devlin et al., 2018, arXiv 1810.04805); BERT alone."""
    labels: tuple[str, ...] = ()
    """Names of the classes that it tells apart, in the order of their numbers."""
    pooler: bool = False
    """Keeps BERT's pooler where no head reads it, as `BertModel` does."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # plain data has lists
        assert not (self.labels and (self.mlm or self.nsp))

    @property
    def has_pooler(self) -> bool:
        """Whether BERT has a pooler: the heads that judge a whole piece read what it makes of the first token."""
        return self.pooler or self.nsp or bool(self.labels)

    def plain(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"mlm": self.mlm, "nsp": self.nsp, "labels": list(self.labels), "pooler": self.pooler}

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Heads:
        """What `plain` gave."""
        return cls(**value)

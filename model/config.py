"""The shape of a decoder: the YAML section `model`, with the names that `transformers` configs use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from foundation.errors import did_you_mean
from foundation.section import Section
from model import presets

FEED_FORWARD_MULTIPLE = 64  # a derived feed-forward width is rounded up to this, for the matmul kernels


class ModelConfig(Section):
    """Hyperparameters of the decoder. The vocabulary is not here: it comes from the tokenizer."""

    FREE: ClassVar[frozenset[str]] = frozenset({"preset"})
    """What a resumed run may change: a name. The sizes it stands for are compared."""

    preset: str | None = Field(
        default=None,
        description="architecture by name (python -m model.presets lists them), or auto: the largest that this machine "
        "trains; it replaces the sizes in this file, flags win over it; null: the sizes below",
    )
    hidden_size: int = Field(default=256, gt=0, description="width of the residual stream")
    num_hidden_layers: int = Field(default=4, gt=0, description="number of transformer blocks")
    num_attention_heads: int = Field(default=8, gt=0, description="query heads of each attention layer")
    num_key_value_heads: int = Field(
        default=4, gt=0, description="key and value heads, each shared by a group of query heads"
    )
    head_dim: int | None = Field(
        default=None, gt=0, description="width of one head; null: hidden_size / num_attention_heads"
    )
    intermediate_size: int | None = Field(
        default=None,
        gt=0,
        description="width of the feed-forward layer; null: 8/3 of hidden_size, up to a multiple of 64",
    )
    max_position_embeddings: int = Field(default=1024, gt=1, description="longest context in tokens")
    rope_theta: float = Field(default=10000.0, gt=0, allow_inf_nan=False, description="base of the rotary embedding")
    rms_norm_eps: float = Field(default=1e-5, gt=0, lt=1, description="added to the mean square in RMSNorm")
    qk_norm: bool = Field(default=False, description="normalise queries and keys per head, as Qwen3 does")
    tie_word_embeddings: bool = Field(default=True, description="use the token embedding as the output head too")
    initializer_range: float = Field(
        default=0.02, gt=0, allow_inf_nan=False, description="standard deviation of initial weights"
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the embeddings, attention weights and block outputs that training sets to zero",
    )

    @classmethod
    def merge(cls, from_file: Mapping[str, Any], from_flags: Mapping[str, Any]) -> dict[str, Any]:
        """A preset stands between the file, whose architecture it replaces, and the flags, which win over it."""
        values = super().merge(from_file, from_flags)
        return presets.merged(values.get("preset"), values, from_flags)

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str | None) -> str | None:
        if name is not None and name != presets.AUTO and name not in presets.PRESETS:
            known = [presets.AUTO, *presets.PRESETS]
            raise ValueError(f"no such preset{did_you_mean(name, known)}; there are {', '.join(known)}")
        return name

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.head_dim if self.head_dim is not None else self.hidden_size // self.num_attention_heads

    @property
    def feed_forward_size(self) -> int:
        """Width of the SwiGLU layer: about 8/3 of the hidden size has the parameters of a 4x plain one."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        exact = -(-8 * self.hidden_size // 3)
        return -(-exact // FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        problems = []
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            problems.append(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}: change one of them or set head_dim"
            )
        elif self.head_size % 2:
            problems.append(f"a head is {self.head_size} wide, but rotary embeddings need an even width")
        if self.num_attention_heads % self.num_key_value_heads:
            problems.append(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

"""The shape of a model: the YAML section `model`, with the names that `transformers` configs use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from foundation.errors import did_you_mean
from foundation.section import Section
from model import architectures, presets
from model.rope_scaling import RopeScaling, from_text


class ModelConfig(Section):
    """Hyperparameters of the model. The vocabulary is not here: it comes from the tokenizer.

    An architecture has not all of these settings, and some defaults of its own: see `model.architectures`.
    """

    FREE: ClassVar[frozenset[str]] = frozenset({"preset"})
    """What a resumed run may change: a name. The sizes it stands for are compared."""

    preset: str | None = Field(
        default=None,
        description="architecture by name (python -m model.presets lists them), or auto: the largest that this machine "
        "trains; it replaces the sizes in this file, flags win over it; null: the sizes below",
    )
    architecture: Literal["llama", "bert", "modernbert"] | None = Field(
        default=None,
        description="llama: a decoder; bert: the classic encoder; modernbert: an encoder with rotary positions, GeGLU "
        "and local attention; null: llama for the task causal, bert for the others",
    )
    hidden_size: int = Field(default=256, gt=0, description="width of the residual stream")
    num_hidden_layers: int = Field(default=4, gt=0, description="number of transformer blocks")
    num_attention_heads: int = Field(default=8, gt=0, description="query heads of each attention layer")
    num_key_value_heads: int = Field(
        default=4, gt=0, description="key and value heads of a decoder, each shared by a group of query heads"
    )
    head_dim: int | None = Field(
        default=None, gt=0, description="width of a decoder's heads; null: hidden_size / num_attention_heads"
    )
    intermediate_size: int | None = Field(
        default=None,
        gt=0,
        description="width of the feed-forward layer; null: 8/3 of hidden_size (llama) or 3/2 (modernbert), up to a "
        "multiple of 64, or 4 times (bert)",
    )
    max_position_embeddings: int = Field(default=1024, gt=1, le=2**20, description="longest context in tokens")
    rope_theta: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="base of the rotary embedding; null: 10,000 (llama), or 160,000 in the global layers of modernbert",
    )
    rope_scaling: Annotated[RopeScaling | None, BeforeValidator(from_text)] = Field(
        default=None,
        description="a decoder's rotary frequencies, lowered for longer texts, as config.json says it: {rope_type: "
        "linear, factor: 2} or Llama 3's {rope_type: llama3, …}; null: as they are",
    )
    rms_norm_eps: float = Field(default=1e-5, gt=0, lt=1, description="added to the mean square in a decoder's RMSNorm")
    layer_norm_eps: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="added to the variance in an encoder's LayerNorm; null: 1e-12 (bert) or 1e-5 (modernbert)",
    )
    qk_norm: bool = Field(default=False, description="normalise queries and keys per head in a decoder, as Qwen3 does")
    qkv_bias: bool = Field(default=False, description="give a decoder's queries, keys and values a bias, as Qwen2 does")
    type_vocab_size: int = Field(default=2, gt=0, description="token types that bert tells apart: the halves of pairs")
    local_init: bool = Field(
        default=True,
        description="start bert with heads of the first block that look at the tokens beside each, if they have 16 "
        "numbers or more: it learns from context at once; false: all weights by chance, as published",
    )
    local_attention: int = Field(
        default=128, gt=1, description="tokens around a token, half on each side, that modernbert's local layers see"
    )
    global_attn_every_n_layers: int = Field(
        default=3, gt=0, description="each so manyth layer of modernbert, from the first on, sees everything; 1: all"
    )
    local_rope_theta: float = Field(
        default=10000.0, gt=0, allow_inf_nan=False, description="rope_theta of modernbert's local layers"
    )
    classifier_dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of what an encoder's classifier reads that training sets to zero; null: dropout",
    )
    classifier_pooling: Literal["cls", "mean"] = Field(
        default="mean", description="what a classifier of modernbert reads: the first token, or the mean of all tokens"
    )
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
    def over(cls, low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
        """A preset takes the place of the architecture below it."""
        shape = presets.shape_of(high.get("preset"))
        return super().over({name: value for name, value in low.items() if name not in shape}, high)

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
    def is_encoder(self) -> bool:
        """Whether the model sees both sides of a token."""
        return self.architecture in architectures.ENCODERS

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        wide = self.head_dim is not None and not self.is_encoder
        return self.head_dim if self.head_dim is not None and wide else self.hidden_size // self.num_attention_heads

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values: an encoder has one for each of its queries'."""
        return self.num_attention_heads if self.is_encoder else self.num_key_value_heads

    @property
    def feed_forward_size(self) -> int:
        """Width of the feed-forward layer. SwiGLU of 8/3 of the hidden size has the parameters of a 4x plain one."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        return architectures.feed_forward_size(self.architecture, self.hidden_size)

    @property
    def rope_base(self) -> float:
        """Base of the rotary embedding of an architecture that has one."""
        return self.rope_theta or architectures.ROPE_THETA[self.architecture or architectures.DECODER]

    @property
    def norm_eps(self) -> float:
        """What an encoder's LayerNorm adds to the variance."""
        return self.layer_norm_eps or architectures.LAYER_NORM_EPS[self.architecture or "bert"]

    @property
    def head_dropout(self) -> float:
        """The dropout before an encoder's classifier."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout

    @property
    def window(self) -> int:
        """How far modernbert's local layers see to each side."""
        return self.local_attention // 2

    def is_local(self, layer: int) -> bool:
        """Whether layer number `layer`, from 0, sees `window` tokens to each side instead of all."""
        return self.architecture == "modernbert" and layer % self.global_attn_every_n_layers != 0

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        problems = architectures.shape_problems(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

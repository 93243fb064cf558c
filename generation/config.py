"""How text is generated: the options of one generation, and the YAML section `generation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from foundation.section import Section
from generation import presets

COLDEST, HOTTEST = 1e-4, 1000.0
"""Below the first temperature the likeliest token is taken; dividing by less, float32 ends. Clients that cannot say 0
send 1e-8."""
LEAST_REPETITION, MOST_REPETITION = 0.01, 100.0
MOST_PENALTY = 1000.0


class GenerationConfig(Section):
    """Options of one generation, with the meaning they have in `transformers`; penalties of presence and frequency
    and logprobs with the one they have in OpenAI's API.

    `GenerationConfig(preset="chat", temperature=0.5)`: what is given goes before the preset.
    """

    aliases: ClassVar[Mapping[str, Sequence[str]]] = {
        "stop": ("stop_strings",),
        "num_return_sequences": ("num_samples",),
    }

    preset: Literal["creative", "chat", "factual"] | None = Field(
        default=None,
        description="options that suit a purpose: creative, chat or factual, in place of those in this file; flags win",
    )
    max_new_tokens: int = Field(default=200, gt=0, description="most tokens to add to the prompt")
    do_sample: bool = Field(default=True, description="draw from the distribution; false: always the likeliest token")
    temperature: float = Field(
        default=0.8,
        ge=0,
        le=HOTTEST,
        description="below 1 sharpens the distribution, above 1 flattens it, to 1000; 0, or below 0.0001, is greedy",
    )
    top_k: int = Field(
        default=50,
        ge=0,
        description="draw from the k likeliest tokens only; 0 is off; as a flag of --fill_mask: answers for a mask",
    )
    top_p: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="draw from the likeliest tokens that make up this probability; 1 is off",
    )
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="draw from tokens at least this share as likely as the likeliest one; 0 is off",
    )
    repetition_penalty: float = Field(
        default=1.0,
        ge=LEAST_REPETITION,
        le=MOST_REPETITION,
        description="above 1 makes tokens already there less likely; 1 is off; 0.01 to 100",
    )
    no_repeat_ngram_size: int = Field(default=0, ge=0, description="never repeat a run of this many tokens; 0 is off")
    presence_penalty: float = Field(
        default=0.0,
        ge=-MOST_PENALTY,
        le=MOST_PENALTY,
        description="taken off the logit of each token that was written, once (OpenAI's); 0 is off",
    )
    frequency_penalty: float = Field(
        default=0.0,
        ge=-MOST_PENALTY,
        le=MOST_PENALTY,
        description="taken off the logit of each token as often as it was written (OpenAI's); 0 is off",
    )
    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        default=(),
        description="texts that end the answer and are not shown, wherever tokens meet",
    )
    num_return_sequences: int = Field(default=1, gt=0, description="texts to make from each prompt")
    logprobs: int | None = Field(
        default=None,
        ge=0,
        description="tell each token's log-probability and those of so many likeliest tokens; null is off",
    )
    prompt_lookup_num_tokens: int = Field(
        default=0,
        ge=0,
        description="guess so many next tokens from what the text said before and check them at once (same text, "
        "faster where it repeats itself); 0 is off",
    )
    use_cache: bool = Field(default=True, description="keep keys and values of tokens read (false: slow, same text)")
    seed: int | None = Field(
        default=None, ge=0, description="same seed and prompt, same text; null: a new one each time"
    )

    @classmethod
    def merge(cls, from_file: Mapping[str, Any], from_flags: Mapping[str, Any]) -> dict[str, Any]:
        """A preset stands between the file, whose options it replaces, and the flags, which win over it."""
        values = super().merge(from_file, from_flags)
        return presets.merged(values.get("preset"), values, from_flags)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        return presets.merged(values.get("preset"), values, values) if isinstance(values, dict) else values

    def replace(self, **changes: Any) -> Self:
        """A copy with other options, checked; a preset among them brings its own."""
        return type(self)(**presets.merged(changes.get("preset"), self.model_dump() | changes, changes))

    @property
    def greedy(self) -> bool:
        """Whether chance plays no part."""
        return not self.do_sample or self.temperature < COLDEST


class GenerationSettings(GenerationConfig):
    """The YAML section `generation`: which model, on what, and the default options."""

    model_path: Path | None = Field(
        default=None,
        description="model directory, run directory or .pth checkpoint; null: the newest under out/",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 or mps")
    dtype: str = Field(default="auto", description="auto, float32, bfloat16 or float16")
    quantization: Literal["none", "int8"] = Field(
        default="none",
        description="int8: read a decoder's matrices in eight bits a weight, with a scale a row; texts differ a little",
    )
    compile: bool = Field(
        default=True, description="compile a decoder's pass over a token where this machine can (a C++ compiler, CUDA)"
    )
    batch_size: int = Field(
        default=16,
        gt=0,
        description="prompts of a batch file that are generated together; rows of texts that an encoder reads together",
    )

"""How text is generated: the options of one generation, and the YAML section `generation`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from foundation.section import Section


class GenerationConfig(Section):
    """Options of one generation, with the meaning they have in `transformers`."""

    max_new_tokens: int = Field(default=200, gt=0, description="most tokens to add to the prompt")
    do_sample: bool = Field(default=True, description="draw from the distribution; false: always the likeliest token")
    temperature: float = Field(
        default=0.8,
        ge=0,
        allow_inf_nan=False,
        description="below 1 sharpens the distribution, above 1 flattens it; 0 is greedy",
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
    repetition_penalty: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="above 1 makes tokens already there less likely; 1 is off",
    )
    no_repeat_ngram_size: int = Field(default=0, ge=0, description="never repeat a run of this many tokens; 0 is off")
    use_cache: bool = Field(default=True, description="keep keys and values of tokens read (false: slow, same text)")
    seed: int | None = Field(
        default=None, ge=0, description="same seed and prompt, same text; null: a new one each time"
    )

    @property
    def greedy(self) -> bool:
        """Whether chance plays no part."""
        return not self.do_sample or self.temperature == 0


class GenerationSettings(GenerationConfig):
    """The YAML section `generation`: which model, on what, and the default options."""

    model_path: Path | None = Field(
        default=None,
        description="model directory, run directory or .pth checkpoint; null: the newest under out/",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 or mps")
    dtype: str = Field(default="auto", description="auto, float32, bfloat16 or float16")
    batch_size: int = Field(
        default=16,
        gt=0,
        description="prompts of a batch file that are generated together; rows of texts that an encoder reads together",
    )

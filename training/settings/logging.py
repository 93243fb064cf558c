"""The section `logging`: what a run tells people."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from foundation.quantities import Count
from training.settings.base import Settings


def _codes(value: Any) -> Any:
    """`en,zh` and `en zh` alike."""
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)):
        return value
    if any(isinstance(word, bool) for word in words):
        raise ValueError("YAML takes no and off for a truth value; write 'no', with quotes")
    return tuple(part.strip() for word in words for part in (word.split(",") if isinstance(word, str) else [str(word)]))


Code = Annotated[str, Field(pattern="^([A-Za-z]{2,3}(-[A-Za-z0-9]+)*|multilingual|code)$")]
"""What the Hub takes: ISO 639 with what may follow it, or one of its two words."""


class LoggingConfig(Settings):
    """What a run tells people."""

    FREE: ClassVar[frozenset[str]] = frozenset(
        {
            "log_interval",
            "sample_prompts",
            "sample_tokens",
            "report",
            "license",
            "language",
            "peak_tflops",
            "use_tensorboard",
            "use_wandb",
            "wandb_project",
            "wandb_run_name",
            "wandb_mode",
        }
    )

    log_interval: Count = Field(10, ge=1, description="steps between the lines of metrics.jsonl")
    sample_prompts: tuple[str, ...] = Field(
        ("",),
        description="texts that the model continues at every validation ('' lets it begin a document); an encoder "
        "fills their masks, a classifier tells their class",
    )
    sample_tokens: Count = Field(60, ge=0, description="tokens in each of these continuations; 0: none are made")
    report: bool = Field(True, description="draw training_history.png and report.html in out_dir while training")
    license: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][\w.+ -]*$",
        description="license of the model, for its card: an SPDX name such as apache-2.0; null: the card says unknown",
    )
    language: Annotated[tuple[Code, ...], BeforeValidator(_codes)] = Field(
        (),
        description="languages of the texts, for the model card: en zh; without it those that the datasets are "
        "filtered for",
    )
    peak_tflops: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="a device's most TFLOP/s in the chosen dtype, which MFU is measured against; null: from the table "
        "of known GPUs, no MFU on others",
    )
    use_tensorboard: bool = Field(
        False, description="also log to out_dir/tensorboard (needs `pip install tensorboard`)"
    )
    use_wandb: bool = Field(False, description="also log to Weights & Biases")
    wandb_project: str = Field("mateconv", min_length=1, description="Weights & Biases project")
    wandb_run_name: str | None = Field(
        None, min_length=1, description="name of the Weights & Biases run; null: one that Weights & Biases makes up"
    )
    wandb_mode: Literal["online", "offline", "disabled"] = Field(
        "online", description="online, offline (files under out_dir/wandb, no network) or disabled"
    )

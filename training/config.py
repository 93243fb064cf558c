"""The sections `data`, `training` and `logging`, and the problems that only show in their combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from foundation.quantities import Count
from foundation.section import Section


class DataConfig(Section):
    """What is read."""

    train_data_path: Path = Field(
        Path("dataset/demo"),
        description="dataset directory, nanoGPT .bin or Megatron prefix to train on",
    )
    val_data_path: Path | None = Field(
        None, description="dataset to validate on; null: the validation split of train_data_path"
    )
    tokenizer_path: Path | None = Field(
        None, description="directory with tokenizer.json; null: the dataset's own (a plain .bin needs one)"
    )
    max_seq_len: Count = Field(256, ge=2, description="tokens in one training sequence")
    prefetch_steps: int = Field(2, ge=1, le=64, description="steps of batches prepared ahead of the model")


class TrainingConfig(Section):
    """How the model is trained."""

    out_dir: Path = Field(Path("out"), description="run directory: checkpoints, metrics, log, models")
    max_steps: Count | None = Field(None, ge=1, description="optimizer steps; null: as many as `epochs` needs")
    epochs: float = Field(
        1.5,
        gt=0,
        allow_inf_nan=False,
        description="passes over the training data, used while max_steps is null",
    )
    batch_size: Count = Field(16, ge=1, description="sequences in one microstep on one device")
    accumulation_steps: Count = Field(1, ge=1, description="microsteps summed into one optimizer step")
    optimizer: Literal["adamw", "adam"] = Field(
        "adamw", description="adamw (decoupled weight decay) or adam (weight decay as an L2 penalty)"
    )
    learning_rate: float = Field(3e-3, gt=0, allow_inf_nan=False, description="peak learning rate")
    min_learning_rate: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="learning rate of the last step; null: a tenth of learning_rate",
    )
    warmup_steps: Count = Field(30, ge=0, description="steps over which the learning rate rises linearly")
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="how the learning rate falls after the warmup: cosine, linear or constant"
    )
    betas: tuple[float, float] = Field((0.9, 0.95), description="decay rates of the optimizer's two moments")
    weight_decay: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="weight decay of matrices; vectors and norms have none"
    )
    grad_clip: float | None = Field(
        1.0, gt=0, allow_inf_nan=False, description="largest norm of the gradient; null: no clipping"
    )
    eval_interval: Count = Field(100, ge=1, description="steps between validations; the last step always validates")
    save_interval: Count = Field(100, ge=1, description="steps between checkpoints; the last step always saves")
    keep_last: int = Field(3, ge=1, description="checkpoints kept under checkpoints/; older ones are removed")
    max_bad_steps: int = Field(
        5, ge=1, description="stop after this many steps in a row with a loss or gradient that is not finite"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the weights and of the data order")
    device: str = Field("auto", description="auto (CUDA, then MPS, then CPU), cuda, cuda:1, mps or cpu")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="number format of the matrix products; weights stay in float32"
    )
    compile: Annotated[bool | None, BeforeValidator(lambda value: None if value == "auto" else value)] = Field(
        None,
        description="torch.compile: true, false or auto (null): where it pays within minutes, on CUDA",
    )


class LoggingConfig(Section):
    """What a run tells people."""

    log_interval: Count = Field(10, ge=1, description="steps between the lines of metrics.jsonl")
    use_wandb: bool = Field(False, description="also log to Weights & Biases")
    wandb_project: str = Field("mateconv", min_length=1, description="Weights & Biases project")
    wandb_mode: Literal["online", "offline", "disabled"] = Field(
        "online", description="online, offline (files under out_dir/wandb, no network) or disabled"
    )


class TrainFlags(Section):
    """Options that exist only on the command line."""

    aliases: ClassVar[Mapping[str, Sequence[str]]] = {"local_rank": ["--local-rank"]}

    resume: bool = Field(False, description="continue the run in out_dir; a fresh run when there is none yet")
    resume_from: Path | None = Field(None, description="continue from this checkpoint file")
    overwrite: bool = Field(False, description="remove the run in out_dir and start afresh")
    allow_change: tuple[str, ...] = Field(
        (), description="settings that a resumed run may change although they change what it computes"
    )
    ddp: bool = Field(False, description="one process a device, started by torchrun; alone: a single process")
    local_rank: int | None = Field(None, description="given by `python -m torch.distributed.launch`")


def combination_problems(
    data: DataConfig, training: TrainingConfig, flags: TrainFlags, max_positions: int
) -> Sequence[str]:
    """Every problem that no single setting shows, each with its remedy; empty when all is well."""
    problems = []
    if data.max_seq_len > max_positions:
        problems.append(
            f"max_seq_len {data.max_seq_len} exceeds the model's max_position_embeddings {max_positions}; "
            f"lower max_seq_len or give --max_position_embeddings {data.max_seq_len}"
        )
    low = training.min_learning_rate
    if low is not None and low > training.learning_rate:
        problems.append(
            f"min_learning_rate {low:g} is above learning_rate {training.learning_rate:g}; "
            "lower it, or null for a tenth of learning_rate"
        )
    if not all(0 <= beta < 1 for beta in training.betas):
        problems.append(f"betas {training.betas}: each must lie in [0, 1), for example 0.9 0.95")
    if training.weight_decay * training.learning_rate >= 1:
        problems.append(
            f"learning_rate {training.learning_rate:g} x weight_decay {training.weight_decay:g} reaches 1: "
            "every step would erase the weights; lower one of them"
        )
    if flags.overwrite and (flags.resume or flags.resume_from):
        problems.append("--overwrite starts afresh and --resume continues; give one of them")
    if flags.resume and flags.resume_from:
        problems.append("--resume takes out_dir's checkpoint and --resume_from a file; give one of them")
    if flags.allow_change and not (flags.resume or flags.resume_from):
        problems.append("--allow_change only means something with --resume or --resume_from")
    return problems

"""Where and in which number format a run computes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from foundation.quantities import Duration
from training.settings.base import Settings

PROCESS_TIMEOUT = 1800.0  # seconds


class HardwareSettings(Settings):
    """Device, number format, compilation, seed."""

    FREE: ClassVar[frozenset[str]] = frozenset(
        {"device", "dtype", "compile", "tf32", "activation_checkpointing", "process_timeout"}
    )

    seed: int = Field(0, ge=0, lt=2**63, description="seed of the weights and of the data order")
    device: str = Field("auto", description="auto (CUDA, then MPS, then CPU), cuda, cuda:1, mps or cpu")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="number format of the matrix products; weights stay in float32"
    )
    compile: Annotated[bool | None, BeforeValidator(lambda value: None if value == "auto" else value)] = Field(
        None,
        description="torch.compile: true, false or auto (null): where it pays within minutes, on CUDA; on a CPU the "
        "compiler takes minutes, which true earns back in a run of hours",
    )
    tf32: bool = Field(
        True, description="CUDA: products of float32 matrices in TF32, 10 bits of mantissa and several times the speed"
    )
    activation_checkpointing: bool = Field(
        False,
        description="compute the blocks' activations again in backward instead of keeping them: a third more work, "
        "memory for much larger batches",
    )
    process_timeout: Duration = Field(
        PROCESS_TIMEOUT,
        gt=0,
        allow_inf_nan=False,
        description="with several processes: end the run when one of them has not answered for so long",
    )

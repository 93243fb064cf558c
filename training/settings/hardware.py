"""Where and in which number format a run computes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from training.settings.base import Settings


class HardwareSettings(Settings):
    """Device, number format, compilation, seed."""

    FREE: ClassVar[frozenset[str]] = frozenset({"device", "dtype", "compile"})

    seed: int = Field(0, ge=0, lt=2**63, description="seed of the weights and of the data order")
    device: str = Field("auto", description="auto (CUDA, then MPS, then CPU), cuda, cuda:1, mps or cpu")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="number format of the matrix products; weights stay in float32"
    )
    compile: Annotated[bool | None, BeforeValidator(lambda value: None if value == "auto" else value)] = Field(
        None,
        description="torch.compile: true, false or auto (null): where it pays within minutes, on CUDA",
    )

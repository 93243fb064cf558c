"""Peak rates of common GPUs, for the utilisation that a run reports (MFU).

Dense matrix products in TFLOP/s, from the makers' data sheets: half precision summed in float32, TF32, plain float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

PEAKS: Mapping[str, tuple[float, float, float]] = {
    "GB200": (2500, 1250, 80),
    "B200": (2250, 1125, 75),
    "GH200": (989.4, 494.7, 67),
    "H200 NVL": (835, 417.5, 60),
    "H200": (989.4, 494.7, 67),
    "H100 PCIe": (756, 378, 51),
    "H100 NVL": (835, 417.5, 60),
    "H100": (989.4, 494.7, 67),
    "H800 PCIe": (756, 378, 51),
    "H800": (989.4, 494.7, 67),
    "H20": (148, 74, 44),
    "A100": (312, 156, 19.5),
    "A800": (312, 156, 19.5),
    "A40": (149.7, 74.8, 37.4),
    "A30": (165, 82, 10.3),
    "A10G": (70, 35, 35),
    "A10": (125, 62.5, 31.2),
    "RTX A6000": (154.8, 77.4, 38.7),
    "RTX 6000 Ada": (364.2, 182.1, 91.1),
    "L40S": (362, 183, 91.6),
    "L40": (181, 90.5, 90.5),
    "L4": (121, 60, 30.3),
    "RTX 5090": (209.5, 104.8, 104.8),
    "RTX 4090": (165.2, 82.6, 82.6),
    "RTX 3090": (71, 35.6, 35.6),
    "V100-PCIE": (112, 14, 14),
    "V100S": (130, 16.4, 16.4),
    "V100": (125, 15.7, 15.7),
    "T4": (65, 8.1, 8.1),
}
"""Name within the device's name -> TFLOP/s in half precision, TF32, float32. The first that fits counts: cards that are
slower than the module of their name stand before it."""

NO_BFLOAT16 = ("V100", "T4")  # chips, and what begins with their names
OTHER_CHIPS = ("Laptop", "Max-Q", "MIG", " Ti", " D")  # these share a name and not its rate


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Floating-point operations a second that `device` could do in matrix products of `dtype`; None: unknown.

    float32 counts as TF32 where torch was told to use it (`torch.set_float32_matmul_precision`).
    """
    if device.type != "cuda":
        return None
    tf32 = torch.get_float32_matmul_precision() != "highest"
    return peak_of(torch.cuda.get_device_name(device), dtype, tf32)


def peak_of(name: str, dtype: torch.dtype, tf32: bool) -> float | None:
    """The same for a device of this name."""
    if any(re.search(rf"{mark}\b", name) for mark in OTHER_CHIPS):
        return None
    for chip, (half, tensor, single) in PEAKS.items():
        if re.search(rf"\b{chip}(?![0-9A-Za-z])", name):
            if dtype == torch.bfloat16 and chip.startswith(NO_BFLOAT16):
                return None
            return 1e12 * (half if dtype in (torch.bfloat16, torch.float16) else tensor if tf32 else single)
    return None

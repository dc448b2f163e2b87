"""What the machine can do: device and number format, probed rather than guessed from names."""

from __future__ import annotations

import functools
import time

from dalle.config import SettingError


def resolve_device(device: str = "auto") -> str:
    """"auto", "cpu" or "cuda" -> a device that is there.

    Raises:
        SettingError: an unknown name, or "cuda" where there is none.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise SettingError(f"Unknown device {device!r}: choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingError("No CUDA device was found: use --device cpu or auto.")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


@functools.cache
def supports_bf16(device: str) -> bool:
    """Whether bfloat16 is the faster format there. On a CPU it is timed: without AVX512_BF16 or AMX it loses by half."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)

    def seconds(dtype: torch.dtype) -> float:
        layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)
        x = torch.zeros(1, 64, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
        best = float("inf")
        with torch.inference_mode():
            for _ in range(4):
                began = time.perf_counter()
                layer(x)
                best = min(best, time.perf_counter() - began)
        return best

    return seconds(torch.bfloat16) < seconds(torch.float32)

"""What the machine can do: device and number format, probed rather than guessed from names."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path

from dalle.config import CheckpointError, SettingError

ROOM = 1.15
"""Memory that a model takes while it draws, beside that of its weights, as a factor."""
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Where a container's limit is read, of both versions of the kernel's control groups."""


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


def free_memory(device: str = "cpu") -> int | None:
    """Bytes that may still be taken, of the GPU or of this machine or container; None where the system doesn't say."""
    if device.startswith("cuda"):
        import torch

        # torch keeps what it has freed, a former model's memory too, and takes that first.
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    free = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        free.append(int(_numbers(MEMINFO)["MemAvailable:"]) * 1024)
    if not free:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used, stat, cached in CGROUPS:
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max": no limit
            # Files that were read count as used there, and are given up when memory is wanted.
            reclaimable = int(_numbers(CGROUP / stat)[cached])
            free.append(int((CGROUP / limit).read_text()) - int((CGROUP / used).read_text()) + reclaimable)
    return min(free, default=None)


def _numbers(path: Path) -> dict[str, str]:
    """The first two words of each line."""
    return dict(line.split()[:2] for line in path.read_text().splitlines() if len(line.split()) > 1)


def check_room(size: int, device: str) -> None:
    """Raises CheckpointError where weights of so many bytes would not fit beside what is there already."""
    free = free_memory(device)
    if free is not None and size * ROOM > free:
        memory = "GPU memory" if device.startswith("cuda") else "memory"
        raise CheckpointError(
            f"This model needs about {size * ROOM / 2**30:.1f} GB of {memory}, and {max(0, free) / 2**30:.1f} GB are free: "
            "give a smaller one, or a machine with more."
        )

"""An open DALL·E: a prompt goes in, a picture comes out. Heavy imports happen on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["DallePipeline", "Engine", "__version__"]

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.pipeline import DallePipeline


def __getattr__(name: str) -> object:
    if name == "DallePipeline":
        from dalle.pipeline import DallePipeline

        return DallePipeline
    if name == "Engine":
        from dalle.engine import Engine

        return Engine
    raise AttributeError(f"module 'dalle' has no attribute {name!r}")

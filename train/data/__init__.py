"""Drawings: fetched, rendered, split, and composed into captioned scenes."""

from train.data.scenes import SceneBatch, SceneComposer
from train.data.store import Drawing, SpriteStore

__all__ = ["Drawing", "SceneBatch", "SceneComposer", "SpriteStore"]

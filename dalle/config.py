"""Constants, errors and model configurations: the bottom of the package; imports nothing of it."""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA_VERSION = 2
"""Version of the checkpoint layout that is written. 2: a prior may have a refiner, which an older program would leave out."""
READABLE_VERSIONS = (1, 2)
"""A checkpoint of any other version is refused with a clear error."""

IMAGE_SIZE = 256
LATENT_SIZE = 16
LATENT_CHANNELS = 8
TEXT_DIM = 384

NULL_TOKENS = 22
"""What "no text" weighs in the attention, in tokens, whatever the length of the texts beside it: the longest of 128 training
captions has about so many."""

MAX_PROMPT_TOKENS = 48
"""Word pieces a prompt may have, the two special ones of the encoder included."""
MAX_PROMPT_CHARACTERS = 400
MAX_IMAGES = 16
MAX_STEPS = 100
MAX_GUIDANCE = 10.0
MAX_SEED = 2**32 - 1
MAX_FRAMES = 65
"""Frames of a path between two pictures."""
MAX_PATH_FRAMES = 129
"""Frames of a path through more of them."""
MAX_STAGES = 8
"""Pictures that a path may pass through."""
MIN_LENGTH, MAX_LENGTH = 0.1, 10.0
"""Length of the way from one of them to the next, relative to the other ways."""
MAX_MADE_OF = 64
"""Pictures that one file, a kit or a storybook, may be made of."""
MAX_MIXED = 4
"""Prompts that may be mixed into one picture."""

DEFAULT_MODEL = "checkpoints/default"
DEFAULT_STEPS = 16
DEFAULT_PATH_STEPS = 8
"""Steps of a frame on a path between prompts: fewer than a picture's, since a slider can't wait."""
FLOW_MAP_STEPS = 1
FLOW_MAP_PATH_STEPS = 1
"""The same two for a flow map, the prior of stage 3. By `python -m train tune` one step is as good as two or four (docs/LOG.md)."""
STEPS = {
    "FlowPrior": (DEFAULT_STEPS, DEFAULT_PATH_STEPS),
    "FlowMapPrior": (FLOW_MAP_STEPS, FLOW_MAP_PATH_STEPS),
    "GaussianPrior": (1, 1),
}
"""Class of a prior -> its default steps, for a picture and for a frame of a path."""
DEFAULT_GUIDANCE = 2.5
"""By `python -m train tune` more of it fits the words no better and is further from drawings; less leaves specks, to the eye."""
NEGATIVE_WEIGHT = 2.5
"""How strongly a flow map leaves what a negative prompt would draw. At 1 a red heart stays red, at 2.5 it turns green (by eye)."""
MAX_NOISES = 16
"""Seeds that the noise of one picture may be mixed of: a variation adds one."""
VARIATION_STRENGTH = 0.25
"""How far a variation goes on the way to another picture, 0 to 1."""
MAX_CANDIDATES = 32
"""Pictures that may be drawn for the ranker to choose the best of."""
REDRAWN, REDRAWN_WITHOUT_TEXT = 0.8, 0.6
"""How noisy the middle of a way between two given pictures is made before it is drawn anew, 0 to 1. By eye: less is a cross-fade
with specks; more without a text is one red blot (docs/LOG.md)."""
MIN_TRUNCATION = 0.1

STYLES: dict[str, str] = {
    "flat": "flat style",
    "soft": "soft shaded style",
    "blob": "blob style",
    "glossy": "glossy gradient style",
    "modern": "modern flat style",
    "classic": "classic style",
    "bold": "bold style",
    "3d": "3d rendered style",
    "icon": "icon style",
    "pixel": "pixel art style",
    "silhouette": "silhouette style",
    "outline": "outline style",
    "sepia": "sepia style",
}
"""Style name -> the phrase that captions use for it."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (221, 46, 68),
    "orange": (244, 144, 12),
    "yellow": (253, 203, 88),
    "green": (88, 168, 62),
    "blue": (60, 120, 220),
    "purple": (146, 86, 199),
    "pink": (244, 130, 178),
    "brown": (140, 88, 52),
    "black": (35, 35, 38),
    "white": (250, 250, 250),
    "gray": (140, 148, 155),
}
"""Colour name -> sRGB, 0..255."""


class DalleError(Exception):
    """Base of every error whose text is meant for the user: says what is wrong and what to do."""


class PromptError(DalleError, ValueError):
    """The prompt can't be drawn: empty, too long, nothing in it but emoji."""


class SettingError(DalleError, ValueError):
    """A number or a name out of its range."""


class CheckpointError(DalleError):
    """A checkpoint is missing, truncated, foreign or of another schema version."""


class NotReadyError(DalleError):
    """The model is still loading, or its loading failed."""


class ModelChangedError(DalleError):
    """Another checkpoint was loaded while a request was at work."""


class StorageError(DalleError):
    """A file could not be written; nothing half-written is left behind."""


class Cancelled(DalleError):
    """The caller asked to stop."""


class RefusedError(DalleError):
    """Strict mode: the judge's score lies below its threshold."""

    def __init__(self, message: str, judgement: object) -> None:
        super().__init__(message)
        self.judgement = judgement

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.judgement)


@dataclass(frozen=True)
class VAEConfig:
    """Widths from the 16x16 latent outwards: `channels[0]` at 16x16, then 32x32, 64x64 and 128x128."""

    channels: tuple[int, ...] = (256, 128, 64, 32)
    encoder_blocks: tuple[int, ...] = (2, 1, 1)
    decoder_blocks: tuple[int, ...] = (3, 2, 2, 1)
    latent_channels: int = LATENT_CHANNELS


@dataclass(frozen=True)
class PriorConfig:
    """`kind` chooses the class: "flow" (flow matching), "flowmap" (few steps, made of a flow) or "gaussian" (the textbook's).

    `refiner_depth` counts the convolutional blocks behind the transformer, 0 for none.
    """

    kind: str = "flow"
    width: int = 384
    depth: int = 8
    heads: int = 6
    patch: int = 4
    text_dim: int = TEXT_DIM
    latent_channels: int = LATENT_CHANNELS
    latent_size: int = LATENT_SIZE
    null_tokens: int = NULL_TOKENS
    refiner_width: int = 64
    refiner_depth: int = 3
    dropout_text: float = 0.1


@dataclass(frozen=True)
class RankerConfig:
    """Widths of the two towers; `dim` is the size of the vectors in which they meet."""

    width: int = 192
    depth: int = 4
    text_depth: int = 2
    heads: int = 4
    dim: int = 128
    text_dim: int = TEXT_DIM


@dataclass(frozen=True)
class ModelConfig:
    vae: VAEConfig = field(default_factory=VAEConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)


PRESETS: dict[str, ModelConfig] = {
    # Seconds on a CPU: tests, rehearsals, work on the page.
    "tiny": ModelConfig(
        VAEConfig(channels=(32, 16, 16, 8), encoder_blocks=(1, 1, 1), decoder_blocks=(1, 1, 1, 1)),
        PriorConfig(width=64, depth=2, heads=2, patch=2, refiner_width=16, refiner_depth=1),
        RankerConfig(width=32, depth=1, text_depth=1, heads=2, dim=16),
    ),
    # Hours on two CPU cores.
    "small": ModelConfig(),
    # Half an hour a stage on one data-centre GPU.
    "base": ModelConfig(
        VAEConfig(channels=(384, 192, 96, 32), encoder_blocks=(3, 2, 2), decoder_blocks=(4, 3, 2, 1)),
        PriorConfig(width=384, depth=12, heads=6, patch=2),
    ),
}

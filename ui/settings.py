"""What the page offers and how long it keeps things: one frozen object, given to `build_demo`."""

from __future__ import annotations

from dataclasses import dataclass

from dalle.requests import DEFAULT_FRAMES


@dataclass(frozen=True)
class PageSettings:
    """Everything about the page that is not the model.

    `frames` is the length of an interpolation (2..65), `keep_seconds` the age at which drawn files are deleted. `at_once` requests
    may draw at the same time and `max_queue` may wait before the next one is turned away; one session may have `max_per_session`
    of them, one network address `max_per_address` (a school's or a proxy's may be many people's).

    `models` are those that visitors may change to, for everybody on the page, as `Engine.switch` takes them: None is any, of the
    Hub or, for who sits at the machine itself, a folder; () is no model box at all. Of a list, the next change comes
    `change_seconds` after the last at the earliest, since each ends what everybody is drawing.
    """

    title: str = "Open DALL·E"
    tagline: str = "A sentence goes in, a picture comes out. It all happens on the machine that serves this page."
    examples: tuple[str, ...] = (
        "a red apple",
        "a smiling sun, 3d rendered style",
        "three bananas",
        "a blue cat to the left of a tree",
        "a rocket on a dark purple background",
        "a yellow rubber duck, pixel art style",
    )
    pairs: tuple[tuple[str, str], ...] = (
        ("a cat", "a dog"),
        ("a red apple", "a pumpkin"),
        ("a crying face", "a laughing face"),
    )
    corners: tuple[str, str, str, str] = ("a red apple", "a smiling sun", "a blue fish", "a green tree")
    frames: int = DEFAULT_FRAMES
    frames_per_second: int = 16
    keep_seconds: int = 3600
    at_once: int = 2
    max_queue: int = 32
    max_per_session: int = 4
    max_per_address: int = 24
    models: tuple[str, ...] | None = None
    change_seconds: int = 60

"""What people make pictures for: presets that say how to draw for a use, and its words.

A use says its background in words, which join the prompt (`drawn_as`): the model draws it, and the recipe tells it. What is made
of the pictures then is in `dalle.makers`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dalle.config import MAX_PROMPT_CHARACTERS, SettingError


@dataclass(frozen=True)
class Use:
    """A preset: how pictures of a use are drawn, and the words for what is made of them.

    `words` is the background that the model draws, in the words of its captions; "" leaves it transparent. `ground` is the one of
    the page's grounds (checker, white, dark) to judge transparent pictures on. Style and words of each are chosen by eye, from
    contact sheets of the default model (docs/LOG.md).
    """

    name: str
    label: str
    style: str | None
    num_images: int
    words: str
    ground: str
    save: str
    output: str


USES: dict[str, Use] = {
    use.name: use
    for use in (
        Use(
            "storybook", "Storybook", "3d", 4, "on a green meadow", "white", "Save all as a storybook",
            "a PDF: on each page a picture of 1024 pixels and its words",
        ),
        Use(
            "advert", "Advert", "glossy", 4, "", "white", "Save all as adverts",
            "visuals of 1024 by 1024 pixels on a clean ground, the upper 320 free for a headline",
        ),
        Use(
            "sprites", "Sprite sheet", "modern", 8, "", "checker", "Save all as a sprite sheet",
            "one transparent sheet with cells of 128 pixels, and its atlas as JSON",
        ),
        Use(
            "cards", "Teaching cards", "3d", 6, "", "white", "Save all as cards",
            "a PDF to print: A4 at 300 dpi, six cards a page, each with its word",
        ),
        Use(
            "icons", "Icon set", "modern", 6, "", "white", "Save all as icons",
            "each as SVG and as PNG of 64 to 512 pixels, and a favicon of the first",
        ),
    )
}  # fmt: skip


def use_named(name: object) -> Use:
    """
    Raises:
        SettingError: there is no such use.
    """
    if not isinstance(name, str) or name not in USES:
        raise SettingError(f"There is no such use. Choose one of: {', '.join(USES)}.")
    return USES[name]


# Words

PLACES = re.compile(
    r"\b(?:(?:on|in|over|against)\s+(?:an?|the|no)\s+(?:[\w-]+\s+){0,3}?(?:background|backdrop|meadow|beach)"
    r"|with\s+no\s+background|as\s+a\s+cut-?out|at\s+night|in\s+the\s+snow)\b",
    re.IGNORECASE,
)
"""A background as captions say it (train/data/captions.py): a prompt with one in it keeps its own."""

CLEAR = re.compile(r"transparent background|no background|cut-?out", re.IGNORECASE)
"""Those that are none."""

STYLED = re.compile(r"\s*,[^,]*\bstyle\s*$", re.IGNORECASE)
"""A style at the end of a prompt: captions say the background before it."""


def drawn_as(prompt: str, use: Use | None) -> str:
    """The prompt with the background of a use, before its style; unchanged where it names a background itself, or is empty."""
    text = prompt.strip().rstrip(".;,").rstrip()
    if use is None or not use.words or not text or len(prompt) > MAX_PROMPT_CHARACTERS or PLACES.search(text):
        return prompt
    styled = STYLED.search(text)
    cut = styled.start() if styled else len(text)
    return f"{text[:cut].rstrip()} {use.words}{text[cut:]}"


def opaque_words(prompt: str) -> str:
    """The background that a prompt names; "" where it names none, or a transparent one."""
    found = PLACES.search(prompt[:MAX_PROMPT_CHARACTERS])
    return found[0] if found and not CLEAR.search(found[0]) else ""


def caption_of(prompt: str) -> str:
    """The line below a picture of a book: the prompt without its style, as a sentence."""
    text = STYLED.sub("", prompt.replace(" | ", " and ").strip()).rstrip(".;, ")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def word_of(prompt: str) -> str:
    """What a teaching card says: the prompt without article, background and style."""
    text = PLACES.sub("", STYLED.sub("", prompt.replace(" | ", " and ")))
    return re.sub(r"^(?:an?|the)\s+", "", " ".join(text.split()).strip(".;, "), flags=re.IGNORECASE)

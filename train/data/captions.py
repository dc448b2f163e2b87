"""Words for what a scene shows: articles, plural forms, colours, counts, places, backgrounds and styles."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from dalle.config import COLOURS, STYLES

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "on the left of", "left of"),
    "right": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "on": ("on", "on top of", "standing on"),
    "behind": ("behind",),
}
"""Relation -> how captions say it."""

BESIDE = ("and", "and", "and", "next to", "beside", "with")
"""How captions join two things that stand side by side, whichever is on the left. People say "and" most."""

BACKGROUNDS: dict[str, str] = {
    "plain": "on {colour} background",
    "gradient": "on {colour} gradient background",
    "night": "at night",
    "meadow": "on a green meadow",
    "beach": "on a beach",
    "snow": "in the snow",
}
"""Background -> how captions say it, `colour` with its article; the first is the common one."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "aeroplane"),
    "ambulance": ("ambulance car",),
    "automobile": ("car",),
    "backpack": ("school bag", "rucksack"),
    "bar of soap": ("soap",),
    "beer mug": ("beer", "mug of beer"),
    "bicycle": ("bike",),
    "billed cap": ("cap", "baseball cap"),
    "birthday cake": ("cake",),
    "bouquet": ("bunch of flowers",),
    "clapper board": ("clapperboard",),
    "cow face": ("cow",),
    "crescent moon": ("moon",),
    "deciduous tree": ("tree",),
    "delivery truck": ("truck", "lorry"),
    "desktop computer": ("computer", "desktop"),
    "dolphin": ("dolphin in the sea",),
    "ear of corn": ("corn", "corn cob"),
    "evergreen tree": ("pine tree", "fir tree"),
    "face with tears of joy": ("laughing face", "crying laughing face"),
    "french fries": ("fries", "chips"),
    "front-facing baby chick": ("chick", "baby chick"),
    "full moon": ("moon",),
    "glasses": ("eyeglasses", "spectacles"),
    "globe showing europe-africa": ("globe", "earth", "planet earth"),
    "globe showing americas": ("globe", "earth", "planet earth"),
    "globe showing asia-australia": ("globe", "earth", "planet earth"),
    "glowing star": ("shining star", "star"),
    "grinning face": ("smiley", "happy face"),
    "hamburger": ("burger",),
    "high voltage": ("lightning bolt", "lightning"),
    "high-heeled shoe": ("high heel", "red shoe"),
    "honeybee": ("bee",),
    "hot beverage": ("cup of coffee", "coffee", "cup of tea"),
    "house with garden": ("house", "home with a garden"),
    "ice cream": ("bowl of ice cream",),
    "jack-o-lantern": ("halloween pumpkin", "pumpkin"),
    "lady beetle": ("ladybug", "ladybird"),
    "laptop": ("computer", "notebook computer"),
    "light bulb": ("lightbulb", "lamp"),
    "locked": ("padlock", "lock"),
    "locomotive": ("train", "steam train"),
    "loudly crying face": ("crying face",),
    "mobile phone": ("phone", "smartphone"),
    "motorcycle": ("motorbike",),
    "motor scooter": ("scooter",),
    "musical note": ("music note",),
    "oncoming automobile": ("car from the front", "car"),
    "pile of poo": ("poop",),
    "police car": ("police cruiser",),
    "pot of food": ("pot", "stew"),
    "potted plant": ("plant in a pot", "plant"),
    "pouting face": ("angry face", "red angry face"),
    "pizza": ("slice of pizza", "piece of pizza"),
    "red apple": ("apple",),
    "red heart": ("heart",),
    "rabbit": ("bunny",),
    "rocket": ("space rocket", "spaceship"),
    "sailboat": ("boat", "sailing boat"),
    "sauropod": ("dinosaur", "long-necked dinosaur"),
    "shopping cart": ("shopping trolley",),
    "shortcake": ("piece of cake", "cake"),
    "smiling face with heart-eyes": ("face with heart eyes", "face in love"),
    "smiling face with sunglasses": ("cool face", "face with sunglasses"),
    "smiling face with smiling eyes": ("smiley", "happy face"),
    "soccer ball": ("football", "ball"),
    "soft ice cream": ("ice cream cone", "ice cream"),
    "spiral shell": ("sea shell", "shell"),
    "sport utility vehicle": ("suv", "blue car"),
    "spouting whale": ("whale",),
    "sun with face": ("smiling sun", "sun"),
    "sunflower": ("yellow flower",),
    "t-rex": ("tyrannosaurus rex", "dinosaur"),
    "t-shirt": ("shirt", "tee shirt"),
    "tangerine": ("orange fruit", "mandarin"),
    "teacup without handle": ("cup of green tea", "tea cup"),
    "telephone": ("phone", "old telephone"),
    "television": ("tv",),
    "top hat": ("magician's hat",),
    "trophy": ("trophy cup", "gold cup"),
    "wine glass": ("glass of wine",),
    "woman's hat": ("sun hat",),
    "wrapped gift": ("gift", "present"),
}
"""Label -> other words that people type for the same drawing.

emojibase's tags name moods as well ("cool"), so they can't stand for a label; a tag does only where it is the label's
own last word ("apple" of "red apple")."""


def _words(text: str, separator: str | None = None) -> frozenset[str]:
    return frozenset(text.split(separator))


MASS = _words(
    "bacon badminton baseball basketball beer biology bowling boxing bread broccoli butter cash cheese chemistry "
    "chocolate clothing coffee corn curry dna dust fire flour fog food football furniture garbage garlic ginger "
    "golf grass hair hardware hockey honey ice juice justice ketchup knitting lacrosse lava lightning love luggage "
    "mail meat milk money mud music mustard oil paper pasta physics popcorn rain rice rubbish sake salt sand "
    "seaweed sewing sleep smoke snow soap soccer softball software soup spaghetti steam success sugar sushi tea "
    "technology tennis toast tofu trash volleyball water weather wheat wind wine wood yarn"
)
"""Nouns without an article or plural. Sports stand for their balls in some sets, so they have neither here."""

PLURAL_ONLY = _words(
    "binoculars chopsticks clothes earphones fries glasses goggles headphones jeans noodles pajamas pants scissors "
    "shorts skis stairs sunglasses tongs trousers"
)
SINGULAR_S = _words(
    "rhinoceros "
    "abacus abs abyss access address aries atlas bias boss brass bus business cactus campus canvas chess christmas "
    "circus citrus class colossus compass cosmos cross diplodocus dress fungus gas glass gps grass hibiscus "
    "hippopotamus iris lens lotus mass mess moss news octopus pancreas pass platypus princess process rss sos "
    "stegosaurus success tennis thermos virus walrus wireless"
)
IRREGULAR = {
    word: word
    for word in _words(
        "sheep fish deer shrimp squid bison moose spacecraft aircraft swordfish starfish jellyfish blowfish goldfish "
        "series salmon reindeer"
    )
} | dict(
    pair.split(":")
    for pair in _words(
        "mouse:mice goose:geese tooth:teeth foot:feet man:men woman:women child:children person:people ox:oxen "
        "cactus:cacti die:dice leaf:leaves knife:knives wolf:wolves loaf:loaves scarf:scarves shelf:shelves "
        "half:halves calf:calves elf:elves wife:wives life:lives thief:thieves potato:potatoes tomato:tomatoes "
        "mango:mangoes hero:heroes volcano:volcanoes mosquito:mosquitoes torpedo:torpedoes bus:buses gas:gases "
        "octopus:octopuses quiz:quizzes policeman:policemen snowman:snowmen fireman:firemen axis:axes"
    )
)

_PREPOSITION = re.compile(
    r" (?:with|of|in|on|behind|without|for|at|and|to|from|showing|under|over|facing|wearing|holding|symbol for)\b"
)
_AN = re.compile(
    r"(?:[aeio]|u(?!sb\b|ni(?!n)|[rs](?:ain|[aeiou])|ku|fo\b|tensil|-)|hour|honest|heir|honor|8\b|11|18|"
    r"(?:x-ray|mri|suv|sos|led|lcd|rss|sd|html|mp3|sms|ssd)\b)"
)
_A = re.compile(r"(?:one\b|one-|once|eu|ewe\b|uno\b)")
_CLOCK = re.compile(r"^(\w+) o'clock$|^(\w+)-thirty$")
_PROPER = _words(
    "mount fuji,saturn,santa claus,mrs. claus,mx claus,aries,taurus,gemini,cancer,leo,virgo,libra,scorpio,sagittarius,"
    "capricorn,aquarius,pisces,ophiuchus",
    ",",
)
_THE = frozenset({"statue of liberty", "tokyo tower", "milky way", "kaaba", "eiffel tower", "union jack"})


def article(phrase: str) -> str:
    """The indefinite article that the phrase's first sound asks for."""
    start = phrase.lower()
    return "an" if _AN.match(start) and not _A.match(start) else "a"


def _split_head(label: str) -> tuple[str, str]:
    """("slice", " of pizza"): the part whose last word is the noun, and what follows it."""
    found = _PREPOSITION.search(label)
    return (label[: found.start()], label[found.start() :]) if found else (label, "")


def is_plural(label: str) -> bool:
    """Whether the label names several things or a pair already: "cherries", "scissors"."""
    noun = _split_head(label)[0].split(" ")[-1]
    if noun in PLURAL_ONLY or noun in {"people", "men", "women", "children", "teeth", "mice"}:
        return True
    return noun.endswith("s") and noun not in SINGULAR_S and not noun.endswith(("ss", "us", "is", "'s", "saurus"))


def is_mass(label: str) -> bool:
    """Whether the label takes no article and can't be counted: "cooked rice"."""
    return _split_head(label)[0].split(" ")[-1] in MASS


def countable(label: str) -> bool:
    """Whether "three <plural>" is good English for the label."""
    label = SAID.get(label, label)
    return is_plain_noun(label) and " and " not in label and not is_plural(label) and not is_mass(label)


def plural(label: str) -> str:
    """ "slice of pizza" -> "slices of pizza"."""
    label = SAID.get(label, label)
    head, rest = _split_head(label)
    words = head.split(" ")
    noun = words[-1]
    if noun in IRREGULAR:
        words[-1] = IRREGULAR[noun]
    elif re.search(r"(s|x|z|ch|sh)$", noun):
        words[-1] = noun + "es"
    elif re.search(r"[^aeiou]y$", noun):
        words[-1] = noun[:-1] + "ies"
    elif noun.endswith("man") and noun not in {"human", "talisman", "caiman"}:
        words[-1] = noun[:-3] + "men"
    else:
        words[-1] = noun + "s"
    return " ".join(words) + rest


DETERMINED = _words("a an the some one two three four five my your his her this that these those no")
"""Words after which a phrase needs no article and can't be counted: captions of a reader's own pictures begin with them."""

SAID = {
    "locked": "closed padlock",
    "unlocked": "open padlock",
    "locked with pen": "padlock with pen",
    "locked with key": "padlock with key",
    "foggy": "foggy city",
    "cooking": "frying pan",
    "camping": "camping tent",
    "high voltage": "lightning bolt",
    "hourglass done": "hourglass",
    "hourglass not done": "hourglass with flowing sand",
    "chart increasing": "rising chart",
    "chart decreasing": "falling chart",
    "construction": "construction sign",
    "building construction": "building site",
    "mobile phone off": "switched-off mobile phone",
    "speaker low volume": "quiet speaker",
    "speaker medium volume": "speaker",
    "speaker high volume": "loud speaker",
}
"""Labels that are no nouns -> what captions say instead."""


def noun_phrase(label: str, *adjectives: str, count: int = 1) -> str:
    """The label as it stands in a sentence: "an owl", "three red apples", "cherries", "the flag of peru"."""
    label = SAID.get(label, label)
    described = " ".join((*(word for word in adjectives if word), label))
    if label.split(" ")[0].lower() in DETERMINED:
        return label if not any(adjectives) else described
    if count > 1:
        return f"{NUMBERS[count]} {plural(described)}"
    if time := _CLOCK.match(label):
        shown = f"{time[1]} o'clock" if time[1] else f"half past {time[2]}"
        clock = " ".join((*(word for word in adjectives if word), "clock"))
        return f"{article(clock)} {clock} showing {shown}"
    if label in _PROPER:
        return described
    if label in _THE or label.startswith("flag of "):
        return f"the {described}"
    if is_plural(label) or is_mass(label):
        return described
    return f"{article(described)} {described}"


def with_article(phrase: str, noun: str = "") -> str:
    """The same for a phrase with adjectives: `noun`, its end, decides whether an article fits."""
    noun = noun or phrase
    adjectives = phrase.removesuffix(noun).split() if phrase.endswith(noun) else []
    return noun_phrase(noun, *adjectives)


def join(parts: Sequence[str]) -> str:
    """The parts that are not empty, with spaces between."""
    return " ".join(part for part in parts if part)


def is_plain_noun(label: str) -> bool:
    """Whether the label names one thing in at most three plain words, so that it can stand in a relation."""
    name = label.lower()
    if name.split(" ")[0] in DETERMINED:
        return False
    if name in _PROPER or name in _THE or name.startswith("flag of") or _CLOCK.match(name) or len(name.split()) > 3:
        return False
    return bool(re.fullmatch(r"[a-z][a-z' -]*[a-z]", name))


def without_colour(label: str) -> str | None:
    """ "red apple" -> "apple"; None where a colour stands elsewhere in the label."""
    words = label.split(" ")
    if words[0] in COLOURS and len(words) > 1:
        words = words[1:]
    return None if any(word in COLOURS for word in words) else " ".join(words)


def other_names(label: str, tags: Sequence[str], group: str = "") -> list[str]:
    """Other words for the same drawing, sensible ones only: none for most."""
    names = list(SYNONYMS.get(label, ()))
    words = label.split(" ")
    if len(words) == 2 and words[1] in tags and words[0] in COLOURS and words[1] not in names:
        names.append(words[1])
    if group == "animal" and len(words) > 1 and words[-1] == "face":
        names.append(" ".join(words[:-1]))
    return names


def keywords(label: str, tags: Sequence[str], rng: random.Random, most: int = 2) -> str:
    """A few tags as a list that follows the caption: ", fruit, healthy"; "" where there are none."""
    fitting = [tag for tag in tags if re.fullmatch(r"[a-z]{3,12}", tag) and tag[:4] not in label and tag not in COLOURS]
    if not fitting:
        return ""
    return "".join(f", {tag}" for tag in rng.sample(fitting, min(len(fitting), rng.randint(1, most))))


LONG = (
    "a drawing of {}",
    "a picture of {}",
    "an illustration of {}",
    "a simple drawing of {}",
    "a sticker of {}",
    "a cartoon of {}",
    "a drawing that shows {}",
    "an image of {}",
)
TRANSPARENT = ("on a transparent background", "with no background", "as a cut-out")


def sentence(subject: str, background: str, style: str, extra: str, long: bool, rng: random.Random) -> str:
    """The whole caption: subject, then where it is, then words that describe it, then the style.

    Args:
        subject: "a cat to the left of a tree".
        background: "on a blue background", or "" where the scene is transparent.
        style: a key of `STYLES`, or "" to leave it unsaid.
        extra: words that follow, with their comma, or "".
        long: a structured caption instead of the bare words.
    """
    caption = rng.choice(LONG).format(subject) if long else subject
    if background:
        caption = f"{caption} {background}"
    elif long and rng.random() < 0.3:
        caption = f"{caption} {rng.choice(TRANSPARENT)}"
    if long:
        caption += extra
    return f"{caption}, {STYLES[style]}" if style else caption


SWAPS: tuple[tuple[str, ...], ...] = (
    tuple(NUMBERS[count] for count in (2, 3, 4, 5)),
    ("red", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"),
    ("to the left of", "to the right of"),
    ("on the left of", "on the right of"),
    ("left of", "right of"),
    ("above", "below"),
    ("over", "under"),
    ("on top of", "behind"),
    ("small", "large"),
    ("tiny", "huge"),
    ("little", "big"),
    tuple(STYLES.values()),
    tuple(BACKGROUNDS[name] for name in ("night", "meadow", "beach", "snow")),
)
"""Groups of words and phrases of which one in the place of another makes a wrong caption."""

_SWAP = {word: [other for other in group if other != word] for group in SWAPS for word in group}
_SWAPPED = re.compile(r"(?<![\w-])(" + "|".join(sorted(map(re.escape, _SWAP), key=len, reverse=True)) + r")(?![\w-])")
_SAID_RELATIONS = sorted({said for group in RELATIONS.values() for said in group}, key=len, reverse=True)
_LEAD = re.compile("|".join(re.escape(lead.format("")) for lead in sorted(LONG, key=len, reverse=True)))
_RELATED = re.compile(
    rf"^(an? [a-z' -]+?) ({'|'.join(_SAID_RELATIONS)}) (an? [a-z' -]+?)"
    r"(?=,| on an? | with no | as a cut-out| in the | at night|$)"
)
_GROUND = re.compile(r"an? .*background|a green meadow|a beach$")


def wrong_caption(caption: str, rng: random.Random) -> str | None:
    """The caption with one colour, number, relation, size, style or place exchanged, or its two things; None where it names none.

    For teaching what a small change of words changes (hard negatives, Yuksekgonul et al. 2022, arXiv:2210.01936).
    """
    lead = _LEAD.match(caption)
    start = lead.end() if lead else 0
    related = _RELATED.match(caption[start:])
    if related and related[1] != related[3] and not _GROUND.match(related[3]) and rng.random() < 0.3:
        return f"{caption[:start]}{related[3]} {related[2]} {related[1]}{caption[start + related.end() :]}"
    places = list(_SWAPPED.finditer(caption))
    if not places:
        return None
    place = rng.choice(places)
    return f"{caption[: place.start()]}{rng.choice(_SWAP[place[1]])}{caption[place.end() :]}"

"""Words for what a scene shows: articles, plural forms, colours, counts, places, backgrounds and styles."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from dalle.config import COLOURS

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

BACKGROUNDS: dict[str, str] = {
    "plain": "on a {colour} background",
    "gradient": "on a {colour} gradient background",
    "night": "at night",
    "meadow": "on a green meadow",
    "beach": "on a beach",
    "snow": "in the snow",
}
"""Background -> how captions say it; the first is the common one."""

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
"""Label -> other words that people type for the same drawing. emojibase's tags name moods as well ("cool"), so they can't stand
for a label; a tag does only where it is the label's own last word ("apple" of "red apple")."""

MASS = frozenset(
    "bacon bread broccoli butter cheese chocolate corn dna fire fog food garlic ginger hair honey ice luggage meat milk money music oil "
    "paper popcorn rain rice sake salt sand seaweed smoke snow soap soup spaghetti sushi tofu toast water weather wheat wind wood "
    "yarn lightning mail sewing knitting bowling boxing soccer football basketball tennis hockey volleyball badminton lacrosse golf baseball softball "
    "curry pasta coffee tea beer wine juice software hardware technology biology chemistry physics justice love sleep success "
    "cash ketchup mustard pepper sugar flour grass lava mud dust steam garbage trash rubbish clothing furniture".split()
)
"""Nouns without an article or plural. Sports stand for their balls in some sets, so they have neither here."""

PLURAL_ONLY = frozenset("jeans shorts glasses sunglasses scissors pants trousers goggles tongs pajamas binoculars headphones earphones "
                        "stairs clothes chopsticks fries noodles".split())
SINGULAR_S = frozenset("bus gas lens compass glass cactus octopus walrus hippopotamus virus lotus circus campus abacus iris mass cross "
                       "dress boss class chess brass grass canvas atlas christmas tennis princess fungus diplodocus abs colossus "
                       "pancreas sos news rss gps thermos stegosaurus hibiscus citrus cosmos platypus bias aries moss "
                       "moss abyss access address process business wireless boss mess pass success".split())
IRREGULAR = {
    "mouse": "mice", "goose": "geese", "tooth": "teeth", "foot": "feet", "man": "men", "woman": "women", "child": "children",
    "person": "people", "ox": "oxen", "sheep": "sheep", "fish": "fish", "deer": "deer", "shrimp": "shrimp", "squid": "squid",
    "bison": "bison", "moose": "moose", "spacecraft": "spacecraft", "aircraft": "aircraft", "cactus": "cacti", "die": "dice",
    "leaf": "leaves", "knife": "knives", "wolf": "wolves", "loaf": "loaves", "scarf": "scarves", "shelf": "shelves", "half": "halves",
    "calf": "calves", "elf": "elves", "wife": "wives", "life": "lives", "thief": "thieves", "potato": "potatoes", "tomato": "tomatoes",
    "mango": "mangoes", "hero": "heroes", "volcano": "volcanoes", "mosquito": "mosquitoes", "torpedo": "torpedoes", "swordfish": "swordfish",
    "starfish": "starfish", "jellyfish": "jellyfish", "blowfish": "blowfish", "goldfish": "goldfish", "bus": "buses", "gas": "gases",
    "octopus": "octopuses", "quiz": "quizzes", "series": "series", "salmon": "salmon", "reindeer": "reindeer", "policeman": "policemen",
    "snowman": "snowmen", "fireman": "firemen", "axis": "axes",
}  # fmt: skip

_PREPOSITION = re.compile(r" (?:with|of|in|on|behind|without|for|at|and|to|from|showing|under|over|facing|wearing|holding|symbol for)\b")
_AN = re.compile(r"(?:[aeio]|u(?!ni(?!n)|[rs](?:ain|[aeiou])|ku|fo\b|tensil|-)|hour|honest|heir|honor|x-ray|mri\b|suv\b|sos\b|led\b|lcd\b|rss\b|sd\b|html\b|mp3|sms\b|ssd\b|8\b|11|18)")
_A = re.compile(r"(?:one\b|one-|once|eu|ewe\b|uno\b)")
_CLOCK = re.compile(r"^(\w+) o'clock$|^(\w+)-thirty$")
_PROPER = frozenset({
    "mount fuji", "saturn", "aries", "taurus", "gemini", "cancer", "leo", "virgo", "libra", "scorpio", "sagittarius", "capricorn",
    "aquarius", "pisces", "ophiuchus", "santa claus", "mrs. claus", "mx claus",
})  # fmt: skip
_THE = frozenset({"statue of liberty", "tokyo tower", "milky way", "kaaba", "eiffel tower", "union jack"})


def article(phrase: str) -> str:
    """"a" or "an", by the sound that the phrase begins with."""
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
    return is_plain_noun(label) and not is_plural(label) and not is_mass(label)


def plural(label: str) -> str:
    """"slice of pizza" -> "slices of pizza"."""
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


def noun_phrase(label: str, *adjectives: str, count: int = 1) -> str:
    """"red apple", 3 -> "three red apples"; "owl" -> "an owl"; "cherries" -> "cherries"; "flag of peru" -> "the flag of peru"."""
    described = " ".join((*(word for word in adjectives if word), label))
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
    """"red apple" -> "a red apple"; `noun` is the part that decides whether an article fits, the whole phrase by default."""
    noun = noun or phrase
    adjectives = phrase.removesuffix(noun).split() if phrase.endswith(noun) else []
    return noun_phrase(noun, *adjectives)


def join(parts: Sequence[str]) -> str:
    """The parts that are not empty, with spaces between."""
    return " ".join(part for part in parts if part)


def is_plain_noun(label: str) -> bool:
    """Whether the label names one thing in at most three plain words, so that it can stand in a relation."""
    name = label.lower()
    if name in _PROPER or name in _THE or name.startswith("flag of") or _CLOCK.match(name) or len(name.split()) > 3:
        return False
    return bool(re.fullmatch(r"[a-z][a-z' -]*[a-z]", name))


def without_colour(label: str) -> str | None:
    """The label without the colour it begins with ("red apple" -> "apple"); None where a colour stands elsewhere in it."""
    words = label.split(" ")
    if words[0] in COLOURS and len(words) > 1:
        words = words[1:]
    return None if any(word in COLOURS for word in words) else " ".join(words)


def other_names(label: str, tags: Sequence[str], group: str = "") -> list[str]:
    """Other words for the same drawing, sensible ones only: none for most."""
    names = list(SYNONYMS.get(label, ()))
    words = label.split(" ")
    if len(words) == 2 and words[1] in tags and words[0] in COLOURS:
        names.append(words[1])
    if group == "animal" and len(words) > 1 and words[-1] == "face":
        names.append(" ".join(words[:-1]))
    return names


def keywords(label: str, tags: Sequence[str], random_: random.Random, most: int = 2) -> str:
    """A few tags as a list that follows the caption: ", fruit, healthy"; "" where there are none."""
    known = set(re.findall(r"[a-z]+", label))
    fitting = [tag for tag in tags if re.fullmatch(r"[a-z]{3,12}", tag) and tag not in known and tag not in COLOURS]
    if not fitting:
        return ""
    return "".join(f", {tag}" for tag in random_.sample(fitting, min(len(fitting), random_.randint(1, most))))

"""Which language is this? Enough of an answer to tell a reader that the text encoder understands English only.

Scripts decide first, by the names that Unicode gives to letters. Latin letters need words: the tables hold articles,
prepositions, numbers, colours and a few things people ask a drawing machine for, without spellings that are English
words too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection

from dalle.words import ENGLISH, known_word, plain, tokens

FOREIGN_SHARE = 0.3
"""Share of letters outside the Latin alphabet from which a prompt counts as written in another script."""

SCRIPTS = {
    "CJK": "Chinese",
    "BOPOMOFO": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "CYRILLIC": "Russian",
    "GREEK": "Greek",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "DEVANAGARI": "Hindi",
    "BENGALI": "Bengali",
    "GURMUKHI": "Punjabi",
    "GUJARATI": "Gujarati",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "KANNADA": "Kannada",
    "MALAYALAM": "Malayalam",
    "SINHALA": "Sinhala",
    "THAI": "Thai",
    "LAO": "Lao",
    "KHMER": "Khmer",
    "MYANMAR": "Burmese",
    "TIBETAN": "Tibetan",
    "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian",
    "ETHIOPIC": "Amharic",
}
"""First word of a letter's Unicode name -> the language that mostly uses the script."""

# Letters that tell apart languages of one script; the first that matches wins.
REFINEMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "Russian": (
        ("[ўЎ]", "Belarusian"),
        ("[әғқңұһ]", "Kazakh"),
        ("[іїєґ]", "Ukrainian"),
        ("[ѓќѕ]", "Macedonian"),
        ("[јљњђћџ]", "Serbian"),
        # In Russian the hard sign stands before е, ё, ю and я alone; in Bulgarian it is a vowel.
        ("ъ(?![еёюя])", "Bulgarian"),
    ),
    "Arabic": (("[ٹڈڑےں]", "Urdu"), ("[پچژگکی]", "Persian")),
}

# Language -> (letters hardly found elsewhere, words).
LATIN: dict[str, tuple[str, str]] = {
    "German": (
        "äöüß",
        "der die das den dem des ein eine einen einem einer und oder mit ohne auf unter neben über vor hinter "
        "zwischen im am ist zwei drei vier fünf links rechts von groß große großer kleine kleiner kleines rote "
        "roter rotes roten blau blaue blauer blaues grün grüne grüner gelb gelbe gelber gelbes schwarz schwarze "
        "schwarzer weiß weiße weißer katze katzen hund hunde haus häuser baum bäume apfel äpfel blume blumen sonne "
        "mond himmel herz vogel fisch pferd mann frau mädchen kuchen gesicht",
    ),
    "French": (
        "éèêàçœëîïôûù",
        "le la les un une des du de et ou avec sans sur sous dans devant derrière à gauche droite est deux trois "
        "quatre cinq petit petite grand grande rouge rouges bleu bleue vert verte jaune noir noire blanc blanche "
        "violet chat chats chien chiens maison arbre arbres pomme pommes fleur fleurs soleil lune étoile ciel cœur "
        "coeur oiseau poisson cheval homme femme fille garçon gâteau voiture visage jardin souriant",
    ),
    "Spanish": (
        "ñáíóú¿¡",
        "el la los las un una unos unas y o con sin sobre bajo en de del al a izquierda derecha es dos tres cuatro "
        "cinco pequeño pequeña grande rojo roja azul verde amarillo amarilla negro negra blanco blanca gato gata "
        "gatos perro perros casa árbol árboles manzana manzanas flor flores luna estrella cielo corazón pájaro pez "
        "caballo hombre mujer niña niño coche cara feliz jardín",
    ),
    "Portuguese": (
        "ãõçáâêíóúà",
        "o a os as um uma uns umas e ou com sem sobre em no na do da dos das ao à esquerda direita é dois duas três "
        "quatro cinco pequeno pequena grande vermelho vermelha azul verde amarelo amarela preto preta branco branca "
        "gato gatos cachorro cão casa árvore árvores maçã maçãs flor flores lua estrela céu coração pássaro peixe "
        "cavalo homem mulher menina menino carro rosto feliz jardim",
    ),
    "Italian": (
        "àèìòù",
        "il lo la gli le un uno una e o con senza su sotto nel nella di del della al a sinistra destra è due tre "
        "quattro cinque piccolo piccola rosso rossa rossi verde giallo gialla nero nera bianco bianca azzurro gatto "
        "gatti cani casa albero alberi mela mele fiore fiori stella cielo cuore uccello pesce cavallo uomo donna "
        "ragazza ragazzo macchina viso faccia felice giardino",
    ),
    "Dutch": (
        "ĳë",
        "de het een en of met zonder op onder naast voor achter van in aan is links rechts twee drie vier vijf "
        "kleine grote groot rood rode blauw blauwe groen groene geel gele zwart zwarte wit witte kat katten hond "
        "honden huis boom bomen appel appels bloem bloemen zon maan ster hemel hart vogel vis paard vrouw meisje "
        "jongen fiets gezicht tuin",
    ),
    "Polish": (
        "ąćęłńóśźż",
        "i w z na pod nad obok przed za do jest dwa dwie trzy cztery pięć mały mała duży duża czerwony czerwona "
        "czerwone niebieski niebieska zielony zielona zielone żółty żółta czarny czarna biały biała kot koty pies "
        "psy dom drzewo drzewa jabłko jabłka kwiat kwiaty słońce księżyc gwiazda niebo serce ptak ryba koń kobieta "
        "dziewczyna samochód twarz ogród",
    ),
    "Czech": (
        "ěščřžýůďťň",
        "a v na pod nad vedle před za je dva dvě tři čtyři malý malá velký velká červený červená červené modrý "
        "modrá zelený zelená žlutý žlutá černý černá bílý bílá kočka kočky kočička psi dům strom stromy jablko "
        "jablka květina slunce měsíc hvězda nebe srdce pták ryba kůň žena dívka auto tvář zahrada",
    ),
    "Turkish": (
        "ışğİçöü",
        "bir ve ile üzerinde altında yanında solunda sağında iki üç dört beş küçük büyük kırmızı mavi yeşil sarı "
        "siyah beyaz kedi kediler köpek ev ağaç elma elmalar çiçek güneş yıldız gökyüzü kalp kuş balık adam kadın "
        "kız çocuk araba yüz bahçe mutlu",
    ),
    "Swedish": (
        "åäö",
        "en ett och eller med utan på under bredvid i framför bakom till är två tre fyra fem liten litet stor stort "
        "röd rött röda blå blått grön grönt gul gult svart vit vitt katt katter hund hus träd äpple äpplen blomma "
        "blommor månen stjärna himmel hjärta fågel fisk häst kvinna flicka pojke ansikte trädgård",
    ),
    "Danish or Norwegian": (
        "åæø",
        "en et og eller med uden uten på under ved siden i foran bag bak til er to tre fire fem lille stor stort "
        "rød rødt røde blå blåt blått grøn grønt grønn gul gult sort svart hvid hvit kat katt hund hus træ tre "
        "træer æble eple blomst blomster solen månen stjerne himmel hjerte fugl fisk hest kvinde kvinne pige jente "
        "dreng gutt ansigt ansikt",
    ),
    "Finnish": (
        "äö",
        "ja tai kanssa ilman päällä alla vieressä on yksi kaksi kolme neljä viisi pieni iso suuri punainen sininen "
        "vihreä keltainen musta valkoinen kissa kissat koira talo puu omena omenat kukka aurinko kuu tähti taivas "
        "sydän lintu kala hevonen mies nainen tyttö poika kasvot puutarha",
    ),
    "Hungarian": (
        "őűáéíóúöü",
        "a az egy és vagy mellett alatt felett előtt mögött van két három négy öt kis kicsi nagy piros kék zöld "
        "sárga fekete fehér macska macskák kutya ház fa fák alma almák virág nap hold csillag ég szív madár hal ló "
        "férfi nő lány fiú autó arc kert",
    ),
    "Romanian": (
        "ăâîșțşţ",
        "un o și sau cu fără pe sub lângă în la este doi două trei patru cinci mic mică mare roșu roșie albastru "
        "albastră verde galben negru neagră alb albă pisică pisica pisici câine casă copac copaci măr mere floare "
        "flori soare lună stea cer inimă pasăre pește cal bărbat femeie fată băiat mașină față grădină",
    ),
    "Vietnamese": (
        "ơưđạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
        "một hai con cái quả chiếc và với trên dưới trong của là màu đỏ xanh vàng đen trắng mèo chó nhà cây táo hoa "
        "mặt trời trăng chim cá",
    ),
    "Indonesian or Malay": (
        "",
        "seekor sebuah seorang dan dengan di atas bawah dalam kiri kanan dari yang dua tiga empat lima kecil besar "
        "merah biru hijau kuning hitam putih kucing anjing rumah pohon pokok apel epal bunga matahari bulan bintang "
        "langit hati burung ikan kuda wanita perempuan",
    ),
}

_SHARED = "arc auto bag cal chat chats die grand hold mare mere mic nap petite pies sort violet"
HOMOGRAPHS = frozenset(_SHARED.split())
"""Words of the tables that are English too: they speak for neither side."""

_TABLES = {name: (frozenset(letters), frozenset(words.split())) for name, (letters, words) in LATIN.items()}
_ALL_WORDS = frozenset().union(*(words for _, words in _TABLES.values()))


def detect_language(prompt: str, vocabulary: Collection[str]) -> str | None:
    """English name of the language that `prompt` is written in; None for English or where it can't be told.

    `vocabulary` holds English words known to the caller, or their stems: they speak against any other language.
    """
    prompt = unicodedata.normalize("NFC", prompt)
    letters = [c for c in prompt if c.isalpha()]
    scripts = Counter(language for c in letters if (language := _script(c)) is not None)
    if letters and scripts.total() >= FOREIGN_SHARE * len(letters):
        # Japanese mixes kana with Chinese characters, Chinese has no kana.
        language = "Japanese" if "Japanese" in scripts else scripts.most_common(1)[0][0]
        for letter, narrower in REFINEMENTS.get(language, ()):
            if re.search(letter, prompt.lower()):
                return narrower
        return language
    return _latin(tokens(prompt.lower()), vocabulary)


def _script(letter: str) -> str | None:
    if letter.isascii():
        return None
    return SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0].split("-")[0])


def _latin(words: list[str], vocabulary: Collection[str]) -> str | None:
    """The language with more evidence than English has, where the evidence covers at least a third of the words."""
    english_words = {word for word in words if _is_english(word, vocabulary)}
    best, most = None, 0.0
    for language, (letters, table) in _TABLES.items():
        foreign = english = 0.0
        for word in words:
            if word in table:
                foreign += word not in english_words
            elif word in english_words:
                english += 1
            elif letters & set(word):
                foreign += 0.5
        if foreign > max(english, most) and foreign >= max(1, len(words) / 3):
            best, most = language, foreign
    return best


def _is_english(word: str, vocabulary: Collection[str]) -> bool:
    if word in ENGLISH or word in HOMOGRAPHS:
        return True
    # An accented word of a table is foreign, even where its plain form is English: "röd" against "rod".
    return known_word(word, vocabulary) and not (word in _ALL_WORDS and word != plain(word))

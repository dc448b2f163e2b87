"""What pictures are made into: a storybook, adverts, a sprite sheet, teaching cards, icons, a kit of everything.

A maker takes the pictures one by one, so that many of them need the model and the memory for one at a time, and ends in a zip or a
PDF with their recipes and the model's card, whose table of drawing sets is the attribution to pass on.
"""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, PdfParser

from dalle.export import KIT_CARD, NO_CARD, Bundle, Kit, resized, svg
from dalle.images import fitted, letters, over, png_bytes, wrap, xml_safe, xmp
from dalle.requests import Picture, picture_metadata
from dalle.uses import caption_of, word_of

INK = (38, 42, 61)
FAINT = (120, 124, 138)
PAPER = (255, 253, 248)
CLEAR_ALPHA = 16
"""Alpha up to which a pixel counts as empty."""


def is_opaque(image: Image.Image) -> bool:
    """Whether the background was drawn: nine tenths of the outermost pixels are opaque."""
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    rim = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    return bool((rim > 127).mean() > 0.9)


def main_colour(image: Image.Image) -> tuple[int, int, int] | None:
    """The colour that a drawing has most of, as sRGB; None where it is all greys or there is nothing."""
    pixels = np.asarray(image.convert("RGBA").resize((64, 64), Image.Resampling.BOX), dtype=float) / 255
    rgb = pixels[..., :3].reshape(-1, 3)
    vivid = (rgb.max(1) - rgb.min(1)) * pixels[..., 3].reshape(-1)
    if vivid.mean() < 0.01:
        return None
    bins = np.array([int(colorsys.rgb_to_hsv(*colour)[0] * 18) % 18 for colour in rgb])
    chosen = bins == np.bincount(bins, weights=vivid, minlength=18).argmax()
    mean = (rgb[chosen] * vivid[chosen, None]).sum(0) / vivid[chosen].sum()
    return tuple(round(255 * part) for part in mean)  # type: ignore[return-value]


def cut_out(image: Image.Image) -> Image.Image:
    """What is drawn, without the empty rim around it; all of it where nothing is drawn."""
    image = image.convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > CLEAR_ALPHA)).getbbox()
    return image.crop(box) if box else image


def squared(image: Image.Image, margin: float = 1 / 16) -> Image.Image:
    """The drawing in the middle of a square, as large as a margin, in shares of its side, lets it be; an opaque one has none.

    Only cropped and padded: no pixel is computed anew.
    """
    if is_opaque(image):
        drawing, margin = image.convert("RGBA"), 0.0
    else:
        drawing = cut_out(image)
    side = round(max(drawing.size) / (1 - 2 * margin))
    square = Image.new("RGBA", (side, side))
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    return square


def rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """A mask with round corners, smooth."""
    mask = Image.new("L", (2 * size[0], 2 * size[1]))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 2 * size[0] - 1, 2 * size[1] - 1), 2 * radius, fill=255)
    return mask.resize(size, Image.Resampling.LANCZOS)


def advert(image: Image.Image) -> Image.Image:
    """A visual of 1024 by 1024 pixels, RGB: the drawing low in the middle, up to 640 pixels wide and high, above it room for text.

    The ground of a transparent drawing is a light tint opposite to its main colour, a drawn one goes on in the colour of its rim.
    """
    side, box, bottom = 1024, 640, 64
    image = image.convert("RGBA")
    if is_opaque(image):
        pixels = np.asarray(image, dtype=float)[..., :3]
        rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        canvas = Image.new("RGB", (side, side), tuple(round(part) for part in np.median(rim, axis=0)))
        scale = box / max(image.size)
        wide, high = (max(1, round(part * scale)) for part in image.size)
        picture = image.resize((wide, high), Image.Resampling.LANCZOS).convert("RGB")
        melt = Image.new("L", (wide, high))
        inset = min(48, wide // 8, high // 8)
        ImageDraw.Draw(melt).rounded_rectangle((inset, inset, wide - inset - 1, high - inset - 1), 64, fill=255)
        canvas.paste(picture, ((side - wide) // 2, side - bottom - high), melt.filter(ImageFilter.GaussianBlur(20)))
        return canvas
    hue = colorsys.rgb_to_hsv(*(part / 255 for part in main_colour(image) or (255, 150, 60)))[0]
    low, high = (np.array(colorsys.hsv_to_rgb((hue + 0.5) % 1, share, 0.97)) * 255 for share in (0.42, 0.2))
    fall = np.linspace(0, 1, side)[:, None, None]
    ground = np.broadcast_to(high + (low - high) * fall, (side, side, 3))
    canvas = Image.fromarray(ground.round().astype(np.uint8)).convert("RGBA")
    drawing = cut_out(image)
    scale = min(box / drawing.width, box / drawing.height)
    drawing = drawing.resize([max(1, round(part * scale)) for part in drawing.size], Image.Resampling.LANCZOS)
    place = (side - drawing.width) // 2, side - bottom - drawing.height
    shade = Image.new("L", (side, side))
    shade.paste(drawing.getchannel("A").point(lambda alpha: alpha // 4), (place[0], place[1] + 16))
    shadow = Image.new("RGBA", (side, side), (*INK, 255))
    shadow.putalpha(shade.filter(ImageFilter.GaussianBlur(22)))
    canvas.alpha_composite(shadow)
    canvas.alpha_composite(drawing, place)
    return canvas.convert("RGB")


def book_page(image: Image.Image, caption: str, number: int, foot: str) -> Image.Image:
    """A page of a storybook, A4 at 150 dpi, RGB: a picture of 1024 pixels, its line below, and a small line at the foot."""
    page = Image.new("RGB", (1240, 1754), PAPER)
    picture = over(fitted(image, 1024), PAPER)
    page.paste(picture, (108, 130), rounded((1024, 1024), 36))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(54)
    for place, line in enumerate(wrap(caption, font, 1000, lines=4)):
        pen.text((620, 1236 + 76 * place), line, font=font, fill=INK, anchor="ma")
    pen.text((620, 1630), str(number), font=ImageFont.load_default(26), fill=INK, anchor="ma")
    pen.text((620, 1690), foot, font=ImageFont.load_default(17), fill=FAINT, anchor="ma")
    return page


CARDS_ON_PAGE = 6


def card_page(cards: Sequence[tuple[Image.Image, str]], foot: str) -> Image.Image:
    """Up to six teaching cards, pictures and their words, in two columns on A4 at 300 dpi, RGB, with a small line at the foot."""
    page = Image.new("RGB", (2480, 3508), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    wide, high, gap, side = 1090, 1029, 60, 730
    for place, (image, word) in enumerate(cards):
        row, column = divmod(place, 2)
        x, y = 120 + column * (wide + gap), 120 + row * (high + gap)
        frame = Image.new("RGB", (wide, high), main_colour(image) or FAINT)
        inner = wide - 20, high - 20
        frame.paste(Image.new("RGB", inner, (255, 255, 255)), (10, 10), rounded(inner, 54))
        page.paste(frame, (x, y), rounded((wide, high), 64))
        # Without a word the picture has the card for itself.
        below = y + (58 if word else (high - side) // 2)
        picture = squared(image, 0.01).resize((side, side), Image.Resampling.LANCZOS)
        page.paste(over(picture, (255, 255, 255)), (x + (wide - side) // 2, below), rounded((side, side), 30))
        size = next((size for size in range(120, 89, -6) if ImageFont.load_default(size).getlength(word) <= wide - 120), 84)
        font = ImageFont.load_default(size)
        lines = wrap(word, font, wide - 120)
        for line, text in enumerate(lines):
            middle = y + 908 + (line - (len(lines) - 1) / 2) * size * 1.15
            pen.text((x + wide / 2, middle), text, font=font, fill=INK, anchor="mm")
    pen.text((1240, 3420), foot, font=ImageFont.load_default(30), fill=FAINT, anchor="ma")
    return page


def atlas(names: Sequence[str], columns: int, cell: int, sheet: tuple[int, int], image: str) -> dict[str, object]:
    """Where the sprites of a sheet of equal cells lie, in TexturePacker's hash format, which Phaser and PixiJS read."""
    size = {"w": cell, "h": cell}
    frames = {
        name: {
            "frame": {"x": place % columns * cell, "y": place // columns * cell, **size},
            "rotated": False,
            "trimmed": False,
            "spriteSourceSize": {"x": 0, "y": 0, **size},
            "sourceSize": size,
        }
        for place, name in enumerate(names)
    }
    meta = {"app": "Open DALL·E", "version": "1.0", "image": image, "format": "RGBA8888"}
    return {"frames": frames, "meta": meta | {"size": {"w": sheet[0], "h": sheet[1]}, "scale": "1"}}


# Makers


class Maker(Protocol):
    """Takes pictures, one at a time, and ends in a file."""

    ending: str
    note: str

    def add(self, picture: Picture) -> None: ...

    def finish(self) -> bytes: ...


class Adverts(Bundle):
    """A visual of each picture; see `advert`."""

    about = (
        "Each visual is 1024 by 1024 pixels. The picture stands in the lower part, 64 pixels from the edge. The upper 320 pixels"
        " are free: set a headline into the 896 by 224 pixels that begin 64 pixels from the left and from the top.\n"
    )

    def made(self, picture: Picture, name: str, metadata: Mapping[str, str]) -> str:
        self._write(f"{name}.png", png_bytes(advert(picture.image), metadata))
        return f"{name}.png"


class Sprites(Bundle):
    """One transparent sheet in equal cells, and its atlas."""

    about = (
        "`sprites.png` has a sprite in each cell of 128 pixels. `sprites.json` is its atlas in TexturePacker's hash format: load"
        ' both with `this.load.atlas("sprites", "sprites.png", "sprites.json")` in Phaser or'
        ' `Assets.load("sprites.json")` in PixiJS.\n'
    )
    cell = 128

    def __init__(self, card: str) -> None:
        super().__init__(card)
        self._sprites: list[tuple[str, Image.Image]] = []

    def made(self, picture: Picture, name: str, metadata: Mapping[str, str]) -> str:
        self._sprites.append((name, fitted(picture.image, self.cell)))
        return "sprites.png"

    def complete(self) -> None:
        columns = int(np.ceil(np.sqrt(len(self._sprites))))
        rows = -(-len(self._sprites) // columns)
        sheet = Image.new("RGBA", (columns * self.cell, rows * self.cell))
        for place, (_, sprite) in enumerate(self._sprites):
            sheet.paste(sprite, (place % columns * self.cell, place // columns * self.cell))
        self._write("sprites.png", png_bytes(sheet, {"model": self._model}))
        names = [name for name, _ in self._sprites]
        found = atlas(names, columns, self.cell, sheet.size, "sprites.png")
        self._write("sprites.json", json.dumps(found, ensure_ascii=False, indent=2))


class Icons(Bundle):
    """PNG in four sizes and SVG of each picture, all as large as their square lets them be, and a favicon of the first."""

    about = (
        "Each icon fills its square but for a margin of a sixteenth. `favicon.ico`, of 16, 32 and 48 pixels, is the first of"
        " them; that format has no place to say that a model drew it, so say it where you use it.\n"
    )
    sizes = (64, 128, 256, 512)

    def made(self, picture: Picture, name: str, metadata: Mapping[str, str]) -> str:
        icon = squared(picture.image)
        for size in self.sizes:
            self._write(f"png-{size}/{name}.png", png_bytes(resized(icon, size), metadata))
        self._write(f"svg/{name}.svg", svg(icon, picture.prompt, metadata))
        if not self._recipes:
            buffer = io.BytesIO()
            resized(icon, 256).save(buffer, "ICO", sizes=[(16, 16), (32, 32), (48, 48)])
            self._write("favicon.ico", buffer.getvalue())
        return f"png-256/{name}.png"


class Pages:
    """A PDF that grows page by page. At the end it gets the recipes and the model's card as attached files, and an XMP packet with
    the IPTC term for what a model made."""

    ending = "pdf"
    title = ""
    resolution = 150

    def __init__(self, card: str) -> None:
        self._card = card
        self._buffer = io.BytesIO()
        self._recipes: list[dict[str, object]] = []
        self._model = "a model"
        self._left_out = 0

    def add(self, picture: Picture) -> None:
        metadata = picture_metadata(picture)
        self._model = metadata["model"] or self._model
        self._recipes.append({**metadata, "settings": picture.settings})
        self.place(picture)

    def place(self, picture: Picture) -> None:
        """Puts a picture on a page."""
        raise NotImplementedError

    def complete(self) -> None:
        """Writes the page that is not full yet."""

    def finish(self) -> bytes:
        """The whole PDF.

        Raises:
            ValueError: no pictures.
        """
        if not self._recipes:
            raise ValueError("no pictures given")
        self.complete()
        recipes = json.dumps(self._recipes, ensure_ascii=False, indent=2)
        attach(self._buffer, {KIT_CARD: self._card or NO_CARD, "recipes.json": recipes}, xmp({"model": self._model}))
        return self._buffer.getvalue()

    @property
    def note(self) -> str:
        """What to tell of the words; "" where all of them could be set."""
        if not self._left_out:
            return ""
        which = "One picture has" if self._left_out == 1 else f"{self._left_out} pictures have"
        return f"{which} no words below: the font that they are set in has only Latin letters."

    def _said(self, text: str) -> str:
        """Text as the font can set it; "" where it lacks a letter of it."""
        said = letters(text)
        self._left_out += bool(text) and not said
        return said

    def _foot(self) -> str:
        model = letters(xml_safe(self._model))[-60:]
        by = f"Drawn by a model{f' ({model})' if model else ''}"
        return f"{by}. Who drew what it learned from: {KIT_CARD}, attached to this file."

    def _page(self, page: Image.Image) -> None:
        started = self._buffer.tell() > 0
        page.save(
            self._buffer, "PDF", append=started, resolution=self.resolution, quality=92, title=self.title, creator="Open DALL·E"
        )


class Storybook(Pages):
    """A page a picture; see `book_page`."""

    title = "Storybook"

    def place(self, picture: Picture) -> None:
        self._page(book_page(picture.image, self._said(caption_of(picture.prompt)), len(self._recipes), self._foot()))


class Cards(Pages):
    """Six teaching cards a page; see `card_page`."""

    title = "Teaching cards"
    resolution = 300

    def __init__(self, card: str) -> None:
        super().__init__(card)
        self._waiting: list[tuple[Image.Image, str]] = []

    def place(self, picture: Picture) -> None:
        self._waiting.append((picture.image, self._said(word_of(picture.prompt))))
        if len(self._waiting) == CARDS_ON_PAGE:
            self.complete()

    def complete(self) -> None:
        if self._waiting:
            self._page(card_page(self._waiting, self._foot()))
            self._waiting = []


def attach(file: io.BytesIO, files: Mapping[str, str], packet: str) -> None:
    """Adds text files and an XMP packet to a PDF (ISO 32000-1, 7.11.4 and 14.3.2) as an incremental update."""
    name = PdfParser.PdfName
    pdf = PdfParser.PdfParser(f=file, mode="r+b")
    pdf.start_writing()
    listed: list[object] = []
    for path, text in sorted(files.items()):
        body = pdf.write_obj(None, stream=text.encode(), Type=name("EmbeddedFile"))
        holder = PdfParser.PdfDict({b"Type": name("Filespec"), b"F": path, b"UF": path, b"EF": PdfParser.PdfDict({b"F": body})})
        listed += [path, pdf.write_obj(None, holder)]
    metadata = pdf.write_obj(None, stream=packet.encode(), Type=name("Metadata"), Subtype=name("XML"))
    names = PdfParser.PdfDict({b"EmbeddedFiles": PdfParser.PdfDict({b"Names": listed})})
    pages = pdf.root[b"Pages"]
    root = pdf.write_obj(None, Type=name("Catalog"), Pages=pages, Metadata=metadata, Names=names)
    pdf.write_xref_and_trailer(root)
    pdf.close()


MAKERS: dict[str, type] = {
    "kit": Kit,
    "storybook": Storybook,
    "advert": Adverts,
    "sprites": Sprites,
    "cards": Cards,
    "icons": Icons,
}
"""What many pictures can be made into: for each use its own, and the kit that has a bit of everything."""

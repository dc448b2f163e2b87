"""Pictures and paths for use elsewhere: other sizes, vectors, sticker sheets, videos, frames, kits with their attribution.

Whatever leaves says that a model made it: PNG and SVG carry the IPTC term, and a kit has the model's card beside its pictures.
"""

from __future__ import annotations

import io
import json
import re
import weakref
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from dalle.config import IMAGE_SIZE, SettingError
from dalle.images import DIGITAL_SOURCE_TYPE, MAX_FPS, bounded, over, png_bytes, slug, xml_safe, xmp
from dalle.requests import Picture, picture_metadata

SIZES = (64, 128, 256, 512, 1024)
"""Sides of the pictures that can be had, in pixels."""

STICKER_EDGE = 9
"""Width of a sticker's white edge, in pixels of a picture of 256."""

KIT_CARD = "MODEL-CARD.md"
NO_CARD = "This model has no card.\n"
KIT_NOTE = """\
# {count}

Drawn by {model}. Each PNG says in its metadata how it was made and can be loaded back into the playground.

What they may be used for is said by the licence of the model's weights. {card} names it, and what the model was trained on,
as far as whoever published the model tells it: pass it on with the pictures.
"""


def resized(image: Image.Image, size: int) -> Image.Image:
    """A picture in another size, that of its longer side, RGBA, by Lanczos on premultiplied colours.

    Raises:
        SettingError: a size that is not one of `SIZES`.
    """
    if isinstance(size, bool) or size not in SIZES:
        raise SettingError(f"Choose a size of {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]} pixels.")
    image = image.convert("RGBA")
    scale = size / max(image.size)
    return image if scale == 1 else image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


def svg(image: Image.Image, title: str = "", metadata: Mapping[str, str] | None = None) -> str:
    """`image` as vector graphics, traced into filled splines, with a title and the XMP packet of our other files.

    Where the picture is half transparent or less, nothing is drawn; the rest is opaque. A large one is traced `bounded`.

    Raises:
        SettingError: the tracer is not installed.
    """
    try:
        import vtracer
    except ImportError as error:
        raise SettingError("Saving as SVG needs the package vtracer: pip install vtracer.") from error
    image = bounded(image)
    pixels = np.array(image.convert("RGBA"))
    pixels[..., 3] = np.where(pixels[..., 3] > 127, 255, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    traced = vtracer.convert_raw_image_to_svg(
        buffer.getvalue(), img_format="png", colormode="color", hierarchical="stacked", mode="spline", filter_speckle=4,
        color_precision=6, layer_difference=16,
    )  # fmt: skip
    packet = re.sub(r"<\?xpacket[^>]*\?>", "", xmp(dict(metadata or {})))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {image.width} {image.height}" width="{image.width}"'
        f' height="{image.height}" role="img"><title>{escape(xml_safe(title))}</title><metadata>{packet}</metadata>'
    )
    paths = "\n".join(re.findall(r"<path\b[^>]*/>", traced))
    return f"{head}\n{paths}\n</svg>\n"


def sticker(image: Image.Image) -> Image.Image:
    """`image` with a white edge around what is drawn, as if it had been cut out; a little larger than before."""
    image = image.convert("RGBA")
    edge = max(1, round(STICKER_EDGE * image.width / IMAGE_SIZE))
    large = Image.new("RGBA", (image.width + 4 * edge, image.height + 4 * edge))
    large.paste(image, (2 * edge, 2 * edge))
    alpha = large.getchannel("A")
    # Grown by a disc: of all the shifts by the edge's width in every direction, the most opaque one, then smoothed.
    grown = alpha
    for angle in np.linspace(0, 2 * np.pi, 48, endpoint=False):
        shift = round(edge * float(np.cos(angle))), round(edge * float(np.sin(angle)))
        grown = ImageChops.lighter(grown, ImageChops.offset(alpha, *shift))
    grown = grown.filter(ImageFilter.GaussianBlur(edge / 6))
    white = Image.new("RGBA", large.size, (255, 255, 255, 0))
    white.putalpha(grown)
    white.alpha_composite(large)
    return white


def sticker_sheet(images: Sequence[Image.Image], columns: int = 4) -> Image.Image:
    """Stickers in rows on one transparent sheet, for printing and cutting.

    Raises:
        ValueError: no pictures.
    """
    if not images:
        raise ValueError("no pictures given")
    stickers = [sticker(image) for image in images]
    columns = min(columns, len(stickers))
    cell = max(max(each.size) for each in stickers)
    rows = -(-len(stickers) // columns)
    sheet = Image.new("RGBA", (columns * cell, rows * cell))
    for place, each in enumerate(stickers):
        row, column = divmod(place, columns)
        sheet.alpha_composite(each, (column * cell + (cell - each.width) // 2, row * cell + (cell - each.height) // 2))
    return sheet


def timeline(frames: int, eased: bool = False, pingpong: bool = False, gaps: Sequence[int] | None = None) -> list[int]:
    """Which frame of a path is shown at each tick of an animation.

    Args:
        eased: slow at both ends, twice as fast in the middle (quadratic in and out): frames near the ends are shown again, some in
            the middle are left out.
        pingpong: back to the start as well, its two ends shown once.
        gaps: steps from frame to frame on each leg of a path through several stages, each of which is eased by itself; of a loop
            they are as many as the frames.
    """
    order = list(range(frames))
    if eased and frames > 1:
        order = []
        start = 0
        for gap in gaps or [frames - 1]:
            shares = [step / gap for step in range(gap)]
            eases = [2 * share**2 if share < 0.5 else 1 - 2 * (1 - share) ** 2 for share in shares]
            order += [(start + int(share * gap + 0.5)) % frames for share in eases]  # as the page's script rounds
            start += gap
        order += [frames - 1] * (frames - len(order))
    return order + order[-2:0:-1] if pingpong else order


def mp4(frames: Sequence[Image.Image], fps: float, metadata: Mapping[str, str]) -> bytes:
    """Frames as H.264 video over white; its comment is `metadata` as JSON, with the IPTC term.

    Raises:
        ValueError: no frames.
        SettingError: a speed out of range, or the encoder is not installed.
    """
    if not frames:
        raise ValueError("no frames given")
    if not 1 <= fps <= MAX_FPS:
        raise SettingError(f"The speed must be 1 to {MAX_FPS} frames a second, not {fps:g}.")
    try:
        import av
    except ImportError as error:
        raise SettingError("Saving as MP4 needs the package av: pip install av.") from error
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        told = dict(metadata) | {"digitalSourceType": DIGITAL_SOURCE_TYPE}
        container.metadata["comment"] = xml_safe(json.dumps(told, ensure_ascii=False))
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = (side + side % 2 for side in frames[0].size)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_image(over(frame))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def frames_zip(frames: Sequence[Image.Image], metadata: Mapping[str, str], card: str) -> bytes:
    """A zip of a path's frames as PNG with their transparency, its recipe, and the model's card with its attributions.

    Raises:
        ValueError: no frames.
    """
    if not frames:
        raise ValueError("no frames given")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        note = KIT_NOTE.format(count=f"{len(frames)} frames", model=metadata.get("model", "a model"), card=KIT_CARD)
        archive.writestr("README.md", note)
        archive.writestr(KIT_CARD, card or NO_CARD)
        archive.writestr("recipe.json", json.dumps(dict(metadata), ensure_ascii=False, indent=2))
        for place, frame in enumerate(frames):
            archive.writestr(f"frames/{place:03d}.png", png_bytes(frame, metadata))
    return buffer.getvalue()


class Bundle:
    """A zip that grows picture by picture, and ends with their recipes, a note, and the model's card with its attributions.

    `made` writes what a picture becomes; `complete`, where there is something to make of all of them, is called once, at the end.
    """

    ending = "zip"
    note = ""
    """What to tell whoever asked for it; nothing so far."""
    about = ""
    """What the note says of the files, beside how they may be used."""

    def __init__(self, card: str) -> None:
        self._card = card
        self._buffer = io.BytesIO()
        self._archive = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_DEFLATED)
        # One that is given up half made: closed while its buffer is still there.
        weakref.finalize(self, self._archive.close).atexit = False
        self._recipes: list[dict[str, object]] = []
        self._model = "a model"

    def add(self, picture: Picture) -> None:
        """Takes the next picture; what it becomes is in the zip when this returns."""
        metadata = picture_metadata(picture)
        self._model = metadata["model"] or self._model
        name = f"{len(self._recipes) + 1:02d}-{slug(picture.prompt)}-{picture.seed}"
        file = self.made(picture, name, metadata)
        self._recipes.append({"file": file, **metadata, "settings": picture.settings})

    def made(self, picture: Picture, name: str, metadata: Mapping[str, str]) -> str:
        """Writes the files of a picture; returns the name of the one that its recipe stands beside."""
        raise NotImplementedError

    def complete(self) -> None:
        """Writes the files that are made of all pictures."""

    def finish(self) -> bytes:
        """The whole zip.

        Raises:
            ValueError: no pictures.
        """
        if not self._recipes:
            raise ValueError("no pictures given")
        self.complete()
        count = f"{len(self._recipes)} picture{'s' if len(self._recipes) != 1 else ''}"
        note = KIT_NOTE.format(count=count, model=self._model, card=KIT_CARD)
        self._archive.writestr("README.md", f"{note}\n{self.about}" if self.about else note)
        self._archive.writestr(KIT_CARD, self._card or NO_CARD)
        self._archive.writestr("recipes.json", json.dumps(self._recipes, ensure_ascii=False, indent=2))
        self._archive.close()
        return self._buffer.getvalue()

    def _write(self, name: str, data: bytes | str) -> None:
        packed = name.endswith(".png")  # already
        self._archive.writestr(name, data, zipfile.ZIP_STORED if packed else None)


class Kit(Bundle):
    """PNG in a size and SVG of each picture, and a sheet of stickers.

    Raises:
        SettingError: an unknown size, or no tracer for the vectors.
    """

    def __init__(self, card: str, size: int = IMAGE_SIZE, vectors: bool = True) -> None:
        super().__init__(card)
        self._size = size
        self._vectors = vectors
        self._images: list[Image.Image] = []

    def made(self, picture: Picture, name: str, metadata: Mapping[str, str]) -> str:
        file = f"png-{self._size}/{name}.png"
        self._write(file, png_bytes(resized(picture.image, self._size), metadata))
        if self._vectors:
            self._write(f"svg/{name}.svg", svg(picture.image, picture.prompt, metadata))
        self._images.append(bounded(picture.image))
        return file

    def complete(self) -> None:
        self._write("stickers.png", png_bytes(sticker_sheet(self._images), {"model": self._model}))


def kit(pictures: Iterable[Picture], card: str, size: int = IMAGE_SIZE, vectors: bool = True) -> bytes:
    """A zip of the pictures: PNG in a size, SVG, a sheet of stickers, their recipes, and the model's card with its attributions.

    Raises:
        ValueError: no pictures.
        SettingError: an unknown size, or no tracer for the vectors.
    """
    bundle = Kit(card, size, vectors)
    for picture in pictures:
        bundle.add(picture)
    return bundle.finish()

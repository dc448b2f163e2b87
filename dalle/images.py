"""Pictures outside the network: tensors to PIL and back, contact sheets, and files that say how they were made.

The network sees premultiplied RGBA as floats in [-1, 1], PIL sees straight-alpha RGBA in 0..255. Every file is written
beside its final name and then renamed, so that a name either holds a whole file or what it held before.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import os
import re
import secrets
import struct
import unicodedata
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from dalle.config import IMAGE_SIZE, CheckpointError, DalleError, SettingError, StorageError

if TYPE_CHECKING:
    import torch

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model: https://cv.iptc.org/newscodes/digitalsourcetype/."""

XMP_KEYWORD = "XML:com.adobe.xmp"
"""Keyword of the iTXt chunk that carries an XMP packet (XMP specification part 3, section 1.1.5)."""

MAX_TEXT_CHUNK = 256 * 1024
MAX_TEXT_CHUNKS = 64
MAX_PNG_CHUNKS = 65_536
MAX_FPS = 60
MAX_PIXELS = 24_000_000
"""Of a picture from elsewhere: what a telephone's camera takes, some 100 MB while it is decoded."""
SHOWN_SIDE = 512
"""Long side of what is drawn for looking at, and of the frames of a path, in pixels: some models draw larger pictures."""
OPENED = ("PNG", "JPEG", "WEBP")

PAPER = (255, 255, 255)
INK = (38, 38, 42)
FAINT = (225, 226, 230)
CHECKER = ((255, 255, 255), (236, 237, 240))


class PictureError(DalleError, ValueError):
    """A file that is not the picture it should be: foreign, truncated or hostile."""


# Tensors and PIL


def to_pil(pixels: torch.Tensor) -> list[Image.Image]:
    """The network's pixels (B, 4, H, W), premultiplied RGBA in [-1, 1], as B straight-alpha RGBA pictures.

    Values beyond the range are clamped; a fully transparent pixel is (0, 0, 0, 0). Raises `ValueError` for another
    shape and `CheckpointError` for values that are not finite, which damaged weights or an overflowing half-precision
    device produce.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 4:
        raise ValueError(f"expected pixels of shape (B, 4, H, W), got {tuple(pixels.shape)}")
    values = pixels.detach().float().cpu().permute(0, 2, 3, 1).numpy()  # (B, H, W, 4)
    if not np.isfinite(values).all():
        raise CheckpointError(
            "The model drew values that are not numbers. Its weights may be damaged: fetch the checkpoint again, "
            "or try another device."
        )
    values = np.clip((values + 1) * 127.5, 0, 255)
    alpha = np.rint(values[..., 3:])
    # Divided by the alpha that is stored, not by the exact one: their product is then nearest to what was meant.
    colour = np.divide(values[..., :3] * 255, alpha, out=np.zeros_like(values[..., :3]), where=alpha > 0)
    straight = np.concatenate([np.rint(np.minimum(colour, 255)), alpha], axis=-1).astype(np.uint8)
    return [Image.fromarray(picture) for picture in straight]


def from_pil(images: Iterable[Image.Image], size: int = IMAGE_SIZE) -> torch.Tensor:
    """Pictures of any mode and size as (B, 4, size, size) float32, premultiplied RGBA in [-1, 1].

    A picture of another size is scaled to fit, its proportions kept, and centred on transparency. Raises `ValueError`
    for none.
    """
    import torch

    planes = [_premultiplied(image, size) for image in images]
    if not planes:
        raise ValueError("no pictures given")
    values = np.stack(planes).transpose(0, 3, 1, 2)  # (B, 4, size, size), 0..1
    return torch.from_numpy(np.ascontiguousarray(values)).mul_(2).sub_(1)


def _premultiplied(image: Image.Image, size: int) -> np.ndarray:
    """(size, size, 4) float32 in [0, 1]."""
    image = image.convert("RGBA")
    if image.size == (size, size):
        values = np.asarray(image, dtype=np.float32) / 255
        values[..., :3] *= values[..., 3:]
        return values
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # Scaled premultiplied ("RGBa"), so that no colour bleeds out of transparent pixels.
    scaled = image.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS)
    values = np.zeros((size, size, 4), dtype=np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    values[top : top + height, left : left + width] = np.asarray(scaled, dtype=np.float32) / 255
    # Lanczos overshoots at edges; a premultiplied colour can't exceed its alpha.
    values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
    return values


def open_picture(path: str | os.PathLike[str], size: int = IMAGE_SIZE) -> Image.Image:
    """A picture from elsewhere, PNG, JPEG or WebP, as RGBA within a square of `size` pixels, centred on transparency.

    Its size is read from its header before anything is decoded. Of an animation it is the first frame; a camera's note of how it
    was held is followed, and nothing else that the file says is kept. Raises `PictureError` for another kind of file, more than
    `MAX_PIXELS`, and what is truncated or damaged.
    """
    name = Path(path).name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is less
            image = Image.open(path, formats=OPENED)
        with image:
            if not 0 < image.width * image.height <= MAX_PIXELS:
                most = f"at most {MAX_PIXELS // 10**6} million are read"
                raise PictureError(f"{name} has {image.width} x {image.height} pixels; {most}. Make it smaller.")
            image.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded no larger than it takes
            picture = ImageOps.exif_transpose(image).convert("RGBA")
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is no picture that is read here: give a PNG, JPEG or WebP.") from error
    except PictureError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise PictureError(f"{name} can't be read: it is damaged, cut off or far too large.") from error
    return to_pil(from_pil([picture], size))[0]


# Backgrounds and contact sheets


def over(image: Image.Image, background: tuple[int, int, int] | Image.Image = PAPER) -> Image.Image:
    """`image` laid over a colour, or over a picture of the same size, as RGB."""
    plain = not isinstance(background, Image.Image)
    base = Image.new("RGBA", image.size, (*background, 255)) if plain else background.convert("RGBA")
    return Image.alpha_composite(base, image.convert("RGBA")).convert("RGB")


def checkerboard(image: Image.Image, cell: int = 16) -> Image.Image:
    """`image` over a light checkerboard, so that its transparency shows, as RGB."""
    rows, columns = np.ogrid[: image.height, : image.width]
    odd = ((rows // cell + columns // cell) % 2).astype(np.uint8)
    board = np.array(CHECKER, dtype=np.uint8)[odd]
    return over(image, Image.fromarray(board))


def grid(
    images: Sequence[Image.Image],
    columns: int,
    labels: Sequence[str] | None = None,
    *,
    title: str | None = None,
    cell: int = IMAGE_SIZE,
    gap: int = 16,
    checker: bool = False,
) -> Image.Image:
    """A contact sheet: white paper, pictures row by row, a caption of at most two lines under each, as RGB.

    `cell` is the side of a picture in pixels; others are scaled to fit. `checker` lays the pictures over a checkerboard
    instead of white. Raises `ValueError` for no pictures, fewer than one column, or labels that are not one a picture.
    """
    if not images:
        raise ValueError("no pictures given")
    if columns < 1 or cell < 1 or gap < 0:
        raise ValueError("columns and cell must be at least 1, gap at least 0")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} pictures")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    width = columns * cell + (columns + 1) * gap

    font = ImageFont.load_default(size=max(10, round(cell * 0.06)))
    captions = [wrap(label, font, cell) for label in labels] if labels is not None else []
    line = round(font.size * 1.3)
    caption_height = max((len(lines) for lines in captions), default=0) * line
    if caption_height:
        caption_height += round(line * 0.4)

    heading = ImageFont.load_default(size=max(14, round(cell * 0.09)))
    heading_line = round(heading.size * 1.3)
    title_lines = wrap(title, heading, width - 2 * gap) if title else []
    top = gap + (len(title_lines) * heading_line + gap // 2 if title_lines else 0)

    sheet = Image.new("RGB", (width, top + rows * (cell + caption_height + gap)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, text in enumerate(title_lines):
        pen.text((gap, gap + number * heading_line), text, font=heading, fill=INK)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        x = gap + column * (cell + gap)
        y = top + row * (cell + caption_height + gap)
        picture = fitted(image, cell)
        sheet.paste(checkerboard(picture, max(1, cell // 16)) if checker else over(picture), (x, y))
        pen.rectangle((x - 1, y - 1, x + cell, y + cell), outline=FAINT)
        if captions:
            for offset, text in enumerate(captions[number]):
                position = (x + cell / 2, y + cell + line * (offset + 0.4))
                pen.text(position, text, font=font, fill=INK, anchor="ma")
    return sheet


def fitted(image: Image.Image, cell: int) -> Image.Image:
    """`image` scaled into a transparent square of side `cell`, whole and in its proportions, as RGBA."""
    image = image.convert("RGBA")
    if image.size == (cell, cell):
        return image
    scale = cell / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (cell, cell))
    square.paste(image, ((cell - image.width) // 2, (cell - image.height) // 2))
    return square


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float, lines: int = 2) -> list[str]:
    """`text` in at most `lines` lines no wider than `width` pixels; what does not fit ends in an ellipsis."""
    words = _in_font(text).split()
    wrapped: list[str] = []
    while words and len(wrapped) < lines:
        if len(wrapped) == lines - 1:
            wrapped.append(_shorten(" ".join(words), font, width))
            break
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        current = " ".join(words[:count])
        words = words[count:]
        if font.getlength(current) > width:  # a single word wider than the line is broken
            cut = max(1, _prefix(current, font, width))
            current, rest = current[:cut], current[cut:]
            words.insert(0, rest)
        wrapped.append(current)
    return wrapped


def _in_font(text: str) -> str:
    """`text` in the letters that Pillow's own font has: dashes as hyphens, accents dropped."""
    plain = text.translate({ord("–"): "-", ord("—"): "-", ord("ß"): "ss", ord("ł"): "l", ord("ø"): "o", ord("×"): "x"})
    return "".join(c for c in unicodedata.normalize("NFKD", plain.replace("…", "...")) if not unicodedata.combining(c))


def letters(text: str) -> str:
    """`text` as Pillow's own font can set it, accents dropped; "" where the font lacks one of its letters."""
    font = ImageFont.load_default(16)
    missing = bytes(font.getmask("\uffff"))
    plain = " ".join(_in_font(text).split())
    return "" if any(bytes(font.getmask(letter)) == missing for letter in set(plain) - {" "}) else plain


def _prefix(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> int:
    """How many characters of `text` fit into `width`."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    return text[: _prefix(text, font, width - font.getlength("…"))].rstrip() + "…"


# Files


def storage_error(error: OSError, path: str | os.PathLike[str]) -> StorageError:
    """What a failed write means to the user and what helps against it."""
    advice = {
        errno.ENOSPC: "the disk is full. Free some space or choose another place",
        errno.EDQUOT: "your disk quota is used up. Free some space or choose another place",
        errno.EROFS: "the file system is read-only. Choose another place",
        errno.EACCES: "you may not write there. Choose another place or change its permissions",
        errno.EPERM: "you may not write there. Choose another place or change its permissions",
        errno.ENOENT: "its folder does not exist. Create the folder first",
        errno.ENOTDIR: "a part of the path is a file, not a folder. Choose another place",
        errno.EISDIR: "that is a folder. Give a file name",
        errno.EEXIST: "that name is already taken. Choose another one",
        errno.ENAMETOOLONG: "the name is too long. Choose a shorter one",
    }.get(error.errno or 0, f"{error.strerror or error}. Choose another place")
    return StorageError(f"Could not write {os.fspath(path)}: {advice}.")


def write_whole(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> Path:
    """Write `data` to `path` entirely or not at all: beside it first, flushed to the disk, then renamed.

    With `overwrite=False` an existing file stays as it is and `FileExistsError` is raised. Any other failure raises
    `StorageError` and leaves nothing behind.
    """
    path = Path(path)
    aside = path.parent / f".{secrets.token_hex(8)}.part"
    claimed = False
    try:
        with open(aside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            try:
                os.link(aside, path)  # whole, and never over another file, in one step
                aside.unlink()
                return path
            except FileExistsError:
                raise
            except OSError:
                pass  # no links on this file system
            # Claims the name in one step, where a test for it followed by the rename would let two writers meet.
            open(path, "xb").close()
            claimed = True
        os.replace(aside, path)
    except BaseException as error:
        for leftover in (aside, path) if claimed else (aside,):
            with contextlib.suppress(OSError):
                leftover.unlink()
        if not isinstance(error, OSError) or (isinstance(error, FileExistsError) and not overwrite):
            raise
        raise storage_error(error, path) from error
    return path


def slug(text: str, limit: int = 48) -> str:
    """A file name's stem: "A red apple!" gives "a-red-apple", a text without Latin letters or digits "picture"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:limit].strip("-") or "picture"


def save_png(
    image: Image.Image,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = True,
) -> Path:
    """Save `image` as PNG with its transparency, `metadata` as text chunks, and XMP that says a model made it.

    Raises as `write_whole` and `png_bytes` do.
    """
    return write_whole(path, png_bytes(image, metadata), overwrite=overwrite)


def png_bytes(image: Image.Image, metadata: Mapping[str, str] | None = None) -> bytes:
    """The file that `save_png` writes.

    Keys are PNG keywords, 1 to 79 Latin-1 characters ("prompt", "seed", "model", "settings"); values may be any text.
    Raises `ValueError` for a key that PNG does not allow.
    """
    chunks = PngInfo()
    for key, value in (metadata or {}).items():
        if not 1 <= len(key.encode("latin-1", "strict")) <= 79 or not key.isprintable() or key != key.strip():
            raise ValueError(f"not a PNG keyword: {key!r}")
        chunks.add_text(key, xml_safe(str(value)))  # tEXt where Latin-1 holds the value, otherwise iTXt
    chunks.add_itxt(XMP_KEYWORD, xmp({}))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks, compress_level=6)
    return buffer.getvalue()


def save_webp(
    frames: Sequence[Image.Image],
    path: str | os.PathLike[str],
    fps: float = 16,
    loop: bool = True,
    pingpong: bool = False,
    *,
    metadata: Mapping[str, str] | None = None,
    quality: int = 85,
    overwrite: bool = True,
) -> Path:
    """Save `frames` as one animated WebP with alpha, and XMP that says a model made it.

    `fps` 1 to `MAX_FPS` pictures a second; `loop` repeats for ever; `pingpong` runs back to the start. `metadata` goes
    into the packet's description as JSON. Raises `SettingError` for `fps` out of range, `ValueError` for no frames,
    otherwise as `write_whole` does.
    """
    if not frames:
        raise ValueError("no frames given")
    if not 1 <= fps <= MAX_FPS:
        raise SettingError(f"The speed must be 1 to {MAX_FPS} frames a second, not {fps:g}.")
    frames = [frame.convert("RGBA") for frame in frames]
    if pingpong:
        frames += frames[-2:0:-1]
    # Whole milliseconds whose sum keeps the speed: at 60 a second 17, 16, 17 ...
    ends = [round(1000 * (index + 1) / fps) for index in range(len(frames))]
    durations = [end - start for start, end in pairwise([0, *ends])]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0 if loop else 1,
        quality=quality,
        method=0,
        xmp=xmp({key: str(value) for key, value in (metadata or {}).items()}).encode(),
    )
    return write_whole(path, buffer.getvalue(), overwrite=overwrite)


def bounded(image: Image.Image, most: int = SHOWN_SIDE) -> Image.Image:
    """`image` with no side longer than `most` pixels, in its proportions; a smaller one as it is."""
    if max(image.size) <= most:
        return image
    scale = most / max(image.size)
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


def data_uri(image: Image.Image) -> str:
    """A small, lossy WebP of the picture, `bounded`, as a `data:` address, with its transparency: 3 to 6 KB for 256 px."""
    buffer = io.BytesIO()
    bounded(image).save(buffer, "WEBP", quality=85, method=0)
    return webp_uri(buffer.getvalue())


def webp_uri(data: bytes) -> str:
    """A WebP file as a `data:` address."""
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def xml_safe(text: str) -> str:
    """Without what neither XML nor a PNG text chunk can hold: control characters and lone surrogates."""
    return re.sub(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def xmp(metadata: Mapping[str, str]) -> str:
    """An XMP packet with the IPTC source type and, where there is any, `metadata` as JSON for a description."""
    description = ""
    if metadata:
        text = escape(xml_safe(json.dumps(dict(metadata), ensure_ascii=False)))
        language = '<rdf:li xml:lang="x-default">'
        description = f"<dc:description><rdf:Alt>{language}{text}</rdf:li></rdf:Alt></dc:description>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        f"{description}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    )


def read_png_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text chunks of a PNG file by keyword, the XMP packet under "xmp".

    Reads the chunks alone and decodes no pixel, so that the picture's claimed size costs nothing; text is limited to
    `MAX_TEXT_CHUNK` bytes a chunk, compressed or not, and `MAX_TEXT_CHUNKS` chunks. Layout: PNG specification (third
    edition), sections 5 and 11.3.3. Raises `PictureError` for a file that can't be opened, is no PNG, ends early, is
    damaged or breaks a limit.
    """
    path = Path(path)
    texts = 0
    found: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                raise PictureError(f"{path.name} is not a PNG picture.")
            for _ in range(MAX_PNG_CHUNKS):
                header = file.read(8)
                if len(header) < 8:
                    raise PictureError(f"{path.name} ends early: the file is truncated.")
                length, kind = struct.unpack(">I4s", header)
                if file.tell() + length + 4 > size:
                    raise PictureError(f"{path.name} ends early: the file is truncated.")
                if kind == b"IEND":
                    return found
                if kind not in (b"tEXt", b"zTXt", b"iTXt"):
                    file.seek(length + 4, os.SEEK_CUR)
                    continue
                texts += 1
                if length > MAX_TEXT_CHUNK or texts > MAX_TEXT_CHUNKS:
                    raise PictureError(f"{path.name} holds more text than a picture of ours ever does; it is not read.")
                body, (checksum,) = file.read(length), struct.unpack(">I", file.read(4))
                if zlib.crc32(kind + body) != checksum:
                    raise PictureError(f"The text in {path.name} is damaged.")
                key, value = _text_chunk(kind, body)
                found["xmp" if key == XMP_KEYWORD else key] = value
    except (UnicodeDecodeError, ValueError, zlib.error) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"The text in {path.name} is damaged.") from error
    except OSError as error:
        raise PictureError(f"Could not read {path.name}: {error.strerror or error}.") from error
    raise PictureError(f"{path.name} has too many parts to be a picture of ours; it is not read.")


def _text_chunk(kind: bytes, body: bytes) -> tuple[str, str]:
    """Keyword and text of a tEXt, zTXt or iTXt chunk; raises `ValueError` where the parts are not there."""
    keyword, rest = body.split(b"\0", 1)
    key = keyword.decode("latin-1")
    if kind == b"tEXt":
        return key, rest.decode("latin-1")
    if kind == b"zTXt":
        return key, _inflate(rest[1:]).decode("latin-1")
    compressed = rest[0:1] == b"\1"
    _language, _translated, text = rest[2:].split(b"\0", 2)
    return key, (_inflate(text) if compressed else text).decode("utf-8")


def _inflate(data: bytes) -> bytes:
    """At most `MAX_TEXT_CHUNK` bytes; raises `ValueError` beyond, so that a small chunk can't fill the memory."""
    stream = zlib.decompressobj()
    text = stream.decompress(data, MAX_TEXT_CHUNK)
    if not stream.eof:
        raise ValueError("compressed text too long or cut off")
    return text

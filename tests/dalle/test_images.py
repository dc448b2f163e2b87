"""Tensors and PIL, contact sheets, and the files: what is inside them and what a failure leaves behind."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import tracemalloc
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from dalle import images
from dalle.config import CheckpointError, SettingError, StorageError
from dalle.images import (
    DIGITAL_SOURCE_TYPE,
    MAX_TEXT_CHUNK,
    PictureError,
    checkerboard,
    from_pil,
    grid,
    open_picture,
    over,
    read_png_metadata,
    save_png,
    save_webp,
    slug,
    to_pil,
    wrap,
)


def disc(colour: tuple[int, ...] = (200, 30, 60, 255), size: int = 64) -> Image.Image:
    image = Image.new("RGBA", (size, size))
    ImageDraw.Draw(image).ellipse((size // 8, size // 8, size * 7 // 8, size * 7 // 8), fill=colour)
    return image


def random_rgba(seed: int, size: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 4), dtype=np.uint8))


# Tensors and PIL


def test_straight_pixels_survive_the_network_side_exactly() -> None:
    picture = random_rgba(0)
    before, after = np.asarray(picture), np.asarray(to_pil(from_pil([picture], size=64))[0])
    visible = before[..., 3] > 0
    assert np.array_equal(before[visible], after[visible])
    assert not after[~visible].any()


def test_premultiplied_values_survive_within_one_level() -> None:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand((2, 1, 32, 32), generator=generator)
    colour = torch.rand((2, 3, 32, 32), generator=generator) * alpha
    pixels = torch.cat([colour, alpha], dim=1) * 2 - 1
    again = from_pil(to_pil(pixels), size=32)
    assert ((again - pixels).abs() / 2).max() <= 1 / 255


def test_values_out_of_range_are_clamped_and_transparent_pixels_are_empty() -> None:
    pixels = torch.full((1, 4, 2, 2), 5.0)
    pixels[:, 3, 0, 0] = -9
    picture = np.asarray(to_pil(pixels)[0])
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    assert (picture[1, 1] == 255).all()


def test_wrong_shapes_and_broken_weights_are_named() -> None:
    with pytest.raises(ValueError, match="shape"):
        to_pil(torch.zeros(4, 8, 8))
    with pytest.raises(CheckpointError, match="damaged"):
        to_pil(torch.full((1, 4, 2, 2), float("nan")))
    with pytest.raises(ValueError, match="no pictures"):
        from_pil([])


def test_other_sizes_and_modes_are_fitted_without_colour_from_nowhere() -> None:
    wide = Image.new("RGB", (100, 50), (255, 0, 0))
    pixels = (from_pil([wide], size=64) + 1) / 2
    assert pixels.shape == (1, 4, 64, 64)
    assert pixels[0, 3, :15].max() == 0 and pixels[0, 3, 17:47].min() == 1  # centred, proportions kept
    # A green that is invisible must not bleed into the red that is scaled beside it.
    mixed = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    mixed.paste((255, 0, 0, 255), (0, 0, 32, 64))
    assert from_pil([mixed], size=16)[0, 1].max() == -1
    premultiplied = from_pil([random_rgba(1, 80)], size=48)
    assert (premultiplied[:, :3] <= premultiplied[:, 3:]).all()


# Backgrounds and sheets


def test_over_blends_by_alpha_and_checkerboard_shows_through() -> None:
    half = Image.new("RGBA", (32, 32), (255, 0, 0, 128))
    assert over(half, (0, 0, 255)).getpixel((0, 0)) == pytest.approx((128, 0, 127), abs=1)
    clear = checkerboard(Image.new("RGBA", (32, 32)), cell=8)
    assert clear.getpixel((0, 0)) == images.CHECKER[0] and clear.getpixel((8, 0)) == images.CHECKER[1]


def test_grid_has_room_for_every_picture_caption_and_title() -> None:
    pictures = [disc((40 * i, 80, 120, 255)) for i in range(5)]
    bare = grid(pictures, columns=3, cell=64, gap=8)
    assert bare.mode == "RGB" and bare.size == (3 * 64 + 4 * 8, 2 * 64 + 3 * 8)
    for number in range(5):
        row, column = divmod(number, 3)
        centre = (8 + column * 72 + 32, 8 + row * 72 + 32)
        assert bare.getpixel(centre) == (40 * number, 80, 120)
    one_line = grid(pictures, 3, labels=["a"] * 5, cell=64, gap=8)
    two_lines = grid(pictures, 3, labels=["a red apple to the left of a tree"] * 5, cell=64, gap=8)
    titled = grid(pictures, 3, cell=64, gap=8, title="Step 100")
    assert bare.height < one_line.height < two_lines.height and titled.height > bare.height
    assert bare.width == one_line.width == two_lines.width == titled.width
    strip = np.asarray(one_line)[8 + 64 + 2 : 8 + 64 + 14, 8:72]
    assert strip.min() < 100  # there is ink under the picture
    assert grid(pictures[:2], columns=6, cell=64, gap=8).width == 2 * 64 + 3 * 8


def test_grid_refuses_what_can_not_be_laid_out() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        grid([], columns=2)
    with pytest.raises(ValueError, match="1 labels for 2"):
        grid([disc(), disc()], columns=2, labels=["a"])
    with pytest.raises(ValueError, match="columns"):
        grid([disc()], columns=0)


@pytest.mark.parametrize("text", ["a red apple", "a cat " * 40, "x" * 300, "Žluťoučký kůň – a horse", ""])
def test_wrapped_lines_fit(text: str) -> None:
    font = ImageFont.load_default(size=14)
    lines = wrap(text, font, 120)
    assert len(lines) <= 2 and all(font.getlength(line) <= 120 for line in lines)
    shown, whole = "".join(lines).replace(" ", ""), images._in_font(text).replace(" ", "")
    assert shown == whole or (shown.endswith("…") and whole.startswith(shown[:-1]))


# PNG


METADATA = {
    "prompt": "猫 & «кот» <b>\n“é” 🍎",
    "seed": "4294967295",
    "model": "checkpoints/default",
    "settings": json.dumps({"steps": 12, "style": None}),
}


def test_png_carries_alpha_and_unicode_metadata(tmp_path: Path) -> None:
    picture = random_rgba(2)
    path = save_png(picture, tmp_path / "a.png", METADATA)
    read = read_png_metadata(path)
    assert {key: read[key] for key in METADATA} == METADATA
    with Image.open(path) as again:  # another reader sees the same
        again.load()
        assert np.array_equal(np.asarray(again), np.asarray(picture))
        assert {key: again.text[key] for key in METADATA} == METADATA
    packet = ElementTree.fromstring(read["xmp"].split("?>", 1)[1].rsplit("<?xpacket", 1)[0])
    found = packet.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found is not None and found.text == DIGITAL_SOURCE_TYPE


def test_what_no_file_can_hold_is_left_out(tmp_path: Path) -> None:
    path = save_png(disc(), tmp_path / "a.png", {"prompt": "a\x00b\udcffc\x1b[31m"})
    assert read_png_metadata(path)["prompt"] == "abc[31m"
    with pytest.raises(ValueError, match="keyword"):
        save_png(disc(), tmp_path / "b.png", {"": "x"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, width: int = 1, height: int = 1) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def test_a_claimed_size_costs_nothing(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    pixels = chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9))
    bomb.write_bytes(png(chunk(b"tEXt", b"prompt\0a cat"), pixels, width=2**31 - 1, height=2**31 - 1))
    assert read_png_metadata(bomb) == {"prompt": "a cat"}


HOSTILE = {
    "huge chunk": png(chunk(b"tEXt", b"prompt\0" + b"a" * MAX_TEXT_CHUNK)),
    "compressed bomb": png(chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(50_000_000), 9))),
    "compressed international bomb": png(chunk(b"iTXt", b"p\0\1\0\0\0" + zlib.compress(bytes(50_000_000), 9))),
    "same key for ever": png(*[chunk(b"tEXt", b"prompt\0a")] * 1000),
    "text without a separator": png(chunk(b"tEXt", b"prompt")),
    "half an international text": png(chunk(b"iTXt", b"prompt\0\0\0en")),
    "broken UTF-8": png(chunk(b"iTXt", b"prompt\0\0\0\0\0\xff\xfe")),
    "wrong checksum": png(chunk(b"tEXt", b"prompt\0a cat")[:-1] + b"\0"),
    "length beyond the file": png()[:-12] + struct.pack(">I", 2**32 - 1) + b"tEXt" + b"prompt\0x",
    "no end": png()[:-12],
    "not a PNG": b"GIF89a" + bytes(100),
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(PictureError, match=r"x\.png"):
        read_png_metadata(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = save_png(disc(size=8), tmp_path / "whole.png", METADATA).read_bytes()
    cut = tmp_path / "cut.png"
    for length in range(0, len(whole), 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(PictureError):
            read_png_metadata(cut)
    with pytest.raises(PictureError, match="Could not read"):
        read_png_metadata(tmp_path / "missing.png")


# Writing


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not write"),
        (errno.EIO, "Could not write"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_nothing(code: int, words: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.png").write_bytes(b"before")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(images.os, step, fail)
    monkeypatch.setattr(images.os, "link", fail)  # where that fails, the name is claimed and the file renamed
    with pytest.raises(StorageError, match=words):
        save_png(disc(), tmp_path / "old.png")
    with pytest.raises(StorageError, match=words):
        save_png(disc(), tmp_path / "new.png", overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"before"


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_stays_as_it_is(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(images.os, "link", none)
    first = save_png(disc(), tmp_path / "a.png", overwrite=False).read_bytes()
    with pytest.raises(FileExistsError):
        save_png(Image.new("RGBA", (8, 8)), tmp_path / "a.png", overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_bytes() == first


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_png(disc(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_places_that_can_not_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path / "none" / "a.png", "folder does not exist"),
        (tmp_path / "file" / "a.png", "not a folder"),
        (tmp_path, "Could not write"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        with pytest.raises(StorageError, match=words):
            save_png(disc(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_existing_files_stay_where_asked(tmp_path: Path) -> None:
    path = save_png(disc(), tmp_path / "a.png", {"seed": "1"}, overwrite=False)
    with pytest.raises(FileExistsError):
        save_png(disc(), path, {"seed": "2"}, overwrite=False)
    assert read_png_metadata(path)["seed"] == "1"
    save_png(disc(), path, {"seed": "3"})
    assert read_png_metadata(path)["seed"] == "3" and [p.name for p in tmp_path.iterdir()] == ["a.png"]


# WebP


@pytest.mark.parametrize(("pingpong", "count"), [(False, 5), (True, 8)])
def test_webp_keeps_frames_alpha_pace_and_origin(pingpong: bool, count: int, tmp_path: Path) -> None:
    frames = [disc((50 * i, 0, 250 - 50 * i, 255)) for i in range(5)]
    path = save_webp(frames, tmp_path / "a.webp", fps=12, pingpong=pingpong, metadata={"prompt_a": "<猫>"})
    with Image.open(io.BytesIO(path.read_bytes())) as animation:
        assert animation.n_frames == count and animation.info["loop"] == 0
        assert DIGITAL_SOURCE_TYPE.encode() in animation.info["xmp"] and "&lt;猫&gt;".encode() in animation.info["xmp"]
        reds, total = [], 0
        for index in range(count):
            animation.seek(index)
            frame = animation.convert("RGBA")
            total += animation.info["duration"]
            reds.append(frame.getpixel((32, 32))[0])
            assert frame.getpixel((0, 0))[3] == 0 and frame.getpixel((32, 32))[3] == 255
    expected = [0, 50, 100, 150, 200, 150, 100, 50][:count]
    assert reds == pytest.approx(expected, abs=12)
    assert total == round(1000 * count / 12)


def test_webp_refuses_a_pace_out_of_range(tmp_path: Path) -> None:
    for fps in (0, -1, 61, float("nan")):
        with pytest.raises(SettingError, match="1 to 60"):
            save_webp([disc()], tmp_path / "a.webp", fps=fps)
    with pytest.raises(ValueError, match="no frames"):
        save_webp([], tmp_path / "a.webp")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A red apple!", "a-red-apple"),
        ("../../etc/passwd", "etc-passwd"),
        ("红色的猫", "picture"),
        ("crème brûlée", "creme-brulee"),
    ],
)
def test_slugs_are_safe_names(text: str, name: str) -> None:
    assert slug(text) == name
    assert len(slug("word " * 100)) <= 48 and not slug("word " * 100).endswith("-")


# Pictures from elsewhere


def saved(image: Image.Image, path: Path, **how: object) -> Path:
    image.save(path, **how)
    return path


def test_a_picture_from_elsewhere_is_padded_and_keeps_its_transparency(tmp_path: Path) -> None:
    image = Image.new("RGBA", (400, 200), (0, 0, 0, 0))
    image.paste((200, 40, 40, 255), (0, 0, 200, 200))
    opened = open_picture(saved(image, tmp_path / "a.png"))
    assert opened.size == (256, 256) and opened.mode == "RGBA"
    assert opened.getpixel((64, 128)) == (200, 40, 40, 255)
    assert opened.getpixel((192, 128))[3] == 0 and opened.getpixel((64, 30))[3] == 0


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB")])
def test_pictures_of_any_mode_are_read(kind: str, mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 300), "white") if mode != "I;16" else Image.new("I;16", (300, 300), 65535)
    opened = open_picture(saved(image if mode == "I;16" else image.convert(mode), tmp_path / "a", format=kind))
    assert min(opened.getpixel((128, 128))) >= 250


def test_how_a_camera_was_held_is_followed_and_forgotten(tmp_path: Path) -> None:
    image = Image.new("RGB", (200, 100), "white")
    image.paste((0, 0, 0), (0, 0, 100, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, clockwise
    exif[0x010E] = "at home"
    opened = open_picture(saved(image, tmp_path / "a.jpg", exif=exif, quality=95))
    assert opened.getpixel((128, 60))[0] < 30 and opened.getpixel((128, 200))[0] > 225 and opened.getpixel((10, 128))[3] == 0
    assert not opened.info and not opened.getexif()


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (64, 64), colour) for colour in ((250, 0, 0, 255), (0, 0, 250, 255))]
    path = saved(frames[0], tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert open_picture(path).getpixel((128, 128)) == (250, 0, 0, 255)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be so large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8000, 8000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (100, 0)])
def test_a_bomb_is_not_decoded(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(*size))
    tracemalloc.start()
    with pytest.raises(PictureError):
        open_picture(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_other_files_and_half_ones_are_told(tmp_path: Path) -> None:
    whole = saved(Image.effect_noise((300, 300), 90).convert("RGB"), tmp_path / "a.jpg").read_bytes()
    gif = saved(Image.new("L", (9, 9)), tmp_path / "a.gif").read_bytes()
    for data, words in (
        (b"", "PNG, JPEG or WebP"),
        (b"hello", "PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "PNG, JPEG or WebP"),
        (gif, "PNG, JPEG or WebP"),
        (whole[: len(whole) // 2], "can't be read"),
        (bomb(300, 300), "can't be read"),
    ):
        path = tmp_path / "upload"
        path.write_bytes(data)
        with pytest.raises(PictureError, match=words) as told:
            open_picture(path)
        assert str(tmp_path) not in str(told.value)

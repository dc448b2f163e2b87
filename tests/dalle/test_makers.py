"""What pictures are made into has the sizes, words, recipes and attributions that it should have."""

from __future__ import annotations

import io
import json
import re
import zipfile
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, PdfParser

from dalle.images import DIGITAL_SOURCE_TYPE, read_png_metadata
from dalle.makers import MAKERS, advert, atlas, book_page, card_page, is_opaque, main_colour, squared
from dalle.requests import Picture, picture_metadata, request_of

CARD = "# Card\n\nTwemoji, CC BY 4.0 — Twitter (and others)"
RED, BLUE = (210, 30, 40, 255), (30, 60, 220, 255)


def drawing(colour: tuple[int, int, int, int] = RED, ground: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Image.Image:
    image = Image.new("RGBA", (256, 256), ground)
    ImageDraw.Draw(image).ellipse((20, 60, 140, 160), fill=colour)
    return image


def picture(seed: int = 7, prompt: str = "a red ball", image: Image.Image | None = None) -> Picture:
    settings = {"num_inference_steps": 1, "guidance_scale": 2.5, "style": None, "truncation": 1.0, "model": "a/b", "revision": "12"}
    return Picture(image or drawing(), 0, prompt, seed, 0.1, 0.9, settings)


def made(name: str, *pictures: Picture) -> bytes:
    maker = MAKERS[name](CARD)
    for each in pictures or (picture(7), picture(8, "два", drawing(BLUE)), picture(9)):
        maker.add(each)
    return maker.finish()


def unpacked(data: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None and len(set(archive.namelist())) == len(archive.namelist())
    return archive


def opened(archive: zipfile.ZipFile, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(archive.read(name)))
    image.load()
    return image


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_made_of_nothing(name):
    with pytest.raises(ValueError, match="no pictures"):
        MAKERS[name](CARD).finish()


@pytest.mark.parametrize("name", ["kit", "advert", "sprites", "icons"])
def test_a_zip_has_card_and_recipes_and_its_pictures_say_who_drew_them(name, tmp_path):
    archive = unpacked(made(name))
    assert archive.read("MODEL-CARD.md").decode() == CARD
    assert "3 pictures" in archive.read("README.md").decode() and "a/b" in archive.read("README.md").decode()
    recipes = json.loads(archive.read("recipes.json"))
    assert [request_of(recipe | {"settings": json.dumps(recipe["settings"])}).seed for recipe in recipes] == [7, 8, 9]
    assert {recipe["file"] for recipe in recipes} <= set(archive.namelist())
    pictures = [file for file in archive.namelist() if file.endswith(".png")]
    for file in pictures:
        (tmp_path / "a.png").write_bytes(archive.read(file))
        assert DIGITAL_SOURCE_TYPE in read_png_metadata(tmp_path / "a.png")["xmp"]
    assert pictures


# Adverts


def test_an_advert_leaves_room_for_text_and_contrasts():
    visual = advert(drawing())
    pixels = np.asarray(visual).astype(int)
    assert visual.size == (1024, 1024) and visual.mode == "RGB"
    # The ground is calm where text goes: nothing changes along a line.
    assert (pixels[:300] == pixels[:300, :1]).all()
    # The drawing, cropped, is as wide as its box lets it be, in the middle, and stands 64 pixels from the edge.
    red = (pixels[..., 0] > 190) & (pixels[..., 1:].max(2) < 70)
    across, down = np.flatnonzero(red.any(0)), np.flatnonzero(red.any(1))
    assert abs(across[0] - 192) < 6 and abs(across[-1] - 831) < 6 and abs(down[-1] - 959) < 6
    # Opposite to red lies cyan.
    assert pixels[5, 5, 0] < pixels[5, 5, 1:].min() - 15
    assert not np.array_equal(pixels[5, 5], np.asarray(advert(drawing(BLUE)))[5, 5])


def test_an_advert_goes_on_in_the_colour_that_was_drawn():
    visual = advert(drawing(RED, (250, 210, 80, 255)))
    pixels = np.asarray(visual).astype(int)
    assert (np.abs(pixels[:300] - (250, 210, 80)) < 2).all()
    # Where the picture ends no edge is seen.
    assert np.abs(np.diff(pixels[640], axis=0)[:200]).max() < 3


def test_nothing_and_greys_make_an_advert_as_well():
    for image in (Image.new("RGBA", (256, 256)), drawing((128, 128, 128, 255))):
        assert main_colour(image) is None and advert(image).size == (1024, 1024)


# Sprites


@pytest.mark.parametrize(("count", "size"), [(1, (128, 128)), (3, (256, 256)), (8, (384, 384)), (17, (640, 512))])
def test_the_atlas_finds_every_sprite(count, size):
    colours = [(10 * place + 20, 255 - 10 * place, 40, 255) for place in range(count)]
    archive = unpacked(made("sprites", *(picture(place, image=drawing(colour)) for place, colour in enumerate(colours))))
    sheet, found = opened(archive, "sprites.png"), json.loads(archive.read("sprites.json"))
    assert sheet.size == size == tuple(found["meta"]["size"].values()) and sheet.mode == "RGBA"
    assert found["meta"]["image"] == "sprites.png" and found["meta"]["scale"] == "1"
    assert len(found["frames"]) == count
    for frame, colour in zip(found["frames"].values(), colours, strict=True):
        x, y, wide, high = (frame["frame"][side] for side in "xywh")
        assert (wide, high) == (128, 128) and x + wide <= size[0] and y + high <= size[1]
        assert frame["sourceSize"] == {"w": 128, "h": 128} and frame["rotated"] is frame["trimmed"] is False
        assert sheet.getpixel((x + 40, y + 55)) == colour and sheet.getpixel((x + 120, y + 120))[3] == 0


def test_cells_do_not_overlap():
    frames = [frame["frame"] for frame in atlas([str(place) for place in range(7)], 3, 128, (384, 384), "a.png")["frames"].values()]
    assert len({(frame["x"], frame["y"]) for frame in frames}) == 7
    assert all(frame["x"] % 128 == frame["y"] % 128 == 0 for frame in frames)


# Icons


def test_icons_come_in_all_sizes_and_fill_their_square():
    archive = unpacked(made("icons"))
    names = archive.namelist()
    assert sum(name.endswith(".svg") for name in names) == 3
    for size in (64, 128, 256, 512):
        files = [name for name in names if name.startswith(f"png-{size}/")]
        assert len(files) == 3
        left, top, right, bottom = opened(archive, files[0]).getchannel("A").point(lambda alpha: 255 * (alpha > 127)).getbbox()
        margin = size / 16
        assert abs(left - margin) <= 2 + size / 64 and abs(size - right - margin) <= 2 + size / 64
        assert abs(top - (size - bottom)) <= 2 + size / 64  # in the middle
    icon = opened(archive, "favicon.ico")
    assert icon.ico.sizes() == {(16, 16), (32, 32), (48, 48)}
    assert np.abs(np.array(icon.getpixel((24, 24))) - RED).max() < 12


def test_an_opaque_icon_stays_whole():
    image = drawing(RED, BLUE)
    assert is_opaque(image) and not is_opaque(drawing())
    assert squared(image).tobytes() == image.tobytes()


# PDF


def pages_of(data: bytes) -> tuple[list[Image.Image], PdfParser.PdfParser]:
    """The pages' pictures as they lie in the file, which PDF's own reader of Pillow goes through."""
    pdf = PdfParser.PdfParser(buf=bytearray(data))
    images = []
    for page in pdf.pages:
        image = Image.open(io.BytesIO(stream(pdf, pdf.read_indirect(page)[b"Resources"][b"XObject"][b"image"])))
        image.load()
        images.append(image)
    return images, pdf


def stream(pdf: PdfParser.PdfParser, reference: PdfParser.IndirectReference) -> bytes:
    return pdf.read_indirect(reference).buf


@pytest.mark.parametrize(("name", "size", "count"), [("storybook", (1240, 1754), 7), ("cards", (2480, 3508), 2)])
def test_a_pdf_has_pages_card_recipes_and_the_term(name, size, count):
    pages, pdf = pages_of(made(name, *(picture(place) for place in range(7))))
    assert [page.size for page in pages] == [size] * count
    root = pdf.root
    listed = root[b"Names"][b"EmbeddedFiles"][b"Names"]
    files = {
        bytes(path).decode("utf-16"): stream(pdf, pdf.read_indirect(holder)[b"EF"][b"F"])
        for path, holder in zip(listed[::2], listed[1::2], strict=True)
    }
    assert files["MODEL-CARD.md"].decode() == CARD
    assert [recipe["seed"] for recipe in json.loads(files["recipes.json"])] == [str(place) for place in range(7)]
    assert DIGITAL_SOURCE_TYPE.encode() in stream(pdf, root[b"Metadata"])
    # A4, in points.
    assert np.allclose(pdf.read_indirect(pdf.pages[0])[b"MediaBox"], [0, 0, 595.2, 841.92])


def dark_rows(page: Image.Image, box: tuple[int, int, int, int]) -> int:
    """How many lines of a part of a page have letters in them."""
    return int((np.asarray(page.convert("L").crop(box)) < 110).any(1).sum())


def test_a_book_page_says_its_line_and_shows_its_picture():
    below = (108, 1230, 1132, 1560)
    page = book_page(drawing(RED, BLUE), "A red ball.", 3, "foot")
    assert np.abs(np.array(page.getpixel((108 + 320, 130 + 440))) - RED[:3]).max() < 3
    assert np.abs(np.array(page.getpixel((1000, 1000))) - BLUE[:3]).max() < 3 and min(page.getpixel((110, 132))) > 240
    one, none, many = (dark_rows(book_page(drawing(), text, 1, ""), below) for text in ("A red ball.", "", "A red ball. " * 60))
    assert none == 0 < one < many
    assert dark_rows(book_page(drawing(), "A red ball. " * 60, 1, ""), (0, 1560, 1240, 1610)) == 0  # the rest is left out


def test_a_card_has_its_word_and_a_frame_in_its_colour():
    page = card_page([(drawing(), "ball"), (drawing(BLUE), "")], "foot")
    words = (200, 870, 1100, 1120), (1350, 1010, 2250, 1120)
    assert dark_rows(page, words[0]) > 50 and dark_rows(page, words[1]) == 0
    assert np.abs(np.array(page.getpixel((124, 600))) - RED[:3]).max() < 30
    assert np.abs(np.array(page.getpixel((1274, 600))) - BLUE[:3]).max() < 30
    # Nothing lies where the other four cards would be, and a long word stays within its card.
    assert (np.asarray(page)[1170:3400] == 255).all()
    long = np.asarray(card_page([(drawing(), "a very long word that goes on and on " * 4)], "").convert("L"))
    assert (long[130:1140, 1215:] == 255).all() and (long[870:1080, 140:170] == 255).all()


def test_words_that_the_font_lacks_are_left_out_and_told():
    cards = MAKERS["cards"](CARD)
    cards.add(picture(prompt="a crème brûlée"))
    assert cards.note == ""
    cards.add(picture(prompt="一只猫"))
    assert "One picture has no words" in cards.note
    cards.add(picture(prompt="кот 🐈"))
    assert "2 pictures have no words" in cards.note
    [page], _ = pages_of(cards.finish())
    assert dark_rows(page, (200, 870, 1100, 1120)) > 50
    assert dark_rows(page, (1350, 1010, 2250, 1120)) == 0


def test_many_pages_follow_each_other():
    colours = [(40 * place, 255 - 40 * place, 128, 255) for place in range(6)]
    pages, _ = pages_of(made("storybook", *(picture(place, image=drawing(colour)) for place, colour in enumerate(colours))))
    middle = [page.getpixel((108 + 320, 130 + 440)) for page in pages]
    assert all(np.abs(np.array(found) - colour[:3]).max() < 6 for found, colour in zip(middle, colours, strict=True))
    assert all(first != second for first, second in pairwise(middle))


def test_a_prompt_can_t_write_into_the_pdf():
    evil = "a) /JavaScript (app.alert(1)) <script>\x00\\"
    data = made("storybook", picture(prompt=evil))
    _, pdf = pages_of(data)
    assert set(pdf.root) == {b"Type", b"Pages", b"Metadata", b"Names"}
    held = stream(pdf, pdf.read_indirect(pdf.root[b"Names"][b"EmbeddedFiles"][b"Names"][3])[b"EF"][b"F"])
    assert json.loads(held)[0]["prompt"] == evil
    assert len(re.findall(rb"/JavaScript", data)) == held.count(b"/JavaScript")


def test_recipes_bring_a_picture_back():
    one = picture(3)
    archive = unpacked(made("advert", one))
    (file,) = (name for name in archive.namelist() if name.endswith(".png"))
    assert opened(archive, file).text["settings"] == picture_metadata(one)["settings"]

"""Pictures for use elsewhere keep what they show, and say that a model made them."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dalle.config import SettingError
from dalle.export import SIZES, frames_zip, kit, mp4, resized, sticker, sticker_sheet, svg, timeline
from dalle.images import DIGITAL_SOURCE_TYPE, read_png_metadata
from dalle.requests import Picture, picture_metadata, request_of

RED, YELLOW = (200, 30, 30, 255), (250, 220, 40, 255)


def drawing() -> Image.Image:
    image = Image.new("RGBA", (256, 256))
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 40, 216, 216), fill=RED)
    pen.rectangle((100, 100, 150, 150), fill=YELLOW)
    return image


def picture(seed: int = 7, prompt: str = "a red <ball> & co") -> Picture:
    settings = {"num_inference_steps": 1, "guidance_scale": 2.5, "style": None, "truncation": 1.0, "model": "a/b", "revision": "12"}
    return Picture(drawing(), 0, prompt, seed, 0.1, 0.9, settings)


@pytest.mark.parametrize("size", SIZES)
def test_another_size_shows_the_same(size):
    image = resized(drawing(), size)
    assert image.size == (size, size) and image.mode == "RGBA"
    middle, corner = size // 2, size // 16
    assert np.allclose(image.getpixel((middle, size // 4 * 3)), RED, atol=6)
    assert np.allclose(image.getpixel((round(middle * 0.98), middle)), YELLOW, atol=6)
    assert image.getpixel((corner, corner))[3] == 0
    # No colour of its own creeps into the half transparent edge: it is red all around, never black or white.
    pixels = np.asarray(image).astype(int)
    edge = pixels[(pixels[..., 3] > 60) & (pixels[..., 3] < 200)]
    assert (size == 256 or len(edge)) and (np.abs(edge[:, 0] - RED[0]) < 40).all()


@pytest.mark.parametrize("size", [0, 63, 2048, True, "128", 128.5])
def test_no_other_size(size):
    with pytest.raises(SettingError, match="64, 128"):
        resized(drawing(), size)


def test_vectors_are_well_formed_and_carry_title_recipe_and_source():
    text = svg(drawing(), 'a "red" <ball> & co\x00', {"prompt": "a <b> & c", "seed": "7"})
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    assert root.get("viewBox") == "0 0 256 256" and root.find(f"{name}title").text == 'a "red" <ball> & co'
    metadata = ElementTree.tostring(root.find(f"{name}metadata"), "unicode")
    assert DIGITAL_SOURCE_TYPE in metadata and "a &lt;b&gt; &amp; c" in metadata
    fills = [path.get("fill") for path in root.findall(f"{name}path")]
    colours = np.array([[int(fill[place : place + 2], 16) for place in (1, 3, 5)] for fill in fills])
    assert 2 <= len(fills) <= 12
    for colour in (RED, YELLOW):
        assert np.abs(colours - np.array(colour[:3])).max(1).min() < 24
    assert "<script" not in text and "http-equiv" not in text


def test_vectors_of_nothing_are_empty():
    root = ElementTree.fromstring(svg(Image.new("RGBA", (256, 256))))
    assert not root.findall("{http://www.w3.org/2000/svg}path")


def test_without_the_tracer_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "vtracer", None)
    with pytest.raises(SettingError, match="pip install vtracer"):
        svg(drawing())


def test_a_sticker_has_a_white_edge_all_around():
    image = sticker(drawing())
    assert image.width > 256
    pixels = np.asarray(image).astype(int)
    middle = image.width // 2
    row = pixels[middle]
    inside = np.flatnonzero((row[:, 3] > 250) & (row[:, 1] < 100))
    before, after = row[inside[0] - 4], row[inside[-1] + 4]
    assert (before >= 250).all() and (after >= 250).all()
    assert row[2, 3] == 0 and row[-3, 3] == 0
    assert (np.asarray(sticker(Image.new("RGBA", (64, 64))))[..., 3] == 0).all()


def test_a_sheet_holds_all_stickers_apart():
    for count in (1, 3, 5):
        sheet = sticker_sheet([drawing()] * count)
        alpha = np.asarray(sheet)[..., 3] > 127
        starts = np.flatnonzero(np.diff(alpha.any(0).astype(int)) == 1)
        assert len(starts) == min(count, 4)
        assert sheet.height == (1 if count <= 4 else 2) * sticker(drawing()).height
    with pytest.raises(ValueError, match="no pictures"):
        sticker_sheet([])


def test_a_kit_brings_everything_back(tmp_path):
    pictures = [picture(7), picture(8, "два"), picture(9)]
    with zipfile.ZipFile(io.BytesIO(kit(pictures, "# Card\n\nTwemoji, CC BY 4.0", 128))) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        assert "Twemoji" in archive.read("MODEL-CARD.md").decode()
        assert "3 pictures" in archive.read("README.md").decode() and "a/b" in archive.read("README.md").decode()
        assert sum(name.endswith(".svg") for name in names) == 3
        recipes = json.loads(archive.read("recipes.json"))
        for recipe, each in zip(recipes, pictures, strict=True):
            path = tmp_path / "picture.png"
            path.write_bytes(archive.read(recipe["file"]))
            with Image.open(path) as image:
                assert image.size == (128, 128)
            found = read_png_metadata(path)
            assert request_of(found) == request_of(picture_metadata(each))
            assert DIGITAL_SOURCE_TYPE in found["xmp"]
        path.write_bytes(archive.read("stickers.png"))
        assert DIGITAL_SOURCE_TYPE in read_png_metadata(path)["xmp"]
    with pytest.raises(ValueError, match="no pictures"):
        kit([], "")


# Paths


def test_a_timeline_goes_from_end_to_end():
    assert timeline(5) == [0, 1, 2, 3, 4] and timeline(5, pingpong=True) == [0, 1, 2, 3, 4, 3, 2, 1]
    assert timeline(1, True, True) == [0] and timeline(2, True, True) == [0, 1]
    for frames in (3, 9, 33):
        eased = timeline(frames, eased=True)
        assert eased[0] == 0 and eased[-1] == frames - 1 and len(eased) == frames and eased == sorted(eased)
        assert [frames - 1 - index for index in reversed(eased)] == eased  # as slow at one end as at the other
        steps = np.diff(eased)
        assert steps[0] <= 1 and steps[-1] <= 1 and steps.max() <= 2
        there_and_back = timeline(frames, True, True)
        assert len(there_and_back) == 2 * frames - 2 and there_and_back[frames:] == eased[-2:0:-1]


def path_frames() -> list[Image.Image]:
    frames = [Image.new("RGBA", (64, 48), (20 * place, 0, 255 - 20 * place, 255)) for place in range(12)]
    frames[0] = Image.new("RGBA", (64, 48))
    return frames


def test_a_video_has_all_frames_over_white_and_says_how_it_was_made():
    import av

    data = mp4(path_frames(), 12.5, {"prompt_a": "ä <cat>", "seed_a": "7"})
    with av.open(io.BytesIO(data)) as container:
        told = json.loads(container.metadata["comment"])
        assert told == {"prompt_a": "ä <cat>", "seed_a": "7", "digitalSourceType": DIGITAL_SOURCE_TYPE}
        assert container.streams.video[0].average_rate == 12.5
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 12 and shown[0].shape == (48, 64, 3)
    assert shown[0].min() > 245  # transparent is white
    reds = [frame[..., 0].mean() for frame in shown[1:]]
    assert reds == sorted(reds) and abs(reds[-1] - 220) < 12


def test_a_video_of_nothing_or_at_no_speed_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="no frames"):
        mp4([], 16, {})
    for fps in (0, 61, float("nan")):
        with pytest.raises(SettingError, match="1 to 60"):
            mp4(path_frames(), fps, {})
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SettingError, match="pip install av"):
        mp4(path_frames(), 16, {})


def test_frames_come_with_recipe_and_attribution():
    metadata = {"prompt_a": "a", "prompt_b": "b", "model": "a/b"}
    with zipfile.ZipFile(io.BytesIO(frames_zip(path_frames(), metadata, "# Card: Twemoji"))) as archive:
        assert json.loads(archive.read("recipe.json")) == metadata
        assert "Twemoji" in archive.read("MODEL-CARD.md").decode() and "12 frames" in archive.read("README.md").decode()
        names = [name for name in archive.namelist() if name.startswith("frames/")]
        assert names == sorted(names) and len(names) == 12
        with Image.open(io.BytesIO(archive.read(names[0]))) as first:
            assert first.mode == "RGBA" and first.getpixel((0, 0))[3] == 0
    with pytest.raises(ValueError, match="no frames"):
        frames_zip([], {}, "")

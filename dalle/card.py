"""A model's card as it goes to the Hub: its README with checked metadata, the figures of its evaluation, samples, how to load it.

What is there already is kept; `licence`, `pipeline_tag` and the like are added where they are missing.
"""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle.config import DEFAULT_GUIDANCE, CheckpointError, SettingError

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard
    from PIL import Image

    from dalle.pipeline import DallePipeline

CARD = "README.md"
SHEET = "samples/sheet.webp"
SAMPLES, COLUMNS, CELL = 12, 4, 192
PROMPTS = ("a red apple", "a green tree", "a cat", "a yellow star on a blue background")
"""What is drawn of a model that has no list of captions."""
BLANK = 2
"""Levels out of 255 that a colour of an empty picture may vary by: rounding, no drawing."""

DEFAULTS: dict[str, Any] = {"language": "en", "library_name": "diffusers", "pipeline_tag": "text-to-image"}
"""diffusers has the layout and the loading of the weights, so the Hub finds them there; the card says which code loads them."""
TAGS = ("text-to-image", "dalle")

METRICS = {
    "reconstruction PSNR": "psnr",
    "KID": "kid",
    "MMD": "cmmd",
    "R-precision, 1 of 100, others of the same category": "r-precision",
    "R-precision, 1 of 100, others at random": "r-precision-random",
    "composition: mean of six tasks": "composition",
}
"""Beginning of a row's name in an evaluation -> the metric's name on the Hub. The first row that begins so counts."""

BEGIN, END = "<!-- begin: python -m dalle push -->", "<!-- end: python -m dalle push -->"

MINIMAL = """\
# {name}

Draws 256x256 pictures with transparency of a prompt in English. Whoever published it wrote no card: what it was trained on, how
well it draws and what it must not be used for is not known from here.
"""

SAMPLES_TOLD = """\
## Samples

![{count} pictures, each with its prompt below it]({sheet})

{chosen} One picture each, none chosen by its looks; a prompt's number is its seed. {settings}.

{prompts}

"""

LOADING = """\
## How to load it

The networks are of classes of their own, so `DiffusionPipeline` alone does not load them. In a copy of the project that made them
(Open DALL·E), with no remote code:

```python
from dalle.pipeline import DallePipeline

pipeline = DallePipeline.from_pretrained("{repo}")
pipeline("{prompt}").images[0].save("picture.png")
```

```sh
python -m dalle generate "{prompt}" --model {repo}
python app.py --model {repo}
```
"""


@dataclass(frozen=True)
class Samples:
    """Pictures that a checkpoint drew: a sheet of them as WebP, their prompts, and the rest of the recipe in words."""

    sheet: bytes
    prompts: tuple[str, ...]
    settings: str
    drawn_by_lot: bool


def read_card(path: Path) -> ModelCard | None:
    """The card of a folder; None where it has none.

    Raises:
        CheckpointError: it can't be read, or its metadata is not what YAML and the Hub allow; says in which line.
    """
    import yaml
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} can't be read as text: write it as UTF-8, or remove it.") from error
    found = REGEX_YAML_BLOCK.search(text)
    if found is None:
        if text.lstrip().startswith("---"):
            raise CheckpointError(f"The metadata at the top of {path} has no end: put a line with only --- below it.")
        return with_metadata(ModelCardData(), text)
    above = text[: found.start(2)].count("\n") + 1
    try:
        metadata = yaml.safe_load(found[2])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {above + mark.line}: {error.problem}" if mark else "it holds a character that YAML does not allow"
        raise CheckpointError(f"The metadata at the top of {path} is not YAML, {place}. Correct it, then push again.") from error
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(key, str) for key in metadata)):
        raise CheckpointError(f"The metadata at the top of {path}, from line {above}, must be names with values (license: mit).")
    for name in ("tags", "datasets"):
        values = (metadata or {}).get(name)
        if values is not None and not isinstance(values, str) and not _all_text(values):
            raise CheckpointError(f"{name} in the metadata at the top of {path} must be a list of names.")
    try:
        return ModelCard(text)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"The metadata at the top of {path} can't be used: {error}") from error


def with_metadata(data: Any, text: str) -> ModelCard:
    """A card of metadata (ModelCardData) and of text in Markdown."""
    from huggingface_hub import ModelCard

    return ModelCard(f"---\n{data.to_yaml() or '{}'}\n---\n{text}")


def licence_id(text: str) -> str:
    """A licence's name as the Hub writes it.

    Raises:
        SettingError: no such name can be.
    """
    name = text.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{1,60}", name):
        raise SettingError(f"{text!r} is no licence id: the Hub's are like cc-by-4.0, apache-2.0, mit or openrail.")
    return name


def complete(
    card: ModelCard | None,
    repo: str,
    licence: str | None = None,
    results: list[EvalResult] | None = None,
    samples: Samples | None = None,
) -> str:
    """The README for the Hub.

    Args:
        card: what `read_card` found.
        repo: `user/repo`, where it will be.
        licence: in place of the card's own.
        results: of an evaluation of these weights (`results_of`).
    """
    from huggingface_hub import ModelCardData

    name = repo.split("/")[-1]
    card = card or with_metadata(ModelCardData(), MINIMAL.format(name=name))
    data = card.data
    for key, value in DEFAULTS.items():
        data[key] = data.get(key, value)
    tags = data.get("tags") or []
    data["tags"] = list(dict.fromkeys([*([tags] if isinstance(tags, str) else tags), *TAGS]))
    if licence is not None:
        data["license"] = licence
    if results:
        data["model_name"], data["eval_results"] = name, results
    card.text = _with_section(card.text, _section(repo, samples))
    return str(card)


def _section(repo: str, samples: Samples | None) -> str:
    told = ""
    if samples is not None:
        chosen = "Captions that the model was taught, drawn by lot." if samples.drawn_by_lot else "The same few for every model."
        prompts = "\n".join(f"{seed}. `{prompt}`" for seed, prompt in enumerate(samples.prompts))
        told = SAMPLES_TOLD.format(
            count=len(samples.prompts), sheet=SHEET, chosen=chosen, settings=samples.settings, prompts=prompts
        )
    prompt = samples.prompts[0] if samples is not None and '"' not in samples.prompts[0] else PROMPTS[0]
    return told + LOADING.format(repo=repo, prompt=prompt)


def _with_section(text: str, section: str) -> str:
    """The text with our section in place of an older one, or else before its second heading."""
    block = f"{BEGIN}\n{section}{END}\n"
    before, found, rest = text.partition(BEGIN)
    if found and END in rest:
        return before + block + rest.split(END, 1)[1].removeprefix("\n")
    heading = re.search(r"^## ", text, re.MULTILINE)
    place = heading.start() if heading else len(text)
    gap = "" if text[:place].endswith("\n\n") else "\n" if text[:place].endswith("\n") else "\n\n"
    return f"{text[:place]}{gap}{block}{chr(10) if heading else ''}{text[place:]}"


# The evaluation


def results_of(path: Path, revision: str) -> list[EvalResult]:
    """What `python -m train evaluate` measured of the weights with that revision, for the metadata.

    Raises:
        CheckpointError: it is no evaluation, a rehearsal, or one of other weights; says which.
    """
    from huggingface_hub import EvalResult

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        facts, rows = told["facts"], told["rows"]
        found, split, data = str(facts["revision"]), str(facts["split"]), str(facts["data"])
        values = {str(row["figure"]): row["value"] for row in rows}
        count = facts["drawings and prompts"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not an evaluation that `python -m train evaluate` wrote.") from error
    if "rehearsal" in facts:
        raise CheckpointError(f"{path} is a rehearsal, whose figures mean nothing.")
    if found != revision:
        raise CheckpointError(f"{path} is of the weights {found}, and these are {revision}: run `python -m train evaluate`.")
    results = []
    for beginning, metric in METRICS.items():
        figure = next((name for name in values if name.startswith(beginning)), None)
        value = values.get(figure)
        if figure is None or isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        results.append(
            EvalResult(
                task_type="text-to-image",
                dataset_type="held-out-drawings",
                dataset_name=f"{count} held-out drawings and their captions",
                dataset_split=split,
                dataset_args={"data": data, "weights": revision},
                metric_type=metric,
                metric_name=figure,
                metric_value=round(float(value), 4),
            )
        )
    return results


# The samples


def draw_samples(pipeline: DallePipeline, revision: str, count: int = SAMPLES) -> Samples:
    """Pictures of a checkpoint, the same ones each time: of its own captions, with seeds 0, 1, 2 ...

    Raises:
        CheckpointError: it draws nothing, or numbers that are none.
    """
    import torch

    from dalle.images import grid
    from dalle.pipeline import library_versions

    known = pipeline.judge.captions if pipeline.judge is not None else []
    prompts = random.Random(0).sample(known, min(count, len(known))) if known else list(PROMPTS[:count])
    images = [pipeline(prompt, generator=torch.Generator().manual_seed(seed)).images[0] for seed, prompt in enumerate(prompts)]
    if all(blank(image) for image in images):
        raise CheckpointError(
            f"It draws nothing: all of {len(images)} pictures are one plain colour. Train it on, or choose other weights."
        )
    steps = 1 if pipeline.prior.kind == "gaussian" else pipeline.prior.default_steps
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    times = f"{steps} step{'s' if steps > 1 else ''}"
    settings = f"Drawn in {times}, guidance {DEFAULT_GUIDANCE:g}, weights `{revision}`, float32 on a CPU, {versions}"
    sheet = grid(images, COLUMNS, prompts, cell=CELL, gap=12)
    recipe = {"prompts": json.dumps(prompts), "seeds": json.dumps(list(range(len(prompts)))), "settings": settings}
    return Samples(webp(sheet, recipe), tuple(prompts), settings, bool(known))


def blank(image: Image.Image) -> bool:
    """Whether a picture is one plain colour."""
    return all(high - low <= BLANK for low, high in image.getextrema())


def webp(image: Image.Image, metadata: Mapping[str, str]) -> bytes:
    """A picture as a WebP file that says how it was made."""
    from dalle.images import xmp

    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85, method=6, xmp=xmp(metadata).encode())
    return buffer.getvalue()


def _all_text(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)

"""The stages of a path as a page, a link or an API client sends them, and the pictures that visitors give for them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio.utils import get_upload_folder

from dalle.config import DEFAULT_GUIDANCE, MAX_PATH_FRAMES, MAX_STAGES, DalleError, SettingError
from dalle.images import PictureError, data_uri, open_picture, png_bytes, read_png_metadata
from dalle.requests import GenerateRequest, PathRequest, Picture, Stage, picture_metadata, request_of
from ui import inputs
from ui.direct import Direct, visitor_name

if TYPE_CHECKING:
    import threading

    from PIL import Image

    from ui.outbox import Outbox

GONE = "A picture that was given is not here any more: uploads are deleted after an hour. Give it again."
KEPT_NAME = "given.png"
YOURS = "a picture of yours"


@dataclass(frozen=True)
class Plan:
    """What a path is asked for: its request, and the token of each stage's upload ("" for none)."""

    request: PathRequest
    uploads: tuple[str, ...]


class Uploads:
    """Pictures that visitors gave, each kept as a small PNG in gradio's cache under a name that nobody can guess.

    Nothing else is remembered of them: the page has the name, and the file goes with all others there.
    """

    def __init__(self, outbox: Callable[[], Outbox]) -> None:
        self._outbox = outbox

    def keep(self, image: Image.Image) -> str:
        """The token of a picture that was given."""
        file = self._outbox().file(png_bytes(image), KEPT_NAME)
        return Path(file["path"]).parent.name

    def open(self, token: object) -> Image.Image:
        """The picture of a token.

        Raises:
            SettingError: there is none.
        """
        if not isinstance(token, str) or not re.fullmatch("[0-9a-f]{32}", token):
            raise SettingError(GONE)
        try:
            return open_picture(self._outbox().folder / token / KEPT_NAME)
        except PictureError as error:
            raise SettingError(GONE) from error


class Given:
    """Answers the page about pictures for stages: what an upload is."""

    kind = "given picture"

    def __init__(self, direct: Direct, uploads: Uploads) -> None:
        self._direct = direct
        self._uploads = uploads

    def take(self, question: object) -> dict[str, Any]:
        """{state, message, image, recipe or upload} for a question {visitor, path}. Never raises.

        A PNG that was saved here is drawn again from its recipe; any other picture is kept as it is, for an hour.
        """
        sent = question if isinstance(question, dict) else {}
        blank = {"state": "error", "message": "", "image": "", "recipe": None, "upload": ""}
        return self._direct.answer(
            self.kind, visitor_name(sent, self.kind), blank, lambda cancel: self._take(sent.get("path"), cancel)
        )

    def _take(self, path: object, cancel: threading.Event) -> dict[str, Any]:
        upload = uploaded(path)
        request = saved_here(upload)
        if request is not None:
            picture: Picture = self._direct.draw(request, cancel)
            return {"image": data_uri(picture.image), "recipe": picture_metadata(picture)}
        image = open_picture(upload)
        return {"image": data_uri(image), "upload": self._uploads.keep(image)}


def uploaded(path: object) -> Path:
    """A file that gradio has taken from a browser.

    Raises:
        SettingError: anything else.
    """
    folder = os.path.realpath(get_upload_folder())
    found = os.path.realpath(path) if isinstance(path, str) and path and "\0" not in path else ""
    if not found.startswith(folder + os.sep) or not os.path.isfile(found):
        raise SettingError("That picture did not arrive: give it again.")
    return Path(found)


def saved_here(path: Path) -> GenerateRequest | None:
    """What draws a picture that was saved here; None of a file that isn't one, or that was mixed from several prompts."""
    try:
        return request_of(read_png_metadata(path))
    except DalleError:
        return None


def plan_of(
    *,
    stages: object,
    loop: object = False,
    frames: object = None,
    leg_frames: int,
    style: object = None,
    pacing: object = None,
    truncation: object = None,
    uploads: Uploads | None = None,
) -> Plan:
    """A path as it is sent: stages of {prompt, seed, length, recipe or upload}; the engine checks ranges.

    Args:
        frames: if not given, `leg_frames` for each way, as far as that fits.
        uploads: who knows the uploads; without, there can be none.

    Raises:
        PromptError, SettingError: a value of the wrong type.
    """
    given = inputs.some(stages, "stages") or []
    if not 2 <= len(given) <= MAX_STAGES:
        raise SettingError(f"A path has between 2 and {MAX_STAGES} stages, not {len(given)}.")
    looped = inputs.flag(loop, "loop")
    read = [stage_of(stage, uploads) for stage in given]
    count = inputs.whole_number(frames, "number of frames")
    steps, guidance = drawn_alike([stage.drawn for stage, _ in read if stage.drawn])
    request = PathRequest(
        stages=tuple(stage for stage, _ in read),
        loop=looped,
        frames=usual_frames(len(given), looped, leg_frames) if count is None else count,
        num_inference_steps=steps,
        guidance_scale=guidance,
        style=inputs.style_name(style),
        pacing="even" if pacing is None or pacing == "" else inputs.text(pacing),
        truncation=inputs.spread(truncation),
    )
    return Plan(request, tuple(token for _, token in read))


def stage_of(value: object, uploads: Uploads | None) -> tuple[Stage, str]:
    """A stage as it is sent, and the token of its upload."""
    if not isinstance(value, dict):
        raise SettingError('A stage is given as an object with a prompt, for example {"prompt": "a cat", "seed": 7}.')
    prompt, length = inputs.text(value.get("prompt")), inputs.number(value.get("length"), "length of a way")
    seed = inputs.whole_number(value.get("seed"), "seed")
    length = 1.0 if length is None else length
    if (recipe := value.get("recipe")) not in (None, ""):
        drawn = inputs.recipe(recipe)
        return Stage(drawn.prompt, drawn.seed, length, drawn=drawn), ""
    if (token := value.get("upload")) not in (None, ""):
        if uploads is None:
            raise SettingError("This path has a picture that somebody uploaded: nobody else can open it.")
        return Stage(prompt, seed, length, image=uploads.open(token)), str(token)
    return Stage(prompt, seed, length), ""


def drawn_alike(requests: Sequence[GenerateRequest]) -> tuple[int | None, float | None]:
    """Steps and guidance of pictures that were drawn before, where all agree, so that the path is drawn as they were."""
    found = {(request.num_inference_steps, request.guidance_scale) for request in requests}
    steps, guidance = found.pop() if len(found) == 1 else (None, None)
    return steps, None if guidance == DEFAULT_GUIDANCE else guidance


def usual_frames(stages: int, loop: bool, leg_frames: int) -> int:
    """Frames of a path whose ways have `leg_frames` each, ends included, as far as that fits."""
    legs = stages if loop else stages - 1
    return min(legs * (leg_frames - 1) + (0 if loop else 1), MAX_PATH_FRAMES)


def label_of(stage: Stage) -> str:
    """A stage in words."""
    return stage.prompt.strip() or YOURS

"""The named endpoints /generate, /interpolate, /path, /mix, /make, /judge and /search, for gradio_client, curl and other programs.

Gradio reads parameter and return types from the signatures at run time, so annotations aren't postponed in this module.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from threading import Event
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.data_classes import FileData

from dalle.config import SettingError
from dalle.images import bounded
from dalle.requests import DEFAULT_FRAMES, DEFAULT_NUM_IMAGES, Picture, with_seeds
from dalle.uses import drawn_as
from ui import inputs
from ui.deliver import begun, path_name
from ui.direct import drawn
from ui.failures import message_for
from ui.line import Line, caller_of
from ui.outbox import Outbox
from ui.settings import PageSettings
from ui.stages import plan_of
from ui.waiting import until_ready

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.requests import InterpolateRequest, PathRequest

MAX_FOUND = 100
"""Drawings that a search may return."""


@contextmanager
def told_to_caller(cancel: Event) -> Iterator[ExitStack]:
    """Turns any error into a `gr.Error` with a sentence for the caller; stops the engine when the caller goes away.

    Gives what is undone at the end.
    """
    try:
        with ExitStack() as end:
            yield end
    except Exception as error:
        raise gr.Error(message_for(error), print_exception=False) from None
    finally:
        cancel.set()


def record(picture: Picture) -> dict[str, Any]:
    return {
        "prompt": picture.prompt,
        "seed": picture.seed,
        "seconds": picture.seconds,
        "score": picture.score,
        "settings": dict(picture.settings),
    }


def add_endpoints(engine: "Engine", line: Line, pictures: Outbox, animations: Outbox, settings: PageSettings) -> None:
    """Adds the endpoints to the page being built. They stand in the same line as the page's visitors."""

    def turn(request: gr.Request | None, cancel: Event, end: ExitStack) -> Iterator[None]:
        """Waits for the model; the place in the line is told as progress (`job.status().progress_data`, MCP's notifications)."""
        place = line.join(caller_of(request), cancel)
        end.callback(place.leave)
        for message in place.wait():
            gr.Progress()((0, None), desc=message)
            yield
        for _ in until_ready(engine, cancel):
            yield

    def generate(
        prompt: str,
        num_images: int = DEFAULT_NUM_IMAGES,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        style: str = inputs.ANY_STYLE,
        strict: bool = False,
        candidates: int | None = None,
        truncation: float | None = None,
        negative_prompt: str | None = None,
        variation_of: list | None = None,
        variation_strength: float | None = None,
        use: str = "",
        request: gr.Request | None = None,
    ) -> tuple[list[FileData], list[int], list[dict]]:  # type: ignore[misc]  # gradio wants the type of one yield
        """Draw pictures of a description: drawings, stickers and icons, 256x256 pixels, transparent where empty.

        Args:
            prompt: What to draw, in English, at most some 40 words.
            num_images: How many pictures, 1 to 16.
            seed: 0 to 4294967295; picture i uses seed + i. Leave empty for a random one.
            num_inference_steps: 1 to 100; more is slower and sometimes cleaner. Leave empty for the model's default.
            guidance_scale: 0 to 10, how closely to follow the words. Leave empty for the model's default.
            style: One of the page's styles, or "any".
            strict: Refuse a description that the judge expects to fail.
            candidates: Draw this many, up to 32, and return the num_images that fit the words best. Leave empty for none.
            truncation: 0.1 to 1; less gives more typical, less varied pictures. Leave empty for 1.
            negative_prompt: What shall not be in the pictures. Leave empty for nothing.
            variation_of: The noise of a picture to vary, as pairs of seed and weight, [[7, 1]] for seed 7. Leave empty for none.
            variation_strength: 0 to 1, how far from that picture to go; 0 is the picture itself. Leave empty for 0.25.
            use: What it is for: storybook, advert, sprites, cards or icons. Adds that use's background to the description, and its
                style where style is "any". Leave empty for nothing in particular.

        Returns:
            The PNG files, their seeds, and for each picture a record of prompt, seed, seconds, score and settings.
        """
        files: list[Any] = []
        seeds: list[int] = []
        records: list[dict] = []
        cancel = Event()
        with told_to_caller(cancel) as end:
            preset = inputs.use_of(use)
            if preset and style == inputs.ANY_STYLE:
                style = preset.style or style
            wish = inputs.generate_request(
                prompt=drawn_as(inputs.text(prompt), preset),
                num_images=num_images,
                seed=seed,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                style=style,
                strict=strict,
                candidates=candidates,
                truncation=truncation,
                negative_prompt=negative_prompt,
                variation_of=variation_of,
                variation_strength=variation_strength,
            )
            for _ in turn(request, cancel, end):
                yield files, seeds, records
            with closing(engine.generate(wish, cancel=cancel)) as items:
                for item in items:
                    if isinstance(item, Picture):
                        files = [*files, pictures.picture(item)]
                        seeds = [*seeds, item.seed]
                        records = [*records, record(item)]
                    # Steps are yielded too: this is where gradio notices that the caller has gone.
                    yield files, seeds, records

    def interpolate(
        prompt_a: str,
        prompt_b: str,
        seed_a: int | None = None,
        seed_b: int | None = None,
        frames: int = DEFAULT_FRAMES,
        style: str = inputs.ANY_STYLE,
        pingpong: bool = False,
        pacing: str = "even",
        truncation: float | None = None,
        request: gr.Request | None = None,
    ) -> FileData:  # type: ignore[misc]  # gradio wants the type of one yield
        """Draw the way from one description to another as an animated WebP, through the model's latent space.

        Args:
            prompt_a: What the first picture shows, in English.
            prompt_b: What the last picture shows, in English.
            seed_a: Seed of the first picture, 0 to 4294967295. Leave empty for a random one.
            seed_b: Seed of the last picture, 0 to 4294967295. Leave empty for a random one.
            frames: How many pictures the path has, 2 to 65.
            style: One of the page's styles, or "any".
            pingpong: Run there and back instead of starting over.
            pacing: "even", so that every frame changes as much as the next, or "raw", even steps of the mixture.
            truncation: 0.1 to 1; less gives more typical, less varied pictures. Leave empty for 1.

        Returns:
            The animation; prompts, seeds and settings are in its metadata.
        """
        cancel = Event()
        with told_to_caller(cancel) as end:
            there_and_back = inputs.flag(pingpong, "pingpong")
            wish = with_seeds(
                inputs.interpolate_request(
                    prompt_a=prompt_a,
                    prompt_b=prompt_b,
                    seed_a=seed_a,
                    seed_b=seed_b,
                    frames=frames,
                    style=style,
                    pacing=pacing,
                    truncation=truncation,
                )
            )
            for _ in turn(request, cancel, end):
                yield None
            yield from animation_of(wish, there_and_back, cancel)

    def path(
        stages: list[dict],
        loop: bool = False,
        frames: int | None = None,
        style: str = inputs.ANY_STYLE,
        pingpong: bool = False,
        pacing: str = "even",
        truncation: float | None = None,
        request: gr.Request | None = None,
    ) -> FileData:  # type: ignore[misc]  # gradio wants the type of one yield
        """Draw the way through two to eight descriptions as an animated WebP, each a stage that the path passes through.

        Args:
            stages: Two to eight objects with a prompt, and if wanted a seed and a length, 0.1 to 10, of the way to the next,
                relative to the others: {"prompt": "a cat", "seed": 7, "length": 2}. A picture that was drawn before is a stage as
                {"recipe": {...}}, with the texts that its PNG holds.
            loop: Lead back from the last stage to the first.
            frames: How many pictures: at least one a stage, at most 65 for one way and 129 for more. Leave empty for the usual.
            style: One of the page's styles, or "any".
            pingpong: Run there and back instead of starting over.
            pacing: "even", so that every frame changes as much as the next, or "raw", even steps of the mixture.
            truncation: 0.1 to 1; less gives more typical, less varied pictures. Leave empty for 1.

        Returns:
            The animation; its stages and settings are in its metadata.
        """
        cancel = Event()
        with told_to_caller(cancel) as end:
            there_and_back = inputs.flag(pingpong, "pingpong")
            plan = plan_of(
                stages=stages,
                loop=loop,
                frames=frames,
                leg_frames=settings.frames,
                style=style,
                pacing=pacing,
                truncation=truncation,
            )
            for _ in turn(request, cancel, end):
                yield None
            yield from animation_of(with_seeds(plan.request), there_and_back, cancel)

    def animation_of(wish: "InterpolateRequest | PathRequest", pingpong: bool, cancel: Event) -> Iterator[Any]:
        """The frames of a path as a file, once all are drawn."""
        found = {}
        with closing(engine.interpolate(wish, cancel=cancel)) as items:
            metadata = engine.path_metadata(wish)
            for frame in items:
                found[frame.index] = bounded(frame.image)
                yield None
        yield animations.animation(
            [found[index] for index in sorted(found)],
            path_name(wish),
            fps=settings.frames_per_second,
            pingpong=pingpong,
            metadata=metadata,
        )

    def mix(
        prompts: list[str],
        weights: list[float] | None = None,
        seeds: list[int] | None = None,
        style: str = inputs.ANY_STYLE,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        truncation: float | None = None,
        request: gr.Request | None = None,
    ) -> tuple[FileData, dict]:  # type: ignore[misc]  # gradio wants the type of one yield
        """Draw one picture of two to four descriptions at once, each with its weight: a point between them in the latent space.

        Args:
            prompts: One to four descriptions, in English.
            weights: One a description, at least 0; they count relative to each other. Leave empty for equal ones.
            seeds: One a description, 0 to 4294967295. Leave empty for random ones.
            style: One of the page's styles, or "any".
            num_inference_steps: 1 to 100. Leave empty for the model's default.
            guidance_scale: 0 to 10, how closely to follow the words. Leave empty for the model's default.
            truncation: 0.1 to 1; less gives more typical, less varied pictures. Leave empty for 1.

        Returns:
            The PNG file and its record of prompts, weights, seeds and settings.
        """
        cancel = Event()
        with told_to_caller(cancel) as end:
            wish = inputs.mix_request(
                prompts=prompts,
                weights=weights,
                seeds=seeds,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                style=style,
                truncation=truncation,
            )
            for _ in turn(request, cancel, end):
                yield None, {}
            picture = engine.mix(wish, cancel=cancel)
            yield pictures.picture(picture), record(picture)

    def make(records: list[dict], what: str = "kit", request: gr.Request | None = None) -> FileData:  # type: ignore[misc]  # gradio wants the type of one yield
        """Make one file of pictures that were drawn here, for instance a book, cards to print or a game's sprite sheet.

        Args:
            records: One to 64 records of pictures, as generate and mix return them.
            what: kit (zip of PNG, SVG and stickers), storybook (PDF), advert (zip of visuals with room for text), sprites (zip of a
                sheet and its atlas), cards (PDF of teaching cards, A4) or icons (zip of PNG, SVG and a favicon).

        Returns:
            The zip or PDF, with the pictures' recipes and the model's card, whose attributions are to be passed on.
        """
        cancel = Event()
        with told_to_caller(cancel) as end:
            recipes = [inputs.recipe_of_record(each) for each in inputs.some(records, "records") or []]
            for _ in turn(request, cancel, end):
                yield None
            made = begun(engine, what, recipes)
            while made.done < len(made.wishes):
                made.draw_next(lambda wish: drawn(engine, wish, cancel))
                yield None
            yield pictures.file(made.maker.finish(), made.name)

    def judge(prompt: str, style: str = inputs.ANY_STYLE) -> dict:
        """Say how well a description can be drawn, before drawing it.

        Args:
            prompt: What would be drawn, in English.
            style: One of the page's styles, or "any".

        Returns:
            Score from 0 to 1, verdict (known, close, unsure or unknown), reason, the nearest known captions with their
            similarity, the words that could not be used, and the language where it isn't English.
        """
        with told_to_caller(Event()):
            found = engine.judge(inputs.text(prompt), inputs.style_name(style))
            return {
                "score": found.score,
                "verdict": found.verdict,
                "refused": found.refused,
                "reason": found.reason,
                "nearest": [{"caption": caption, "similarity": similarity} for caption, similarity in found.nearest],
                "unused": list(found.unused),
                "language": found.language,
            }

    def search(text: str, limit: int = 12) -> list[dict]:
        """Find drawings by words among those that the model was taught: what it knows, and what to call it in a prompt.

        Args:
            text: What to look for, in English.
            limit: How many drawings, 1 to 100, the best first.

        Returns:
            For each drawing its label, style, the set that it is from with its licence, and how well it fits, 0 to 1.
        """
        with told_to_caller(Event()):
            most = inputs.whole_number(limit, "limit")
            if most is None or not 1 <= most <= MAX_FOUND:
                raise SettingError(f"The limit must lie between 1 and {MAX_FOUND}.")
            found = engine.search_reference(inputs.text(text), most)
            return [asdict(engine.reference.drawings[match.index]) | {"score": match.score} for match in found]

    gr.api(generate, api_name="generate", concurrency_limit=None)
    gr.api(interpolate, api_name="interpolate", concurrency_limit=None)
    gr.api(path, api_name="path", concurrency_limit=None)
    gr.api(mix, api_name="mix", concurrency_limit=None)
    gr.api(make, api_name="make", concurrency_limit=None)
    gr.api(judge, api_name="judge", concurrency_id="judge", concurrency_limit=2)
    gr.api(search, api_name="search", concurrency_id="judge", concurrency_limit=2)

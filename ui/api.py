"""The named endpoints /generate, /interpolate, /path, /mix and /judge, for gradio_client, curl and other programs.

Gradio reads parameter and return types from the signatures at run time, so annotations aren't postponed in this module.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.data_classes import FileData

from dalle.requests import DEFAULT_FRAMES, DEFAULT_NUM_IMAGES, Picture, with_seeds
from ui import inputs
from ui.deliver import path_name
from ui.failures import message_for
from ui.outbox import Outbox
from ui.settings import PageSettings
from ui.stages import plan_of
from ui.waiting import until_ready

if TYPE_CHECKING:
    from dalle.engine import Engine
    from dalle.requests import InterpolateRequest, PathRequest


@contextmanager
def told_to_caller(cancel: Event) -> Iterator[None]:
    """Turns any error into a `gr.Error` with a sentence for the caller; stops the engine when the caller goes away."""
    try:
        yield
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


def add_endpoints(engine: "Engine", pictures: Outbox, animations: Outbox, settings: PageSettings) -> None:
    """Adds the endpoints to the page being built. They share the model's queue with the page."""

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

        Returns:
            The PNG files, their seeds, and for each picture a record of prompt, seed, seconds, score and settings.
        """
        files: list[Any] = []
        seeds: list[int] = []
        records: list[dict] = []
        cancel = Event()
        with told_to_caller(cancel):
            wish = inputs.generate_request(
                prompt=prompt,
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
            for _ in until_ready(engine, cancel):
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
        with told_to_caller(cancel):
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
            yield from animation_of(wish, there_and_back, cancel)

    def path(
        stages: list[dict],
        loop: bool = False,
        frames: int | None = None,
        style: str = inputs.ANY_STYLE,
        pingpong: bool = False,
        pacing: str = "even",
        truncation: float | None = None,
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
        with told_to_caller(cancel):
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
            yield from animation_of(with_seeds(plan.request), there_and_back, cancel)

    def animation_of(wish: "InterpolateRequest | PathRequest", pingpong: bool, cancel: Event) -> Iterator[Any]:
        """The frames of a path as a file, once all are drawn."""
        for _ in until_ready(engine, cancel):
            yield None
        found = {}
        with closing(engine.interpolate(wish, cancel=cancel)) as items:
            for frame in items:
                found[frame.index] = frame.image
                yield None
        yield animations.animation(
            [found[index] for index in sorted(found)],
            path_name(wish),
            fps=settings.frames_per_second,
            pingpong=pingpong,
            metadata=engine.path_metadata(wish),
        )

    def mix(
        prompts: list[str],
        weights: list[float] | None = None,
        seeds: list[int] | None = None,
        style: str = inputs.ANY_STYLE,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        truncation: float | None = None,
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
        with told_to_caller(cancel):
            wish = inputs.mix_request(
                prompts=prompts,
                weights=weights,
                seeds=seeds,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                style=style,
                truncation=truncation,
            )
            for _ in until_ready(engine, cancel):
                yield None, {}
            picture = engine.mix(wish, cancel=cancel)
            yield pictures.picture(picture), record(picture)

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

    gr.api(generate, api_name="generate", concurrency_id="model", concurrency_limit=1)
    gr.api(interpolate, api_name="interpolate", concurrency_id="model", concurrency_limit=1)
    gr.api(path, api_name="path", concurrency_id="model", concurrency_limit=1)
    gr.api(mix, api_name="mix", concurrency_id="model", concurrency_limit=1)
    gr.api(judge, api_name="judge", concurrency_id="judge", concurrency_limit=2)

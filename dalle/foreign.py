"""Any text-to-image pipeline of diffusers as a model of the engine: seeds, steps that others can come between, mixtures.

Nothing here knows a pipeline by name. What one draws at random comes from the generators it is given, so a mixture of noises is
made there; what it reads of a prompt comes from its `encode_prompt`, so a mixture of prompts is one of its embeddings; and
each step of a drawing is a call of its scheduler.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline, SchedulerMixin
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dalle.config import MAX_GUIDANCE, MAX_STEPS, CheckpointError, PromptError, SettingError
from dalle.hardware import check_room
from dalle.hub import check_weights, read_json, variant_of, weights_of
from dalle.interpolation import mix_noise
from dalle.models import WITHOUT, NotAtHandError, Recipe
from dalle.text import clean_prompt

PATH_STEPS = 20
"""Steps of a path's frames at most, where nobody asks for a number: a path has many pictures."""

STEPS = ("num_inference_steps", "decoder_num_inference_steps")
GUIDANCE = ("guidance_scale", "decoder_guidance_scale")
"""What pipelines call them; of several stages it is the one that draws the picture."""

EMBEDS, MASK, POOLED, OTHER = "embeds", "mask", "pooled", "other"
KINDS = {
    "prompt_embeds": EMBEDS,
    "negative_prompt_embeds": EMBEDS,
    "pooled_prompt_embeds": POOLED,
    "negative_pooled_prompt_embeds": POOLED,
    "prompt_attention_mask": MASK,
    "negative_prompt_attention_mask": MASK,
    "prompt_embeds_mask": MASK,
    "attention_mask": MASK,
    "negative_attention_mask": MASK,
    "text_attention_mask": MASK,
    "ids": OTHER,
}
LAYOUTS = (
    ("prompt_embeds", "negative_prompt_embeds"),
    ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
    ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask"),
    ("prompt_embeds", "negative_prompt_embeds", "attention_mask", "negative_attention_mask"),
    ("prompt_embeds", "ids", "prompt_attention_mask", "negative_prompt_embeds", "ids", "negative_prompt_attention_mask"),
    ("prompt_embeds", "pooled_prompt_embeds", "ids"),
    ("prompt_embeds", "prompt_embeds_mask"),
    ("prompt_embeds", "ids"),
)
"""Orders in which pipelines' `encode_prompt` gives what their call takes by these names; "ids" they find by themselves."""


@dataclass(frozen=True)
class Noises:
    """Noise of so many rows, as recipes: a pipeline draws it when it comes to it."""

    recipes: tuple[Recipe, ...]


@dataclass(frozen=True)
class Embeddings:
    """Prompts of so many rows, and what the pipeline made of them: name of its call's argument -> (B, ...).

    No tensors where the pipeline takes none: then the prompts themselves go to it.
    """

    prompts: tuple[str, ...]
    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.prompts)


class MixedGenerator(torch.Generator):
    """A generator whose normal noise is a mixture of those of several seeds; only under `MixedNoise`."""

    def __new__(cls, recipe: Recipe) -> MixedGenerator:
        return super().__new__(cls)

    def __init__(self, recipe: Recipe) -> None:
        self.manual_seed(recipe[0][0])
        self.parts = [(torch.Generator().manual_seed(seed), weight) for seed, weight in recipe if weight > 0]

    def randn(self, draw: Callable[..., Tensor]) -> Tensor:
        """`draw(generator)` of one part, or the mixture of all, of unit variance (`dalle.interpolation.mix_noise`)."""
        if len(self.parts) == 1:
            return draw(self.parts[0][0])
        noises = [draw(generator) for generator, _ in self.parts]
        return mix_noise([noise.float() for noise in noises], [weight for _, weight in self.parts]).to(noises[0])


class MixedNoise(TorchFunctionMode):
    """While it holds, whatever is drawn in this thread with a `MixedGenerator` is its mixture.

    What is drawn with no generator at all, as a few samplers do, comes from those of the rows, so that a seed means the same.
    """

    def __init__(self, generators: Sequence[MixedGenerator]) -> None:
        super().__init__()
        self._generators = generators

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            given = kwargs.get("generator")
            if isinstance(given, MixedGenerator):
                return given.randn(lambda generator: func(*args, **(kwargs | {"generator": generator})))
        elif func is torch.randn_like and kwargs.get("generator") is None and len(args[0]) % len(self._generators) == 0:
            shape = (len(args[0]) // len(self._generators), *args[0].shape[1:])
            rows = [each.randn(lambda generator: torch.randn(shape, generator=generator)) for each in self._generators]
            return torch.cat(rows).to(args[0])
        return func(*args, **kwargs)


class _Closed(BaseException):
    """Ends a drawing whose listener has gone; no pipeline catches it."""


def stepwise(work: Callable[[Callable[[], None]], Tensor]) -> Iterator[Tensor | None]:
    """Runs `work(step)` in a thread that halts at each call of `step` until it is asked to go on.

    Yields None for each step and what `work` returns at the end. Closing ends the thread at the step where it is.
    """
    going: SimpleQueue[bool] = SimpleQueue()
    come: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def step() -> None:
        come.put(("step", None))
        if not going.get():
            raise _Closed

    def run() -> None:
        try:
            come.put(("done", work(step)))
        except _Closed:
            pass
        except BaseException as error:
            come.put(("failed", error))

    thread = threading.Thread(target=run, name="draw", daemon=True)
    thread.start()
    try:
        while True:
            what, value = come.get()
            if what == "failed":
                raise value
            yield value
            if what == "done":
                return
            going.put(True)
    finally:
        going.put(False)
        thread.join()


def for_one_run(pipeline: DiffusionPipeline, step: Callable[[], None]) -> DiffusionPipeline:
    """The same networks with schedulers of its own, so that drawings can take turns, and `step` called after each step of them."""
    ours = copy.copy(pipeline)
    for name, part in list(vars(pipeline).items()):
        if isinstance(part, SchedulerMixin):
            scheduler = copy.deepcopy(part)
            scheduler.step = _told(scheduler.step, step)
            setattr(ours, name, scheduler)
        elif isinstance(part, DiffusionPipeline):  # of combined pipelines
            setattr(ours, name, for_one_run(part, step))
    return ours


def _told(call: Callable[..., Any], step: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(call)  # pipelines look at its signature
    def told(*args: Any, **kwargs: Any) -> Any:
        found = call(*args, **kwargs)
        step()
        return found

    return told


def pipeline_class(name: str) -> type[DiffusionPipeline]:
    """The class that opens a pipeline with a class of this name for pictures of a text.

    That is the class itself, or, where it starts from a picture, what draws from a text with the same weights.

    Raises:
        CheckpointError: a pipeline of another kind, or of a newer diffusers.
    """
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, DiffusionPipeline)):
        raise CheckpointError(
            f"This model's pipeline is {name}, which diffusers {diffusers.__version__} doesn't know: give another, or update "
            "diffusers."
        )
    takes = set(inspect.signature(found.__call__).parameters)
    if "prompt" not in takes or {"num_frames", "video", "audio_length_in_s", "audio_end_in_s"} & takes:
        raise CheckpointError(f"This model's pipeline is {name}, which draws no pictures from a text: give a text-to-image model.")
    if not {"image", "mask_image", "control_image"} & takes:
        return found
    from diffusers.pipelines import auto_pipeline as auto  # imports every pipeline that there is, which takes seconds

    tables = auto.AUTO_TEXT2IMAGE_PIPELINES_MAPPING, auto.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, auto.AUTO_INPAINT_PIPELINES_MAPPING
    if any(name == each.__name__ for table in tables for each in table.values()):
        return AutoPipelineForText2Image
    raise CheckpointError(f"This model's pipeline is {name}, which starts from a picture: give a text-to-image model.")


def find_old_places(folder: Path) -> None:
    """Lets diffusers find parts of pipelines that it has moved since a repository was made, unCLIP's for one.

    Such a repository names a part's module by its old place, `diffusers.pipelines.<name>`; it is now below `deprecated`.
    """
    index = read_json(folder / "model_index.json")
    for library in {value[0] for value in index.values() if isinstance(value, list) and value and isinstance(value[0], str)}:
        moved = f"diffusers.pipelines.deprecated.{library}"
        if library.isidentifier() and not hasattr(diffusers.pipelines, library) and find_spec(moved):
            setattr(diffusers.pipelines, library, importlib.import_module(moved))


def bytes_needed(paths: Sequence[Path], dtype: torch.dtype) -> int:
    """What the weights of these files take in memory in a number format."""
    from safetensors import safe_open

    count = 0
    for path in paths:
        check_weights(path)
        with safe_open(path, "pt") as handle:
            count += sum(math.prod(handle.get_slice(name).get_shape()) for name in handle.keys())  # noqa: SIM118 (no mapping)
    return count * dtype.itemsize


class DiffusersModel:
    """A `dalle.models.Model` around a pipeline. Pictures have the size that the pipeline draws by itself, and no transparency."""

    batch = 1
    one_step = False
    styles = ()
    judge = ranker = reference = history = None

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline
        self._at_hand = True
        self._takes = inspect.signature(pipeline.__call__).parameters
        self._steps = next((name for name in STEPS if name in self._takes), None)
        self._guidance = next((name for name in GUIDANCE if name in self._takes), None)
        self._layout: tuple[str, ...] | None = None
        self._layout = self._find_layout()
        can = {
            "negative": any(name.startswith("negative") for name in self._layout or ()) or "negative_prompt" in self._takes,
            "guidance": self._guidance is not None,
            "mixing": bool(self._layout) or self._reads_clip,
        }
        never = ("judge", "ranker", "reference", "history", "styles", "truncation", "pacing", "given", "insight")
        self.lacks: Mapping[str, str] = {
            name: WITHOUT[name] for name in (*never, *(feature for feature, able in can.items() if not able))
        }

    @classmethod
    def ready(cls, folder: Path, device: str, dtype: torch.dtype, at_hand: bool = True) -> DiffusersModel:
        """Opens a folder. Only safetensors are read, and no code that lies there.

        With a device that is not `at_hand`, prompts are only checked, and what comes after raises NotAtHandError, until `bring`.

        Raises:
            CheckpointError: it can't be opened, draws no pictures of a text, or has no room in memory.
        """
        if device == "cpu":
            dtype = torch.float32  # not every layer of every family has another there: unCLIP's upsampling has none
        elif dtype == torch.float32:
            dtype = torch.float16  # an older GPU: what such models are run with there
        opener = pipeline_class(str(read_json(folder / "model_index.json").get("_class_name")))
        find_old_places(folder)
        check_room(bytes_needed(weights_of(folder), dtype), device)
        try:
            pipeline = opener.from_pretrained(
                folder,
                dtype=dtype,
                variant=variant_of(folder),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                low_cpu_mem_usage=find_spec("accelerate") is not None,
            )
            if at_hand:
                pipeline.to(device)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
            said = str(error).strip().splitlines() or [""]
            raise CheckpointError(
                f"This model can't be opened ({type(error).__name__}: {said[0][:300]}): fetch it again, or give another."
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        model = cls(pipeline)
        if not at_hand:
            pipeline.to(device)
            model._at_hand = False
        return model

    def bring(self, device: str) -> None:
        self.pipeline.to(device)
        self._at_hand = True

    def _default(self, name: str | None, most: float) -> float:
        value = self._takes[name].default if name else None
        usable = isinstance(value, int | float) and not isinstance(value, bool)
        return min(value, most) if usable else min(50, most)

    @property
    def default_steps(self) -> int:
        return int(self._default(self._steps, MAX_STEPS))

    @property
    def default_path_steps(self) -> int:
        return min(self.default_steps, PATH_STEPS)

    @property
    def default_guidance(self) -> float:
        return float(self._default(self._guidance, MAX_GUIDANCE)) if self._guidance else 1.0

    def steps_of(self, num_inference_steps: int) -> int:
        """The steps of all its stages."""
        others = [name for name in self._takes if name.endswith("num_inference_steps") and name != self._steps]
        return num_inference_steps + sum(int(self._default(name, MAX_STEPS)) for name in others)

    @property
    def _reads_clip(self) -> bool:
        """Whether the call takes CLIP's outputs instead of a prompt, as unCLIP's does (Ramesh et al. 2022, arXiv:2204.06125)."""
        return {"text_model_output", "text_attention_mask"} <= set(self._takes)

    @property
    def _plain(self) -> dict[str, bool]:
        """Prompts are cleaned here, not by the pipeline, which would want packages of its own for that."""
        return {"clean_caption": False} if "clean_caption" in self._takes else {}

    def _find_layout(self) -> tuple[str, ...] | None:
        """Names of what `encode_prompt` gives, found by encoding something and looking at the shapes; None where none fits."""
        if "prompt_embeds" not in self._takes or not hasattr(self.pipeline, "encode_prompt"):
            return None
        try:
            found = self._encoded("a red apple", None)
        except Exception:
            return None
        for layout in LAYOUTS:
            named = [name for name in layout if name != "ids"]
            known = all(name in self._takes for name in named if not name.startswith("negative"))
            if known and len(layout) == len(found) and all(map(self._fits, layout, found)):
                return layout
        return None

    def _fits(self, name: str, value: object) -> bool:
        kind = KINDS[name]
        if kind is OTHER:
            return True
        if value is None:  # no second text for a model without guidance
            return name.startswith("negative")
        if not isinstance(value, Tensor) or len(value) != 1:
            return False
        whole = value.dtype == torch.bool or not value.is_floating_point()
        return value.dim() == (3 if kind is EMBEDS else 2) and (kind is not POOLED or not whole) and (kind is MASK or not whole)

    @torch.no_grad()
    def _encoded(self, prompt: str, negative: str | None) -> tuple[Any, ...]:
        encode = inspect.signature(self.pipeline.encode_prompt).parameters
        # What the call would pass on by itself: Sana's instruction, T5's length, cleaning of captions.
        more = {
            name: self._takes[name].default
            for name in encode
            if name in self._takes
            and name not in ("prompt", "negative_prompt", "num_images_per_prompt", "guidance_scale")
            and self._takes[name].default not in (None, inspect.Parameter.empty)
        }
        usual = {"device": self.pipeline.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": True} | self._plain
        if "negative_prompt" in self._takes:
            usual["negative_prompt"] = self._takes["negative_prompt"].default if negative is None else negative
        given = more | usual
        found = self.pipeline.encode_prompt(prompt, **{name: value for name, value in given.items() if name in encode})
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    def _tensors(self, prompt: str, negative: str | None = None) -> dict[str, Tensor]:
        if self._reads_clip:
            return self._clip_outputs(prompt)
        if not self._layout:
            return {}
        found = zip(self._layout, self._encoded(prompt, negative), strict=True)
        return {name: value for name, value in found if name in self._takes and value is not None}

    @torch.no_grad()
    def _clip_outputs(self, prompt: str) -> dict[str, Tensor]:
        tokenizer, device = self.pipeline.tokenizer, self.pipeline.device
        length = tokenizer.model_max_length
        read = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt").to(device)
        said = self.pipeline.text_encoder(read.input_ids)
        return {
            "text_embeds": said.text_embeds,
            "last_hidden_state": said.last_hidden_state,
            "text_attention_mask": read.attention_mask.bool(),
        }

    def encode_prompt(self, prompt: str, style: str | None = None) -> Embeddings:
        """Raises:
        PromptError: nothing to draw in it, or more of it than the model reads.
        SettingError: a style.
        """
        if style is not None:
            raise SettingError(WITHOUT["styles"])
        text = clean_prompt(prompt)
        self._check_length(text)
        if not self._at_hand:
            raise NotAtHandError
        return Embeddings((text,), self._tensors(text))

    def _check_length(self, prompt: str) -> None:
        """A model with several readers reads as much as the one that reads most."""
        readers = [part for part in self.pipeline.components.values() if hasattr(part, "model_max_length")]
        most = self._default("max_sequence_length", math.inf) if "max_sequence_length" in self._takes else math.inf
        limits = [min(reader.model_max_length, most) for reader in readers]
        counts = [len(reader(prompt).input_ids) for reader in readers]
        if readers and all(count > limit for count, limit in zip(counts, limits, strict=True)):
            raise PromptError(
                f"The prompt is too long: {max(counts)} tokens, and this model reads {max(limits)}. Please shorten it."
            )

    def noise(self, recipes: Sequence[Recipe], truncation: float = 1.0) -> Noises:
        """Raises SettingError for any truncation but 1."""
        if truncation != 1:
            raise SettingError(WITHOUT["truncation"])
        return Noises(tuple(tuple(recipe) for recipe in recipes))

    def mix(self, noises: Sequence[Noises], texts: Sequence[Embeddings], weights: Sequence[float]) -> tuple[Noises, Embeddings]:
        """Noises as `dalle.interpolation.mix_noise` mixes them, embeddings place by place.

        Raises:
            SettingError: the pipeline takes no embeddings.
        """
        pairs = [(noise, text, weight) for noise, text, weight in zip(noises, texts, weights, strict=True) if weight > 0]
        if len(pairs) == 1:
            return pairs[0][:2]
        recipe = []
        for noise, _, weight in pairs:
            length = math.hypot(*(share for _, share in noise.recipes[0]))
            recipe += [(seed, weight * share / length) for seed, share in noise.recipes[0]]
        prompt = max(pairs, key=lambda pair: pair[2])[1].prompts[0]
        if len({text.prompts for _, text, _ in pairs}) == 1:
            return Noises((tuple(recipe),)), pairs[0][1]
        if "mixing" in self.lacks:
            raise SettingError(self.lacks["mixing"])
        total = sum(weight for *_, weight in pairs)
        shares = [weight / total for *_, weight in pairs]
        tensors = mixed([text.tensors for _, text, _ in pairs], shares)
        return Noises((tuple(recipe),)), Embeddings((prompt,), tensors)

    def stack(self, rows: Sequence[tuple[Noises, Embeddings]]) -> tuple[Noises, Embeddings]:
        noises = Noises(tuple(recipe for noise, _ in rows for recipe in noise.recipes))
        texts = [text for _, text in rows]
        tensors = {name: torch.cat(padded([text.tensors[name] for text in texts])) for name in texts[0].tensors}
        return noises, Embeddings(tuple(prompt for text in texts for prompt in text.prompts), tensors)

    def trajectory(
        self,
        noise: Noises,
        text: Embeddings,
        num_inference_steps: int,
        guidance_scale: float,
        negative: Embeddings | None = None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor | None]:
        """Yields None after each step of a scheduler, and premultiplied RGBA (B, 4, H, W) in [-1, 1] at the end.

        Of one seed's noise it is the picture that the pipeline itself draws with `torch.Generator().manual_seed(seed)`.
        """
        if start is not None:
            raise SettingError(WITHOUT["given"])
        asked = self._arguments(text, num_inference_steps, guidance_scale, negative)

        def work(step: Callable[[], None]) -> Tensor:
            generators = [MixedGenerator(recipe) for recipe in noise.recipes]
            try:
                with MixedNoise(generators), torch.no_grad():
                    drawn = for_one_run(self.pipeline, step)(**asked, generator=generators, output_type="pil")
            except torch.OutOfMemoryError as error:
                raise SettingError("There was not enough memory to draw this: try a smaller model.") from error
            except Exception as error:  # a sampler that takes no single step, say: each has its own conditions
                said = f"{type(error).__name__}: {str(error).strip()[:200]}"
                raise SettingError(f"This model can't draw with these settings ({said}): try other steps or guidance.") from error
            if any(getattr(drawn, "nsfw_content_detected", None) or ()):
                raise PromptError("The model's own filter blacked this picture out: describe something else.")
            return torch.stack([opaque(image) for image in drawn.images])

        return stepwise(work)

    def _arguments(self, text: Embeddings, steps: int, guidance: float, negative: Embeddings | None) -> dict[str, Any]:
        asked: dict[str, Any] = dict(self._plain)
        if self._steps:
            asked[self._steps] = steps
        if self._guidance:
            asked[self._guidance] = guidance
        given = dict(text.tensors)
        if negative is not None:
            if "negative" in self.lacks:
                raise SettingError(self.lacks["negative"])
            others = self._tensors(text.prompts[0], negative.prompts[0]).items()
            given |= {name: torch.cat([value] * len(text)) for name, value in others if name.startswith("negative")}
        if not given:
            asked["prompt"] = list(text.prompts)
            if negative is not None:
                asked["negative_prompt"] = [negative.prompts[0]] * len(text)
        elif "text_embeds" in given:
            asked["text_model_output"] = (given["text_embeds"], given["last_hidden_state"])
            asked["text_attention_mask"] = given["text_attention_mask"]
        else:
            asked |= given
            if "negative_prompt" in self._takes and self._takes["negative_prompt"].default not in (None, inspect.Parameter.empty):
                asked["negative_prompt"] = None  # PixArt's is "" and would be refused beside embeddings
        return asked

    def decode_latents(self, latents: Tensor) -> Tensor:
        return latents


def opaque(image: Any) -> Tensor:
    """A picture of any mode -> premultiplied RGBA (4, H, W) in [-1, 1]."""
    values = torch.from_numpy(np.asarray(image.convert("RGBA"), np.float32) / 127.5 - 1).permute(2, 0, 1)
    alpha = (values[3:] + 1) / 2
    return torch.cat([(values[:3] + 1) * alpha - 1, values[3:]])


def padded(parts: Sequence[Tensor]) -> list[Tensor]:
    """Tensors (B, T, ...) of texts, with zeros behind the shorter ones."""
    longest = max(part.shape[1] for part in parts)
    return [torch.cat([part, part.new_zeros(len(part), longest - part.shape[1], *part.shape[2:])], 1) for part in parts]


def mask_of(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The mask that belongs to embeddings (B, T, C), if any."""
    if tensors[name].dim() != 3:
        return None
    masks = [other for other in tensors if KINDS.get(other) is MASK]
    return next((other for other in masks if other.startswith("negative") == name.startswith("negative")), None)


def mixed(texts: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """What a pipeline reads of a mixture of prompts: the weighted sum of their embeddings, place by place.

    A mask lets through what any of the prompts has, and what a prompt doesn't have is zero there.
    """
    found = {}
    for name in texts[0]:
        parts = padded([text[name] for text in texts])
        if KINDS.get(name) is MASK:
            found[name] = torch.stack(parts).amax(0)
            continue
        if mask := mask_of(name, texts[0]):
            masks = padded([text[mask] for text in texts])
            if not all(each.equal(masks[0]) for each in masks):
                parts = [part * each.unsqueeze(-1).to(part) for part, each in zip(parts, masks, strict=True)]
        found[name] = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return found

"""Captioned scenes, composed from rendered drawings in batched tensor code that runs where the drawings are.

A scene is planned in plain Python from a random generator seeded with (seed, step), then painted as layers: each layer
is one drawing a sample, recoloured, turned into its style, placed by an affine map and laid over what is there, all
premultiplied.
"""

from __future__ import annotations

import hashlib
import math
import random
from bisect import bisect
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dalle.config import COLOURS, IMAGE_SIZE, STYLES
from train.data.captions import (
    BACKGROUNDS,
    BESIDE,
    NUMBERS,
    RELATIONS,
    article,
    countable,
    is_plain_noun,
    join,
    keywords,
    other_names,
    plural,
    sentence,
    with_article,
    without_colour,
)
from train.data.store import SpriteStore, small_pictures

KINDS = {"single": 0.27, "coloured": 0.12, "counted": 0.14, "pair": 0.25, "coloured pair": 0.18, "sized": 0.04}
"""How often each kind of scene is drawn."""

PROCEDURAL = ("pixel", "silhouette", "outline", "sepia")
PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")
PAIR_PAINTS = PAINTS[:7]
"""Colours of two things in one scene: those that are told from each other at a glance."""
SIDE_BY_SIDE = 0.5
"""Share of the pairs that stand side by side."""
SAID_BESIDE = 0.6
"""Share of those whose caption does not say which is on the left."""
MIRRORED = {"right": "left", "below": "above"}
HELD_OUT_PAIRS = 5
"""Percent of colour-object and object-relation-object pairs that training never shows."""
TRIES = 200
"""Draws until a combination of the split is found; a single drawing takes its place where none is."""


@dataclass
class SceneBatch:
    """`pixels` (B, 4, 256, 256) premultiplied RGBA in [-1, 1]; `captions` and `labels`, one a sample."""

    pixels: Tensor
    captions: list[str]
    labels: list[dict[str, object]]


@dataclass
class Layer:
    """One drawing of a scene; centre and size as shares of the picture."""

    row: int
    x: float = 0.5
    y: float = 0.5
    size: float = 1.0
    mirror: bool = False
    colour: str = ""


@dataclass
class Scene:
    layers: list[Layer]
    caption: str
    background: str = ""
    paint: str = ""
    procedural: str = ""
    corner: tuple[int, int] = (0, 0)
    label: dict[str, object] = field(default_factory=dict)


def is_held_out_pair(*parts: str) -> bool:
    """Whether a combination, such as ("blue", "apple") or ("cat", "left", "tree"), is kept for the test split.

    A relation and its mirror image are one combination: what is left of a tree has the tree to its right.
    """
    if len(parts) == 3 and parts[1] in MIRRORED:
        parts = (parts[2], MIRRORED[parts[1]], parts[0])
    return int(hashlib.sha256("|".join(parts).encode()).hexdigest(), 16) % 100 < HELD_OUT_PAIRS


class SceneComposer:
    """Endless captioned scenes of one split.

    Args:
        store: the rendered drawings.
        split: "train", "val" or "test": whose drawings are used.
        seed: with the step, fixes every batch.
        device: where scenes are painted.
        resident: keep all drawings on the device (9 GB for 35,000) instead of gathering them from disk.
    """

    size = IMAGE_SIZE
    """Side of the pictures that it paints."""

    def __init__(
        self, store: SpriteStore, split: str = "train", seed: int = 0, device: str = "cpu", resident: bool = False
    ) -> None:
        self.store, self.split, self.seed, self.device = store, split, seed, torch.device(device)
        self.rows = store.rows(split)
        self.resident = torch.from_numpy(np.asarray(store.pixels)).to(self.device) if resident else None
        records = store.records
        self._labels = {record.label for record in records}
        self._all = self._cumulative([records[row].weight for row in self.rows])
        self.objects = [
            row
            for row in self.rows
            if records[row].group in ("animal", "food", "travel", "activity", "object", "")
            and is_plain_noun(records[row].label)
        ]
        self._objects = self._cumulative([records[row].weight for row in self.objects])
        self.tintable = [row for row in self.objects if records[row].colour and without_colour(records[row].label)]
        self._tintable = self._cumulative([records[row].weight for row in self.tintable])
        self.countable = [row for row in self.objects if countable(records[row].label)]
        self._countable = self._cumulative([records[row].weight for row in self.countable])

    @staticmethod
    def _cumulative(weights: list[float]) -> list[float]:
        return list(accumulate(weights))

    @staticmethod
    def _pick(rng: random.Random, rows: list[int], cumulative: list[float]) -> int:
        return rows[min(len(rows) - 1, bisect(cumulative, rng.random() * cumulative[-1]))]

    def _rng(self, step: int, salt: str) -> random.Random:
        return random.Random(f"{self.seed}/{step}/{self.split}/{salt}")

    # Planning

    def _noun(self, rng: random.Random, row: int) -> str:
        return self.store.records[row].label

    def _allowed(self, *combinations: tuple[str, ...]) -> bool:
        """Training never shows a held-out combination; each composed scene of the test split has one.

        What is drawn like that anyway can't be held out: "red apple".
        """
        held_out = (is_held_out_pair(*parts) and " ".join(parts) not in self._labels for parts in combinations)
        return any(held_out) == (self.split == "test")

    def _say(self, rng: random.Random, row: int) -> str:
        """The drawing's label, or now and then another word that people type for it."""
        record = self.store.records[row]
        others = other_names(record.label, record.tags, record.group)
        return rng.choice(others) if others and rng.random() < 0.3 else record.label

    def _single(self, rng: random.Random) -> Scene:
        row = self._pick(rng, self.rows, self._all)
        record = self.store.records[row]
        layer = Layer(row)
        if rng.random() < 0.5:
            layer.size = rng.uniform(0.8, 1.0)
            slack = (1 - layer.size) / 2
            layer.x, layer.y = 0.5 + rng.uniform(-slack, slack), 0.5 + rng.uniform(-slack, slack)
        said = self._say(rng, row)
        # Captions of a reader's own pictures have no group, and are whole phrases already.
        caption = with_article(said) if record.group else said
        return Scene([layer], caption, label={"kind": "single", "objects": [record.label]})

    def _coloured(self, rng: random.Random) -> Scene:
        for _ in range(TRIES):
            row = self._pick(rng, self.tintable, self._tintable)
            colour, label = rng.choice(PAINTS), self._bare(row)
            if self._allowed((colour, label)):
                break
        else:
            return self._single(rng)
        caption = with_article(f"{colour} {label}", label)
        size = rng.uniform(0.8, 1.0)
        facts: dict[str, object] = {"kind": "coloured", "objects": [label], "colours": [colour]}
        return Scene([Layer(row, size=size, colour=colour)], caption, label=facts)

    def _bare(self, row: int) -> str:
        """The label without a colour of its own: "red apple" -> "apple"."""
        label = self.store.records[row].label
        return without_colour(label) or label

    def _counted(self, rng: random.Random) -> Scene:
        row = self._pick(rng, self.countable, self._countable)
        label, count = self.store.records[row].label, rng.choice((2, 2, 3, 3, 4, 5))
        said = self._say(rng, row)
        said = said if countable(said) else label
        layouts = {
            2: [(0.27, 0.5), (0.73, 0.5)],
            3: [(0.27, 0.29), (0.73, 0.29), (0.5, 0.72)],
            4: [(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)],
            5: [(0.22, 0.24), (0.78, 0.24), (0.5, 0.5), (0.22, 0.76), (0.78, 0.76)],
        }
        places = layouts[count]
        if count == 3 and rng.random() < 0.5:
            places = [(x, 1 - y) for x, y in places]
        size = {2: 0.46, 3: 0.44, 4: 0.44, 5: 0.32}[count] * rng.uniform(0.85, 1.0)
        layers = [Layer(row, x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.02, 0.02), size) for x, y in places]
        return Scene(
            layers, f"{NUMBERS[count]} {plural(said)}", label={"kind": "counted", "objects": [label], "count": count}
        )

    def _pair(self, rng: random.Random, coloured: bool) -> Scene:
        rows, picks = (self.tintable, self._tintable) if coloured else (self.objects, self._objects)
        for _ in range(TRIES):
            first, second = self._pick(rng, rows, picks), self._pick(rng, rows, picks)
            beside = rng.random() < SIDE_BY_SIDE
            relation = rng.choice([name for name in RELATIONS if (name in ("left", "right")) == beside])
            a, b = self._bare(first), self._bare(second)
            colours = rng.sample(PAIR_PAINTS, 2) if coloured else ["", ""]
            combinations = [(a, relation, b)]
            if coloured:
                combinations += [(colours[0], a), (colours[1], b)]
            if a != b and self._allowed(*combinations):
                break
        else:
            return self._single(rng)
        said = [a, b] if coloured else [self._say(rng, row) for row in (first, second)]
        names = [with_article(join([colour, noun]), noun) for colour, noun in zip(colours, said, strict=True)]
        one, two = Layer(first, colour=colours[0]), Layer(second, colour=colours[1])
        shift = rng.uniform(-0.04, 0.04)
        if relation in ("left", "right"):
            one.size, two.size = rng.uniform(0.38, 0.46), rng.uniform(0.38, 0.46)
            one.x, two.x = (0.26, 0.74) if relation == "left" else (0.74, 0.26)
            one.y, two.y = 0.5 + shift, 0.5 - shift
        elif relation in ("above", "below"):
            one.size, two.size = rng.uniform(0.38, 0.46), rng.uniform(0.38, 0.46)
            one.y, two.y = (0.26, 0.74) if relation == "above" else (0.74, 0.26)
            one.x, two.x = 0.5 + shift, 0.5 - shift
        elif relation == "on":
            one.size, two.size = rng.uniform(0.34, 0.42), rng.uniform(0.5, 0.56)
            two.y, two.x = 0.7, 0.5 + shift
            one.x, one.y = two.x, max(one.size / 2, two.y - two.size / 2 - one.size / 2 + 0.09)
        else:
            one.size, two.size = rng.uniform(0.55, 0.65), rng.uniform(0.45, 0.52)
            side = rng.choice((-1, 1))
            one.x, one.y = 0.5 + side * 0.13, 0.38
            two.x, two.y = 0.5 - side * 0.14, 0.68
        # What is named behind, or stands below what lies on it, is painted first.
        layers = [two, one] if relation == "on" else [one, two]
        caption = join([names[0], rng.choice(RELATIONS[relation]), names[1]])
        if relation in ("left", "right") and rng.random() < SAID_BESIDE:
            caption = join([names[0], rng.choice(BESIDE), names[1]])
        label: dict[str, object] = {
            "kind": "coloured pair" if coloured else "pair",
            "objects": [a, b],
            "relation": relation,
        }
        if coloured:
            label["colours"] = colours
        return Scene(layers, caption, label=label)

    def _sized(self, rng: random.Random) -> Scene:
        row = self._pick(rng, self.objects, self._objects)
        label, small = self.store.records[row].label, rng.random() < 0.5
        size = rng.uniform(0.3, 0.45) if small else 1.0
        slack = (1 - size) / 3
        word = rng.choice(("small", "tiny", "little")) if small else rng.choice(("large", "big", "huge"))
        layer = Layer(row, 0.5 + rng.uniform(-slack, slack), 0.5 + rng.uniform(-slack, slack), size)
        said = self._say(rng, row)
        facts: dict[str, object] = {"kind": "sized", "objects": [label], "size": word}
        return Scene([layer], with_article(f"{word} {said}", said), label=facts)

    def plan(self, rng: random.Random) -> Scene:
        """One scene with its caption, style and background."""
        kinds = dict(KINDS)
        if not self.tintable:
            kinds.pop("coloured"), kinds.pop("coloured pair")
        if not self.countable:
            kinds.pop("counted")
        if not self.objects:  # own pictures, whose captions are whole sentences
            kinds.pop("pair"), kinds.pop("sized")
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        makers = {
            "single": self._single,
            "coloured": self._coloured,
            "counted": self._counted,
            "pair": lambda r: self._pair(r, False),
            "coloured pair": lambda r: self._pair(r, True),
            "sized": self._sized,
        }
        scene = makers[kind](rng)
        kind = str(scene.label["kind"])
        records = [self.store.records[layer.row] for layer in scene.layers]
        styles = {record.style for record in records}
        own = next(iter(styles)) if len(styles) == 1 else ""
        if rng.random() < 0.1 and kind in ("single", "counted", "sized", "pair"):
            scene.procedural = rng.choice(PROCEDURAL)
        style = scene.procedural or (own if own in STYLES and rng.random() < 0.5 else "")
        phrase, roll = "", rng.random()
        if roll > 0.65:
            scene.background = "plain" if roll < 0.85 else rng.choice(tuple(BACKGROUNDS)[1:])
            dark = scene.procedural in ("silhouette", "outline") or own == "outline"
            if dark and scene.background == "night":
                scene.background = "plain"
            # A thing in the colour of its ground can't be seen.
            taken = {layer.colour or record.colour for layer, record in zip(scene.layers, records, strict=True)}
            taken |= {word for record in records for word in record.label.split()} | (
                {"black", "brown"} if dark else set()
            )
            scene.paint = rng.choice([paint for paint in PAINTS if paint not in taken])
            phrase = BACKGROUNDS[scene.background].format(colour=f"{article(scene.paint)} {scene.paint}")
        tags = [tag for record in records for tag in record.tags] if kind == "single" else []
        extra = keywords(scene.caption, tags, rng) if rng.random() < 0.3 else ""
        long = bool(records[0].group) and rng.random() < 0.5
        if kind == "single" and not long and rng.random() < 0.3:
            # People type "red apple" as well.
            scene.caption = scene.caption.removeprefix("a ").removeprefix("an ")
        scene.caption = sentence(scene.caption, phrase, style, extra, long, rng)
        scene.label |= {
            "sets": [record.set for record in records],
            "rows": [layer.row for layer in scene.layers],
            "style": scene.procedural or own,
            "background": scene.background,
            "background_colour": scene.paint if scene.background in ("plain", "gradient") else "",
        }
        return scene

    def captions(self, step: int, size: int) -> list[str]:
        """The captions of `batch(step, size)`, without painting."""
        rng = self._rng(step, "scene")
        return [self.plan(rng).caption for _ in range(size)]

    # Painting

    def _gather(self, rows: list[int]) -> Tensor:
        """Drawings (K, 4, S, S) in [0, 1], premultiplied, S = `size`."""
        if self.resident is not None:
            pixels = self.resident[torch.tensor(rows, device=self.device)]
        else:
            pixels = torch.from_numpy(np.stack([self.store.pixels[row] for row in rows])).to(self.device)
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)

    def paint(self, scenes: list[Scene], window: int = IMAGE_SIZE) -> Tensor:
        """Premultiplied RGBA in [-1, 1]: whole pictures (B, 4, 256, 256), or windows (B, 4, window, window)."""
        # A few at a time stay in a CPU's cache: twice as fast as all at once.
        few = len(scenes) if self.device.type == "cuda" else 8
        painted = torch.empty(len(scenes), 4, window, window, device=self.device)
        for begin in range(0, len(scenes), few):
            painted[begin : begin + few] = self._paint(scenes[begin : begin + few], window)
        return painted

    def _paint(self, scenes: list[Scene], window: int) -> Tensor:
        canvas = torch.empty(0)
        for depth in range(max(len(scene.layers) for scene in scenes)):
            members = [i for i, scene in enumerate(scenes) if len(scene.layers) > depth]
            layers = [scenes[i].layers[depth] for i in members]
            drawn = self._gather([layer.row for layer in layers])
            tinted = [k for k, layer in enumerate(layers) if layer.colour]
            if tinted:
                target = torch.tensor([COLOURS[layers[k].colour] for k in tinted], device=self.device) / 255
                drawn[tinted] = recolour(drawn[tinted], target)
            drawn = place(drawn, layers, [scenes[i].corner for i in members], window)
            if depth:
                canvas[members] = drawn + canvas[members] * (1 - drawn[:, 3:])
            else:
                canvas = drawn  # every scene has a first layer
        for style in PROCEDURAL:
            members = [i for i, scene in enumerate(scenes) if scene.procedural == style]
            if members:
                canvas[members] = stylise(canvas[members], style)
        members = [i for i, scene in enumerate(scenes) if scene.background]
        if members:
            grounds = []
            for scene in (scenes[i] for i in members):
                x, y = scene.corner
                ground = background(scene.background, scene.paint, self.device)
                if self.size < IMAGE_SIZE:
                    ground = F.interpolate(ground[None], size=(self.size, self.size), mode="area")[0]
                grounds.append(ground[:, y : y + window, x : x + window])
            ground = torch.stack(grounds)
            front = canvas[members]
            canvas[members] = torch.cat(
                [front[:, :3] + ground * (1 - front[:, 3:]), torch.ones_like(front[:, 3:])], dim=1
            )
        canvas[:, :3] = canvas[:, :3].minimum(canvas[:, 3:])
        return canvas.clamp_(0, 1).mul_(2).sub_(1)

    def batch(self, step: int, size: int) -> SceneBatch:
        """Scenes of every kind: the prior's food. The same (seed, step, size) gives the same batch."""
        rng = self._rng(step, "scene")
        scenes = [self.plan(rng) for _ in range(size)]
        return SceneBatch(self.paint(scenes), [s.caption for s in scenes], [s.label for s in scenes])

    def sprites(self, step: int, size: int, window: int = IMAGE_SIZE) -> SceneBatch:
        """Single drawings, a quarter of them two at a time, of any size and place: the autoencoder's food.

        With a `window`, only a part of each scene is painted, (B, 4, window, window), near one of its drawings.
        """
        rng = self._rng(step, "sprite")
        scenes = []
        for _ in range(size):
            layers = []
            for _ in range(1 if rng.random() < 0.75 else 2):
                # Rare groups matter as much as common ones for reconstruction: rows are drawn evenly.
                row, extent = rng.choice(self.rows), rng.choice((1.0, rng.uniform(0.35, 1.0)))
                slack = (1 - extent) / 2
                x, y = 0.5 + rng.uniform(-slack, slack), 0.5 + rng.uniform(-slack, slack)
                layers.append(Layer(row, x, y, extent, rng.random() < 0.5))
            scene = Scene(layers, self.store.records[layers[0].row].label)
            if rng.random() < 0.1 and self.store.records[row].colour:
                layers[-1].colour = rng.choice(PAINTS)
            if rng.random() < 0.06:
                scene.procedural = rng.choice(PROCEDURAL)
            if rng.random() < 0.35:
                scene.background, scene.paint = rng.choice(("plain", *BACKGROUNDS)), rng.choice(PAINTS)
            if window < IMAGE_SIZE:
                focus = rng.choice(layers)
                corner = [
                    round((centre + rng.uniform(-0.4, 0.4) * focus.size) * IMAGE_SIZE - window / 2)
                    for centre in (focus.x, focus.y)
                ]
                scene.corner = tuple(min(max(0, c), IMAGE_SIZE - window) for c in corner)
            scenes.append(scene)
        return SceneBatch(self.paint(scenes, window), [s.caption for s in scenes], [s.label for s in scenes])


class ThumbnailComposer(SceneComposer):
    """The same scenes, painted small from small drawings: many times as fast; the drawings of the split stay in memory.

    Styles that work on pixels are painted at full size and shrunk.
    """

    def __init__(self, store: SpriteStore, split: str = "train", seed: int = 0, size: int = 64) -> None:
        super().__init__(store, split, seed)
        self.size = size
        self._full = SceneComposer(store, split, seed)
        self._small = small_pictures(store, self.rows, size)
        self._place_of = {row: place_ for place_, row in enumerate(self.rows)}

    def _gather(self, rows: list[int]) -> Tensor:
        return self._small[[self._place_of[row] for row in rows]].float().div_(255)

    def paint(self, scenes: list[Scene], window: int = IMAGE_SIZE) -> Tensor:
        """Premultiplied RGBA (B, 4, size, size) in [-1, 1]."""
        painted = torch.empty(len(scenes), 4, self.size, self.size)
        full = [i for i, scene in enumerate(scenes) if scene.procedural]
        small = [i for i, scene in enumerate(scenes) if not scene.procedural]
        if full:
            large = self._full.paint([scenes[i] for i in full])
            painted[full] = F.interpolate(large, size=(self.size, self.size), mode="area")
        if small:
            painted[small] = self._paint([scenes[i] for i in small], self.size)
        return painted


def place(pixels: Tensor, layers: list[Layer], corners: list[tuple[int, int]], window: int) -> Tensor:
    """Drawings (K, 4, S, S), moved, shrunk and mirrored as their layers say, through windows: (K, 4, window, window).

    Premultiplied, so edges stay clean; drawings shrunk to less than 0.7 are averaged to half their size first.
    """
    size = pixels.shape[-1]
    out = pixels.new_empty(len(layers), 4, window, window)
    maps = torch.empty(len(layers), 4)  # the affine map is x -> scale * x + shift along either axis
    levels: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for k, (layer, corner) in enumerate(zip(layers, corners, strict=True)):
        as_it_is = window == size and layer.size == 1 and layer.x == layer.y == 0.5 and not layer.mirror
        levels[0 if as_it_is else 2 if layer.size < 0.7 else 1].append(k)
        scales = ((-1 if layer.mirror else 1) / layer.size, 1 / layer.size)
        centres = [2 * (c + window / 2) / size - 1 for c in corner]
        for axis, place_ in enumerate((layer.x, layer.y)):
            maps[k, 2 * axis] = scales[axis] * window / size
            maps[k, 2 * axis + 1] = scales[axis] * (centres[axis] - (2 * place_ - 1))
    steps = (torch.arange(window, device=pixels.device) * 2 + 1) / window - 1
    maps = maps.to(pixels.device)
    for level, chosen in levels.items():
        if not chosen:
            continue
        source = pixels[chosen]
        if level:
            scale_x, shift_x, scale_y, shift_y = (column.view(-1, 1, 1) for column in maps[chosen].unbind(1))
            x, y = scale_x * steps.view(1, 1, -1) + shift_x, scale_y * steps.view(1, -1, 1) + shift_y
            grid = torch.stack([x.expand(-1, window, -1), y.expand(-1, -1, window)], dim=-1)  # (K, window, window, 2)
            source = F.avg_pool2d(source, 2) if level == 2 else source
            source = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        out[chosen] = source
    return out


def luminance(rgb: Tensor) -> Tensor:
    return (rgb * torch.tensor([0.299, 0.587, 0.114], device=rgb.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def recolour(pixels: Tensor, target: Tensor) -> Tensor:
    """The coloured parts of drawings (K, 4, S, S) in the colours `target` (K, 3), in [0, 1].

    Shading, black and white stay.
    """
    alpha = pixels[:, 3:]
    rgb = pixels[:, :3] / alpha.clamp(min=1e-3)
    chroma = rgb.amax(1, keepdim=True) - rgb.amin(1, keepdim=True)
    mask = ((chroma - 0.12) / 0.18).clamp(0, 1)
    light = luminance(rgb)
    weight = mask * alpha
    mean = (light * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)
    goal = target.view(-1, 3, 1, 1).to(rgb)
    # Lighter than the mean goes towards white, darker towards black, so that shading survives a dark or a light target.
    shade = light / mean.clamp(min=1e-3)
    darker, lighter = goal * shade, goal + (1 - goal) * ((shade - 1) * 0.6).clamp(0, 1)
    painted = torch.where(shade < 1, darker, lighter).clamp(0, 1)
    return torch.cat([(rgb + mask * (painted - rgb)) * alpha, alpha], dim=1)


def stylise(pixels: Tensor, style: str) -> Tensor:
    """A procedural style on premultiplied RGBA (K, 4, S, S) in [0, 1]."""
    rgb, alpha = pixels[:, :3], pixels[:, 3:]
    if style == "pixel":
        small = F.avg_pool2d(pixels, 8)
        cover = (small[:, 3:] > 0.5).float()
        straight = (small[:, :3] / small[:, 3:].clamp(min=1e-3) * 7).round() / 7
        return F.interpolate(torch.cat([straight * cover, cover], dim=1), scale_factor=8, mode="nearest")
    if style == "silhouette":
        ink = torch.tensor([35, 35, 38], device=pixels.device).view(1, 3, 1, 1) / 255
        return torch.cat([ink * alpha, alpha], dim=1)
    if style == "outline":
        over_white = F.avg_pool2d(F.pad(rgb + 1 - alpha, (1, 1, 1, 1), mode="replicate"), 3, 1)
        field = torch.cat([over_white, alpha], dim=1)
        dx, dy = field[..., :, 2:] - field[..., :, :-2], field[..., 2:, :] - field[..., :-2, :]
        edge = F.pad(dx.abs().amax(1, keepdim=True), (1, 1)) + F.pad(dy.abs().amax(1, keepdim=True), (0, 0, 1, 1))
        line = F.max_pool2d(((edge - 0.12) * 4).clamp(0, 1), 3, 1, 1)
        return torch.cat([0.14 * line.expand_as(rgb), line], dim=1)
    if style == "sepia":
        tone = torch.tensor([1.0, 0.86, 0.66], device=pixels.device).view(1, 3, 1, 1)
        return torch.cat([(luminance(rgb) * tone).minimum(alpha), alpha], dim=1)
    raise ValueError(f"unknown style {style!r}")


def background(kind: str, paint: str, device: torch.device) -> Tensor:
    """(3, 256, 256) in [0, 1]."""
    size = IMAGE_SIZE
    y = torch.linspace(0, 1, size, device=device).view(1, size, 1)
    x = torch.linspace(0, 1, size, device=device).view(1, 1, size)

    def colour(red: int, green: int, blue: int) -> Tensor:
        return torch.tensor([red, green, blue], device=device).view(3, 1, 1) / 255

    if kind == "plain":
        return colour(*COLOURS[paint]).expand(3, size, size)
    if kind == "gradient":
        base = colour(*COLOURS[paint])
        return (base + (1 - base) * 0.75 * (1 - y)).expand(3, size, size)
    if kind == "night":
        sky = colour(16, 22, 58) + (colour(58, 66, 120) - colour(16, 22, 58)) * y
        sky = sky.expand(3, size, size).clone()
        rng = random.Random(7)
        for _ in range(26):
            sx, sy = rng.randrange(4, size - 4), rng.randrange(4, size - 80)
            sky[:, sy : sy + 3, sx : sx + 3] = colour(250, 244, 200)
        return sky
    horizon = 0.68 + 0.02 * torch.sin(x * math.tau)
    ground_is = ((y - horizon) * size / 2).clamp(0, 1)
    sky = colour(150, 205, 245) + (colour(220, 240, 255) - colour(150, 205, 245)) * y
    ground = {"meadow": colour(120, 190, 90), "beach": colour(240, 215, 160), "snow": colour(246, 248, 252)}[kind]
    if kind == "beach":
        sea = ((y - 0.52) * size / 2).clamp(0, 1)
        sky = sky * (1 - sea) + colour(70, 150, 210) * sea
    return (sky * (1 - ground_is) + ground * ground_is).expand(3, size, size)

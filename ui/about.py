"""The About tab: what this is and isn't for, what stays private, and the checkpoint's own card."""

from __future__ import annotations

import re

import gradio as gr

from ui.settings import PageSettings

MAX_CARD_CHARACTERS = 200_000

ABOUT = """
## What this is

A small text-to-picture model and the page to play with it. A language model turns your words into numbers, a second
network turns these and some noise into a compact picture code, and a decoder paints the code: 256 by 256 pixels, with
transparency, so that a drawing can be used as a sticker, an icon or a game sprite right away.

**Generate** draws up to sixteen pictures of a sentence. The same words, seed and settings give the same picture again; all
of them are written into the PNG that you save, and such a PNG brings its settings back when it is opened here. Behind the
⋯ on a picture are other sizes, SVG, a link and Python. **Interpolate** walks from one prompt to another inside the model:
every frame is drawn by it, none is a blend of two pictures. **Mix** does the same between four prompts. **Album** holds
what was drawn or kept in this browser; a kit has pictures in PNG and SVG, a sheet of stickers, and the attribution to pass
on. **Make it for** sets style, number and background for a use, and makes one file of all pictures: a storybook, adverts, a
sprite sheet for a game, teaching cards to print, or icons. Words in such a file are set in Latin letters; others are left
out, and the page says so. Each carries the recipes and the attributions too: a zip beside the pictures, a PDF attached to it.

Under each prompt a judge says, before anything is drawn, how well the words fit what the model has learned, and which
captions it knows that come nearest. *Strict* refuses prompts that it expects to fail.

## What it was trained on

Openly licensed drawings: emoji, stickers and icons from several sets, composed into small scenes with captions. No
photographs, no pictures of real people, nothing collected from the web at large. The model card names every set with
its version and licence.

## What it can't do

- Photographs, faces of real people, lettering, logos.
- Long or intricate scenes. It knows a couple of thousand things, in a few colours, counts and positions, and mixes
  these up at times.
- Languages other than English; the judge says so when it notices one.

## What it must not be used for

- **Medical pictures** of any kind, or anything else on which somebody's health or safety depends.
- Crude or degrading pictures: prompts with a word of a kept list of such words are refused. The list knows words and no
  meanings.
- **Deception**: passing a picture off as a photograph, as evidence, or as somebody else's work. Each saved file says
  in its metadata that a model made it; leave that in place.

## Privacy

Prompts and pictures are not logged and not sent anywhere else. Pictures lie in a temporary folder of this server under
names that can't be guessed, and are deleted after {hours}. The album is a list of prompts, seeds and settings in your
browser's own storage; the server draws its pictures anew when you look at it, and keeps none. What a link restores stands
behind its #, which browsers do not send along. The page loads nothing from other sites.
"""


def about_tab(settings: PageSettings) -> gr.Markdown:
    """Lays the tab out; returns the place for the checkpoint's card, which is known once the model is loaded."""
    hours = settings.keep_seconds / 3600
    kept = "an hour" if hours == 1 else f"{hours:g} hours"
    with gr.Column(elem_classes="about"):
        gr.Markdown(ABOUT.format(hours=kept), elem_id="about")
        return gr.Markdown(elem_id="model-card")


def card_text(card: str | None) -> str:
    """A checkpoint's card as Markdown that loads nothing; "" where there is none.

    Pictures and other embedded files are left out, because their addresses may lie on other sites.
    """
    if not card or len(card) > MAX_CARD_CHARACTERS:
        return ""
    card = re.sub(r"!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])", "", card)
    card = re.sub(r"<(img|picture|source|video|audio|iframe|link|object|embed)\b[^>]*>", "", card, flags=re.IGNORECASE)
    return f"## The model card\n\n{card.strip()}"

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
transparency, so that a drawing can be used as a sticker, an icon or a game sprite right away. *Change model*, at the
top, puts another one in its place, for everybody on the page; what is said here of pictures, training and limits holds
for the model that came with the page, and of another one its card tells.

**Generate** draws up to sixteen pictures of a sentence. The same words, seed and settings give the same picture again; all
of them are written into the PNG that you save, and such a PNG brings its settings back when it is opened here. Behind the
⋯ on a picture are other sizes, SVG, a link and Python. **Interpolate** walks from one prompt to another inside the model,
through up to eight stages, and between pictures too: every frame is drawn by it, none is a blend of two pictures. **Mix**
does the same between four prompts. **Search** finds pictures by words, those of this browser and the drawings that the
model learned from; **Learn** shows what the model did to draw a picture, and how it learned. **Album** holds what was drawn
or kept in this browser; a kit has pictures in PNG and SVG, a sheet of stickers, and the attribution to pass on.
**Make it for** sets style, number and background for a use, and makes one file of all pictures: a storybook, adverts, a
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
names that can't be guessed, and so do pictures that you upload; all are deleted after {hours}. The album is a list of
prompts, seeds and settings in your browser's own storage, with a row of numbers for each picture by which a search finds
it; the server draws its pictures anew when you look at it, and keeps none. What a link restores stands
behind its #, which browsers do not send along. The page loads nothing from other sites.
"""

# A line's end would be a space between Chinese letters, so lines are joined.
ABOUT_ZH = """
## 这是什么

一个小型文字生成图片模型，以及试玩它的页面。语言模型把你的文字变成数字，第二个网络把这些数字和一些噪声变成一份紧凑的图片编码，\
再由解码器把编码画出来：256×256 像素，带透明背景，画好就能当贴纸、图标或游戏素材。\
顶部的*更换模型*可以换上另一个模型，对本页面所有人生效；这里关于图片、训练和局限的内容说的是页面自带的模型，\
其他模型请看它的说明卡。

**生成**：按一句话画最多十六张图片。相同的文字、种子和设置会得到相同的图片；这些信息都写在你保存的 PNG 里，\
在这里打开这样的 PNG 就能恢复它的设置。图片上的 ⋯ 里有其他尺寸、SVG、链接和 Python 代码。\
**插值**：在模型内部从一个提示词走到另一个，最多经过八站，也可以在图片之间走；每一帧都由模型绘制，没有一帧是两张图片叠出来的。\
**混合**：在四个提示词之间做同样的事。**搜索**：按文字查找图片，包括这个浏览器里画过的，以及模型学过的图画。\
**探究**：展示模型画一张图片时做了什么，以及它是怎样学会的。\
**图册**：收着在这个浏览器里画过或留下的图片；素材包里有 PNG 和 SVG、一版贴纸，以及需要随附的署名。\
**用途**：为一种用途设好风格、数量和背景，并把所有图片做成一个文件：绘本、广告图、游戏精灵图、可打印的识字卡或图标。\
这些文件里只能写拉丁字母，其他文字会略去，页面会说明。每个文件都带有配方和署名：压缩包里与图片放在一起，PDF 里作为附件。

绘制之前，每个提示词下面的评审会说明这些文字与模型所学有多接近，以及它认识的哪些说法最接近。\
*严格模式*会拒绝评审认为画不好的提示词。

## 它学过什么

采用开放许可的图画：多套表情、贴纸和图标，配上文字说明，组合成小场景。没有照片，没有真人图片，也没有从互联网上随意收集的内容。\
模型说明卡列出了每套素材的版本和许可。

## 它做不到什么

- 照片、真人面孔、文字、商标。
- 长而复杂的场景。它认识两千来种东西，会几种颜色、数量和位置，有时还会弄混。
- 英文以外的语言：提示词请用英文，评审发现其他语言时会提醒。

## 不得用于

- 任何**医学图片**，或其他关系到人的健康与安全的用途。
- 粗俗或侮辱性的图片：提示词含有词表中的这类词会被拒绝。词表只认词，不懂意思。
- **欺骗**：把图片冒充照片、证据或他人的作品。保存的每个文件都在元数据里写明由模型生成，请予保留。

## 隐私

提示词和图片不会写入日志，也不会发往别处。图片存放在本服务器的临时文件夹里，名称无法猜到，\
你上传的图片也一样，{hours} 小时后全部删除。\
图册只是你浏览器自己存储的提示词、种子和设置，以及供搜索用的每张图片的一行数字；你查看时服务器重新绘制，并不保留。\
链接要恢复的内容写在 # 之后，浏览器不会发送这一部分。本页面不从其他网站加载任何内容。
"""


def about_tab(settings: PageSettings) -> gr.Markdown:
    """Lays the tab out; returns the place for the checkpoint's card, which is known once the model is loaded."""
    hours = settings.keep_seconds / 3600
    kept = "an hour" if hours == 1 else f"{hours:g} hours"
    with gr.Column(elem_classes="about"):
        gr.Markdown(ABOUT.format(hours=kept), elem_id="about", elem_classes="in-english")
        gr.Markdown(ABOUT_ZH.format(hours=f"{hours:g}"), elem_id="about-zh", elem_classes="in-chinese")
        return gr.Markdown(elem_id="model-card")


def card_text(card: str | None) -> str:
    """A checkpoint's card as Markdown that loads nothing; "" where there is none.

    Pictures and other embedded files are left out, because their addresses may lie on other sites.
    """
    if not card or len(card) > MAX_CARD_CHARACTERS:
        return ""
    return f"## The model card\n\n{plain_card(card)}"


def plain_card(card: str) -> str:
    """A card as Markdown without pictures, tags and comments: anybody may have written it, and it is shown on this page.

    Its cost grows with its length only, whatever is in it.
    """
    card = re.sub(r"<!--.*?(-->|\Z)", "", card, flags=re.DOTALL)
    card = re.sub(r"!\[[^\[\]]*\](\([^()]*\)|\[[^\[\]]*\])", "", card)
    card = re.sub(r"\[\s*\]\([^()]*\)", "", card)  # links around them
    card = re.sub(r"</?[A-Za-z][^<>]*>", "", card)
    card = re.sub(r"<(?=[A-Za-z/!?])", "< ", card)  # tags that were put together of others
    return re.sub(r"!+\[", "[", card).strip()  # pictures whose address stands elsewhere in the card

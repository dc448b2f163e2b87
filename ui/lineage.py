"""Where this design comes from: DALL·E, unCLIP and this model beside each other, part by part, for the Learn tab.

`python -m ui.lineage > docs/lineage.md` writes the same as a document. What is said of this model comes from `dalle.config`, or is
held against the files of checkpoints/default by tests/ui/test_lineage.py.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from dalle.config import (
    FLOW_MAP_STEPS,
    IMAGE_SIZE,
    LATENT_CHANNELS,
    LATENT_SIZE,
    MAX_CANDIDATES,
    MAX_PROMPT_TOKENS,
    STYLES,
    TEXT_DIM,
)

CODE = f"{LATENT_SIZE} × {LATENT_SIZE} × {LATENT_CHANNELS}"
SQUEEZE = IMAGE_SIZE * IMAGE_SIZE * 4 // (LATENT_SIZE * LATENT_SIZE * LATENT_CHANNELS)
"""Numbers of a picture for one of its latent."""
EVALUATIONS = {1: ("one evaluation", "一次计算")}[FLOW_MAP_STEPS]

VAE_MILLIONS, PRIOR_MILLIONS, RANKER_MILLIONS, TEXT_MILLIONS = 9.0, 17.6, 3.2, 22.7
"""Parameters of the networks of checkpoints/default, and of the text encoder."""
SETS, DRAWINGS, THINGS = 17, 17_049, 3_556
HOURS = 9
"""That the training of what is in the checkpoint took, by its card."""
MILLISECONDS = 56
"""A picture in one step on two CPU cores, by docs/speed.json."""
CAPTIONS = 7_581
"""That its judge knows."""


@dataclass(frozen=True)
class Trio:
    """A part of the way from prompt to picture: what it is for, and what each of the three does."""

    title: str
    about: str
    dalle: str
    unclip: str
    ours: str

    def told(self) -> tuple[str, str, str]:
        return self.dalle, self.unclip, self.ours


@dataclass(frozen=True)
class Text:
    """All of it in one language. `stages` are the same path in a few words, for the drawing."""

    title: str
    intro: str
    systems: tuple[str, str, str]
    stages: tuple[Trio, ...]
    parts: tuple[Trio, ...]
    sources: str


ENGLISH = Text(
    title="Where this design comes from",
    intro=(
        "Three ways from a sentence to a picture: DALL·E of 2021, unCLIP of 2022, which became known as DALL·E 2, and the "
        "small model that this page comes with. All three go the same way: words become numbers, a generator makes a compact "
        "code of a picture out of them, and a decoder paints the code. They differ in what the code is and in how it is found."
    ),
    systems=("DALL·E, 2021", "unCLIP, 2022", "Open DALL·E"),
    stages=(
        Trio("Words", "", "up to 256 word pieces", "CLIP reads the caption", "MiniLM reads the prompt"),
        Trio(
            "Generator",
            "",
            "1,024 picture words, one after the other",
            "noise to a picture's vector, 64 steps",
            "noise to a latent, one step",
        ),
        Trio("Code", "", "32 × 32 words out of 8,192", "one vector of 1,024 numbers", f"{CODE} numbers"),
        Trio("Decoder", "", "one pass", "diffusion, 250 steps", "one pass"),
        Trio("Picture", "", "256 × 256", "64, then 256, then 1024", f"{IMAGE_SIZE} × {IMAGE_SIZE}, transparent"),
        Trio("Choice", "", "CLIP picks from 512", "the better of two vectors, before painting", "the ranker, if wanted"),
    ),
    parts=(
        Trio(
            "Reading the text",
            "A network can't read letters. What does it get instead?",
            "The caption is cut into at most 256 word pieces, out of 16,384 that it knows. The big transformer itself learns "
            "what they mean, from nothing but pictures and captions. [1]",
            "CLIP's text encoder gives a vector for the caption: it has learned which captions belong to which pictures, the "
            "first CLIP from 400 million pairs [3]. Beside it, a transformer reads the single words. [2]",
            f"A language model that has read a lot, all-MiniLM-L6-v2, stays as it is: {TEXT_DIM} numbers a word piece, of at most "
            f"{MAX_PROMPT_TOKENS}. Too few captions were there to learn English from.",
        ),
        Trio(
            "The picture's code",
            "A picture has too many pixels to be invented one by one. So it is made small first, in a way that can be undone.",
            "A discrete variational autoencoder: 256 × 256 pixels become 32 × 32 words out of a list of 8,192. Of each place "
            "the code says one thing out of so many, as a text does. [1]",
            "The code is what CLIP sees in a picture: one vector of 1,024 numbers. It says what is there and in what manner; "
            "where things are and how they look in detail, the decoder has to invent. [2]",
            f"A variational autoencoder with numbers in place of words: {CODE}, one number for {SQUEEZE} of the picture, "
            "transparency included. An adversary, a network that tells true drawings from painted ones, taught it sharp "
            "edges.",
        ),
        Trio(
            "The generator",
            "The heart: from the words to the code of a picture that was never there.",
            "One transformer with 12 billion parameters reads the caption and then goes on writing: picture word after "
            "picture word, each with all that came before in view. It is a language model whose second half is a picture. [1]",
            "A prior draws a picture's vector for the caption. The authors tried one that writes word by word and one that "
            "removes noise step by step, a diffusion model, and found the second better for less work. [2]",
            "A transformer with 8 blocks looks at noise in 16 patches and at the words, and says where the noise should go. "
            "It first learned to go in many small steps, a flow, and then to take them all at once: a flow map.",
        ),
        Trio(
            "Steps to a picture",
            "How often does a network have to be asked?",
            "1,024 times, once for each picture word, and none of them can begin before the last has ended. [1]",
            "64 steps of the prior, 250 of the decoder, 27 and 15 of the two networks that enlarge. [2]",
            f"{EVALUATIONS[0].capitalize()}, about {MILLISECONDS} ms on two CPU cores with the decoder. "
            "More can be set; in its evaluation two or four steps are hardly better.",
        ),
        Trio(
            "From the code to pixels",
            "The other half of making small: painting what the code says.",
            "The autoencoder's decoder, in one pass. What the 1,024 words could not hold, fine lines and lettering above "
            "all, is lost. [1]",
            "A diffusion model paints 64 × 64 pixels from the vector; two others enlarge that to 256 and 1024. As it invents "
            "what the vector does not say, the same vector gives variations of a picture. [2]",
            f"The autoencoder's decoder, in one pass: {IMAGE_SIZE} × {IMAGE_SIZE} pixels of red, green, blue and "
            "transparency, so that a drawing can be used as a sticker.",
        ),
        Trio(
            "Choosing the best",
            "Every model fails at times. A second one that looks at the results can hide that.",
            "Of 512 pictures, CLIP puts those first that fit the caption best. Much of what was shown in 2021 had been "
            "chosen in this way. [1]",
            "Two vectors are drawn and the one that is nearer to the caption's is painted. [2]",
            "A ranker, CLIP's idea in small: two towers, for text and picture, meet in vectors of 128 numbers. It chooses "
            f"only if “Best first” is on, out of at most {MAX_CANDIDATES}. Before anything is drawn, a judge compares the "
            f"prompt with the {CAPTIONS:,} captions that it knows.",
        ),
        Trio(
            "What it learned from",
            "A model draws what it was shown.",
            "250 million pictures with texts, collected from the internet. [1]",
            "The same 250 million; its CLIP saw some 650 million. [2]",
            f"{DRAWINGS:,} openly licensed drawings of {THINGS:,} things from {SETS} sets, in {len(STYLES)} styles, composed "
            "into scenes whose captions are known to be true. Everyone who drew them is named in its card.",
        ),
        Trio(
            "Size",
            "Parameters are the numbers that training has set.",
            "12 billion, trained on 1,024 GPUs. [1]",
            "1 billion for the prior, 3.5 for the decoder, 0.7 and 0.3 for the two that enlarge, and CLIP. [2]",
            f"{VAE_MILLIONS + PRIOR_MILLIONS + RANKER_MILLIONS:.1f} million: autoencoder {VAE_MILLIONS:.1f}, prior "
            f"{PRIOR_MILLIONS:.1f}, ranker {RANKER_MILLIONS:.1f}; the text encoder adds {TEXT_MILLIONS:.1f}. Trained in "
            f"{HOURS} hours on two CPU cores, so that anybody can look into it, change it and train it again.",
        ),
        Trio(
            "What it can't do",
            "Each design has its own failures.",
            "Which colour belongs to which thing it gets right only at times, and without the choice among many its pictures "
            "are far weaker. The transformer was never published; the autoencoder was. [1]",
            "It gives properties to the wrong things more often than a model without CLIP's vector in between, and it spells "
            "badly: the vector holds neither well. In busy scenes details are missing, as painting begins at 64 × 64. It was "
            "never published. [2]",
            "No photographs, no lettering, no language but English. Two things with a colour each, counts and places often go "
            "wrong, and fine parts are blurred: a code this small and training this short hold no more.",
        ),
    ),
    sources="Sources",
)

CHINESE = Text(
    title="这个设计从何而来",
    intro=(
        "从一句话到一张图的三条路：2021 年的 DALL·E，2022 年的 unCLIP（后来以 DALL·E 2 为人所知），以及本页面自带的小模型。三者的"
        "走法相同：文字变成数字，生成器由此造出图片的紧凑编码，解码器再把编码画出来。不同之处在于编码是什么，以及怎样找到它。"
    ),
    systems=("DALL·E，2021", "unCLIP，2022", "Open DALL·E"),
    stages=(
        Trio("文字", "", "最多 256 个词元", "CLIP 读描述", "MiniLM 读提示词"),
        Trio("生成器", "", "1,024 个图片词，逐个写出", "从噪声到图片向量，64 步", "从噪声到潜变量，1 步"),
        Trio("编码", "", "32 × 32 个词，词表 8,192", "一个 1,024 维向量", f"{CODE} 个数"),
        Trio("解码器", "", "一遍完成", "扩散，250 步", "一遍完成"),
        Trio("图片", "", "256 × 256", "64，再到 256，再到 1024", f"{IMAGE_SIZE} × {IMAGE_SIZE}，带透明"),
        Trio("挑选", "", "CLIP 从 512 张里挑", "两个向量取较好的，再去画", "需要时由排序器挑"),
    ),
    parts=(
        Trio(
            "读文字",
            "网络不认识字母，那么它得到的是什么？",
            "描述被切成最多 256 个词元，词表有 16,384 个。它们是什么意思，由大 Transformer 自己从图片和描述中学会。[1]",
            "CLIP 的文字编码器给出描述的向量：它学会了哪些描述与哪些图片是一对，最初的 CLIP 学的是 4 亿对 [3]。"
            "旁边还有一个 Transformer 读其中的各个词。[2]",
            f"读过很多文字的语言模型 all-MiniLM-L6-v2，保持原样：每个词元 {TEXT_DIM} 个数，最多 {MAX_PROMPT_TOKENS} 个词元。"
            "这里的描述太少，不足以从中学会英语。",
        ),
        Trio(
            "图片的编码",
            "图片的像素太多，无法逐个凭空想出。所以先把它变小，而且要能变回来。",
            "离散变分自编码器：256 × 256 像素变成 32 × 32 个词，词表有 8,192 个。编码在每个位置上都从这么多个词里说出一个，就"
            "像文字一样。[1]",
            "编码就是 CLIP 在图片里看到的东西：一个 1,024 维的向量。它说明有什么、是什么风格；东西在哪里、细节怎样，要由解码"
            "器自己想出来。[2]",
            f"变分自编码器，用数代替词：{CODE}，每个数对应图片的 {SQUEEZE} 个数，包括透明度。对抗网络负责分辨真图画和画出来的"
            "图，它教会了自编码器画清晰的边缘。",
        ),
        Trio(
            "生成器",
            "核心：从文字到一张从未有过的图片的编码。",
            "一个有 120 亿参数的 Transformer 读完描述，接着往下写：一个图片词接一个图片词，每写一个都看着前面的全部内容。"
            "它是一个后半段为图片的语言模型。[1]",
            "先验为描述画出图片的向量。作者试过逐词书写的，也试过一步步去噪的扩散模型，发现后者更好、也更省力。[2]",
            "一个有 8 个模块的 Transformer 看着分成 16 块的噪声和各个词，说出噪声该往哪里去。它先学会分很多小步走，这叫流；再"
            "学会一步走完，这叫流映射。",
        ),
        Trio(
            "画一张要几步",
            "要向网络发问多少次？",
            "1,024 次，每个图片词一次，前一个没写完，后一个就不能开始。[1]",
            "先验 64 步，解码器 250 步，两个放大网络 27 步和 15 步。[2]",
            f"{EVALUATIONS[1]}，在两个 CPU 核心上连同解码约 {MILLISECONDS} 毫秒。步数可以调高；按它的评估，两步或四步也好不了"
            "多少。",
        ),
        Trio(
            "从编码到像素",
            "变小的另一半：把编码说的画出来。",
            "自编码器的解码器，一遍完成。1,024 个词装不下的东西会丢失，首先是细线和文字。[1]",
            "一个扩散模型由向量画出 64 × 64 像素，另外两个再放大到 256 和 1024。向量没说的由它自己想，所以同一个向量会给出一"
            "张图的多种变化。[2]",
            f"自编码器的解码器，一遍完成：{IMAGE_SIZE} × {IMAGE_SIZE} 像素，红、绿、蓝加透明度，画好就能当贴纸。",
        ),
        Trio(
            "挑选最好的",
            "每个模型都会失败。再用一个模型来看结果，就能把失败藏起来。",
            "CLIP 从 512 张图片里把最贴合描述的排在前面。2021 年展示的图片有许多就是这样挑出来的。[1]",
            "画出两个向量，把离描述更近的那个画成图片。[2]",
            "排序器是 CLIP 的缩小版：文字和图片各一座塔，在 128 维的向量里相遇。只有打开“最佳优先”时它才挑选，最多从 "
            f"{MAX_CANDIDATES} 张里挑。绘制之前，评审先把提示词与它认识的 {CAPTIONS:,} 条说法比较。",
        ),
        Trio(
            "学过什么",
            "给模型看过什么，它就画什么。",
            "从互联网收集的 2.5 亿对图片和文字。[1]",
            "同样的 2.5 亿对；它的 CLIP 看过约 6.5 亿张。[2]",
            f"{SETS} 套开放许可素材里的 {DRAWINGS:,} 幅图画，画的是 {THINGS:,} 种东西，{len(STYLES)} 种风格，组合成场景，描述"
            "必定属实。模型说明卡里列出了所有作者。",
        ),
        Trio(
            "规模",
            "参数就是训练定下来的那些数。",
            "120 亿，用 1,024 块 GPU 训练。[1]",
            "先验 10 亿，解码器 35 亿，两个放大网络 7 亿和 3 亿，另加 CLIP。[2]",
            f"{(VAE_MILLIONS + PRIOR_MILLIONS + RANKER_MILLIONS) * 100:.0f} 万：自编码器 {VAE_MILLIONS * 100:.0f} 万，先验 "
            f"{PRIOR_MILLIONS * 100:.0f} 万，排序器 {RANKER_MILLIONS * 100:.0f} 万；文字编码器另有 {TEXT_MILLIONS * 100:.0f} "
            f"万。在两个 CPU 核心上训练了 {HOURS} 小时，任何人都能看透它、改动它、重新训练它。",
        ),
        Trio(
            "做不到什么",
            "每种设计都有自己的失败。",
            "哪种颜色属于哪样东西，它只是有时画对；如果不从很多张里挑选，图片要差得多。Transformer 从未公开，自编码器公开了。[1]",
            "与中间没有 CLIP 向量的模型相比，它更容易把属性安错东西，写字也常拼错：这两样向量都装不好。复杂场景里会缺细节，因"
            "为是从 64 × 64 画起的。它从未公开。[2]",
            "不会照片，不会文字，只懂英文。各有颜色的两样东西、数量和位置常常出错，细小的部分模糊：这么小的编码和这么短的训练"
            "只装得下这些。",
        ),
    ),
    sources="来源",
)

SOURCES = (
    "A. Ramesh et al., Zero-Shot Text-to-Image Generation, 2021, arXiv:2102.12092; autoencoder: github.com/openai/DALL-E",
    "A. Ramesh et al., Hierarchical Text-Conditional Image Generation with CLIP Latents, 2022, arXiv:2204.06125",
    "A. Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, arXiv:2103.00020",
)
"""[1], [2] and [3] in the texts."""


def markdown(text: Text) -> str:
    """The document: part by part, each of the three in a paragraph of its own."""
    rows = [f"# {text.title}", text.intro]
    names = " | ".join(text.systems)
    table = [f"| | {names} |", "| --- | --- | --- | --- |"]
    table += [f"| {stage.title} | {' | '.join(stage.told())} |" for stage in text.stages]
    rows.append("\n".join(table))
    for part in text.parts:
        rows += [f"## {part.title}", part.about]
        rows.append("\n".join(f"- **{name}**: {said}" for name, said in zip(text.systems, part.told(), strict=True)))
    rows += [f"## {text.sources}", "\n".join(f"{place}. {source}" for place, source in enumerate(SOURCES, 1))]
    return "\n\n".join(rows) + "\n"


def page(text: Text, language: str) -> str:
    """The same as HTML: the three paths drawn beside each other, then the parts. `language` is in-english or in-chinese."""
    escape = html.escape
    ways = []
    for place, name in enumerate(text.systems):
        nodes = "".join(
            f'<li class="node">{_drawn(row, place)}<b>{escape(stage.title)}</b><span>{escape(stage.told()[place])}</span></li>'
            for row, stage in enumerate(text.stages)
        )
        ways.append(f'<section class="way way-{place}"><h4>{escape(name)}</h4><ol>{nodes}</ol></section>')
    parts = "".join(
        f'<section class="lineage-part"><h4>{escape(part.title)}</h4><p>{escape(part.about)}</p><dl>'
        + "".join(
            f'<div class="way-{place}"><dt>{escape(name)}</dt><dd>{escape(told)}</dd></div>'
            for place, (name, told) in enumerate(zip(text.systems, part.told(), strict=True))
        )
        + "</dl></section>"
        for part in text.parts
    )
    sources = "".join(f"<li>{escape(source)}</li>" for source in SOURCES)
    return (
        f'<section class="lineage {language}"><h3>{escape(text.title)}</h3>'
        f'<p class="lineage-intro">{escape(text.intro)}</p>'
        f'<div class="ways">{"".join(ways)}</div>{parts}'
        f'<section class="lineage-sources"><h4>{escape(text.sources)}</h4><ol translate="no">{sources}</ol></section></section>'
    )


# The drawings: a pictogram of 56 by 40 for each stage of each path; page.css colours its classes


def _drawn(row: int, place: int) -> str:
    shapes = (_words, _generator, _code, _decoder, _picture, _choice)[row](place)
    return f'<svg viewBox="0 0 56 40" width="56" height="40" aria-hidden="true">{shapes}</svg>'


def _box(x: float, y: float, width: float, height: float, kind: str, radius: float = 1.5) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" class="{kind}"/>'


def _arrow(x: float, end: float, y: float) -> str:
    return f'<path d="M{x:g} {y:g}H{end:g}m-4-4 4 4-4 4" class="line"/>'


def _words(place: int) -> str:
    """Word pieces; of unCLIP and this model, what a text encoder makes of them."""
    if place == 0:
        return "".join(_box(4 + 12 * step, 15, 10, 10, "ink" if step < 3 else "faint") for step in range(4))
    pieces = "".join(_box(3, 9 + 8 * step, 14, 6, "ink") for step in range(3))
    if place == 1:
        return pieces + _arrow(21, 33, 20) + _box(40, 6, 8, 28, "main")
    return pieces + _arrow(21, 33, 20) + "".join(_box(38, 9 + 8 * step, 15, 6, "main") for step in range(3))


def _generator(place: int) -> str:
    """One after the other; many steps out of noise; one step out of noise."""
    if place == 0:
        written = "".join(_box(2 + 9 * step, 10, 7, 7, "main") for step in range(4))
        return (
            written
            + _box(38, 10, 7, 7, "next")
            + _box(47, 10, 7, 7, "faint")
            + '<path d="M6 24c8 8 26 8 34 0m-6 0 6 0 0 6" class="line"/>'
        )
    noise = "".join(
        f'<circle cx="{x}" cy="{y}" r="1.8" class="ink"/>' for x, y in ((5, 12), (11, 24), (4, 29), (13, 14), (8, 19), (14, 30))
    )
    if place == 1:
        stairs = "".join(f"h{5}v{-4}" for _ in range(4))
        return noise + f'<path d="M19 31{stairs}" class="line"/>' + _box(44, 6, 8, 28, "main")
    return noise + '<path d="M19 20H36m-5-5 5 5-5 5" class="line strong"/>' + _box(40, 12, 15, 15, "main", 3)


def _code(place: int) -> str:
    """A grid of words, one vector, a few layers of numbers."""
    if place == 0:
        kinds = ("main", "next", "ink", "faint", "main", "ink", "next")
        return "".join(
            _box(11 + 4.3 * column, 3 + 4.3 * row, 3.7, 3.7, kinds[(3 * row + 5 * column + row * column) % 7], 0.6)
            for row in range(8)
            for column in range(8)
        )
    if place == 1:
        return "".join(_box(24, 2 + 4.5 * step, 8, 3.6, ("main", "next", "faint")[step * step % 3], 0.6) for step in range(8))
    return "".join(_box(7 + 2.6 * layer, 12 - 1.4 * layer, 24, 24, "sheet", 2) for layer in range(8))


def _decoder(place: int) -> str:
    """Narrow to wide; with steps in between where it is a diffusion model."""
    wedge = '<path d="M10 15 46 4V36L10 25Z" class="main"/>'
    if place != 1:
        return wedge
    return wedge + "".join(
        f'<path d="M{x} {15 - (x - 10) * 0.3:.1f}V{25 + (x - 10) * 0.3:.1f}" class="cut"/>' for x in range(15, 46, 5)
    )


def _picture(place: int) -> str:
    """A framed drawing; three sizes of it; one on nothing."""

    def framed(x: float, y: float, side: float, kind: str) -> str:
        hills = ((0.4, -0.5), (0.25, 0.25), (0.15, -0.15), (0.2, 0.4))
        line = " ".join(f"{side * right:g} {side * down:g}" for right, down in hills)
        hill = f'<path d="M{x:g} {y + side:g}l{line}Z" class="ink"/>'
        sun = f'<circle cx="{x + side * 0.7:g}" cy="{y + side * 0.28:g}" r="{side * 0.12:g}" class="next"/>'
        return _box(x, y, side, side, kind, 2) + hill + sun

    if place == 0:
        return framed(13, 5, 30, "paper")
    if place == 1:
        return framed(2, 29, 7, "paper") + framed(12, 22, 14, "paper") + framed(29, 10, 26, "paper")
    return framed(13, 5, 30, "dashed")


def _choice(place: int) -> str:
    """Many with one that is chosen; two; a few."""
    star = "m0-5 1.5 3.2 3.5.4-2.6 2.4.7 3.5-3.1-1.7-3.1 1.7.7-3.5-2.6-2.4 3.5-.4Z"
    columns, rows = ((7, 4), (2, 1), (4, 2))[place]
    width, height = (52 / columns, 36 / rows)
    side = min(width, height, 22) - 2
    left, top = (56 - columns * (side + 2)) / 2, (40 - rows * (side + 2)) / 2
    chosen = (columns * rows) // 3
    cells = "".join(
        _box(
            left + (side + 2) * (cell % columns),
            top + (side + 2) * (cell // columns),
            side,
            side,
            "main" if cell == chosen else "faint",
        )
        for cell in range(columns * rows)
    )
    x = left + (side + 2) * (chosen % columns) + side / 2
    y = top + (side + 2) * (chosen // columns) + side / 2
    return cells + (f'<path transform="translate({x:g} {y:g})" d="{star}" class="star-sign"/>' if side > 12 else "")


def whole_page() -> str:
    """In both languages, of which the page shows one."""
    return page(ENGLISH, "in-english") + page(CHINESE, "in-chinese")


if __name__ == "__main__":
    print(markdown(ENGLISH), end="")

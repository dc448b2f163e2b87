"""The page in two languages: English as it is written in the code, Chinese by a catalogue.

static/zh.json holds the catalogue, static/language.js applies it to whatever appears on the page, so that a new text needs no more
than a line there. Its key is the English text, whole, as it stands on the page: a label, a title, a sentence of the server. It goes
into the group of its place, sorted. In a phrase

    {prompt}    stands for any text, which is put in as it is,
    {#count}    for a number,
    {@name}     for a text that is translated itself, such as a setting's name or a whole sentence.

Four groups mean something: "placeholder" holds in the placeholders of boxes alone, "option" in dropdowns and in elements with the
class style-name, "part" inside {@names}; "gradio" has gradio's own words, in the Chinese that gradio itself uses where it has one.

Elements that show what somebody wrote (a prompt, a caption, code) are to be marked translate="no". Text of some length is written
twice, in elements with the classes in-english and in-chinese (see `ui.about`). tests/ui/test_language.py opens the page in Chinese
and fails at every English word that is left.
"""

from __future__ import annotations

import json

from ui.components import asset

SWITCH = (
    '<div class="languages" translate="no">'
    '<button type="button" data-language="zh" lang="zh-Hans" title="用中文显示">中文</button>'
    '<button type="button" data-language="en" lang="en" title="Show this page in English">English</button></div>'
)
"""Of the two buttons the page shows the one for the other language (page.css)."""


def catalogue() -> dict[str, dict[str, str]]:
    """Group -> English -> Chinese."""
    return json.loads(asset("zh.json"))


def language_head() -> str:
    """What the page's head needs, after page.js: the catalogue, and the script that translates by it."""
    # Nothing in the catalogue can end the script that holds it.
    data = json.dumps(catalogue(), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="catalogue-zh">{data}</script><script>{asset("language.js")}</script>'

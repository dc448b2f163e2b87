"""The page in Chinese: no English is left, nothing that a visitor wrote is translated, and the way back is exact."""

from __future__ import annotations

import ast
import json
import re
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dalle.config import PromptError
from dalle.insight import Insight
from dalle.judge import Judgement, _reason
from dalle.languages import LATIN, REFINEMENTS, SCRIPTS
from dalle.makers import MAKERS
from dalle.models import WITHOUT
from dalle.requests import GenerateRequest, Picture, StepProgress, picture_metadata
from dalle.uses import USES
from dalle.wordfilter import REFUSED
from dalle.words import content_words
from tests.ui.conftest import PATIENCE, served
from tests.ui.fake_engine import KNOWN, FakeEngine, Other, disc
from tests.ui.test_accessibility import found
from ui.about import ABOUT, ABOUT_ZH
from ui.components import asset
from ui.deliver import Deliver
from ui.direct import BUSY, Direct
from ui.failures import UNEXPECTED
from ui.generate import stopped, summary, told
from ui.language import catalogue, language_head
from ui.line import BusyError, Caller, Line
from ui.links import other_model
from ui.runner import TURNED_AWAY
from ui.runs import Runs
from ui.settings import PageSettings
from ui.uses import drawn as drawn_for
from ui.verdict import HEADLINES

expect.set_options(timeout=PATIENCE)

ROOT = Path(__file__).parents[2]
CHINESE: dict[str, Any] = {"locale": "zh-CN", "reduced_motion": "reduce"}
PLACE = re.compile(r"\{[#@]?\w+\}")
APART = ("placeholder", "option", "part")
NAMES = (
    "Open DALL·E|DALL·E|unCLIP|CLIP|all-MiniLM-L6-v2|MiniLM|Transformer|Hub|user/repo@revision|user/repo|tests/fake|some/diffusion|"
    "PNG|JPEG|SVG|PDF|JSON|MP4|WebP|zip|Python|MCP|API|CPU|GPU|cpu|cuda|dpi|CLS|SEP"
)
"""What is called the same in both languages."""
TYPED = ("cli.py", "publish.py", "card.py", "space.py")
"""Modules of commands, whose errors are read in a terminal."""
WRITTEN = (*KNOWN, "red", "apple", "a set", "a smiling face", "on a green meadow", "on the beach")
"""What visitors write here, and what the fake model was taught."""


class Speaking(FakeEngine):
    """Speaks as the real engine does, where `FakeEngine` has words of its own."""

    def judge(self, prompt: str, style: str | None = None) -> Judgement:
        found = super().judge(prompt, style)
        return replace(found, reason=_reason(found.verdict, found.nearest[0][0], content_words(prompt), (), None))

    def insight(self, request: GenerateRequest, cancel: threading.Event | None = None) -> Insight:
        found = super().insight(request, cancel)
        return replace(found, long=found.steps)

    def _clean(self, prompt: str) -> str:
        if prompt == "crude":
            raise PromptError(REFUSED)
        return super()._clean(prompt)


@pytest.fixture(scope="module")
def talk(cache_folder) -> Any:
    with served(Speaking()) as site:
        yield site


def texts(page: Page, *, hidden: bool = False) -> list[str]:
    """All texts and names on the page, of what can be seen or of everything, but for what is marked as not to be translated."""
    return page.evaluate(
        """(hidden) => {
          const names = ["aria-label", "aria-valuetext", "title", "placeholder", "alt"];
          const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
          const found = [];
          for (let node = walk.nextNode(); node; node = walk.nextNode()) {
            const element = node instanceof Element ? node : node.parentElement;
            if (hidden && element.closest(".in-english, .in-chinese")) continue; // written twice
            if (element.closest("script, style, [translate=no], #model-card .md > :not(h2:first-child)")) continue;
            if (!hidden && !element.checkVisibility()) continue;
            found.push(...(node instanceof Element ? names.map((name) => node.getAttribute(name) ?? "") : [node.data]));
          }
          return found.map((text) => text.trim()).filter(Boolean);
        }""",
        hidden,
    )


def english(page: Page) -> list[str]:
    """The texts that still have English words, apart from names and from prompts: examples, captions, what was written."""
    settings = PageSettings()
    prompts = {*WRITTEN, *settings.examples, *settings.corners, *catalogue()["placeholder"]}
    known = "|".join(map(re.escape, sorted(prompts, key=len, reverse=True)))
    return [text for text in texts(page) if re.search("[A-Za-z]{2}", re.sub(rf"\b({known}|{NAMES})\b", " ", text))]


def translated(page: Page, phrases: list[str]) -> dict[str, str | None]:
    found = page.evaluate("phrases => phrases.map((phrase) => window.playground.language.translated(phrase) ?? null)", phrases)
    return dict(zip(phrases, found, strict=True))


def draw(page: Page, prompt: str) -> None:
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#prompt textarea").press("Enter")


def drawn(page: Page) -> None:
    expect(page.locator('#wall .wall[data-state="done"]')).to_be_visible()


def choose_use(page: Page, name: str) -> None:
    button = page.locator("#uses").get_by_role("button", name=name)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")


def search(page: Page, text: str) -> None:
    page.get_by_role("tab", name="搜索").click()
    page.get_by_label("想找什么？").fill(text)
    expect(page.locator("#search .found .tile.done img").nth(1)).to_be_visible()


def learn(page: Page) -> None:
    page.get_by_role("tab", name="探究").click()
    expect(page.locator("#learn .learn[data-shown][data-moment]")).to_be_visible()


# The catalogue


def test_every_phrase_stands_once_in_order_and_with_the_same_places():
    seen: set[str] = set()

    def group(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a phrase stands twice in its group"
        return dict(pairs)

    for name, phrases in json.loads(asset("zh.json"), object_pairs_hook=group).items():
        assert list(phrases) == sorted(phrases), name
        assert name in APART or seen.isdisjoint(phrases), seen & set(phrases)
        seen |= set() if name in APART else set(phrases)
        for phrase, chinese in phrases.items():
            assert sorted(PLACE.findall(phrase)) == sorted(set(PLACE.findall(chinese))), phrase
            assert phrase == phrase.strip() and chinese.strip(), phrase


def test_every_phrase_is_found_and_none_lies_behind_another(talk, visit):
    page = visit(talk.url)
    samples = {}

    def named(place: re.Match[str]) -> str:
        return f"Zyx {place.group().strip('{@}')}"

    for name, phrases in catalogue().items():
        for phrase, chinese in phrases.items() if name not in APART else ():
            sample, expected = (re.sub(r"\{#\w+\}", "7", text) for text in (phrase, chinese))
            samples[PLACE.sub(named, sample)] = PLACE.sub(named, expected)
    assert translated(page, list(samples)) == samples


def test_no_text_can_end_the_script_that_holds_the_catalogue(monkeypatch):
    monkeypatch.setattr("ui.language.catalogue", lambda: {"x": {"</script><b>": "<!--"}})
    assert language_head().count("</script>") == 2 and "<b>" not in language_head()


def test_what_the_judge_says_has_its_chinese(talk, visit):
    page = visit(talk.url)
    said = []
    for verdict in ("known", "close", "unsure", "unknown"):
        for count in range(6):
            unused = tuple(f"zyx{index}" for index in range(count))
            said.append(_reason(verdict, "a caption", ["another", *unused], unused, None))
    said.append(_reason("known", "a caption", ["caption"], (), None))
    said += [f"{reason} It will be a drawing: I know no photographs." for reason in said]
    languages = {*SCRIPTS.values(), *LATIN, *(name for pairs in REFINEMENTS.values() for _, name in pairs)}
    said += [_reason("unknown", "a caption", ["x"], (), language) for language in sorted(languages)]
    for sentence, chinese in translated(page, said).items():
        assert chinese and not re.search("[A-Za-z]{2}", re.sub(r"a caption|zyx\d", "", chinese)), sentence


def messages() -> dict[str, str]:
    """Every message of an error for the visitor in dalle/ and ui/, its values replaced by 7 -> where it stands."""
    trees = {path: ast.parse(path.read_text()) for part in ("dalle", "ui") for path in sorted((ROOT / part).glob("*.py"))}
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree) if path.name not in TYPED]
    bases = {node.name: {ast.unparse(base) for base in node.bases} for _, node in nodes if isinstance(node, ast.ClassDef)}
    kinds = {"DalleError"}
    while more := {name for name in bases if bases[name] & kinds} - kinds:
        kinds |= more
    constants = {
        target.id: node.value
        for _, node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper()
    }

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.Name) and node.id in constants:
            return text(constants[node.id])
        if isinstance(node, ast.JoinedStr):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
        return node.value if isinstance(node, ast.Constant) else ""  # the text of another error or of a status

    found = {}
    for path, node in nodes:
        # Nobody is told that something was cancelled: whoever stopped it knows.
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds - {"Cancelled"}:
            found[text(node.args[0])] = f"{path.name}:{node.lineno}"
    found.pop("", None)
    return found | dict.fromkeys(WITHOUT.values(), "models.py")


def test_every_error_has_its_chinese(talk, visit):
    found = messages()
    assert len(found) > 80 and REFUSED in found
    chinese = translated(visit(talk.url), list(found))
    assert {message: place for message, place in found.items() if chinese[message] is None} == {}


def test_which_prompt_an_error_is_about_has_its_chinese(talk, visit):
    ordinals = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    counts = ("two", "three", "four", "five", "six", "seven", "eight")
    said = [f"The {which} of the {count} prompts: The prompt must be text." for which in ordinals for count in counts]
    chinese = translated(visit(talk.url), said)
    assert chinese[said[0]] == "两个提示词中的第一个：提示词必须是文字。"
    assert [sentence for sentence in said if re.search("[A-Za-z]", chinese[sentence])] == []


def test_what_the_server_reports_has_its_chinese(talk, visit):
    step, candidates = StepProgress(1, 2, 3), StepProgress(8, 2, 3, 16, 8)
    said = [*HEADLINES.values(), TURNED_AWAY, UNEXPECTED, BUSY, "The model is loading.", "Waiting for a turn", "Starting"]
    said += [told(step, 4)[0], told(candidates, 4)[0], stopped(1, 4), stopped(0, 0), summary(1, 0.3, "cuda"), summary(2, 1, "cpu")]
    made = (("tests/fake", "0ld"), ("another/model", "0ld"), ("", "0ld"))
    said += [other_model(each, talk.engine) for each in made]
    said += [*told_in_line(), *told_of_uses(talk.engine)]
    assert {sentence for sentence, chinese in translated(visit(talk.url), said).items() if chinese is None} == set()


def told_in_line() -> list[str]:
    """What the line says of a place in it, and where it has none."""
    line = Line(at_once=1, longest=4, per_session=2, per_address=4)

    def join(name: str, address: str) -> str:
        try:
            return next(line.join(Caller(name, address), threading.Event()).wait(), "at work")
        except BusyError as error:
            return str(error)

    said = [join(name, "here") for name in ("me", "me", "me", "you", "they")]
    said += [join("others", "there"), join("more", "here"), join("still more", "there")]
    assert said[0] == "at work" and len(set(said)) == len(said)
    return said[1:]


def told_of_uses(engine: FakeEngine) -> list[str]:
    said = [text for use in USES.values() for text in (use.label, use.save, use.output, f"“Save all” makes {use.output}.")]
    said += [drawn_for({"prompt": "a cat on the beach", "use": use})["note"] for use in ("storybook", "icons")]
    maker = MAKERS["cards"]("")
    for index in range(2):
        maker.add(Picture(disc((0, 0, 0)), index, "苹果", 0, 0, settings={}))
        said.append(maker.note)
    with closing(engine.generate(GenerateRequest("a cat", 2))) as items:
        recipes = [picture_metadata(item) for item in items if isinstance(item, Picture)]
    deliver = Deliver(engine, Direct(engine, Runs()), lambda: pytest.fail("no file yet"), slice_seconds=0)
    said.append(deliver.files({"visitor": "me", "what": "kit", "recipes": recipes})["message"])
    assert all(said)
    return said


def test_what_the_scripts_say_has_its_chinese(talk, visit):
    scripts = [re.sub(r"(?m)(^|\s)//.*$", "", path.read_text()) for path in (ROOT / "ui" / "static").glob("*.js")]
    said = {text for script in scripts for text in re.findall(r'"((?:\d\. )?[A-Z](?:[a-z]|[A-Z0-9]* [a-z])[^"\n]*)"', script)}
    said = {text.strip() for text in said}
    said -= {"Enter", "Escape"}  # keys
    said -= {"Checkerboard", "White", "Dark"}  # of "White background" and the like
    made = {text for script in scripts for text in re.findall(r"`([^`\n]+)`", script) if "visitor" not in text}
    made = {re.sub(r'\$\{[^{}]*\? "([^"]*)" : [^{}]*\}', r"\1", text) for text in made}  # one of two words
    made = {re.sub(r"\$\{[^{}]*\}", "7", text).strip() for text in made}
    made = {text for text in made if re.search("[a-z]{2} |, [a-z]|: 7", text) and not text.startswith("#")}
    made -= {"picture 7", "7: picture 7"}  # of "Vary: picture 7" and the like
    made -= {"7 on 7"}  # a model and its device, of which there are two
    assert len(said) > 90 and len(made) > 30
    said |= made
    assert {sentence for sentence, chinese in translated(visit(talk.url), sorted(said)).items() if chinese is None} == set()


def test_both_texts_about_the_model_have_the_same_parts():
    for mark in (r"^## ", r"^- ", r"\*\*.+?\*\*", r"(?<!\*)\*[^*]+\*(?!\*)", r"\{hours\}"):
        assert len(re.findall(mark, ABOUT, re.MULTILINE)) == len(re.findall(mark, ABOUT_ZH, re.MULTILINE)), mark


# The page


@pytest.mark.parametrize(
    "device",
    [
        {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
        {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
    ],
)
def test_no_english_is_left_and_axe_finds_nothing_serious(talk, visit, device: dict[str, Any]):
    page = visit(talk.url, **CHINESE, **device)
    left: dict[str, Any] = {}

    def look(state: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]
        left[state] = english(page) + found(page)

    expect(page.locator("#status")).to_contain_text("就绪")
    look("empty")
    draw(page, "a red apple")
    drawn(page)
    expect(page.locator("#verdict")).to_contain_text("我很熟悉“a red apple”。")
    expect(page.locator("#wall .wall-status")).to_contain_text("4 张图片，用时")
    look("Generate")
    page.locator("#wall details.more summary").first.click()
    look("menu")
    page.keyboard.press("Escape")
    for use in ("绘本", "广告图", "精灵图", "识字卡", "图标集"):
        choose_use(page, use)
        expect(page.locator("#wall .for-use")).to_have_text(f"全部存为{use}")
        look(use)
    choose_use(page, "绘本")
    expect(page.locator("#uses .use-drawn")).to_have_text("实际画的是 a red apple on a green meadow")
    look("a use, words added")
    page.locator("#prompt textarea").fill("a cat on the beach")
    expect(page.locator("#uses .use-note")).to_have_text("“on the beach”保留为背景。")
    look("a use, words kept")
    choose_use(page, "只要图片")
    draw(page, "crude")
    expect(page.locator("#wall").get_by_role("alert")).to_contain_text("这里不画的词")
    look("error")

    page.get_by_role("tab", name="插值").click()
    look("Interpolate, empty")
    page.get_by_label("起点", exact=True).fill("a cat")
    page.get_by_label("终点", exact=True).fill("a dog")
    page.get_by_label("终点", exact=True).press("Enter")
    expect(page.locator("#path .morph")).to_have_attribute("data-state", "done")
    expect(page.locator("#path canvas")).to_have_attribute("aria-label", "从“a cat”变为“a dog”，路径的 0% 处")
    page.locator("#path details.more summary").click()
    look("Interpolate")
    page.get_by_role("tab", name="混合").click()
    expect(page.locator("#pad .corner img")).to_have_count(4)
    look("Mix")
    page.get_by_role("tab", name="搜索").click()
    look("Search, empty")
    search(page, "a red apple")
    expect(page.locator("#search .wall-status")).to_have_text("选自你的 4 张图片和 5 张参考图画")
    expect(page.locator("#search .known .from").first).to_have_text("扁平")
    expect(page.locator("#search .known .said").first).to_have_text("a red apple")
    look("Search")
    page.get_by_label("想找什么？").fill("crude")
    expect(page.locator("#search").get_by_role("alert")).to_contain_text("这里不画的词")
    look("Search, error")
    learn(page)
    expect(page.locator("#learn .wall-status")).to_have_text("内部一览")
    expect(page.locator("#learn .plate small").first).to_have_text("扁平, 0.25")
    for place, told_of in ((2, "第 4 分钟，优化器走了 25 步：蒸馏成一步"), (0, "第 1 分钟，优化器走了 10 步：学习绘画")):
        page.get_by_label("训练的时刻").fill(str(place))
        expect(page.locator("#learn output")).to_have_text(told_of)
        expect(page.get_by_label("训练的时刻")).to_have_attribute("aria-valuetext", told_of)
        look(f"Learn, moment {place}")
    page.get_by_label("想探究怎样的图片？").fill("crude")
    page.get_by_role("button", name="探究内部").and_(page.locator("#learn .tool")).click()
    expect(page.locator("#learn").get_by_role("alert")).to_contain_text("这里不画的词")
    look("Learn, error")
    page.get_by_role("tab", name="图册").click()
    expect(page.locator("#album .tile.done img").nth(1)).to_be_visible()
    page.locator("#album summary", has_text="另存为").click()
    look("Album, saving")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="全部清除").click()
    look("Album")
    page.get_by_role("button", name="确定清除 4 张图片").click()
    look("Album, empty")
    page.get_by_role("tab", name="关于").click()
    expect(page.locator("#model-card")).to_contain_text("模型说明卡")
    look("About")
    assert {state: told for state, told in left.items() if told} == {}


def test_the_model_box_and_what_a_model_can_t_do_are_told_in_chinese(cache_folder, visit):
    engine = Speaking()
    engine.others = {"some/diffusion": Other("some/diffusion", lacks=dict(WITHOUT)), "tests/fake": Other("tests/fake")}
    with served(engine) as site:
        page = visit(site.url, **CHINESE, viewport={"width": 360, "height": 740})
        left = {}
        page.get_by_role("button", name="更换模型").click()
        left["dialog"] = english(page) + found(page)
        page.get_by_label("哪个模型？").fill("some/missing")
        page.get_by_role("button", name="查看").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("没有文件夹 some/missing")
        page.get_by_label("哪个模型？").fill("some/diffusion")
        page.get_by_role("button", name="查看").click()
        expect(page.get_by_role("dialog").get_by_role("definition").first).to_have_text("some/diffusion")
        left["described"] = english(page) + found(page)
        engine.arriving.clear()
        page.get_by_role("button", name="换成它").click()
        expect(page.get_by_role("dialog")).to_contain_text("下载时现有模型继续绘制")
        left["on its way"] = english(page)
        engine.arriving.set()
        expect(page.locator("#status")).to_contain_text("some/diffusion（cpu）")
        expect(page.get_by_role("button", name="给我惊喜")).to_be_disabled()
        for name in ("生成", "插值", "混合", "搜索", "探究", "图册", "关于"):
            page.get_by_role("tab", name=name).click()
            expect(page.locator("[role=tabpanel]:visible")).to_have_count(1)
            left[name] = english(page)
        assert {state: told for state, told in left.items() if told} == {}


def test_a_place_in_line_is_told_in_chinese(cache_folder, visit):
    engine = Speaking()
    engine.pause_at = 0
    with served(engine, at_once=1, max_queue=2) as crowded:
        pages = [visit(crowded.url, **CHINESE) for _ in range(4)]
        told_at = [page.locator("#wall .wall-status") for page in pages]
        draw(pages[0], "a red apple")
        expect(told_at[0]).to_have_text("即将开始")
        draw(pages[1], "a cat")
        expect(told_at[1]).to_have_text("正在排队：下一个就是你")
        draw(pages[2], "a dog")
        expect(told_at[2]).to_have_text("正在排队：前面还有 1 人")
        draw(pages[3], "a cat")
        expect(pages[3].locator("#wall").get_by_role("alert")).to_contain_text("队伍已满（2 个在等）")
        assert [english(page) + found(page) for page in pages] == [[]] * 4
        pages[1].get_by_role("button", name="停止").click()
        expect(told_at[1]).to_have_text("绘制开始前已停止")
        expect(told_at[2]).to_have_text("正在排队：下一个就是你")
        engine.pause_at = None
        drawn(pages[2])


def test_the_model_s_state_is_told_in_chinese(cache_folder, visit):
    with served(FakeEngine(ready=False)) as site:
        page = visit(site.url, **CHINESE)
        expect(page.locator("#status")).to_contain_text("正在加载模型")
        site.engine.become("failed", "/models/x is damaged: fetch or train the checkpoint again.")
        expect(page.locator("#status").get_by_role("alert")).to_contain_text("/models/x 已损坏：请重新下载或训练检查点。")


def test_nothing_is_cut_off_on_a_phone_and_no_tab_forgotten(talk, visit):
    page = visit(talk.url, **CHINESE, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    draw(page, "a red apple")
    drawn(page)
    choose_use(page, "图标集")
    search(page, "a red apple")
    learn(page)
    assert len(page.get_by_role("tab").all()) == 7
    for tab in page.get_by_role("tab").all():
        tab.click()
        cut = page.evaluate(
            """() => [...document.querySelectorAll("button, input, textarea, a, p, h1, h2, h3, label, span, canvas, output")]
              .filter((e) => e.checkVisibility() && !e.closest("#examples, #pairs, .unseen, .visually-hidden, #model-card"))
              .map((e) => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
              .filter(([box]) => box.width && (box.left < 0 || box.right > 360.5))"""
        )
        assert cut == []
        assert english(page) == []


def test_the_way_back_is_exact(talk, visit):
    page = visit(talk.url, locale="en-US", reduced_motion="reduce")
    draw(page, "a red apple")
    drawn(page)
    page.locator("#uses").get_by_role("button", name="Storybook").click()
    expect(page.locator("#uses .use-drawn")).to_contain_text("on a green meadow")
    page.get_by_role("tab", name="Mix").click()
    expect(page.locator("#pad .corner img")).to_have_count(4)
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("What are you looking for?").fill("a cat")
    expect(page.locator("#search .found .tile.done img")).to_have_count(4)
    page.get_by_role("tab", name="Learn").click()
    expect(page.locator("#learn .learn[data-shown][data-moment]")).to_be_visible()
    before = texts(page, hidden=True)
    assert page.locator("html").get_attribute("lang") == "en"
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("tab", name="混合")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert len(set(before) & set(texts(page, hidden=True))) < len(set(before)) / 4
    back = page.get_by_role("button", name="English")
    expect(back).to_be_focused()
    back.press("Enter")
    assert texts(page, hidden=True) == before
    expect(page.get_by_role("button", name="中文")).to_be_focused()


def test_a_text_that_a_script_reads_back_finds_its_english(talk, visit):
    page = visit(talk.url, **CHINESE)
    draw(page, "a red apple")
    drawn(page)
    page.get_by_role("tab", name="混合").click()
    share = page.locator("#pad .morph-tools button").nth(2)
    expect(share).to_have_text("复制链接")
    share.click()  # it says for a moment that it did, and puts back what it read
    expect(share).to_have_text(re.compile("已复制|复制失败"))
    page.get_by_role("button", name="English").click()
    expect(share).to_have_text("Copy link")


def test_what_a_visitor_writes_stays_as_it_is(talk, visit):
    page = visit(talk.url, **CHINESE)
    draw(page, "Draw")
    drawn(page)
    expect(page.locator("#prompt textarea")).to_have_value("Draw")
    expect(page.locator("#wall img")).to_have_count(4)
    assert {image.get_attribute("alt") for image in page.locator("#wall img").all()} == {"Draw"}
    page.get_by_role("tab", name="图册").click()
    expect(page.locator("#album .said").first).to_have_text("Draw")
    expect(page.get_by_role("button", name="打开：Draw").first).to_be_visible()
    search(page, "Draw")
    expect(page.locator("#search .found .said").first).to_have_text("Draw")
    expect(page.locator("#search .found img").first).to_have_attribute("alt", "Draw")
    learn(page)
    expect(page.locator("#learn .looked img")).to_have_attribute("alt", "Draw")
    expect(page.get_by_role("button", name="draw", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("tab", name="混合").click()
    page.get_by_label("左上").fill("Stop")
    expect(page.locator("#pad .wall-status")).to_contain_text("Stop")
    page.get_by_role("tab", name="插值").click()
    page.get_by_label("起点", exact=True).fill("Save as…")
    page.get_by_label("终点", exact=True).fill("seed 7")
    expect(page.locator("#path .morph")).to_have_attribute("data-state", "done")
    expect(page.locator("#path .morph-ends")).to_have_text("Save as…seed 7")


def test_the_choice_is_kept_and_gradio_follows_it(talk, visit):
    page = visit(talk.url, locale="en-US")
    page.get_by_role("button", name="中文").click()
    page.reload()
    expect(page.locator("#draw")).to_have_text("绘制")
    expect(page.locator("#reopen")).to_contain_text("将文件拖放到此处")
    page = visit(talk.url, locale="zh-CN")
    expect(page.locator("#reopen")).to_contain_text("将文件拖放到此处")
    page.get_by_role("button", name="English").click()
    page.reload()
    expect(page.locator("#draw")).to_have_text("Draw")
    expect(page.locator("#reopen")).to_contain_text("Drop File Here")
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_a_style_is_chosen_by_its_chinese_name(talk, visit):
    page = visit(talk.url, **CHINESE)
    shown = page.locator("#style .secondary-wrap")
    expect(shown).to_have_attribute("data-said", "不限")
    page.get_by_label("风格").click()
    page.get_by_role("option", name="像素").click()
    expect(page.get_by_label("风格")).to_have_value("pixel")
    expect(shown).to_have_attribute("data-said", "像素")
    draw(page, "a cat")
    drawn(page)
    recipe = page.evaluate("window.playground.album.all()[0].recipe")
    assert json.loads(recipe["settings"])["style"] == "pixel"


def test_a_link_opens_its_tab_in_chinese(talk, visit):
    page = visit(f"{talk.url}#from=a+cat&to=a+dog&seed_from=3&seed_to=4&pace=raw", **CHINESE)
    expect(page.get_by_role("tab", name="插值")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#path .morph")).to_have_attribute("data-state", "done")


WATCHED = """
window.watched = 0;
const observe = MutationObserver.prototype.observe;
MutationObserver.prototype.observe = function (target, options) {
  if (target === document.documentElement && options.subtree) window.watched += 1;
  return observe.call(this, target, options);
};
"""


@pytest.mark.parametrize(("locale", "watched"), [("en-US", 0), ("zh-CN", 1)])
def test_an_english_page_is_not_watched(talk, browser, locale: str, watched: int):
    context = browser.new_context(locale=locale)
    page = context.new_page()
    page.add_init_script(WATCHED)
    page.goto(talk.url)
    page.locator("#prompt textarea").wait_for()
    assert page.evaluate("window.watched") == watched
    context.close()

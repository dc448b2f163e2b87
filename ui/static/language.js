// The page in Chinese, by a catalogue whose keys are the English texts as they stand on the page (ui/language.py tells how it is
// written). Texts come from gradio, from the widgets and from the server, and change as the page lives: each is translated when it
// appears, before it is painted, and its English is kept for the way back. What visitors write and read as data stays as it is: values
// of boxes are never touched, and elements with translate="no" are left out.
window.playground.language = (() => {
  const KEY = "open-dalle-language-1";
  const ATTRIBUTES = ["aria-label", "aria-valuetext", "title", "placeholder", "alt"];
  const LEFT_OUT = '[translate="no"], .in-english, .in-chinese, .api-docs, #model-card .md > :not(h2:first-child), code, pre, script, style';
  const LANGUAGES = { en: "en", zh: "zh-Hans" };

  // The catalogue: exact phrases at once, those with places as expressions, the one with most words of its own first.
  const groups = JSON.parse(document.getElementById("catalogue-zh").textContent);
  const PLACE = /\{([#@]?)(\w+)\}/g;
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const compile = (phrases) => {
    const exact = new Map();
    const patterns = [];
    for (const [english, chinese] of phrases) {
      const places = [...english.matchAll(PLACE)];
      if (!places.length) {
        exact.set(english, chinese);
        continue;
      }
      const parts = english.split(PLACE); // words, kind, name, words, kind, name, … words
      const words = parts.filter((_, index) => index % 3 === 0);
      const source = words.map((word, index) => literal(word) + (index < places.length ? (places[index][1] === "#" ? "(-?[\\d.,e+]+)" : "(.+?)") : "")).join("");
      patterns.push({ expression: new RegExp(`^${source}$`, "s"), places, chinese, length: words.join("").length });
    }
    patterns.sort((one, other) => other.length - one.length);
    return { exact, patterns };
  };
  const { placeholder, option, part, ...others } = groups;
  const general = compile(Object.values(others).flatMap(Object.entries));
  const particular = Object.fromEntries(Object.entries({ placeholder, option, part }).map(([name, phrases]) => [name, compile(Object.entries(phrases))]));

  const search = ({ exact, patterns }, text) => {
    const found = exact.get(text);
    if (found !== undefined) return found;
    for (const { expression, places, chinese } of patterns) {
      const match = expression.exec(text);
      if (!match) continue;
      const values = new Map(places.map(([place, kind], index) => [place, kind === "@" ? (translated(match[index + 1], "part") ?? match[index + 1]) : match[index + 1]]));
      return chinese.replace(PLACE, (place) => values.get(place));
    }
    return undefined;
  };
  // The Chinese of a phrase, undefined where the catalogue has none. `group`: those that hold in one place only come first.
  const translated = (text, group) => {
    if (!/[A-Za-z]/.test(text)) return undefined;
    const phrase = text.replace(/\s+/g, " ");
    return (group && search(particular[group], phrase)) ?? search(general, phrase);
  };

  const chosen = () => {
    let stored = null;
    try {
      stored = localStorage.getItem(KEY);
    } catch {
      // no storage here: the browser's languages decide
    }
    const wanted = [stored ?? "", ...navigator.languages].map((name) => name.slice(0, 2).toLowerCase());
    return wanted.find((name) => Object.hasOwn(LANGUAGES, name)) ?? "en";
  };
  let current = chosen();

  // Scripts read texts back, as a button that says "Copied" for a moment does: what was Chinese on the page is known by its English.
  // Gradio writes Chinese words of its own in a Chinese browser.
  const shownFor = new Map(); // Chinese -> the English that stood there last, of phrases without places
  const gradio = new Map(Object.entries(groups.gradio).map(([english, chinese]) => [chinese, english]));
  const english = (text) => shownFor.get(text) ?? gradio.get(text) ?? text;

  const kept = new WeakMap(); // a text, or an element -> {attribute or "text": {english, shown}}
  const settle = (node, name, whole, group, write) => {
    const now = whole.trim();
    if (!now) return;
    const record = kept.get(node)?.[name];
    const source = record?.shown === now ? record.english : english(now);
    const shown = current === "zh" ? (translated(source, group) ?? source) : source;
    if (shown !== source && general.exact.has(source)) shownFor.set(shown, source);
    if (record || shown !== source) kept.set(node, { ...kept.get(node), [name]: { english: source, shown } });
    if (shown !== now) write(whole.replace(now, () => shown));
  };
  const settleText = (text) => {
    const group = text.parentElement?.closest("[role=option], .style-name") ? "option" : undefined;
    settle(text, "text", text.data, group, (shown) => (text.data = shown));
  };
  const settleAttribute = (element, name) => {
    if (!element.hasAttribute(name)) return;
    const group = name === "placeholder" ? "placeholder" : element.getAttribute("role") === "option" ? "option" : undefined;
    settle(element, name, element.getAttribute(name), group, (shown) => element.setAttribute(name, shown));
  };
  const settleElement = (element) => {
    for (const name of ATTRIBUTES) settleAttribute(element, name);
  };
  const leftOut = (node) => (node instanceof Element ? node : node.parentElement)?.closest(LEFT_OUT);
  const settleAll = (root) => {
    if (leftOut(root)) return;
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
      node instanceof Element && node.matches(LEFT_OUT) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
    );
    for (let node = root; node; node = walk.nextNode()) {
      if (node instanceof Text) settleText(node);
      else if (node instanceof Element) settleElement(node);
    }
  };

  const watcher = new MutationObserver((mutations) => {
    for (const { type, target, attributeName, addedNodes } of mutations) {
      if (type === "childList") addedNodes.forEach(settleAll);
      else if (type === "characterData") settleAll(target);
      else if (!leftOut(target)) settleAttribute(target, attributeName);
    }
    nameChoices();
    watcher.takeRecords(); // what was just written
  });
  let watching = false;
  const watch = () => {
    if (watching) return;
    watching = true;
    watcher.observe(document.documentElement, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES });
  };

  // A dropdown shows its choice as the value of a box, which stays what it is: the Chinese name lies over it (page.css).
  const nameChoices = () => {
    for (const choice of document.querySelectorAll("input[role=combobox]")) {
      const name = current === "zh" ? particular.option.exact.get(choice.value) : undefined;
      if (name) choice.parentElement.dataset.said = name;
      else delete choice.parentElement.dataset.said;
    }
  };
  for (const type of ["input", "change", "focusin", "focusout"]) document.addEventListener(type, () => watching && setTimeout(nameChoices));

  const show = () => {
    document.documentElement.lang = LANGUAGES[current];
    // In a page that never was Chinese there is nothing to do and nothing to watch.
    if (current === "zh" || navigator.language.startsWith("zh")) watch();
    if (!watching) return;
    settleAll(document.documentElement);
    nameChoices();
    watcher.takeRecords();
    dispatchEvent(new Event("resize")); // gradio measures its tabs anew
  };
  // Gradio names the browser's language, a little after this script has run.
  new MutationObserver(() => {
    if (document.documentElement.lang !== LANGUAGES[current]) document.documentElement.lang = LANGUAGES[current];
  }).observe(document.documentElement, { attributeFilter: ["lang"] });

  const choose = (language) => {
    current = language;
    try {
      localStorage.setItem(KEY, language);
    } catch {
      // no storage here: it holds until the page is closed
    }
    show();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-language]");
    if (!button) return;
    choose(button.dataset.language);
    // The pressed button has gone; the one for the way back stands in its place.
    document.querySelector(`button[data-language]:not([data-language=${current}])`)?.focus();
  });

  show();
  return { current: () => current, choose, translated };
})();

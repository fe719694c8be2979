"""The files of the page: complete in both languages, safe by construction, small, and at one with each other."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from albertine import registry

PAGE = Path(str(resources.files("albertine") / "serving" / "page"))
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))}
SCRIPT = "\n".join(SCRIPTS.values())
STYLE = (PAGE / "page.css").read_text(encoding="utf-8")
MARKUP = (PAGE / "index.html").read_text(encoding="utf-8")
TEXTS: dict[str, list[str]] = json.loads((PAGE / "texts.json").read_text(encoding="utf-8"))
EXAMPLES: dict[str, dict[str, list[list[str]]]] = json.loads((PAGE / "examples.json").read_text(encoding="utf-8"))
HAN = re.compile("[一-鿿]")


class Elements(HTMLParser):
    """Every element of the page with its attributes, and the text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.inline.append(data)


@pytest.fixture(scope="module")
def elements() -> Elements:
    parser = Elements()
    parser.feed(MARKUP)
    return parser


@pytest.fixture(scope="module")
def ids(elements: Elements) -> list[str]:
    return [str(attributes["id"]) for _, attributes in elements.found if "id" in attributes]


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


def strings_of_calls(name: str) -> set[str]:
    """Every string in the arguments of calls of a function, to the bracket that ends the innermost of them."""
    calls = re.findall(rf"\b{name}\(((?:[^()]|\([^()]*\))*)\)", SCRIPT)
    return {word for call in calls for word in re.findall(r'"([^"]*)"', call)}


# --- texts


def test_every_text_is_there_in_english_and_in_chinese() -> None:
    for key, both in TEXTS.items():
        english, chinese = both
        assert english.strip() == english != ""
        assert chinese.strip() == chinese != ""
        assert placeholders(english) == placeholders(chinese), key
        assert english.endswith(".") == chinese.endswith("。"), key
        assert HAN.search(chinese), key
        assert not HAN.search(english), key


def keys_in_use() -> set[str]:
    marked = set(re.findall(r'data-text="([^"]+)"', MARKUP))
    plain = {word for word in strings_of_calls("t") | strings_of_calls("known") if not word.startswith("en")}
    families = re.findall(r"\b(?:t|known)\(`([a-z_]+)\.\$\{", SCRIPT)
    named = {key for key in TEXTS for family in families if key.startswith(f"{family}.")}
    return marked | {word for word in plain if re.fullmatch(r"[a-z_.]+", word)} | named


def test_every_text_that_is_asked_for_exists() -> None:
    assert keys_in_use() - TEXTS.keys() == set()


def test_every_text_is_used() -> None:
    assert TEXTS.keys() - keys_in_use() == set()


def test_a_family_of_texts_is_complete() -> None:
    modes = re.search(r"MODES = (\[.*?\])", SCRIPT)
    fields = re.search(r"FIELDS = \{(.*?)\};", SCRIPT, re.DOTALL)
    assert modes is not None
    assert fields is not None
    assert {f"mode.{name}" for name in json.loads(modes[1])} <= TEXTS.keys()
    named = {name for row in re.findall(r"\[(.*?)\]", fields[1]) for name in json.loads(f"[{row}]")}
    assert {f"field.{name}" for name in named} <= TEXTS.keys()
    assert {f"task.{name}" for name in {*registry.tasks.builtin, "encoder"} - {"pretraining"}} <= TEXTS.keys()
    for name in strings_of_calls("Failure"):
        assert f"error.{name}" in TEXTS


def test_there_are_examples_for_every_task_in_both_languages() -> None:
    assert {*registry.tasks.builtin, "search", "text-classification/pair"} - {"pretraining"} == EXAMPLES.keys()
    pairs = {"text-classification/pair", "question-answering", "sentence-similarity"}
    for task, languages in EXAMPLES.items():
        assert languages.keys() == {"en", "zh"}
        for language, texts in languages.items():
            assert len(texts) >= 2
            assert {len(one) for one in texts} == {2 if task in pairs else 1}
            assert all(bool(HAN.search(text)) == (language == "zh") for one in texts for text in one)


# --- safety


@pytest.mark.parametrize(
    "forbidden",
    [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "srcdoc",
        "setHTML",
        "eval(",
        "Function(",
        "import(",
        "postMessage",
        'setAttribute("style',
        "cssText",
    ],
)
def test_no_script_makes_markup_or_code_of_a_text(forbidden: str) -> None:
    assert forbidden not in SCRIPT


def test_timers_are_given_functions() -> None:
    for first in re.findall(r"set(?:Timeout|Interval)\(\s*(\S)", SCRIPT):
        assert first not in "\"'`"


def test_the_markup_has_no_script_style_or_handler_of_its_own(elements: Elements) -> None:
    assert elements.inline == []
    for tag, attributes in elements.found:
        assert tag != "style"
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag != "script" or attributes.get("src")


def test_no_file_names_another_server() -> None:
    assert "http" not in MARKUP.replace("http-equiv", "")
    assert not re.search(r"url\(|@import|//[a-z]", STYLE)
    for name, text in SCRIPTS.items():
        addresses = re.findall(r"https?:(?:\\?/){2}[\w.]+", text)
        assert addresses == [], name
        assert "XMLHttpRequest" not in text
        assert "WebSocket" not in text
        assert "sendBeacon" not in text


def test_only_the_api_module_asks_the_server() -> None:
    fetching = {name: re.findall(r"\bfetch\(([^,)]+)", text) for name, text in SCRIPTS.items() if "fetch(" in text}
    assert fetching == {"api.js": ["new URL(path"], "texts.js": ["new URL(name"]}


def test_the_key_is_kept_for_the_session_only() -> None:
    assert re.findall(r'storage\("(\w+)"\)', SCRIPTS["api.js"]) == ["sessionStorage"] * 3
    assert {name for name, text in SCRIPTS.items() if "localStorage" in text} == {"api.js", "page.js", "theme.js"}


def test_links_of_a_card_lead_to_web_addresses_only() -> None:
    made = re.findall(r"href: (\w+)", SCRIPT)
    assert made == ["address"]
    assert re.search(r"\^https\?:\\/\\/.*\.test\(address\)", SCRIPTS["markdown.js"])


# --- the files and each other


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in PAGE.iterdir()) < 60 * 1024


def test_every_file_is_asked_for_and_exists(elements: Elements) -> None:
    named = {str(one.get("src") or one.get("href")) for _, one in elements.found if one.get("src") or one.get("href")}
    static = {name.removeprefix("static/") for name in named if name.startswith("static/")}
    assert named == {f"static/{name}" for name in static} | {"#first"}
    imported = set(re.findall(r'from "\./([\w.]+)"', SCRIPT)) | set(re.findall(r'\bfile\("([\w.]+)"\)', SCRIPT))
    assert static | imported | {"index.html"} == {path.name for path in PAGE.iterdir()}


def test_what_a_module_imports_is_exported_and_used() -> None:
    for name, text in SCRIPTS.items():
        for words, source in re.findall(r'^import \{(.*?)\} from "\./([\w.]+)";', text, re.MULTILINE):
            for word in (one.strip() for one in words.split(",")):
                exported = rf"export (?:async )?(?:const|let|function|class) {word}\b"
                assert re.search(exported, SCRIPTS[source]), f"{name}: {word}"
                assert len(re.findall(rf"\b{word}\b", text)) > 1, f"{name} does not use {word}"


def test_what_a_module_exports_is_imported() -> None:
    for name, text in SCRIPTS.items():
        for word in re.findall(r"^export (?:async )?(?:const|let|function|class) (\w+)", text, re.MULTILINE):
            others = "\n".join(other for one, other in SCRIPTS.items() if one != name)
            assert re.search(rf"import \{{[^}}]*\b{word}\b[^}}]*\}} from \"\./{name}\"", others), f"{name}: {word}"


def test_ids_are_distinct_and_every_reference_has_one(elements: Elements, ids: list[str]) -> None:
    assert len(set(ids)) == len(ids)
    for _, attributes in elements.found:
        for name in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            assert set((attributes.get(name) or "").split()) <= set(ids)


def test_every_id_that_a_script_names_exists(ids: list[str]) -> None:
    named = set.union(*(strings_of_calls(name) for name in ("at", "show", "choose", "submitted")))
    lists = re.findall(r"for \(const id of (\[.*?\])\)", SCRIPT) + re.findall(r"TEXTS = (\[.*?\])", SCRIPT)
    listed = {name for one in lists for name in json.loads(one)}
    assert len(named) > 20
    assert named | listed <= set(ids) | {"", "other.none"}
    for ending in re.findall(r"at\(`\$\{[^}]+\}(-\w+)`\)", SCRIPT):
        assert {name + ending for name in ("first", "second")} & set(ids) or {f"model{ending}"} <= set(ids), ending


def test_classes_that_are_styled_are_used() -> None:
    styled = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\{[^{}]*\}", "{}", STYLE)))
    used = {word for text in re.findall(r'class="([^"]+)"', MARKUP) for word in text.split()}
    used |= {word for text in re.findall(r'["`]([\w -]+)', SCRIPT) for word in text.split()}
    assert {name for name in styled if not name.startswith("hue")} <= used

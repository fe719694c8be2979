"""The page in a real browser, on a real server with small models."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import albertine
from albertine.serving.options import ServerOptions

pytestmark = pytest.mark.long

Tab = Any
"""`conftest.Tab`, which test modules cannot import."""

TEXT = "the room was clean"


def asked(server: str, model: str, action: str, **body: object) -> Any:
    """Ask the server without a browser."""
    request = urllib.request.Request(
        f"{server}v1/models/{model}/{action}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


# --- asking


def test_a_text_gets_the_model_s_answer(tab: Tab, server: str) -> None:
    tab.open(server)
    assert tab.texts("#model option") == [
        "bert — text classification",
        "albert — text classification",
        "names — token classification",
        "notes — encoder",
    ]
    tab.ask(TEXT)
    (expected,) = asked(server, "bert", "predict", inputs=TEXT, scores=True)["predictions"]
    assert tab.text(".said") == expected["label"]
    order = sorted(expected["scores"], key=expected["scores"].__getitem__, reverse=True)
    assert tab.texts(".scores tbody th") == order
    assert tab.texts(".scores td:last-child") == [f"{expected['scores'][label]:.1%}" for label in order]


@pytest.mark.parametrize("sign", ["", "😀 ", "𠮷 🗼 "])
def test_spans_stand_where_the_server_says_they_do(tab: Tab, server: str, sign: str) -> None:
    tab.open(server)
    tab.choose("#model", "names")
    text = f"{sign}Bo Lind lives in {sign}Oslo number 7"
    tab.ask(text)
    (expected,) = asked(server, "names", "predict", inputs=text)["predictions"]
    assert [one["text"] for one in expected["spans"]] == ["Bo Lind", "Oslo"]
    assert tab.texts(".text mark") == ["Bo Lind", "Oslo"]
    assert tab.texts(".text .tag") == ["person", "place"]
    before = "document.querySelector('.text').firstChild.textContent"
    if sign:
        assert tab.js(before) == sign
    assert tab.texts(".spans td:nth-child(3)") == [f"{one['start']}–{one['end']}" for one in expected["spans"]]


@pytest.mark.parametrize("text", [TEXT, "太慢了", "quiet"])
def test_bert_and_albert_side_by_side(tab: Tab, server: str, text: str) -> None:
    tab.open(server)
    tab.choose("#other", "albert")
    tab.ask(text)
    labels = [asked(server, name, "predict", inputs=text)["predictions"][0]["label"] for name in ("bert", "albert")]
    assert tab.texts(".answer h3") == ["bert", "albert"]
    assert tab.texts(".said") == labels
    assert ("same answer" in tab.text(".verdict")) == (labels[0] == labels[1])
    times = [one for one in tab.texts(".answer .soft") if "ms in the model" in one and "there and back" in one]
    assert len(times) == 2
    tab.wait("document.querySelectorAll('#cards article').length === 2")
    assert ["BERT" in one for one in tab.texts("#model-facts, #other-facts")] == [True, True]
    assert "ALBERT" in tab.text("#other-facts")


def test_an_index_is_searched(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.choose("#model", "notes")
    tab.ask(TEXT)
    (expected,) = asked(server, "notes", "search", query=TEXT)["hits"]
    assert tab.texts(".hits .passage") == [one["text"] for one in expected]
    assert tab.text(".hits .passage") == TEXT


def test_an_example_is_a_click_away_in_both_languages(tab: Tab, server: str) -> None:
    tab.open(server)
    assert tab.js("[...document.querySelectorAll('#examples button')].map(one => one.lang)") == ["en"] * 2 + ["zh"] * 2
    example = tab.text("#examples li:last-child")
    tab.click("#examples li:last-child button")
    tab.wait("document.querySelector('.said') !== null")
    assert tab.js("document.querySelector('#first').value") == example


def test_a_missing_text_is_asked_for_at_its_field(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.write("#first", "  ")
    tab.click("#run")
    assert "Write something" in tab.text("#first-note")
    assert tab.focused() == "first"
    assert tab.js("document.querySelector('#first').getAttribute('aria-invalid')") == "true"
    tab.write("#first", "x")
    assert tab.text("#first-note") == ""


def test_characters_are_counted_as_the_server_counts_them(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.write("#first", "a😀𠮷")
    assert "3" in tab.text("#first-count")
    most = ServerOptions().max_characters
    tab.wait(f"document.querySelector('#first-count').innerText.includes('{most:,}')")
    fill = "document.querySelector('#first').value = '😀'.repeat({})"
    for count, refused in ((most + 1, True), (most, False)):
        tab.js(fill.format(count))
        tab.click("#run")
        tab.wait("document.querySelector('#stop').hidden")
        assert (f"{most:,}" in tab.text("#first-note")) == refused
        assert (tab.texts(".said") == []) == refused
        assert tab.texts(".error") == []


def test_it_is_said_while_there_is_no_connection(tab: Tab, server: str) -> None:
    tab.open(server)
    assert tab.js("document.querySelector('#offline').hidden")
    for offline in (True, False):
        tab.call(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        tab.wait(f"document.querySelector('#offline').hidden === {str(not offline).lower()}")
    tab.ask(TEXT)
    assert len(tab.texts(".said")) == 1


# --- language and theme


def test_the_language_is_switched_and_remembered(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.ask(TEXT)
    assert tab.js("document.documentElement.lang") == "en"
    tab.click("input[value=zh]")
    assert tab.js("document.documentElement.lang") == "zh"
    assert tab.text("h1") == "用您自己的文本试用模型"
    assert "把握" in tab.text(".answer")
    assert tab.text("#examples li") == "房间干净又安静，早餐比想象中还要好。"
    tab.open(server)
    assert tab.text("#run") == "提交"
    assert tab.js("document.title").startswith("用您自己的文本")
    assert tab.js("document.querySelector('input[value=zh]').checked")
    english = "/[a-z]{5,}/.test([...document.querySelectorAll('[data-text]')].map(one => one.textContent).join())"
    assert tab.js(english) is False


@pytest.mark.parametrize(("preferred", "spoken"), [("zh-TW,en", "zh"), ("fr", "en")])
def test_the_browser_s_language_is_the_default(tab: Tab, server: str, preferred: str, spoken: str) -> None:
    tab.call("Network.setUserAgentOverride", userAgent="Chromium", acceptLanguage=preferred)
    tab.open(server)
    assert tab.js("document.documentElement.lang") == spoken
    assert tab.js("document.querySelector('input[name=language]:checked').value") == spoken


def background(tab: Tab) -> int:
    red: int = tab.js("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    return red


def test_the_theme_follows_the_system_until_it_is_chosen(tab: Tab, server: str) -> None:
    tab.prefer(color_scheme="light")
    tab.open(server)
    assert background(tab) > 200
    tab.prefer(color_scheme="dark")
    assert background(tab) < 60
    tab.click("input[value=light]")
    assert background(tab) > 200
    tab.open(server)
    assert background(tab) > 200
    assert tab.js("document.querySelector('input[value=light]').checked")
    tab.prefer(color_scheme="light")
    tab.click("input[value=dark]")
    assert background(tab) < 60
    tab.click("input[value=auto]")
    assert background(tab) > 200


# --- keys


def test_a_key_is_asked_for_sent_and_kept_for_the_session_only(tab: Tab, locked: str) -> None:
    tab.origins.append(locked)
    tab.open(locked)
    assert "wants an API key" in tab.text(".error")
    assert tab.focused() == "key"
    assert tab.js("document.querySelector('#key').type") == "password"
    tab.write("#key", "钥匙")
    tab.press("Enter")
    assert "ASCII" in tab.text("#key-note")
    tab.write("#key", "wrong-0123456789")
    tab.press("Enter")
    tab.wait("!document.querySelector('#key-form').hidden && document.querySelector('#key').value === ''")
    tab.write("#key", "open-sesame-0123456789")
    tab.press("Enter")
    tab.wait("!document.querySelector('#form').hidden")
    tab.ask(TEXT)
    assert tab.texts(".said") != []
    assert tab.keys[-1] == "Bearer open-sesame-0123456789"
    assert "sesame" not in tab.js("JSON.stringify({ ...localStorage })") + tab.js("document.cookie")
    assert "sesame" not in tab.js("document.documentElement.outerHTML")
    tab.click("#key-toggle")
    tab.click("#key-forget")
    tab.wait("document.querySelector('#trouble .error') !== null")
    assert tab.js("sessionStorage.length") == 0


def test_the_page_may_load_only_what_the_server_has(server: str) -> None:
    with urllib.request.urlopen(server, timeout=30) as response:
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    for one in Path(albertine.__path__[0], "serving", "page").iterdir():
        if one.name != "index.html":
            with urllib.request.urlopen(f"{server}static/{one.name}", timeout=30) as response:
                assert response.read() == one.read_bytes()

"""The page for everybody: by keyboard alone, for a screen reader, in either theme, enlarged and narrow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytestmark = pytest.mark.long

Tab = Any
"""`conftest.Tab`, which test modules cannot import."""

TEXT = "the room was clean"
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def show_answers(tab: Tab) -> None:
    """Two answers side by side, with both model cards open."""
    tab.choose("#other", "albert")
    tab.ask(TEXT)
    tab.wait("document.querySelectorAll('#cards article').length === 2")
    tab.js("for (const one of document.querySelectorAll('details')) one.open = true")
    tab.wait("document.querySelectorAll('.prose h4').length === 2")


def show_spans(tab: Tab) -> None:
    tab.choose("#model", "names")
    tab.ask("😀 Anna Berg lives in 😀 Molde number 7")
    tab.wait("document.querySelector('.text mark') !== null")


def show_failure(tab: Tab) -> None:
    tab.answer({"models/bert/predict": (0, {}, None)})
    tab.ask(TEXT)
    tab.wait("document.querySelector('.error') !== null")


def show_missing(tab: Tab) -> None:
    tab.click("#run")


def show_hits(tab: Tab) -> None:
    tab.choose("#model", "notes")
    tab.ask("quiet")
    tab.wait("document.querySelector('.hits') !== null")


def show_nothing(tab: Tab) -> None:
    tab.wait("document.querySelector('.empty') !== null")


STATES = [show_nothing, show_answers, show_spans, show_hits, show_failure, show_missing]
STATE = pytest.mark.parametrize("state", STATES)


# --- keyboard


def test_everything_is_reached_in_order_by_the_tab_key_and_nothing_holds_it(tab: Tab, server: str) -> None:
    tab.open(server)
    show_answers(tab)
    tab.js("document.querySelector('.skip').focus()")
    seen = [tab.focused()]
    places: list[int] = []
    for _ in range(80):
        tab.press("Tab")
        seen.append(tab.focused())
        place = tab.js("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        if seen[-1].startswith("body") or place in places:
            break
        places.append(place)
        assert tab.js("document.activeElement.matches(':focus-visible')")
        # what is outlined of a switch is the word beside its hidden control
        outlined = "(one => one.type === 'radio' ? one.nextElementSibling : one)(document.activeElement)"
        assert tab.js(f"getComputedStyle({outlined}).outlineStyle") == "solid", seen[-1]
        assert tab.js(f"parseFloat(getComputedStyle({outlined}).outlineWidth) >= 2")
    else:
        pytest.fail(f"the tab key is held: {seen}")
    assert places == sorted(places)
    for wanted in ("model", "other", "first", "run"):
        assert wanted in seen
    assert sum(one.startswith("summary") for one in seen) == 2
    tab.press("Tab", "Shift")
    assert tab.focused() == seen[-2]


def test_a_question_is_asked_without_a_mouse(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.press("Tab")
    assert tab.js("document.activeElement.className") == "skip"
    tab.press("Enter")
    tab.wait("document.activeElement.id === 'first'")
    tab.call("Input.insertText", text=TEXT)
    tab.press("Enter", "Control")
    tab.wait("document.querySelector('.said') !== null")
    assert tab.focused() == "first"
    tab.js("document.querySelector('#model').focus()")
    tab.press("Tab")
    assert tab.focused() == "other"
    tab.press("ArrowDown")
    assert tab.js("document.querySelector('#other').value") == "albert"
    tab.js("document.querySelector('#run').focus()")
    tab.press("Enter")
    tab.wait("document.querySelectorAll('.said').length === 2")
    assert tab.focused() == "run"


def test_language_and_theme_are_chosen_by_arrow_keys(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.js("document.querySelector('input[name=language]:checked').focus()")
    tab.press("ArrowRight")
    tab.wait("document.documentElement.lang === 'zh'")
    tab.press("Tab")
    tab.press("ArrowRight")
    tab.press("ArrowRight")
    assert tab.js("document.documentElement.dataset.theme") == "dark"


# --- screen readers

NAMED = {"button", "combobox", "textbox", "radio", "link", "heading", "table", "region", "DisclosureTriangle"}


@STATE
def test_everything_has_a_name(tab: Tab, server: str, state: Callable[[Tab], None]) -> None:
    tab.open(server)
    state(tab)
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    shown = [one for one in nodes if not one["ignored"]]
    roles = {one["role"]["value"] for one in shown}
    assert {"banner", "main", "heading", "button", "combobox", "textbox"} <= roles
    for one in shown:
        role = one["role"]["value"]
        if role in NAMED:
            assert one.get("name", {}).get("value", "").strip(), (role, one)


@STATE
def test_headings_tables_and_live_regions_are_in_order(tab: Tab, server: str, state: Callable[[Tab], None]) -> None:
    tab.open(server)
    state(tab)
    visible = "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].filter(one => one.checkVisibility())"
    levels = tab.js(f"{visible}.map(one => Number(one.localName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tab.js("[...document.querySelectorAll('table')].every(one => one.caption?.textContent)")
    assert tab.js("[...document.querySelectorAll('th')].every(one => ['row', 'col'].includes(one.scope))")
    assert tab.js("document.querySelectorAll('[role=status], [role=alert]').length") == 2
    assert tab.js("new Set([...document.querySelectorAll('[id]')].map(one => one.id)).size") == tab.js(
        "document.querySelectorAll('[id]').length"
    )


def test_an_answer_is_announced_once_it_is_there(tab: Tab, server: str) -> None:
    tab.open(server)
    tab.ask(TEXT)
    told = tab.js("document.querySelector('#status').textContent")
    assert told.startswith("bert: ")
    assert tab.text(".said") in told
    assert "%" in told
    assert tab.js("document.querySelector('#alert').textContent") == ""


# --- seeing

CONTRASTS = """
(() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const one of colours) { context.fillStyle = one; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (colour) => colour
    .map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const found = [];
    for (let one = element; one; one = one.parentElement) found.unshift(getComputedStyle(one).backgroundColor);
    return found;
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("noscript, option")) continue;
    const back = behind(element);
    const seen = ratio(over([...back, getComputedStyle(element).color]), over(back));
    if (seen < 4.5) poor.push([walker.currentNode.data.trim().slice(0, 40), element.className, seen.toFixed(2)]);
  }
  const drawn = "select, textarea, button:not(.chip, .plain), .bar i, [class^=hue]";
  for (const element of document.querySelectorAll(drawn)) {
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const line = element.matches("i") ? style.backgroundColor
      : element.matches("[class^=hue]") ? style.textDecorationColor : style.borderTopColor;
    const back = behind(element.parentElement);
    const seen = ratio(over([...back, line]), over(back));
    if (seen < 3) poor.push([element.id || element.className || element.localName, line, seen.toFixed(2)]);
  }
  return poor;
})()
"""


@STATE
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_borders_stand_out(tab: Tab, server: str, state: Callable[[Tab], None], theme: str) -> None:
    tab.open(server)
    tab.click(f"input[value={theme}]")
    state(tab)
    assert tab.js(CONTRASTS) == []


@STATE
@pytest.mark.parametrize(("width", "height"), [(320, 640), (640, 400), (1280, 900)])
def test_nothing_scrolls_sideways(tab: Tab, server: str, state: Callable[[Tab], None], width: int, height: int) -> None:
    tab.resize(width, height)
    tab.open(server)
    for language in ("en", "zh"):
        tab.click(f"input[value={language}]")
        state(tab)
        assert tab.js(SIDEWAYS) is False
        outside = (
            "[...document.querySelectorAll('main *, header *')].filter(one => one.checkVisibility() &&"
            " !one.closest('.unseen') && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML)"
        )
        assert tab.js(outside) == []


def test_a_word_that_never_ends_is_broken(tab: Tab, server: str) -> None:
    tab.resize(320, 640)
    tab.open(server)
    tab.answer({})
    tab.choose("#model", "names")
    tab.ask("x" * 400)
    assert tab.js(SIDEWAYS) is False


def test_nothing_moves_for_those_who_want_it_so(tab: Tab, server: str) -> None:
    tab.prefer(reduced_motion="reduce")
    tab.open(server)
    tab.answer({"models/bert/predict": (-1, {}, None)})
    tab.write("#first", TEXT)
    tab.press("Enter", "Control")
    tab.wait("!document.querySelector('#working').hidden")
    assert tab.js("getComputedStyle(document.querySelector('#working'), '::before').animationName") == "none"
    assert tab.js("document.getAnimations().length") == 0
    tab.press("Escape")

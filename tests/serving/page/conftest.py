"""A real browser and a real server for the tests of the page: Playwright drives the Chromium that is installed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, ConsoleMessage, Request, Route, sync_playwright

from albertine.checkpoints.writing import save_encoder
from albertine.cli.main import main
from albertine.inference.model import Model
from albertine.inference.search import index
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.tasks import text_classification
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classifier import Classifier
from albertine.tasks.config import TaskConfig
from albertine.tokenization.learn import learn_vocabulary

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30.0
"""Seconds until something that should happen is given up."""

VOCABULARY = learn_vocabulary(["the room was clean and quiet 很 好 吃 。 太 慢 了"] * 9, size=90)

Routes = dict[str, tuple[int, dict[str, str], object]]
"""Status, headers and JSON body of requests by the end of their address."""


class Tab:
    """One page of a browser, in a profile of its own.

    Args:
        browser: it belongs to.
    """

    def __init__(self, browser: Browser) -> None:
        self.problems: list[str] = []
        """What the page wrote to its console as an error, or threw."""
        self.requests: list[str] = []
        """Every address that was asked for."""
        self.keys: list[str | None] = []
        """What requests below /v1/ said in Authorization."""
        self.origins = ["about:"]
        """How addresses begin that may be asked for."""
        self.routes: Routes = {}
        """What is answered in the server's place."""
        self._context = browser.new_context(locale="en-US", viewport={"width": 1100, "height": 900})
        self._context.set_default_timeout(1000 * PATIENCE)
        self._page = self._context.new_page()
        self._session = self._context.new_cdp_session(self._page)
        self._page.on("request", self._asked)
        self._page.on("pageerror", lambda error: self.problems.append(str(error)))
        self._page.on("console", self._said)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command of Chromium's own protocol to this page."""
        result: dict[str, Any] = self._session.send(method, parameters)
        return result

    def answer(self, routes: Routes) -> None:
        """Answer requests below /v1/ in the server's place; other requests there go through."""
        self.routes = routes
        self._page.route("**/v1/**", self._fulfil)

    def open(self, address: str) -> None:
        """Go to an address and wait until models are offered, or it is said why there are none."""
        self._page.goto(address)
        self.wait("document.querySelector('#form:not([hidden]), .error') !== null")

    def js(self, expression: str) -> Any:
        """Return the value of an expression."""
        return self._page.evaluate(expression)

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while self.js(condition) is not True:
            assert time.monotonic() < deadline, f"still not true: {condition}\n{self.text('body')}\n{self.problems}"
            self._page.wait_for_timeout(50)

    def text(self, selector: str) -> str:
        """Return the text of an element as it is shown; nothing where it is hidden."""
        shown = "(one => one?.checkVisibility() ? one.innerText : '')"
        found: str = self.js(f"{shown}(document.querySelector({json.dumps(selector)}))")
        return found

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements of a kind."""
        return self._page.locator(selector).all_inner_texts()

    def click(self, selector: str) -> None:
        """Click on an element, where it is a hidden control on the label around it."""
        around = self._page.locator(f"label:has({selector})")
        (around if around.count() else self._page.locator(selector)).first.click()

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        self._page.select_option(selector, value)

    def write(self, selector: str, text: str) -> None:
        """Write a text into a field in the place of what stood there."""
        self._page.fill(selector, text)

    def press(self, key: str, *modifiers: str) -> None:
        """Press and release a key."""
        self._page.keyboard.press("+".join([*modifiers, key]))

    def focused(self) -> str:
        """Return the id of what has the focus, else its tag and text."""
        found: str = self.js(
            "(one => one.id || `${one.localName}:${one.name ?? ''}${one.value ?? one.innerText}`)"
            "(document.activeElement)"
        )
        return found

    def ask(self, text: str = "") -> None:
        """Write a text, ask, and wait for every answer."""
        if text:
            self.write("#first", text)
        self.click("#run")
        self.wait("document.querySelector('.answer') !== null && document.querySelector('#stop').hidden")

    def resize(self, width: int, height: int) -> None:
        """Give the window a size, in CSS pixels."""
        self._page.set_viewport_size({"width": width, "height": height})

    def prefer(self, **features: Any) -> None:
        """Say what the user prefers: color_scheme="dark"."""
        self._page.emulate_media(**features)

    def picture(self, file: Path) -> None:
        """Write what the whole page looks like, as PNG."""
        self._page.screenshot(path=file, full_page=True)

    def close(self) -> None:
        """Close the page and forget all that it kept."""
        self._context.close()

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)
        if "/v1/" in request.url:
            self.keys.append(request.headers.get("authorization"))

    def _said(self, message: ConsoleMessage) -> None:
        # what the server refused is written there by the browser itself
        if message.type in ("error", "warning", "assert") and not message.text.startswith("Failed to load resource"):
            self.problems.append(message.text)

    def _fulfil(self, route: Route, request: Request) -> None:
        path = request.url.partition("/v1/")[2]
        if path not in self.routes:
            route.continue_()
            return
        status, headers, body = self.routes[path]
        if status == 0:  # nobody answers
            route.abort("connectionrefused")
        elif status > 0:  # below: the answer takes for ever
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            route.fulfill(status=status, headers={"Content-Type": "application/json", **headers}, body=data)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser; tests that need it are skipped where there is none.

    It lives for one file: as long as Playwright runs, no test of this process can start an event loop of its own.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    with sync_playwright() as playwright:
        flags = ["--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=program, args=flags, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Browser, server: str) -> Iterator[Tab]:
    """A page of the browser; afterwards it must have complained about nothing, and asked nobody but the server."""
    opened = Tab(chromium)
    opened.origins.append(server)
    yield opened
    opened.close()
    assert opened.problems == []
    assert [one for one in opened.requests if not one.startswith(tuple(opened.origins))] == []


# --- the server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with small models: bert, albert (classes), names (spans) and notes (an index)."""
    folder = tmp_path_factory.mktemp("served")
    models = [make_classifier(folder / kind, kind) for kind in ("bert", "albert")]
    with serving(*models, make_tagger(folder), "--index", make_index(folder)) as address:
        yield address


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that wants the key open-sesame-0123456789."""
    folder = tmp_path_factory.mktemp("locked")
    with serving(make_classifier(folder / "bert", "bert"), ALBERTINE_API_KEYS="open-sesame-0123456789") as address:
        yield address


@contextlib.contextmanager
def serving(*words: str | Path, **environment: str) -> Iterator[str]:
    """Run `albertine serve` with these words, and give its address once it is ready."""
    command = [sys.executable, "-m", "albertine", "serve", *map(str, words), "--port", "0", "--precision", "fp32"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr is not None
    said = [process.stderr.readline()]
    while '"url"' not in said[-1]:
        if not said[-1]:
            process.stderr.close()
            pytest.fail(f"the server did not start: {''.join(said)}")
        said.append(process.stderr.readline())
    try:
        log = threading.Thread(target=process.stderr.read)  # or its pipe would fill up
        log.start()
        yield f"{json.loads(said[-1])['url']}/"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.join()
        process.stderr.close()


def encoder_config(kind: str, vocab_size: int) -> EncoderConfig:
    """Return the smallest encoder of a kind."""
    return EncoderConfig.preset(
        f"{kind}-base",
        vocab_size=vocab_size,
        embedding_size=16 if kind == "bert" else 6,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        initializer_range=0.4,
    )


def make_classifier(folder: Path, kind: str) -> Path:
    """Save a classifier of the smallest size, with the weights that it began with."""
    config = encoder_config(kind, VOCABULARY.vocab_size)
    task_config = TaskConfig(
        task="text-classification", labels=("bad", "good", "so-so"), max_length=64, options=ClassificationOptions()
    )
    torch.manual_seed(len(kind))
    module = text_classification.TASK.build(config, task_config)
    assert isinstance(module, Classifier)
    torch.nn.init.normal_(module.classifier.weight)
    made = Model(
        module,
        config=config,
        tokenizer=VOCABULARY,
        task=text_classification.TASK,
        task_config=task_config,
        card=f"# Card of {kind}\n\n| | |\n|---|---|\n| kind | {kind} |\n",
    )
    made.save(folder)
    return folder


def make_tagger(folder: Path) -> Path:
    """Train a model that finds names and towns, with characters beyond the sixteenth bit between them."""
    names, towns, signs = ("Anna Berg", "Bo Lind", "Carl Moe"), ("Oslo", "Bergen", "Molde"), ("", "😀 ", "𠮷 🗼 ")
    rows = []
    for place in range(36):
        name, town, sign = names[place % 3], towns[place // 3 % 3], signs[place // 9 % 3]
        text = f"{sign}{name} lives in {sign}{town} number {place}"
        spans = [(text.index(name), name, "person"), (text.index(town), town, "place")]
        held = [{"start": start, "end": start + len(words), "label": label} for start, words, label in spans]
        rows.append(json.dumps({"text": text, "spans": held}))
    data = folder / "names.jsonl"
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    arguments = ["--encoder", "bilstm", "--out", str(folder / "names"), "--epochs", "30", "--batch-size", "8"]
    assert main(["finetune", "token-classification", str(data), *arguments]) == 0
    return folder / "names"


def make_index(folder: Path) -> Path:
    """Save an index of four notes."""
    notes = ["the room was clean", "很好吃", "the room was quiet and clean", "太慢了"]
    torch.manual_seed(7)
    save_encoder(Encoder(encoder_config("albert", VOCABULARY.vocab_size)), VOCABULARY, folder / "encoder")
    index(notes, encoder=folder / "encoder").save(folder / "notes")
    return folder / "notes"

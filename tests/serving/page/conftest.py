"""A real browser and a real server for the tests of the page.

Chromium is driven through its own protocol, over two pipes (`--remote-debugging-pipe`): the standard library and an
installed Chromium are all that it takes.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

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
VIEWPORT = (1100, 900)
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "ArrowDown": (40, ""),
    "ArrowRight": (39, ""),
}
MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}
# Pipes 3 and 4 are where the browser reads and writes; the numbers that they have here are moved there first.
START = (
    "import os,sys;a,b=map(int,sys.argv[1:3]);os.dup2(a,3);os.dup2(b,4);os.closerange(5,99);"
    "os.execv(sys.argv[3],sys.argv[3:])"
)

VOCABULARY = learn_vocabulary(["the room was clean and quiet 很 好 吃 。 太 慢 了"] * 9, size=90)

Routes = dict[str, tuple[int, dict[str, str], object]]
"""Status, headers and JSON body of requests by the end of their address."""


class Chromium:
    """A headless browser.

    Args:
        program: its path.
        folder: of its own, for its profile.
    """

    def __init__(self, program: str, folder: Path) -> None:
        commands, own_commands = os.pipe()
        own_answers, answers = os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in (commands, answers)]
        flags = [
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            f"--user-data-dir={folder}",
        ]
        words = [sys.executable, "-ISc", START, *map(str, high), program, *flags, "about:blank"]
        self._process = subprocess.Popen(words, pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for one in (commands, answers, *high):
            os.close(one)
        self._out, self._in = own_commands, own_answers
        self._selector = selectors.DefaultSelector()
        self._selector.register(own_answers, selectors.EVENT_READ)
        self._held = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}

    def send(self, method: str, session: str | None = None, **parameters: object) -> int:
        """Send a command and return its number, without waiting for what becomes of it."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        return self._number

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result."""
        number = self.send(method, session, **parameters)
        deadline = time.monotonic() + PATIENCE
        while number not in self._answers:
            assert time.monotonic() < deadline, f"the browser does not answer to {method}"
            self.read(0.2)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def read(self, seconds: float) -> None:
        """Take in what the browser says within some time."""
        if not self._selector.select(seconds):
            return
        data = os.read(self._in, 1 << 20)
        assert data, "the browser has ended"
        *messages, self._held = (self._held + data).split(b"\0")
        for one in messages:
            message = json.loads(one)
            if "id" in message:
                self._answers[message["id"]] = message
            elif message.get("sessionId") in self.listeners:
                self.listeners[message["sessionId"]](message["method"], message["params"])

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._selector.close()
        os.close(self._out)
        os.close(self._in)


class Tab:
    """One page of a browser, in a profile of its own.

    Args:
        browser: it belongs to.
        language: what the browser says its user reads.
    """

    def __init__(self, browser: Chromium, *, language: str = "en-US") -> None:
        self.browser = browser
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
        self._context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self._context)
        self._session = browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        browser.listeners[self._session] = self._listen
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Network.setUserAgentOverride", userAgent="Chromium", acceptLanguage=language)
        self.resize(*VIEWPORT)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command to this page."""
        return self.browser.call(method, self._session, **parameters)

    def answer(self, routes: Routes) -> None:
        """Answer requests below /v1/ in the server's place; other requests there go through."""
        self.routes = routes
        self.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/*"}])

    def open(self, address: str) -> None:
        """Go to an address and wait until models are offered, or it is said why there are none."""
        self.call("Page.navigate", url=address)
        self.wait(
            "document.readyState === 'complete' && document.querySelector('#form:not([hidden]), .error') !== null"
        )

    def js(self, expression: str) -> Any:
        """Return the value of an expression."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = self.call("Runtime.evaluate", expression=condition, returnByValue=True)
            if done["result"].get("value") is True:
                return
            assert time.monotonic() < deadline, f"still not true: {condition}\n{self.text('body')}\n{self.problems}"
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """Return the text of an element as it is shown; nothing where it is hidden."""
        shown = "(one => one?.checkVisibility() ? one.innerText : '')"
        found: str = self.js(f"{shown}(document.querySelector({json.dumps(selector)}))")
        return found

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements of a kind."""
        found: list[str] = self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.innerText)")
        return found

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        self.js(
            f"{{ const one = document.querySelector({json.dumps(selector)}); one.value = {json.dumps(value)};"
            "one.dispatchEvent(new Event('change', { bubbles: true })); }"
        )

    def write(self, selector: str, text: str) -> None:
        """Write a text into a field in the place of what stood there, as from a keyboard."""
        self.js(f"{{ const one = document.querySelector({json.dumps(selector)}); one.focus(); one.select(); }}")
        self.call("Input.insertText", text=text)

    def press(self, key: str, *modifiers: str) -> None:
        """Press and release a key."""
        code, text = KEYS[key]
        held = sum(MODIFIERS[one] for one in modifiers)
        shared = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code, "modifiers": held}
        kind = "keyDown" if text and not held else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=kind, **shared, **({"text": text} if kind == "keyDown" else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

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

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        """Give the window a size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def prefer(self, **features: str) -> None:
        """Say what the user prefers: prefers_color_scheme="dark"."""
        asked = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=asked)

    def picture(self, file: Path) -> None:
        """Write what the whole page looks like, as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Close the page and forget all that it kept."""
        del self.browser.listeners[self._session]
        self.browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def _listen(self, event: str, parameters: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            request = parameters["request"]
            self.requests.append(request["url"])
            if "/v1/" in request["url"]:
                self.keys.append(request["headers"].get("Authorization"))
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(parameters["args"]))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            # what the server refused is written there by the browser itself
            if parameters["entry"]["source"] != "network":
                self.problems.append(json.dumps(parameters["entry"]))
        elif event == "Fetch.requestPaused":
            self._fulfil(parameters["requestId"], parameters["request"]["url"])

    def _fulfil(self, request: str, address: str) -> None:
        path = address.partition("/v1/")[2]
        if path not in self.routes:
            self.browser.send("Fetch.continueRequest", self._session, requestId=request)
            return
        status, headers, body = self.routes[path]
        if status == 0:  # nobody answers
            self.browser.send("Fetch.failRequest", self._session, requestId=request, errorReason="ConnectionRefused")
            return
        if status < 0:  # the answer takes for ever
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = [{"name": name, "value": value} for name, value in headers.items()]
        self.browser.send(
            "Fetch.fulfillRequest",
            self._session,
            requestId=request,
            responseCode=status,
            responseHeaders=[{"name": "Content-Type", "value": "application/json"}, *given],
            body=base64.b64encode(data).decode(),
        )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser; tests that need it are skipped where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Chromium(program, Path(folder))
        try:
            browser.call("Browser.getVersion")
            yield browser
        finally:
            browser.close()


@pytest.fixture
def tab(chromium: Chromium, server: str) -> Iterator[Tab]:
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

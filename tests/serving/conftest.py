"""Tiny models of every task in folders, a server over them without a socket, and a way to ask many things at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from albertine import registry
from albertine.checkpoints.writing import save_encoder
from albertine.inference.model import Model
from albertine.inference.search import index
from albertine.models.bag_of_words import BagOfWords
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.ngrams import BagOfWordsConfig
from albertine.records import Example, Opinion, Span
from albertine.serving.app import create_app
from albertine.serving.jobs import Answered, Operation
from albertine.serving.keys import Keys
from albertine.serving.options import ServerOptions
from albertine.serving.service import Service
from albertine.serving.sources import model_sources
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.seq2seq_module import Seq2SeqOptions
from albertine.tasks.task import Task
from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.tokenizer import Tokenizer

WORDS = (
    "the soup was hot and bread stale who wrote a letter ada in oslo play jazz very slow waiter 很 好 吃 太 慢 了 。 ."
)
DOCUMENTS = ["the soup was hot", "the bread was stale", "ada wrote a letter", "play jazz in oslo", "很好吃", "太慢了"]
HOST = "http://127.0.0.1:8000"


def _span(text: str, piece: str, label: str) -> Span:
    start = text.index(piece)
    return Span(start=start, end=start + len(piece), label=label, text=piece)


TAGGED = "ada wrote in oslo"
ROWS: dict[str, list[Example]] = {
    "token-classification": [
        Example(text=TAGGED, spans=(_span(TAGGED, "ada", "person"), _span(TAGGED, "oslo", "place"))),
        Example(text="the soup", spans=()),
    ],
    "question-answering": [
        Example(
            text="who wrote", text_pair="ada wrote a letter", spans=(_span("ada wrote a letter", "ada", "answer"),)
        ),
        Example(text="who", text_pair="the soup", spans=()),
    ],
    "intent-slots": [
        Example(text="play jazz", label="music", spans=(_span("play jazz", "jazz", "style"),)),
        Example(text="the soup", label="food", spans=()),
    ],
    "aspect-opinions": [
        Example(
            text="the soup was hot",
            opinions=(
                Opinion(
                    aspect=_span("the soup was hot", "soup", "aspect"),
                    expression=_span("the soup was hot", "hot", "opinion"),
                    polarity="positive",
                ),
            ),
        ),
        Example(
            text="stale bread",
            opinions=(
                Opinion(
                    aspect=_span("stale bread", "bread", "aspect"),
                    expression=_span("stale bread", "stale", "opinion"),
                    polarity="negative",
                ),
            ),
        ),
    ],
}


def _config(task: str, tokenizer: Tokenizer, shape: EncoderConfig) -> TaskConfig:
    """Return what a model of a task remembers, as training on two rows would leave it."""
    record = registry.tasks.get(task)
    assert isinstance(record, Task)
    return record.prepare(ROWS[task], TaskRequest(tokenizer=tokenizer, body=shape, max_length=24, overlap=6))


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return learn_vocabulary([WORDS] * 30, size=150, rarest=1)


@pytest.fixture(scope="session")
def shape(tokenizer: Tokenizer) -> EncoderConfig:
    return EncoderConfig.preset(
        "albert-base",
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        embedding_size=6,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=22,
        max_position_embeddings=41,
        initializer_range=0.3,
    )


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, shape: EncoderConfig) -> dict[str, Path]:
    """Model folders by a word for each."""
    base = tmp_path_factory.mktemp("models")
    labels = ("bad", "good", "so-so")
    head = ClassificationOptions(long_texts="head")
    written = {"max_target_length": 7, "target_vocab_size": tokenizer.vocab_size, "bleu_tokenizer": "none"}
    configs = {
        "reviews": TaskConfig(task="text-classification", labels=labels, max_length=24, options=head),
        "entailment": TaskConfig(task="text-classification", labels=labels, max_length=24, pairs=True, options=head),
        "several": TaskConfig(
            task="text-classification",
            labels=labels,
            max_length=24,
            options=options_from(ClassificationOptions, {"problem": "multi"}, task="text-classification"),
        ),
        "stars": TaskConfig(
            task="text-classification",
            max_length=24,
            options=options_from(ClassificationOptions, {"problem": "regression"}, task="text-classification"),
        ),
        "names": _config("token-classification", tokenizer, shape),
        "answers": _config("question-answering", tokenizer, shape),
        "intents": _config("intent-slots", tokenizer, shape),
        "opinions": _config("aspect-opinions", tokenizer, shape),
        "similar": _similar("bi-encoder"),
        "crossed": _similar("cross-encoder"),
        "writer": TaskConfig(
            task="seq2seq", max_length=24, options=options_from(Seq2SeqOptions, written, task="seq2seq")
        ),
    }
    for number, (name, config) in enumerate(configs.items()):
        torch.manual_seed(number)
        record = registry.tasks.get(config.task)
        assert isinstance(record, Task)
        model = Model(
            record.build(shape, config),
            config=shape,
            tokenizer=tokenizer,
            task=record,
            task_config=config,
            precision="fp32",
            card=f"# {name}\n",
        )
        model.save(base / name)
    torch.manual_seed(99)
    save_encoder(Encoder(shape), tokenizer, base / "encoder", format="albertine")
    index(DOCUMENTS, encoder=str(base / "encoder")).save(base / "documents")
    _bag().save(base / "bag")
    return {one.name: one for one in base.iterdir()}


def _similar(architecture: str) -> TaskConfig:
    record = registry.tasks.get("sentence-similarity")
    assert isinstance(record, Task)
    options = options_from(record.options, {"architecture": architecture}, task=record.name)
    return TaskConfig(task=record.name, max_length=24, pairs=True, options=options)


def _bag() -> Model:
    record = registry.tasks.get("text-classification")
    assert isinstance(record, Task)
    learnt = BagOfWords(BagOfWordsConfig()).fit(
        ["hot soup", "hot bread", "stale soup", "stale bread"] * 3, [1, 1, 0, 0] * 3, 2
    )
    config = TaskConfig(task="text-classification", labels=("bad", "good"))
    return Model(learnt, config=learnt.config, tokenizer=None, task=record, task_config=config, card="# bag\n")


@dataclass
class Reply:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Asks an application without a socket, many things at once where they are awaited together."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.app = create_app(service)

    async def __call__(
        self,
        path: str,
        body: object = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        gone: asyncio.Event | None = None,
        client: str = "127.0.0.1",
    ) -> Reply:
        """Send a request; the client goes away when `gone` is set."""
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {"host": "127.0.0.1", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path.partition("?")[0],
            "raw_path": path.encode(),
            "query_string": path.partition("?")[2].encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
            "client": (client, 1),
            "server": ("127.0.0.1", 8000),
        }
        reply, waiting = Reply(), [{"type": "http.request", "body": sent, "more_body": False}]
        over = asyncio.Event() if gone is None else gone

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            else:
                reply.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return reply


class Held:
    """An operation that waits until it is let go, and remembers what it was asked for."""

    def __init__(self, inner: Operation) -> None:
        self.inner = inner
        self.name = inner.name
        self.longest = inner.longest
        self.go = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[Any]] = []

    def run(self, items: Sequence[Any]) -> list[Answered]:
        self.batches.append(list(items))
        self.entered.set()
        assert self.go.wait(30), "nobody let it go"
        return self.inner.run(items)


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the server would set where nobody has, so that no test leaves it behind."""
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        monkeypatch.setenv(name, "64")


@pytest.fixture
def serving(folders: dict[str, Path]) -> Iterator[Callable[..., Service]]:
    """Make the state of a server over some of the folders, with options by name."""
    made: list[Service] = []

    def make(
        *names: str, indexes: Sequence[str] = (), keys: Keys | None = None, explainers: Any = None, **options: Any
    ) -> Service:
        sources = model_sources(
            [f"{name}={folders[name]}" for name in names], [f"{name}={folders['documents']}" for name in indexes]
        )
        service = Service(sources, ServerOptions(precision="fp32", **options), keys=keys, explainers=explainers)
        service.load()
        made.append(service)
        return service

    yield make
    for one in made:
        one.close()


@pytest.fixture
def client() -> Callable[..., TestClient]:
    """Make a client of an application, which answers as if it came from this machine."""

    def make(service: Service, **options: Any) -> TestClient:
        options = {"base_url": HOST, "raise_server_exceptions": False, **options}
        return TestClient(create_app(service), **options)

    return make


@pytest.fixture
def calling() -> Callable[[Service], Caller]:
    """Make a caller of an application."""
    return Caller


@pytest.fixture
def hold() -> Iterator[Callable[..., Held]]:
    """Put a model's operation behind something that waits."""
    made: list[Held] = []

    def put(service: Service, model: str, operation: str = "predict") -> Held:
        current = service.models[model].current
        assert current is not None
        held = Held(current.opened.operations[operation])
        operations = {**current.opened.operations, operation: held}
        service.models[model].current = replace(current, opened=replace(current.opened, operations=operations))
        made.append(held)
        return held

    yield put
    for one in made:
        one.go.set()

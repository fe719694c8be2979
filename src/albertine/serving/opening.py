"""From a folder to everything that the server does with it: opened, described, warmed up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from albertine.checkpoints.native import CARD_FILE, TASK_FILE
from albertine.checkpoints.opening import open_checkpoint
from albertine.inference.info import ModelInfo, info
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.inference.search import Index, load_index
from albertine.inference.vectors import VectorModel, load_vectors
from albertine.models.encoder import Encoder
from albertine.models.pooling import SentenceEncoder
from albertine.records import Example
from albertine.serving.jobs import Operation
from albertine.serving.operations import Encoding, Explainer, Explaining, Predicting, Searching
from albertine.serving.options import ServerOptions
from albertine.serving.sources import ModelSource
from albertine.serving.speed import Speed
from albertine.serving.state_schemas import Capability
from albertine.serving.worker import estimated_tokens
from albertine.shipped import shipped_folder
from albertine.tasks.sentence_similarity import NAME as SIMILARITY
from albertine.tasks.sentence_similarity import BiEncoder, sentence_pooling
from albertine.tasks.similarity_options import SimilarityOptions

__all__ = ["InputKind", "Opened", "open_source", "warm_up"]

InputKind = Literal["text", "pair", "question", "text or pair"]

_QUESTIONS = "question-answering"
_CARD_LIMIT = 1 << 20
_WARM_TEXTS = (1, 1, 8, 64)
"""Texts of the batches that a model is warmed up with."""
_WARM_TEXT = "The answer to the first question is warm, and 第一个问题的答案也是热的。" * 2
_WARM_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model that is open, and what it can be asked to do."""

    task: str
    """encoder where there is none."""
    input: InputKind
    """What predict takes."""
    model: Model | None
    """None for an encoder."""
    vectors: VectorModel | None
    """None for what makes no vectors."""
    index: Index | None
    info: ModelInfo
    card: str
    value_range: tuple[float, float] | None
    """Lowest and highest value of a prediction, where that is known."""
    created: int
    """When its files were written, in seconds since 1970."""
    operations: Mapping[str, Operation]
    """predict, encode, search and explain as far as it has them; predict_pair beside predict where a model takes texts
    and pairs, which do not mix in one batch."""

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What it can be asked for."""
        names: list[Capability] = []
        if self.model is not None:
            names.append("predict")
        if self.vectors is not None:
            names.append("encode")
        if self.index is not None:
            names.append("search")
        if self.vectors is not None or self.reranks_pairs:
            names.append("rerank")
        if "explain" in self.operations:
            names.append("explain")
        return tuple(names)

    @property
    def reranks_pairs(self) -> bool:
        """Whether it gives a query and a document a number by looking at both."""
        return self.model is not None and self.task == SIMILARITY and self.vectors is None


def open_source(source: ModelSource, options: ServerOptions, explainer: Explainer | None = None) -> Opened:
    """Open what a source names.

    Args:
        source: a model folder, an encoder, an index, or a model and an index.
        options: for the precision.
        explainer: what explains the answers of task models.

    Raises:
        UserError: as `load`, `load_vectors` and `load_index`.
    """
    model: Model | None = None
    vectors: VectorModel | None = None
    index: Index | None = None
    if source.folder is None:
        assert source.index is not None, "a source names a model or an index"
        index = load_index(source.index)
        folder, vectors = index.name, index.encoder
    else:
        folder = source.folder
        if _has_task(folder):
            model = load(folder, precision=options.precision, depth=options.depth)
            vectors = _vectors_of(model)
        else:
            vectors = load_vectors(folder)
        if source.index is not None:
            index = load_index(source.index, encoder=folder if vectors is None else vectors)
            vectors = index.encoder
    operations: dict[str, Operation] = {}
    if model is not None:
        operations |= {"predict": Predicting(model), "predict_pair": Predicting(model)}
        if explainer is not None:
            operations["explain"] = Explaining(model, explainer)
    if vectors is not None:
        operations["encode"] = Encoding(vectors)
    if index is not None:
        operations["search"] = Searching(index)
    return Opened(
        task="encoder" if model is None else model.task.name,
        input="text" if model is None else _input_kind(model),
        model=model,
        vectors=vectors,
        index=index,
        info=info(folder),
        card=_card(folder) if model is None else model.card,
        value_range=None if model is None else _value_range(model),
        created=_created(folder),
        operations=operations,
    )


def warm_up(opened: Opened, speed: Speed, *, full: int, clock: Callable[[], float] = time.perf_counter) -> None:
    """Answer some texts, so that no request pays for what is done once, and learn how fast the model is.

    Args:
        opened: what was opened.
        speed: told of every batch.
        full: estimated tokens of a full micro-batch.
        clock: gives seconds.

    Raises:
        UserError: the model cannot answer at all.
    """
    cost = estimated_tokens(len(_WARM_TEXT.encode()))
    begun = clock()
    for name, operation in opened.operations.items():
        if name in ("explain", "predict_pair"):
            continue
        item: Any = _WARM_TEXT
        if name == "predict":
            two = opened.input in ("pair", "question")
            item = Example(text=_WARM_TEXT, text_pair=_WARM_TEXT if two else None)
        elif name == "search":
            item = (_WARM_TEXT, 5)
        for count in _WARM_TEXTS:
            begin = clock()
            operation.run([item] * count)
            speed.learn(cost * count, clock() - begin, full=full)
            if clock() - begun > _WARM_SECONDS:  # a slow model learns the rest from requests
                break


def _has_task(folder: str) -> bool:
    """Say whether a folder holds a task model, ours or another program's; everything else is an encoder."""
    if (Path(folder) / TASK_FILE).is_file():
        return True
    with open_checkpoint(folder) as opened:
        return opened.task_head() is not None


def _vectors_of(model: Model) -> VectorModel | None:
    """Return what makes vectors with the weights of a trained bi-encoder; None for any other model."""
    learnt = model.learnt
    if not isinstance(learnt, BiEncoder) or not isinstance(learnt.body, Encoder) or model.tokenizer is None:
        return None
    if model.task_config.own(SimilarityOptions).architecture == "cross-encoder":
        return None
    with torch.device("meta"):  # its pooling has no weights
        module = SentenceEncoder(learnt.body, sentence_pooling(model.task_config))
    return VectorModel(module, model.tokenizer)


def _input_kind(model: Model) -> InputKind:
    if model.task.name == _QUESTIONS:
        return "question"
    pairs = model.task_config.pairs
    return "text or pair" if pairs is None else "pair" if pairs else "text"


def _value_range(model: Model) -> tuple[float, float] | None:
    if model.task.name != SIMILARITY:
        return None
    options = model.task_config.own(SimilarityOptions)
    return options.lowest, options.highest


def _card(folder: str) -> str:
    """Return the card beside an encoder; one that cannot be read is none."""
    path = (shipped_folder(folder) or Path(folder)) / CARD_FILE
    try:
        with path.open("rb") as file:
            return file.read(_CARD_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _created(folder: str) -> int:
    path = shipped_folder(folder) or Path(folder)
    files: Sequence[Path] = [path] if path.is_file() else [one for one in path.glob("*") if one.is_file()]
    return int(max((one.stat().st_mtime for one in files), default=0))

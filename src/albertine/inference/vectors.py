"""Texts to vectors: `albertine.encode`, and a model that is kept open for many calls."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from albertine.checkpoints.load import open_encoder
from albertine.checkpoints.native import TASK_FILE
from albertine.checkpoints.reading import read_json
from albertine.errors import CheckpointError, ConfigError, UserError, unknown_name
from albertine.files import atomic_path
from albertine.inference.engine import EngineSettings, PackedEngine, warn_truncated
from albertine.inference.fused import inference_copy
from albertine.inference.precision import Precision, choose_precision
from albertine.models.pooling import PoolingMode, SentenceEncoder, SentencePooling
from albertine.records import Batch, EncodedExamples
from albertine.tasks.config import TaskConfig
from albertine.tasks.sentence_similarity import NAME as SIMILARITY
from albertine.tasks.sentence_similarity import sentence_pooling
from albertine.tasks.similarity_options import SimilarityOptions
from albertine.tasks.task import FloatArray, text_rows
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["PoolingChoice", "VectorModel", "VectorPiece", "encode", "load_vectors", "write_vectors"]

PoolingChoice = Literal["auto", PoolingMode]
"""A way of pooling, or what the folder says."""

_LOG = logging.getLogger("albertine")

_SHORTEST = 3
"""[CLS], a token, [SEP]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPiece:
    """A part of a long input with its vectors."""

    texts: Sequence[str]
    """As they came."""
    vectors: FloatArray
    """[N, width] float32, one row a text."""


class VectorEngine(PackedEngine[str, FloatArray]):
    """The engine over texts whose answer is a vector.

    Args:
        module: in evaluation mode.
        tokenizer: the encoder's own.
        max_length: tokens that texts are cut to.
        precision: of the matrix products.
        settings: how the work is cut.
    """

    def __init__(
        self,
        module: SentenceEncoder,
        tokenizer: Tokenizer,
        *,
        max_length: int,
        precision: Precision = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        super().__init__(module, max_length=max_length, precision=precision, settings=settings)
        self.width = module.pooling.width
        self.tokenizer = tokenizer
        self.lowercase = module.pooling.pooling.lowercase and not tokenizer.lowercase

    def encode_items(self, items: Sequence[str]) -> EncodedExamples:
        """Turn texts into token ids."""
        texts = [text.lower() for text in items] if self.lowercase else items
        tokens = self.tokenizer.tokenize(texts, max_length=self.max_length, offsets=False)
        return EncodedExamples.one_each(tuple(tokens.rows()), truncated=tokens.truncated)

    def outputs(self, batch: Batch) -> list[FloatArray]:
        """Return the vector of every text of a packed batch, [width] float32 each."""
        vectors: Tensor = self.module(
            batch.input_ids, token_type_ids=batch.token_type_ids, sequence_starts=batch.sequence_starts
        )
        return text_rows(vectors)

    def joined(self, outputs: Sequence[FloatArray], encoded: EncodedExamples, items: Sequence[str]) -> list[FloatArray]:
        """Return the vectors as they are: a text is never more than one encoded text."""
        return list(outputs)

    def vectors(self, texts: Sequence[str]) -> tuple[FloatArray, int]:
        """Return [N, width] float32, in the order of the texts, and how many were cut."""
        rows = np.empty((len(texts), self.width), dtype=np.float32)
        truncated = 0
        for first in range(0, len(texts), self.settings.chunk):
            found = self.answers(texts[first : first + self.settings.chunk])
            truncated += len(found.truncated)
            np.stack(found.rows, out=rows[first : first + len(found.rows)])
        return rows, truncated


class VectorModel:
    """An encoder and its pooling, ready to turn texts into vectors; `load_vectors` opens one.

    Args:
        module: the encoder and what makes a vector of its states, in fp32.
        tokenizer: the encoder's own.
        max_length: tokens that longer texts are cut to; None for the pooling's own, else the tokenizer's, and at most
            what the encoder's positions reach.
        precision: of the matrix products; "auto" measures which is faster on this machine. Vectors are kept and
            compared with others', so that fp32 is what they are made in unless told otherwise; bf16 moves an entry of
            a normalised vector by about 1e-3.
        settings: how the engine cuts its work.

    Raises:
        ConfigError: no such precision; a maximum length that is too short for a text or too long for the encoder.
    """

    def __init__(
        self,
        module: SentenceEncoder,
        tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        module.eval()
        self.pooling: SentencePooling = module.pooling.pooling
        usual = self.pooling.max_length or tokenizer.max_length
        self.max_length = _length(max_length, usual, module.encoder.config.max_position_embeddings)
        self.precision: Precision = choose_precision(next(module.parameters()).device, precision)
        fast = inference_copy(module, self.precision)
        assert isinstance(fast, SentenceEncoder)
        self.engine = VectorEngine(
            fast, tokenizer, max_length=self.max_length, precision=self.precision, settings=settings
        )

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.engine.width

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return one vector a text, [N, width] float32, in the order of the texts.

        Texts longer than `max_length` tokens are cut to their beginning, and a warning says how many were. A text
        without any words has a vector too, that of its special tokens.

        Raises:
            UserError: a single text instead of a list, or something that is not a text.
        """
        checked = _checked(texts)
        rows, truncated = self.engine.vectors(checked)
        warn_truncated(truncated, len(checked), self.max_length)
        return rows

    def encode_pieces(self, pieces: Iterable[Sequence[str]]) -> Iterator[VectorPiece]:
        """Yield the vectors of every piece of a long input as soon as they are there; cut texts are told of once.

        Raises:
            UserError: as `encode`.
        """
        truncated, total = 0, 0
        for piece in pieces:
            rows, cut = self.engine.vectors(_checked(piece))
            truncated += cut
            total += len(piece)
            yield VectorPiece(texts=piece, vectors=rows)
        warn_truncated(truncated, total, self.max_length)


def encode(
    texts: Sequence[str],
    *,
    encoder: str | Path,
    pooling: PoolingChoice = "auto",
    normalize: bool | None = None,
    max_length: int | None = None,
    device: str = "cpu",
    allow_pickle: bool = False,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    settings: EngineSettings | None = None,
) -> FloatArray:
    """Return one vector a text, [N, H] float32, in the order of the texts.

    To encode more than once, open the encoder once with `load_vectors`. The arguments other than the texts are those
    of `load_vectors`, and so are the errors; `VectorModel.encode` says what is done with long and empty texts.

    Args:
        texts: any number of texts, of any length.
        encoder: a folder or a name.
        pooling: how the tokens' states become one vector.
        normalize: whether vectors have length 1.
        max_length: tokens that longer texts are cut to.
        device: where to compute.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.
        precision: of the matrix products.
        settings: how the engine cuts its work.

    Raises:
        UserError: a single text instead of a list, or something that is not a text.
    """
    checked = _checked(texts)
    model = load_vectors(
        encoder,
        pooling=pooling,
        normalize=normalize,
        max_length=max_length,
        device=device,
        allow_pickle=allow_pickle,
        precision=precision,
        settings=settings,
    )
    return model.encode(checked)


def load_vectors(
    encoder: str | Path,
    *,
    pooling: PoolingChoice = "auto",
    normalize: bool | None = None,
    max_length: int | None = None,
    device: str = "cpu",
    allow_pickle: bool = False,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    settings: EngineSettings | None = None,
) -> VectorModel:
    """Open an encoder that turns texts into vectors.

    Args:
        encoder: what `load_encoder` opens.
        pooling: cls, max, mean, mean_sqrt_length, weighted_mean or last; "auto" does what a sentence-transformers
            folder says, and takes the mean elsewhere. A folder's dense layers are used with its own pooling only.
        normalize: whether vectors are divided by their Euclidean norm; None: as the folder says, else not.
        max_length: tokens that longer texts are cut to, special ones included; None: as the folder says, else what the
            encoder's positions reach.
        device: where to compute.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.
        precision: of the matrix products; "auto" measures which is faster on this machine. Vectors are kept and
            compared with others', so that fp32 is what they are made in unless told otherwise; bf16 moves an entry of
            a normalised vector by about 1e-3.
        settings: how the engine cuts its work.

    Raises:
        CheckpointError: something in the folder is missing, damaged or not known; it has no tokenizer.
        ConfigError: no such encoder, pooling, device or precision; a length that does not fit.
    """
    if pooling not in get_args(PoolingChoice):
        raise unknown_name("pooling", str(pooling), get_args(PoolingChoice), where="pooling")
    opened = open_encoder(encoder, device=device, allow_pickle=allow_pickle)
    if opened.tokenizer is None:
        raise CheckpointError(
            "this encoder has no tokenizer, so it reads no texts",
            where=str(encoder),
            next_step="Give a model folder that holds its tokenizer's files as well",
        )
    sentence = opened.sentence
    record = _trained_pooling(encoder) if sentence is None else sentence.pooling
    if pooling != "auto" and record.modes != (pooling,):
        if record.dense:
            _LOG.warning("%s: its dense layers belong to its own pooling and are left out with %r", encoder, pooling)
        record = replace(record, modes=(pooling,), dense=())
    if normalize is not None:
        record = replace(record, normalize=normalize, normalize_cut=normalize and record.truncate_dim is not None)
    with torch.device("meta"):  # no random numbers for weights that are replaced at once
        module = SentenceEncoder(opened.module, record)
    if sentence is not None:
        own = {name: sentence.tensors[f"pooling.{name}"] for name in module.pooling.state_dict()}
        own = {name: tensor.to(device, torch.float32) for name, tensor in own.items()}
        module.pooling.load_state_dict(own, assign=True)
    return VectorModel(module, opened.tokenizer, max_length=max_length, precision=precision, settings=settings)


def _trained_pooling(encoder: str | Path) -> SentencePooling:
    """Return the pooling that a model of sentence similarity was trained with, and the usual one for anything else.

    Raises:
        ConfigError: a cross-encoder, which makes no vectors.
    """
    path = Path(encoder) / TASK_FILE
    if not path.is_file():
        return SentencePooling()
    values = read_json(path)
    if values.get("task") != SIMILARITY:
        return SentencePooling()
    config = TaskConfig.from_dict(values, SimilarityOptions, where=str(path))
    if config.own(SimilarityOptions).architecture == "cross-encoder":
        raise ConfigError(
            "this model looks at two texts together and makes no vectors",
            where=str(encoder),
            next_step="Train a bi-encoder, or use this one to re-rank what another one finds",
        )
    return sentence_pooling(config)


def write_vectors(target: Path, pieces: Iterable[FloatArray], width: int) -> int:
    """Write vectors as one .npy file of [N, width] float32, whole or not at all, and return N.

    Memory does not grow with N: the rows are written as they come, and the file's header last.

    Raises:
        ConfigError: the name does not end in .npy.
        FailureError: the disk is full or the place cannot be written to.
    """
    if target.suffix != ".npy":
        raise ConfigError("vectors are written as a NumPy file", received=str(target), allowed="a name ending in .npy")
    count = 0
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        # NumPy leaves room in a header for the first axis to grow, so that both have the same length.
        _write_header(file, 0, width)
        for rows in pieces:
            file.write(np.ascontiguousarray(rows, dtype="<f4").data)
            count += len(rows)
        file.seek(0)
        _write_header(file, count, width)
    return count


def _length(asked: int | None, usual: int | None, longest: int) -> int:
    """Return the tokens that texts are cut to."""
    if asked is None:
        return max(_SHORTEST, min(usual or longest, longest))
    if not _SHORTEST <= asked <= longest:
        raise ConfigError(
            "a text cannot be cut to this length",
            where="max_length",
            received=asked,
            allowed=f"{_SHORTEST} … {longest}, the positions of the encoder",
        )
    return asked


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise UserError(
            "a list of texts is expected", received="one text", next_step="Put it into a list: encode([text])"
        )
    checked = list(texts)
    for place, text in enumerate(checked):
        if not isinstance(text, str):
            raise UserError(
                "this is not a text",
                where=f"item {place}",
                received=f"{type(text).__name__} {text!r}"[:120],
                allowed="a text",
            )
    return checked


def _write_header(file: BinaryIO, count: int, width: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (count, width)})

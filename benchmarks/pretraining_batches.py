"""The texts and batches of the pretraining benchmark, packed for ours and padded for transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from albertine.batching.masking import MaskingChoices, TokenFacts, mask_batch
from albertine.batching.pretraining_batch import ExampleCounts, PretrainingBatch
from albertine.batching.pretraining_examples import ExampleChoices, PretrainingBatches
from albertine.batching.shards import Shards
from albertine.batching.step_plan import Phase
from albertine.batching.token_stream import MemoryStream, TokenStream
from albertine.records import Batch

VOCABULARY = 21_128
CLS, SEP, MASK, SPECIAL = 101, 102, 103, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is pretrained, on what."""

    preset: str
    dropout: float
    length: int = 128
    rows: int = 32
    cases: tuple[str, ...] = ("full",)


def facts() -> TokenFacts:
    special = np.zeros(VOCABULARY, dtype=np.bool_)
    special[:SPECIAL] = True
    drawable = np.arange(SPECIAL, VOCABULARY, dtype=np.int64)
    return TokenFacts(cls_id=CLS, sep_id=SEP, mask_id=MASK, special=special, drawable=drawable)


def random_text(tokens: int = 2_000_000) -> MemoryStream:
    generator = np.random.default_rng(0)
    words = VOCABULARY - SPECIAL
    chances = 1.0 / np.arange(1, words + 1)
    lengths = np.clip(np.exp(generator.normal(np.log(18.0), 0.6, size=tokens // 18)), 3, 90).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    sentences = generator.integers(2, 41, size=len(lengths) // 21 + 1)
    documents = np.minimum(np.concatenate([[0], np.cumsum(sentences)]), len(lengths))
    documents = np.unique(np.append(documents, len(lengths)))
    ranks = np.searchsorted(np.cumsum(chances / chances.sum()), generator.random(int(starts[-1])))
    ids = SPECIAL + generator.permutation(words)[np.minimum(ranks, words - 1)]
    return MemoryStream(ids.astype(np.int64), starts, documents, np.ones(len(ids), dtype=np.bool_))


def full_rows(stream: TokenStream, model: Model, step: int) -> PretrainingBatch:
    """Make rows of exactly the model's length out of running text, cut anywhere."""
    generator = np.random.default_rng([1, step])
    width, rows, length = model.length - 3, model.rows, model.length
    first = (step * rows * width) % max(1, stream.num_tokens - rows * width)
    text = stream.tokens(first, first + rows * width).astype(np.int64).reshape(rows, width)
    half = width // 2
    wall = np.full((rows, 1), SEP)
    ids = np.concatenate([np.full((rows, 1), CLS), text[:, :half], wall, text[:, half:], wall], axis=1)
    types = np.zeros_like(ids)
    types[:, half + 2 :] = 1
    starts = np.arange(rows + 1, dtype=np.int64) * length
    masked = mask_batch(
        ids.reshape(-1),
        sequence_starts=starts,
        word_starts=np.ones(ids.size, dtype=np.bool_),
        facts=facts(),
        choices=MaskingChoices(),
        share=0.15,
        generator=generator,
    )
    return PretrainingBatch(
        batch=Batch(
            input_ids=torch.from_numpy(masked.input_ids),
            token_type_ids=torch.from_numpy(types.reshape(-1)),
            sequence_starts=torch.from_numpy(starts),
        ),
        positions=torch.from_numpy(masked.positions),
        targets=torch.from_numpy(masked.targets),
        pair_labels=torch.from_numpy(generator.integers(0, 2, size=rows)),
        counts=ExampleCounts(),
    )


def batch_maker(model: Model, case: str, corpus: str | None) -> Callable[[int], PretrainingBatch]:
    stream: TokenStream = Shards(corpus) if corpus else random_text()
    if case == "full":
        return lambda step: full_rows(stream, model, step)
    choices = ExampleChoices(
        pair="sop", phases=(Phase(length=model.length),), tokens_per_step=model.rows * model.length
    )
    return PretrainingBatches(stream, facts(), choices, total_steps=1000).batch


def padded(batch: PretrainingBatch, *, mask: bool) -> dict[str, Tensor]:
    """Return what transformers wants: [B, T] tensors, labels of -100 where nothing is to be predicted."""
    starts = batch.batch.sequence_starts
    assert starts is not None
    assert batch.pair_labels is not None
    lengths = starts.diff()
    shown = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)

    def rows(values: Tensor, empty: int) -> Tensor:
        return torch.full(shown.shape, empty).masked_scatter_(shown, values)

    labels = torch.full_like(batch.batch.input_ids, -100)
    labels[batch.positions] = batch.targets
    inputs = {
        "input_ids": rows(batch.batch.input_ids, 0),
        "token_type_ids": rows(batch.batch.token_type_ids, 0),
        "labels": rows(labels, -100),
        "pair": batch.pair_labels,
    }
    if mask:
        inputs["attention_mask"] = shown.long()
    return inputs

"""How the batch of a step is shared out among micro-batches and processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.pretraining_batch import ExampleCounts, PretrainingBatch, micro_batches, share
from albertine.errors import ConfigError
from albertine.records import Batch


def make(lengths: list[int], seed: int = 0) -> PretrainingBatch:
    generator = np.random.default_rng(seed)
    total = sum(lengths)
    positions = np.flatnonzero(generator.random(total) < 0.2)
    return PretrainingBatch(
        batch=Batch(
            input_ids=torch.arange(total),
            token_type_ids=torch.from_numpy(generator.integers(2, size=total)),
            sequence_starts=torch.from_numpy(np.cumsum([0, *lengths])),
        ),
        positions=torch.from_numpy(positions),
        targets=torch.from_numpy(positions + 7),
        pair_labels=torch.from_numpy(generator.integers(2, size=len(lengths))),
        counts=ExampleCounts(slots=3, short_slots=1, texts=len(lengths), tokens=total, masked=len(positions)),
    )


def glued(parts: list[PretrainingBatch]) -> PretrainingBatch:
    """Put parts together again."""
    tokens = np.cumsum([0, *(part.token_count for part in parts)]).tolist()
    starts = [torch.zeros(1, dtype=torch.int64)]
    for part, before in zip(parts, tokens, strict=False):
        assert part.batch.sequence_starts is not None
        assert part.batch.sequence_starts[0] == 0
        starts.append(part.batch.sequence_starts[1:] + before)
    counts = parts[0].counts
    for part in parts[1:]:
        counts = counts + part.counts
    return PretrainingBatch(
        batch=Batch(
            input_ids=torch.cat([part.batch.input_ids for part in parts]),
            token_type_ids=torch.cat([part.batch.token_type_ids for part in parts]),
            sequence_starts=torch.cat(starts),
        ),
        positions=torch.cat([part.positions + before for part, before in zip(parts, tokens, strict=False)]),
        targets=torch.cat([part.targets for part in parts]),
        pair_labels=torch.cat([part.pair_labels for part in parts if part.pair_labels is not None]),
        counts=counts,
    )


def same(one: PretrainingBatch, other: PretrainingBatch) -> bool:
    assert one.batch.sequence_starts is not None
    assert other.batch.sequence_starts is not None
    assert one.pair_labels is not None
    assert other.pair_labels is not None
    return all(
        torch.equal(first, second)
        for first, second in (
            (one.batch.input_ids, other.batch.input_ids),
            (one.batch.token_type_ids, other.batch.token_type_ids),
            (one.batch.sequence_starts, other.batch.sequence_starts),
            (one.positions, other.positions),
            (one.targets, other.targets),
            (one.pair_labels, other.pair_labels),
        )
    )


@settings(max_examples=120, deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30), parts=st.integers(1, 12))
def test_parts_make_up_the_whole(lengths: list[int], parts: int) -> None:
    batch = make(lengths)
    cut = micro_batches(batch, parts)
    assert len(cut) == min(parts, len(lengths))
    assert all(len(part) >= 1 for part in cut)
    assert same(glued(cut), batch)
    for part in cut:
        assert torch.equal(part.batch.input_ids[part.positions] + 7, part.targets), "masks move with their texts"
        assert part.counts.tokens == part.token_count
        assert (part.counts.texts, part.counts.masked) == (len(part), len(part.positions))


def test_many_texts_are_shared_out_evenly() -> None:
    lengths = np.random.default_rng(1).integers(20, 129, size=301).tolist()
    sizes = [part.token_count for part in micro_batches(make(lengths), 7)]
    assert max(sizes) - min(sizes) <= 128


def test_the_shares_of_two_processes_are_the_whole() -> None:
    batch = make([5, 9, 2, 7, 7, 1, 30])
    for world in (1, 2, 3, 7):
        assert same(glued([share(batch, rank, world) for rank in range(world)]), batch)


def test_a_batch_without_pair_labels_stays_without() -> None:
    batch = make([4, 5, 6])
    bare = PretrainingBatch(
        batch=batch.batch, positions=batch.positions, targets=batch.targets, pair_labels=None, counts=batch.counts
    )
    assert all(part.pair_labels is None for part in micro_batches(bare, 2))
    assert bare.to("cpu").pair_labels is None


def test_a_batch_moves_as_one() -> None:
    batch = make([4, 5, 6])
    moved = batch.to("meta")
    assert {moved.batch.input_ids.device.type, moved.positions.device.type, moved.targets.device.type} == {"meta"}
    assert moved.pair_labels is not None
    assert moved.pair_labels.device.type == "meta"
    assert (len(moved), moved.token_count) == (3, 15)


def test_counts_add_up() -> None:
    total = ExampleCounts(slots=1, texts=2, tokens=3) + ExampleCounts(slots=10, trimmed=4, masked=5)
    assert total == ExampleCounts(slots=11, texts=2, tokens=3, trimmed=4, masked=5)


def test_no_parts_no_process_and_too_many_processes_are_refused() -> None:
    batch = make([4, 5])
    with pytest.raises(ConfigError, match="parts"):
        micro_batches(batch, 0)
    with pytest.raises(ConfigError, match="rank"):
        share(batch, 2, 2)
    with pytest.raises(ConfigError, match="2 texts for 3 processes"):
        share(batch, 0, 3)

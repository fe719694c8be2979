"""`albertine bench`: every row is there, the figures fit each other, and the texts are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from albertine.errors import ConfigError
from albertine.inference.bench import bench, drawn_lengths, drawn_texts
from albertine.inference.kernels import int8_is_supported
from albertine.inference.model import Model


def test_every_precision_mix_and_length_has_its_row(elastic: Model, tmp_path: Path) -> None:
    elastic.save(tmp_path / "model")
    result = bench(tmp_path / "model", seconds=0.05)
    precisions = ["fp32", "bf16", *(["int8"] if int8_is_supported() else [])]
    assert [one.precision for one in result.latency] == [name for name in precisions for _ in (8, 32)]
    assert [one.tokens for one in result.latency] == [8, 32] * len(precisions)
    assert not result.throughput, "64 positions are too few for either mix"
    assert all(0 < one.milliseconds.p50 <= one.milliseconds.p95 <= one.milliseconds.p99 for one in result.latency)
    assert result.cold_milliseconds > 0
    assert f"8 tokens, {precisions[-1]}" in result.render()


def test_throughput_counts_real_tokens() -> None:
    result = bench("preset:bert-tiny", precisions=["fp32"], seconds=0.05)
    short, long = result.throughput
    assert (short.mix, long.mix) == ("short", "long")
    assert short.tokens_per_second / short.texts_per_second == pytest.approx(
        np.mean(drawn_lengths("short", 2048, 0)), rel=1e-6
    )
    assert [one.tokens for one in result.latency] == [8, 32, 128, 512]


def test_lengths_are_drawn_as_they_are_described() -> None:
    short, long = drawn_lengths("short", 4001, 3), drawn_lengths("long", 501, 3)
    assert np.mean(short) == pytest.approx(32, rel=0.06)
    assert (min(short), max(short)) == (4, 128)
    assert min(long) >= 128
    assert max(long) <= 512
    texts = drawn_texts(short[:7], 50, 1)
    assert [len(one) for one in texts] == short[:7]
    assert all(0 < one.input_ids.min() <= one.input_ids.max() < 50 for one in texts)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown precision"):
        bench("preset:bert-tiny", precisions=["fp16"])

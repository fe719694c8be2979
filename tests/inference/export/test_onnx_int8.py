"""ONNX files of integers: integer products, a quarter of the bytes, one copy of every weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.checkpoints.load import load_pretraining
from albertine.inference.export.export import export
from albertine.inference.export.onnx_file import open_onnx
from albertine.inference.export.products import quantized_rows
from albertine.models.config import EncoderConfig
from albertine.tasks.config import TaskConfig

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 33), st.floats(1e-6, 1e6))
def test_integers_times_their_scale_are_the_weights_and_no_pair_overflows(
    seed: int, rows: int, columns: int, size: float
) -> None:
    generator = np.random.default_rng(seed)
    weight = (generator.standard_t(3, (rows, columns)) * size).astype(np.float32)
    integers, scale = quantized_rows(weight)
    assert integers.dtype == np.int8
    assert scale.shape == (rows,)
    assert np.abs(integers * scale[:, None] - weight).max() <= 0.5001 * scale.max()
    assert (np.abs(integers * scale[:, None] - weight) <= 0.5001 * scale[:, None]).all()
    wide = integers.astype(np.int32)
    pairs = wide[:, : columns // 2 * 2].reshape(rows, -1, 2).sum(axis=2)
    # what 255, the largest state, makes of two neighbours fits into 16 bits with sign
    assert (np.abs(pairs) * 255 <= 32767).all()
    assert np.abs(wide).max() <= 127


def test_a_row_of_zeros_stays_one() -> None:
    integers, scale = quantized_rows(np.zeros((2, 5), dtype=np.float32))
    assert not integers.any()
    assert (scale > 0).all()


def big(shape: Callable[..., EncoderConfig], name: str) -> EncoderConfig:
    width = 96 if name == "bert" else 64
    return shape(
        name, vocab_size=3_000, hidden_size=160, num_attention_heads=4, embedding_size=160 if name == "bert" else width,
        num_hidden_layers=6, intermediate_size=640,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["bert", "albert", "brightmart"])
def test_the_file_is_a_quarter_and_its_products_are_of_integers(
    name: str, shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    config = big(shape, name)
    source = save_pretraining(config, std=0.08)
    report = export(source, tmp_path / "int8", to="onnx-int8")
    module, _ = load_pretraining(source)
    unique = 4 * sum(one.numel() for one in module.parameters())
    assert 0.25 * unique < report.bytes < 0.3 * unique
    # 4 a pass, pooler, the masked-word head's two, and the projection of a factorised table
    assert report.products.integer == 4 * 6 + 3 + (name != "bert")
    assert report.products.floating == 1 + (name == "brightmart")  # the pair head; the way back through a projection
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    path = str(tmp_path / "int8" / "model.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    kinds = Counter(node.op_type for node in graph.node)
    fused = kinds["DynamicQuantizeMatMul"] + kinds["MatMulIntegerToFloat"]
    assert fused == report.products.integer, kinds
    stored = {one.name: one for one in graph.initializer}
    floats = [
        one for one in stored.values() if one.data_type == onnx.TensorProto.FLOAT and np.prod(one.dims) > 64 * 160
    ]
    assert [one.name for one in floats] == []


@pytest.mark.parametrize("name", ["bert", "albert", "pre-norm", "transformer"])
def test_the_states_stay_near_those_of_the_model(
    name: str, shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    report = export(save_pretraining(shape(name), std=0.15), tmp_path / "int8", to="onnx-int8")
    apart = {one.name: one.relative for one in report.verification.outputs}
    assert 0 < apart["last_hidden_state"] < 0.1
    assert report.verification.bound is None


def test_padding_changes_no_number_of_a_text(
    shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    export(save_pretraining(shape("bert")), tmp_path / "int8", to="onnx-int8")
    session = open_onnx(tmp_path / "int8", threads=1)
    ids = np.array([[2, 7, 30, 9, 3]])
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)
    alone = session.run(None, {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros})
    padded = {
        "input_ids": np.pad(ids, ((0, 0), (0, 12)), constant_values=17),  # whatever stands there
        "attention_mask": np.pad(ones, ((0, 0), (0, 12))),
        "token_type_ids": np.pad(zeros, ((0, 0), (0, 12)), constant_values=1),
    }
    for one, other in zip(alone, session.run(None, padded), strict=True):
        np.testing.assert_allclose(other[:, :5] if one.ndim == 3 else other, one, atol=1e-5)


def test_answers_that_change_are_told(
    shape: Callable[..., EncoderConfig],
    save_task: Callable[..., tuple[object, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("albertine.inference.export.products._INT8_LARGEST", 1)  # so coarse that answers must change
    labels = tuple(f"label {number}" for number in range(300))
    _, source = save_task(shape("bert"), TaskConfig(task="text-classification", labels=labels, max_length=41))
    report = export(source, tmp_path / "int8", to="onnx-int8")
    found = report.verification
    assert found.answers == 25
    assert 0 < len(found.changed) <= found.answers
    assert found.changed[0].before != found.changed[0].after
    assert f"answers that changed: {len(found.changed)} of 25" in report.render()
    assert found.changed[0].after in report.render()
    document = report.to_dict()["verification"]
    assert isinstance(document, dict)
    assert document["changed"] == len(found.changed) == len(document["changed_answers"])
    described = (tmp_path / "int8" / "export.json").read_text(encoding="utf-8")
    assert f'"changed": {len(found.changed)}' in described
    assert "好吃" not in described  # a folder that is given away tells nobody's texts

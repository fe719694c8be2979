"""ONNX files: the numbers of the model for every shape of encoder, and every weight once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from albertine.checkpoints.load import load_pretraining
from albertine.inference.export.export import export
from albertine.inference.export.onnx_file import open_onnx
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SHAPES = [
    "bert",
    "bert-without-pooler",
    "bert-untied",
    "albert",
    "albert-groups",
    "albert-shared-attention",
    "pre-norm",
    "brightmart",
    "transformer",
]
LENGTHS = (1, 17, 2, 41, 5)


def batch(config: EncoderConfig, lengths: tuple[int, ...] = LENGTHS, width: int | None = None) -> dict[str, np.ndarray]:
    """Rows of random ids; at padding stand ids and types that must not matter."""
    generator = np.random.default_rng(5)
    shape = (len(lengths), width or max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    found = {"input_ids": generator.integers(0, config.vocab_size, shape), "attention_mask": mask}
    if config.type_vocab_size:
        found["token_type_ids"] = generator.integers(0, config.type_vocab_size, shape)
    return found


def reference(module: PretrainingModel, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        out = module(**{name: torch.from_numpy(rows) for name, rows in feed.items()})
    found = {
        "last_hidden_state": out.encoder.last_hidden_state,
        "pooler_output": out.encoder.pooler_output,
        "prediction_logits": out.prediction_logits,
        "pair_logits": out.pair_logits,
    }
    return {name: tensor.numpy() for name, tensor in found.items() if tensor is not None}


def run(folder: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = open_onnx(folder, threads=1)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.mark.parametrize("name", SHAPES)
def test_a_graph_gives_what_the_model_does_at_every_real_token(
    name: str, shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    config = shape(name)
    source = save_pretraining(config)
    report = export(source, tmp_path / "onnx", to="onnx")
    feed = batch(config)
    expected = reference(load_pretraining(source)[0], feed)
    found = run(tmp_path / "onnx", feed)
    assert list(found) == list(report.outputs) == list(expected)
    assert ("pooler_output" in found) == (name != "bert-without-pooler")
    real = feed["attention_mask"].astype(bool)
    for output, rows in expected.items():
        ours, theirs = (rows[real], found[output][real]) if rows.ndim == 3 else (rows, found[output])
        assert np.abs(ours).max() > 0.1
        np.testing.assert_allclose(theirs, ours, atol=2e-5 * np.abs(ours).max(), err_msg=output)


@pytest.mark.parametrize("name", ["bert", "pre-norm", "transformer"])
def test_padding_and_other_texts_change_nothing(
    name: str, shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    config = shape(name)
    export(save_pretraining(config), tmp_path / "onnx", to="onnx")
    feed = batch(config, width=41)
    together = run(tmp_path / "onnx", feed)
    for row, length in enumerate(LENGTHS):
        alone = run(tmp_path / "onnx", {key: rows[row : row + 1, :length] for key, rows in feed.items()})
        for output, rows in alone.items():
            whole = together[output][row : row + 1]
            np.testing.assert_allclose(whole[:, :length] if rows.ndim == 3 else whole, rows, atol=2e-5)


def big(name: str, shape: Callable[..., EncoderConfig]) -> EncoderConfig:
    """Large enough that weights, and not the nodes that name them, decide how large a file is."""
    return shape(
        name,
        vocab_size=3_000,
        hidden_size=96,
        embedding_size=96 if name == "bert" else 48,
        num_hidden_layers=12,
        intermediate_size=384,
    )


def weight_bytes(config: EncoderConfig, source: Path) -> int:
    module, _ = load_pretraining(source)
    assert config.num_passes == 12
    return 4 * sum(one.numel() for one in module.parameters())


@pytest.mark.parametrize("name", ["albert", "brightmart", "bert"])
def test_every_weight_stands_in_the_file_once_and_so_it_does_after_onnxruntime_has_optimized_it(
    name: str, shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    config = big(name, shape)
    source = save_pretraining(config, std=0.05)
    unique = weight_bytes(config, source)
    report = export(source, tmp_path / "onnx", to="onnx")
    path = tmp_path / "onnx" / "model.onnx"
    assert unique < report.bytes == path.stat().st_size < 1.1 * unique
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert (tmp_path / "optimized.onnx").stat().st_size < 1.1 * unique


def test_the_passes_of_a_shared_block_name_the_same_weights(
    shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    export(save_pretraining(shape("albert")), tmp_path / "onnx", to="onnx")
    graph = onnx.load(tmp_path / "onnx" / "model.onnx").graph
    used = [name for node in graph.node for name in node.input]
    weights = [one.name for one in graph.initializer]
    assert len(weights) == len(set(weights))
    blocks = [name for name in weights if "blocks." in name and name.endswith(".weight")]
    assert blocks
    assert all(used.count(name) == 3 for name in blocks)
    # the word table is looked up and is what words are scored with
    assert used.count("encoder.embeddings.word_embeddings.weight") == 2


def test_runtimes_find_the_patterns_that_they_fuse(
    shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    for name, activation in (("bert", "BiasGelu"), ("albert", "FastGelu")):
        export(save_pretraining(shape(name)), tmp_path / name, to="onnx")
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        options.log_severity_level = 3
        path = str(tmp_path / name / "model.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(tmp_path / f"{name}.onnx").graph.node]
        assert kinds.count(activation) >= 3
        assert kinds.count("SkipLayerNormalization") >= 6
        assert "Erf" not in kinds


def test_weights_beyond_what_one_file_holds_stand_in_another(
    shape: Callable[..., EncoderConfig],
    save_pretraining: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("albertine.inference.export.onnx_file._LARGEST_MESSAGE", 5_000)
    config = shape("bert")
    source = save_pretraining(config)
    export(source, tmp_path / "onnx", to="onnx")
    assert (tmp_path / "onnx" / "model.onnx.data").stat().st_size > (
        tmp_path / "onnx" / "model.onnx"
    ).stat().st_size / 9
    feed = batch(config)
    found, expected = run(tmp_path / "onnx", feed), reference(load_pretraining(source)[0], feed)
    np.testing.assert_allclose(found["pooler_output"], expected["pooler_output"], atol=1e-4)
    export(source, tmp_path / "onnx", to="onnx", overwrite=True)  # both files are known to be an export's

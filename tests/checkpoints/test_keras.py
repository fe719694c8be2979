"""Hugging Face's tf_model.h5: its names and orders, and what is refused.

The layout that `write_h5` writes was compared with files that transformers 4.46 saved from its TensorFlow classes
(TensorFlow 2.16, tf-keras 2.16) with random weights: TFBert and TFAlbert as Model, ForPreTraining, ForMaskedLM,
ForSequenceClassification, ForTokenClassification and ForQuestionAnswering, saved once and saved again after loading.
Opened by `open_keras` and matched as any Hugging Face file, every output (states, pooled vector, masked words, pairs,
labels, spans) was within 4e-6 of what those classes computed, and nothing was left over.
"""

from __future__ import annotations

import builtins
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from albertine.checkpoints import keras
from albertine.checkpoints.huggingface import ModelType, ReadConfig
from albertine.checkpoints.keras import open_keras, torch_name
from albertine.checkpoints.matching import encoder_state, fill
from albertine.checkpoints.names import Place, file_names
from albertine.checkpoints.source import read_tensor
from albertine.errors import CheckpointError, MissingDependencyError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

h5py = pytest.importorskip("h5py", reason="the extra keras is not installed")

SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
    "type_vocab_size": 3,
}
CONFIGS: dict[ModelType, EncoderConfig] = {
    "bert": EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12, num_hidden_layers=3),
    "albert": EncoderConfig.preset(
        "albert-base", **SIZES, embedding_size=7, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2
    ),
}
KINDS = pytest.mark.parametrize("kind", ["bert", "albert"])

NAMES = [  # as the classes above list their weights, and as PyTorch's do
    ("tf_bert_model/bert/embeddings/word_embeddings/weight:0", "bert.embeddings.word_embeddings.weight", False),
    (
        "tf_bert_model_1/bert/embeddings/position_embeddings/embeddings:0",
        "bert.embeddings.position_embeddings.weight",
        False,
    ),
    (
        "tf_bert_for_pre_training/bert/embeddings/token_type_embeddings/embeddings:0",
        "bert.embeddings.token_type_embeddings.weight",
        False,
    ),
    ("tf_bert_model/bert/embeddings/LayerNorm/gamma:0", "bert.embeddings.LayerNorm.weight", False),
    ("tf_bert_model/bert/embeddings/LayerNorm/beta:0", "bert.embeddings.LayerNorm.bias", False),
    (
        "tf_bert_model/bert/encoder/layer_._10/attention/self/query/kernel:0",
        "bert.encoder.layer.10.attention.self.query.weight",
        True,
    ),
    (
        "tf_bert_model/bert/encoder/layer_._0/attention/output/LayerNorm/gamma:0",
        "bert.encoder.layer.0.attention.output.LayerNorm.weight",
        False,
    ),
    ("tf_bert_model/bert/pooler/dense/kernel:0", "bert.pooler.dense.weight", True),
    ("tf_bert_for_pre_training/nsp___cls/seq_relationship/kernel:0", "cls.seq_relationship.weight", True),
    ("tf_bert_for_pre_training/mlm___cls/predictions/bias:0", "cls.predictions.bias", False),
    (
        "tf_bert_for_pre_training/mlm___cls/predictions/transform/dense/kernel:0",
        "cls.predictions.transform.dense.weight",
        True,
    ),
    ("tf_bert_for_sequence_classification/classifier/kernel:0", "classifier.weight", True),
    ("tf_bert_for_question_answering/qa_outputs/bias:0", "qa_outputs.bias", False),
    (
        "tf_albert_model/albert/encoder/albert_layer_groups_._1/albert_layers_._0/full_layer_layer_norm/beta:0",
        "albert.encoder.albert_layer_groups.1.albert_layers.0.full_layer_layer_norm.bias",
        False,
    ),
    (
        "tf_albert_model/albert/encoder/embedding_hidden_mapping_in/kernel:0",
        "albert.encoder.embedding_hidden_mapping_in.weight",
        True,
    ),
    ("tf_albert_model/albert/pooler/kernel:0", "albert.pooler.weight", True),
    ("tf_albert_for_pre_training/predictions/decoder/bias:0", "predictions.decoder.bias", False),
    ("tf_albert_for_pre_training/sop_classifier/classifier/bias:0", "sop_classifier.classifier.bias", False),
    # The main layer alone, and a model that its user called bert.
    ("bert/encoder/layer_._3/output/dense/bias:0", "bert.encoder.layer.3.output.dense.bias", False),
    ("bert/bert/pooler/dense/bias:0", "bert.pooler.dense.bias", False),
]


@pytest.mark.parametrize(("name", "expected", "transposed"), NAMES)
def test_names_are_those_of_pytorch(name: str, expected: str, transposed: bool) -> None:
    assert torch_name(name) == Place(name=expected, transposed=transposed)


@pytest.mark.parametrize("name", ["", "dense/kernel:0", "tf_gpt2/transformer/wte/weight:0", "bert", "vars/0"])
def test_other_names_have_no_place(name: str) -> None:
    assert torch_name(name) is None


def keras_weight(name: str, value: Tensor) -> tuple[str, np.ndarray]:
    """Return the layer and name of a weight of PyTorch's, and its value as TensorFlow keeps it."""
    levels, last = name.split(".")[:-1], name.split(".")[-1]
    if "norm" in levels[-1].lower():
        last = {"weight": "gamma", "bias": "beta"}[last]
    elif levels[-1] in ("position_embeddings", "token_type_embeddings"):
        last = "embeddings"
    elif last == "weight" and levels[-1] != "word_embeddings":
        last, value = "kernel", value.t()
    if levels[0] == "cls":
        levels[0] = "nsp___cls" if levels[1] == "seq_relationship" else "mlm___cls"
    path = "/".join((*levels, last))
    path = re.sub(r"/(layer|albert_layer_groups|albert_layers)/(\d+)/", r"/\1_._\2/", path)
    path = re.sub(r"/albert_layers/(\d+)/", r"/albert_layers_._\1/", path)
    return path, value.numpy()


def write_h5(path: Path, tensors: dict[str, Tensor], model: str = "tf_some_model", root: str = "") -> Path:
    """Write tensors, by PyTorch's names, as Keras does: a group for every layer, in it the weights by their names."""
    layers = []
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.create_group(f"{root}top_level_model_weights")
        for name, tensor in tensors.items():
            weight, value = keras_weight(name, tensor)
            layer = weight.split("/")[0]
            layers.append(layer)
            file.create_dataset(f"{root}{layer}/{model}/{weight}:0", data=value)
            if layer in ("mlm___cls", "predictions"):
                for shared, again in tensors.items():  # these layers own the embeddings too
                    place, value = keras_weight(shared, again)
                    if "/embeddings/" in place and f"{root}{layer}/{model}/{place}:0" not in file:
                        file.create_dataset(f"{root}{layer}/{model}/{place}:0", data=value)
        file.attrs["layer_names"] = list(dict.fromkeys(layers))
    return path


def some_model(kind: ModelType) -> tuple[PretrainingModel, dict[str, Tensor]]:
    """An encoder with both heads, and its tensors by PyTorch's names."""
    model = PretrainingModel(CONFIGS[kind]).eval()
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    names = file_names(tensors, CONFIGS[kind], kind)
    return model, {names[name]: tensor for name, tensor in tensors.items()}


def small() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "bert.embeddings.word_embeddings.weight": torch.randn(23, 12, generator=generator),
        "bert.encoder.layer.0.intermediate.dense.weight": torch.randn(29, 12, generator=generator),
        "bert.encoder.layer.0.intermediate.dense.bias": torch.randn(29, generator=generator),
        "bert.embeddings.LayerNorm.bias": torch.randn(12, generator=generator),
    }


def assert_opens(path: Path, expected: dict[str, Tensor]) -> None:
    source = open_keras(path)
    assert set(source.entries) == set(expected)
    for name, tensor in expected.items():
        entry = source.entries[name]
        assert (entry.shape, entry.dtype) == (tuple(tensor.shape), tensor.dtype), name
        assert torch.equal(read_tensor(source, name), tensor), name


@KINDS
@torch.no_grad()
def test_a_model_computes_the_same(tmp_path: Path, kind: ModelType) -> None:
    model, tensors = some_model(kind)
    write_h5(tmp_path / "tf_model.h5", tensors)
    assert_opens(tmp_path, tensors)
    source = open_keras(tmp_path)
    read = ReadConfig(config=CONFIGS[kind], layout=kind, ours=False)
    state = encoder_state(source, read, heads=True, where=str(tmp_path))
    assert state.report.clean, state.report.lines()
    with torch.device("meta"):
        opened = PretrainingModel(state.config)
    fill(opened, source, state.places, device=torch.device("cpu"))
    ids = torch.randint(0, 99, (3, 11), generator=torch.Generator().manual_seed(7))
    ours, expected = opened(ids), model(ids)
    assert torch.equal(ours.prediction_logits, expected.prediction_logits)
    assert torch.equal(ours.pair_logits, expected.pair_logits)


def test_alberts_word_bias_is_the_one_that_tensorflow_adds(tmp_path: Path) -> None:
    tensors = {"predictions.bias": torch.zeros(9), "predictions.decoder.bias": torch.ones(9)}
    source = open_keras(write_h5(tmp_path / "a.h5", tensors))
    assert set(source.entries) == {"predictions.bias"}
    assert torch.equal(read_tensor(source, "predictions.bias"), torch.ones(9))
    only = open_keras(write_h5(tmp_path / "b.h5", {"predictions.bias": torch.full((9,), 7.0)}))
    assert torch.equal(read_tensor(only, "predictions.bias"), torch.full((9,), 7.0))


def test_a_whole_keras_model_gives_its_weights_and_not_its_optimizer(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", small(), root="model_weights/")
    with h5py.File(path, "a") as file:
        file.create_dataset("optimizer_weights/Adam/bert/pooler/dense/kernel/m:0", data=np.zeros((3, 3)))
    assert_opens(path, small())


def test_an_optimizer_beside_the_layers_is_left_out(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", small())
    with h5py.File(path, "a") as file:
        file.create_dataset("optimizer_weights/training/Adam/m:0", data=np.zeros((3, 3)))
    assert_opens(path, small())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_types_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in small().items()}
    assert_opens(write_h5(tmp_path / "a.h5", tensors), tensors)


def test_the_other_byte_order_is_read(tmp_path: Path) -> None:
    value = np.arange(7, dtype=">f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("bert/m/bert/pooler/dense/bias:0", data=value)
    assert_opens(tmp_path / "a.h5", {"bert.pooler.dense.bias": torch.arange(7.0)})


def test_large_weights_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_h5(tmp_path / "a.h5", small())
    monkeypatch.setattr(keras, "PIECE_BYTES", 5 * 29 * 4 + 1)
    assert_opens(path, small())


def test_a_copy_goes_into_memory_of_any_type_and_order(tmp_path: Path) -> None:
    source = open_keras(write_h5(tmp_path / "a.h5", small()))
    for name in small():
        if len(source.entries[name].shape) == 2:
            into = torch.zeros(source.entries[name].shape[::-1], dtype=torch.float64)
            source.copy(name, into.t())
            assert torch.equal(into.t(), small()[name].double())


def test_links_to_other_files_and_places_are_not_followed(tmp_path: Path) -> None:
    write_h5(tmp_path / "other.h5", small())
    for number, link in enumerate(
        (h5py.ExternalLink(str(tmp_path / "other.h5"), "/bert"), h5py.SoftLink("/bert/tf_some_model"))
    ):
        path = write_h5(tmp_path / f"{number}.h5", small())
        with h5py.File(path, "a") as file:
            file["bert/elsewhere"] = link
        with pytest.raises(CheckpointError, match=r"elsewhere.*link.*not followed"):
            open_keras(path)


@pytest.mark.parametrize("name", ["model_weights", "bert/elsewhere", "optimizer_weights/a"])
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_a_link_is_refused_before_what_it_leads_to_is_looked_at(tmp_path: Path, name: str, kind: str) -> None:
    other = write_h5(tmp_path / "other.h5", small())
    path = write_h5(tmp_path / "a.h5", small())
    with h5py.File(path, "a") as file:
        file[name] = h5py.ExternalLink(str(other), "/") if kind == "external" else h5py.SoftLink("/bert")
    if name.startswith("optimizer"):  # which is not looked at
        assert_opens(path, small())
        return
    with pytest.raises(CheckpointError, match=rf"/{name}: this is a link.*not followed") as caught:
        open_keras(path)
    assert (str(other) in str(caught.value)) == (kind == "external")


OPEN = """
import sys
from pathlib import Path
from albertine.checkpoints.keras import open_keras
from albertine.errors import CheckpointError

for path in sys.argv[1:]:
    try:
        open_keras(Path(path))
    except CheckpointError as error:
        print(error)
"""


def test_a_link_to_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    paths = []
    for number, name in enumerate(("model_weights", "bert/elsewhere")):
        paths.append(write_h5(tmp_path / f"{number}.h5", small()))
        with h5py.File(paths[-1], "a") as file:
            file[name] = h5py.ExternalLink(str(tmp_path / "pipe"), "/")
    run = subprocess.run([sys.executable, "-c", OPEN, *paths], capture_output=True, text=True, check=True, timeout=300)
    assert run.stdout.count(f"this is a link to {tmp_path / 'pipe'}, which is not followed") == 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tf_model.h5")
    with pytest.raises(CheckpointError, match="a file is expected here"):
        open_keras(tmp_path)


def test_numbers_in_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(400))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "bert/m/bert/pooler/dense/bias:0", (100,), "f4", external=[(str(tmp_path / "secret"), 0, 400)]
        )
    write_h5(tmp_path / "other.h5", small())
    layout = h5py.VirtualLayout((23, 12), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "bert/x", (23, 12))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("bert/m/bert/pooler/dense/kernel:0", layout)
    for name in ("a.h5", "b.h5"):
        with pytest.raises(CheckpointError, match="lie in another file"):
            open_keras(tmp_path / name)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": (1, 1)}, {"fletcher32": True}])
def test_compressed_numbers_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("bert/m/bert/pooler/dense/kernel:0", data=np.zeros((9, 9), "f4"), **options)
    with pytest.raises(CheckpointError, match="compressed or in chunks"):
        open_keras(tmp_path / "a.h5")


def test_a_size_without_its_numbers_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("bert/m/bert/pooler/dense/kernel:0", (1 << 30, 1 << 20), "f4")
    assert (tmp_path / "a.h5").stat().st_size < 99_999
    with pytest.raises(CheckpointError, match=r"does not hold all numbers.*1073741824"):
        open_keras(tmp_path / "a.h5")


def test_groups_that_hold_themselves_end(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", small())
    with h5py.File(path, "a") as file:
        file["bert/loop"] = file["bert"]
    with pytest.raises(CheckpointError, match="more or deeper groups"):
        open_keras(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tf_gpt2/transformer/wte/weight:0"], "not the weights of transformers' BERT or ALBERT.*wte"),
        (["layers/dense/vars/0"], "not the weights.*vars/0"),
        ([], "not the weights.*no weights"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in names:
            file.create_dataset(name, data=np.zeros((3, 3), "f4"))
    with pytest.raises(CheckpointError, match=message):
        open_keras(tmp_path / "a.h5")


@pytest.mark.parametrize("value", [np.array([b"text"]), np.zeros(3, "c8"), np.zeros(3, "u8")])
def test_other_types_are_refused(tmp_path: Path, value: np.ndarray) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("bert/m/bert/pooler/dense/bias:0", data=value)
    with pytest.raises(CheckpointError, match="type is not read here"):
        open_keras(tmp_path / "a.h5")


def test_a_kernel_of_another_rank_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("bert/m/bert/pooler/dense/kernel:0", data=np.zeros((3, 3, 1), "f4"))
    with pytest.raises(CheckpointError, match="two dimensions"):
        open_keras(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04", "not an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "truncated or damaged"),
    ],
)
def test_a_wrong_start_is_told_apart(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "a.h5").write_bytes(start)
    with pytest.raises(CheckpointError, match=message):
        open_keras(tmp_path / "a.h5")
    with pytest.raises(CheckpointError, match=r"tf_model\.h5.*does not exist"):
        open_keras(tmp_path)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_h5(tmp_path / "tf_model.h5", small())
    real = builtins.__import__

    def without_h5py(name: str, *arguments: object) -> ModuleType:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(MissingDependencyError, match=r"albertine\[keras\]"):
        open_keras(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = write_h5(tmp_path / "whole.h5", small()).read_bytes()
    path = tmp_path / "a.h5"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 97)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"a\.h5"):
            open_keras(path)


def test_damaged_bytes_give_an_error_or_weights_and_nothing_else(tmp_path: Path) -> None:
    whole = write_h5(tmp_path / "whole.h5", small()).read_bytes()
    path = tmp_path / "a.h5"
    random_numbers = random.Random(7)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(random_numbers.randint(1, 9)):
            broken[random_numbers.randrange(len(broken))] = random_numbers.randrange(256)
        path.write_bytes(broken)
        try:
            source = open_keras(path)
            for name, entry in source.entries.items():
                assert torch.Size(entry.shape).numel() <= len(whole)
                read_tensor(source, name)
        except CheckpointError:
            refused += 1
    assert refused > 30

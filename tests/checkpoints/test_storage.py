"""Weights of sixteen and of eight bits: what is lost, what is not, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from albertine.checkpoints.convert import convert
from albertine.checkpoints.load import load_encoder, load_pretraining, open_state
from albertine.checkpoints.storage import pack, read_back
from albertine.checkpoints.verify import verify
from albertine.checkpoints.writing import save_encoder
from albertine.errors import CheckpointError, ConfigError
from albertine.inference.info import info
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.tasks.config import TaskConfig
from albertine.tasks.text_classification import TASK
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *(f"w{n}" for n in range(70))]
SIZES = {
    "vocab_size": 101,
    "hidden_size": 68,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 97,
    "max_position_embeddings": 23,
}
CONFIGS = {
    "bert": EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=68),
    "albert": EncoderConfig.preset("albert-base", **SIZES, embedding_size=47),
    "albert in groups": EncoderConfig.preset("albert-base", **SIZES, embedding_size=47, num_hidden_groups=2),
    "ours": EncoderConfig.preset("albert-base", **SIZES, embedding_size=47, norm_placement="pre"),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return load_tokenizer(path)


def pretrained(config: EncoderConfig = CONFIGS["bert"]) -> PretrainingModel:
    torch.manual_seed(5)
    model = PretrainingModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        model.encoder.embeddings.word_embeddings.weight[0] = 0  # padding, as training leaves it
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """An int8 folder of a BERT with its heads."""
    save_encoder(pretrained(), tokenizer, tmp_path / "int8", format="albertine", storage="int8")
    return tmp_path / "int8"


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], None], **metadata: str) -> None:
    """Change the tensors, and the metadata, of a folder's file."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        told = {**file.metadata(), **metadata}
    change(tensors)
    save_file(tensors, path, metadata=told)


# --- what is lost


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 3e4])
def test_a_weight_moves_by_half_a_scale_at_most_and_small_tensors_not_at_all(scale: float) -> None:
    torch.manual_seed(1)
    spread = torch.logspace(-3, 2, 71).unsqueeze(1)
    weights = {
        "table": scale * spread * torch.randn(71, 67),
        "bf16": (scale * torch.randn(1027, 5, 3)).to(torch.bfloat16),
        "small": scale * torch.randn(64, 64),
        "vector": scale * torch.randn(5000),
    }
    packed, values = pack(weights), read_back(weights, "int8")
    assert {name for name, tensor in packed.items() if tensor.dtype == torch.int8} == {"table", "bf16"}
    for name in ("table", "bf16"):
        bound = packed[f"{name}.scale"].double() / 2
        distance = (values[name].double() - weights[name].double()).abs().flatten(1).amax(1)
        assert packed[f"{name}.scale"].shape == weights[name].shape[:1]
        assert values[name].dtype == torch.float32
        assert (distance <= bound).all()
        assert (packed[name].flatten(1).abs().amax(1) == 127).all(), "the range of a row is used to its end"
    for name in ("small", "vector"):
        assert torch.equal(values[name], weights[name])


def test_rows_of_zeros_stay_zeros_and_rows_too_small_for_a_scale_become_them() -> None:
    weight = torch.ones(9, 500)
    weight[3], weight[4] = 0.0, 1e-40
    value = read_back({"weight": weight}, "int8")["weight"]
    assert torch.equal(value[3:5], torch.zeros(2, 500))
    assert torch.allclose(value[5:], weight[5:], rtol=1e-4)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_not_stored(wrong: float) -> None:
    weight = torch.ones(70, 70)
    weight[69, 1] = wrong
    with pytest.raises(CheckpointError, match="here: a weight is not a finite number"):
        pack({"here": weight})


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_an_int8_folder_opens_everywhere_as_float32(
    config: EncoderConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = pretrained(config)
    save_encoder(model, tokenizer, tmp_path / "a", format="albertine", storage="int8")
    again, own = load_pretraining(tmp_path / "a")
    encoder, _ = load_encoder(tmp_path / "a", dtype=torch.bfloat16)
    assert own is not None
    assert again.config == model.config
    expected = read_back(model.state_dict(), "int8")
    assert again.state_dict().keys() == expected.keys()
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, expected[f"encoder.{name}"].to(torch.bfloat16)), "rounded once, not twice"
    ids = torch.tensor([[2, 9, 30, 7, 3]])
    ours, theirs = again(ids), model(ids)
    assert again.pair_head is not None
    assert torch.allclose(ours.prediction_logits, theirs.prediction_logits, atol=0.3)
    assert not torch.equal(ours.prediction_logits, theirs.prediction_logits)


def test_storing_what_was_read_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_pretraining(folder)
    save_encoder(model, tokenizer, tmp_path / "again", format="albertine", storage="int8")
    convert(folder, tmp_path / "converted", storage="int8")
    convert(folder, tmp_path / "large", storage="fp32")
    convert(tmp_path / "large", tmp_path / "back", storage="int8")
    for name in ("again", "converted", "back"):
        for file in ("model.safetensors", "config.json", "vocab.txt"):
            assert (tmp_path / name / file).read_bytes() == (folder / file).read_bytes(), name
    assert load_file(tmp_path / "large" / "model.safetensors").keys() >= {"bert.embeddings.word_embeddings.weight"}


def test_info_says_what_lies_on_the_disk(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    held = {name: tensor.nbytes for name, tensor in load_file(folder / "model.safetensors").items()}
    found = info(folder)
    assert (found.bytes, found.storage) == (sum(held.values()), "int8")
    assert found.to_dict()["storage"] == "int8"
    for storage, share in (("bf16", 2), ("fp32", 4)):
        save_encoder(pretrained(), tokenizer, tmp_path / storage, format="albertine", storage=storage)
        other = info(tmp_path / storage)
        assert other.storage == storage
        assert other.parameters == found.parameters
        assert other.bytes == share * sum(tensor.numel() for tensor in pretrained().state_dict().values())
    assert found.bytes < 0.35 * other.bytes


def test_a_task_model_stays_one_in_eight_bits(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for kind in ("bert", "albert in groups"):
        task_config = TaskConfig(task="text-classification", labels=("bad", "good"), max_length=17)
        torch.manual_seed(2)
        module = TASK.build(CONFIGS[kind], task_config)
        model = Model(module, config=CONFIGS[kind], tokenizer=tokenizer, task=TASK, task_config=task_config,
                      precision="fp32", manifest={"schema_version": 1}, card="# A card\n")  # fmt: skip
        model.save(tmp_path / kind)
        convert(tmp_path / kind, tmp_path / f"{kind} int8", storage="int8", verify=True)
        one, other = (load(folder).predict(["a b", "w1 c"]) for folder in (tmp_path / kind, tmp_path / f"{kind} int8"))
        for first, second in zip(one, other, strict=True):
            assert first.scores is not None
            assert second.scores is not None
            assert first.scores == pytest.approx(second.scores, abs=0.02)


# --- conversions


def test_a_conversion_says_how_far_weights_moved_and_is_proven(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_encoder(pretrained(), tokenizer, tmp_path / "fp32", format="albertine")
    done = convert(tmp_path / "fp32", tmp_path / "out", storage="int8", verify=True)
    assert done.target_format == "albertine"
    assert done.verification is not None
    assert done.verification.passed
    (note,) = done.notes
    assert note.startswith("stored as int8: a weight moved by 0.00")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert not verify(tmp_path / "fp32", tmp_path / "out").passed
    expanded = convert(tmp_path / "out", tmp_path / "hf", to="huggingface", verify=True)
    assert expanded.notes == ()
    assert verify(tmp_path / "hf", tmp_path / "out", tolerance=0).passed
    config = json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "bert"


def test_a_bf16_folder_has_every_tensor_in_bf16(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_encoder(pretrained(), tokenizer, tmp_path / "a", storage="bf16")
    assert {tensor.dtype for tensor in load_file(tmp_path / "a" / "model.safetensors").values()} == {torch.bfloat16}
    read = open_state(tmp_path / "a").state.tensors
    for name, tensor in pretrained().state_dict().items():
        assert torch.equal(read[name], tensor.to(torch.bfloat16))


def test_transformers_opens_bf16_and_refuses_int8(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    save_encoder(pretrained(), tokenizer, tmp_path / "bf16", storage="bf16")
    theirs = transformers.BertModel.from_pretrained(tmp_path / "bf16", torch_dtype=torch.float32).eval()
    ids = torch.tensor([[2, 9, 30, 7, 3]])
    encoder, _ = load_encoder(tmp_path / "bf16")
    with torch.no_grad():
        assert torch.allclose(theirs(ids).last_hidden_state, encoder(ids).last_hidden_state, atol=1e-4)
    with pytest.raises(ValueError, match="albertine"):
        transformers.AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("format", ["huggingface", "tensorflow", "sentence-transformers"])
def test_only_our_own_format_has_eight_bits(format: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"storage: .*int8 for the format {format}.* format albertine"):
        save_encoder(pretrained(), tokenizer, tmp_path / "a", format=format, storage="int8")  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()


def test_other_storages_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"storage: unknown storage.*'int4'.*Did you mean 'int8'"):
        convert(folder, tmp_path / "a", storage="int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"storage: float32 is the only type that Google's code takes"):
        convert(folder, tmp_path / "a", to="tensorflow", storage="bf16")


# --- what is refused

WEIGHT = "encoder.embeddings.word_embeddings.weight"
SCALE = f"{WEIGHT}.scale"


def _without(tensors: dict[str, Tensor]) -> None:
    del tensors[SCALE]


def _shorter(tensors: dict[str, Tensor]) -> None:
    tensors[SCALE] = tensors[SCALE][:-1].clone()


def _wider(tensors: dict[str, Tensor]) -> None:
    tensors[SCALE] = tensors[SCALE].unsqueeze(1).clone()


def _halved(tensors: dict[str, Tensor]) -> None:
    tensors[SCALE] = tensors[SCALE].half()


def _not_a_number(tensors: dict[str, Tensor]) -> None:
    tensors[SCALE][7] = float("nan")


def _negative(tensors: dict[str, Tensor]) -> None:
    tensors[SCALE][7:9] *= -1


def _zeroed(tensors: dict[str, Tensor]) -> None:
    tensors[SCALE][:] = 0


def _stray(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.pooler.dense.bias.scale"] = torch.ones(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without, rf"{WEIGHT}: this weight of eight bits has no scale. Received: no {SCALE}"),
        (
            _shorter,
            rf"{SCALE}: this scale does not fit its weight. Received: float32 \[100\]. Allowed: float32 \[101\]",
        ),
        (_wider, rf"{SCALE}: this scale does not fit its weight. Received: float32 \[101, 1\]"),
        (_halved, rf"{SCALE}: this scale does not fit its weight. Received: float16"),
        (_not_a_number, rf"{SCALE}: 1 of these scales are not positive numbers. Received: nan in row 7"),
        (_negative, rf"{SCALE}: 2 of these scales are not positive numbers"),
        (_zeroed, rf"{SCALE}: 101 of these scales are not positive numbers. Received: 0.0 in row 0"),
        (_stray, r"these scales belong to no weight of eight bits. Received: encoder.pooler.dense.bias.scale"),
    ],
)
def test_scales_that_do_not_belong_to_their_weights_are_refused(
    folder: Path, change: Callable[[dict[str, Tensor]], None], said: str
) -> None:
    rewritten(folder, change)
    for opened in (load_encoder, load_pretraining, info):
        with pytest.raises(CheckpointError, match=said):
            opened(folder)  # type: ignore[operator]


def test_a_file_of_a_later_version_is_refused(folder: Path) -> None:
    rewritten(folder, lambda tensors: None, **{"albertine.storage_version": "2"})
    with pytest.raises(CheckpointError, match=r"not known here. Received: int8, version 2. Allowed: int8, version 1"):
        load_encoder(folder)


def test_a_file_that_lost_its_metadata_is_not_taken_for_weights(folder: Path) -> None:
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"do not fit.*The weights are quantized to int8"):
        load_encoder(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_encoder(folder)

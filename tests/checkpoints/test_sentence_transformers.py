from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from albertine.checkpoints.sentence_transformers import (
    is_sentence_transformers,
    read_sentence_transformers,
    write_sentence_transformers,
)
from albertine.checkpoints.tensors import write_tensors
from albertine.errors import CheckpointError, ConfigError
from albertine.models.pooling import DenseLayer, Prompt, SentencePooling, VectorUse

OLD = "sentence_transformers.models."
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def put(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def modules(folder: Path, *entries: tuple[str, str]) -> None:
    put(
        folder / "modules.json",
        [{"idx": place, "name": str(place), "path": path, "type": kind} for place, (kind, path) in enumerate(entries)],
    )


def dense(folder: Path, inner: int, outer: int, **values: object) -> None:
    put(folder / "config.json", {"in_features": inner, "out_features": outer, "bias": True, **values})
    write_tensors(
        folder / "model.safetensors", {"linear.weight": torch.randn(outer, inner), "linear.bias": torch.randn(outer)}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as their old versions wrote it, the encoder's own files aside."""
    modules(tmp_path, (OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"), (OLD + "Normalize", "2_Normalize"))
    put(tmp_path / "config.json", {"model_type": "bert", "hidden_size": 14})
    put(tmp_path / "sentence_bert_config.json", {"max_seq_length": 77, "do_lower_case": False})
    put(
        tmp_path / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 14, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
    )
    return tmp_path


def test_a_folder_of_an_old_version_is_read(folder: Path) -> None:
    assert is_sentence_transformers(folder)
    assert not is_sentence_transformers(folder / "1_Pooling")
    found = read_sentence_transformers(folder)
    assert found.transformer == folder
    assert found.pooling == SentencePooling(normalize=True, max_length=77)
    assert found.tensors == {}
    assert found.notes == ()


def test_a_folder_of_a_new_version_is_read(tmp_path: Path) -> None:
    modules(tmp_path, (NEW["Transformer"], ""), (NEW["Pooling"], "1_Pooling"), (NEW["Dense"], "2_Dense"))
    put(
        tmp_path / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
        },
    )
    put(tmp_path / "tokenizer_config.json", {"model_max_length": 33})
    put(
        tmp_path / "1_Pooling" / "config.json",
        {"embedding_dimension": 7, "pooling_mode": ["mean", "cls"], "include_prompt": True},
    )
    put(tmp_path / "config_sentence_transformers.json", {"model_type": "SentenceTransformer", "prompts": {"query": ""}})
    dense(tmp_path / "2_Dense", 14, 5, activation_function="torch.nn.modules.linear.Identity")
    found = read_sentence_transformers(tmp_path)
    layer = DenseLayer(in_features=14, out_features=5, activation="identity")
    use = VectorUse(prompts=(Prompt(name="query", text=""),))
    assert found.pooling == SentencePooling(modes=("mean", "cls"), dense=(layer,), use=use)
    assert found.tensors["pooling.dense.0.weight"].shape == (5, 14)
    assert found.tensors["pooling.dense.0.bias"].shape == (5,)
    assert found.notes == ()


def test_the_encoder_may_lie_in_a_folder_of_its_own(folder: Path) -> None:
    modules(folder, (OLD + "Transformer", "0_Transformer"), (OLD + "Pooling", "1_Pooling"))
    put(folder / "0_Transformer" / "sentence_albert_config.json", {"max_seq_length": 9, "do_lower_case": True})
    found = read_sentence_transformers(folder)
    assert found.transformer == folder / "0_Transformer"
    assert found.pooling == SentencePooling(max_length=9, lowercase=True)


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({"pooling_mode": "lasttoken"}, ("last",)),
        ({"pooling_mode": ["weightedmean", "max"]}, ("weighted_mean", "max")),
        ({"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}, ("cls", "max")),
        ({"pooling_mode_mean_sqrt_len_tokens": True, "pooling_mode_mean_tokens": False}, ("mean_sqrt_length",)),
        ({"pooling_mode_mean_tokens": False}, ("mean",)),
        ({}, ("mean",)),
    ],
)
def test_pooling_modes_are_read_in_every_form(folder: Path, config: object, modes: tuple[str, ...]) -> None:
    put(folder / "1_Pooling" / "config.json", config)
    assert read_sentence_transformers(folder).pooling.modes == modes


@pytest.mark.parametrize(
    ("settings", "expected"), [({"max_seq_length": 77}, 77), ({"max_seq_length": None}, None), ({}, None)]
)
def test_a_maximum_length_that_is_not_set_is_left_to_the_tokenizer(
    folder: Path, settings: object, expected: int | None
) -> None:
    put(folder / "sentence_bert_config.json", settings)
    put(folder / "tokenizer_config.json", {"model_max_length": 33})
    assert read_sentence_transformers(folder).pooling.max_length == expected


def test_what_the_vectors_are_made_for_is_kept(folder: Path) -> None:
    put(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": "为这个句子生成表示：", "document": None},
            "default_prompt_name": "query",
            "similarity_fn_name": "dot",
            "truncate_dim": 5,
        },
    )
    put(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls", "include_prompt": False})
    found = read_sentence_transformers(folder)
    assert found.pooling.truncate_dim == 5
    assert found.pooling.use == VectorUse(
        similarity="dot",
        prompts=(Prompt(name="query", text="为这个句子生成表示："), Prompt(name="document", text="")),
        default_prompt="query",
        prompt_is_pooled=False,
    )


def test_a_similarity_that_is_not_known_is_noted(folder: Path) -> None:
    put(folder / "config_sentence_transformers.json", {"similarity_fn_name": "maxsim"})
    found = read_sentence_transformers(folder)
    assert found.pooling.use == VectorUse()
    assert found.notes == ("the similarity 'maxsim' is not known here, cosine is taken",)


def test_what_is_not_done_here_is_noted(folder: Path) -> None:
    put(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": "find: "},
            "default_prompt_name": "query",
            "similarity_fn_name": "dot",
            "truncate_dim": 5,
        },
    )
    put(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls", "include_prompt": False, "new_key": 1})
    modules(folder, (OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"), (OLD + "Dropout", "2_Dropout"))
    notes = " / ".join(read_sentence_transformers(folder).notes)
    for word in (
        "find: ",
        "before every text",
        "'dot'",
        "new_key",
        "leaves them out of the pooling",
        "Dropout",
    ):
        assert word in notes


POOLINGS = {
    "mean": SentencePooling(),
    "all": SentencePooling(
        modes=("cls", "max", "mean", "mean_sqrt_length", "weighted_mean", "last"), normalize=True, max_length=9
    ),
    "another order": SentencePooling(modes=("mean", "cls"), lowercase=True),
    "dense": SentencePooling(
        dense=(
            DenseLayer(in_features=14, out_features=5, activation="gelu"),
            DenseLayer(in_features=5, out_features=3, bias=False),
        ),
        normalize=True,
    ),
    "cut": SentencePooling(truncate_dim=3),
    "a use": SentencePooling(
        use=VectorUse(
            similarity="euclidean",
            prompts=(Prompt(name="查询", text="查询： "), Prompt(name="text", text="")),
            default_prompt="查询",
            prompt_is_pooled=False,
        )
    ),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_what_is_written_reads_back_the_same(name: str, tmp_path: Path) -> None:
    pooling = POOLINGS[name]
    tensors = {
        "encoder.word": torch.zeros(1),
        "pooling.dense.0.weight": torch.randn(5, 14),
        "pooling.dense.0.bias": torch.randn(5),
        "pooling.dense.1.weight": torch.randn(3, 5),
    }
    write_sentence_transformers(tmp_path, pooling, tensors, hidden_size=14)
    found = read_sentence_transformers(tmp_path)
    assert found.pooling == pooling
    assert len(found.notes) == (2 if name == "a use" else 0)
    assert found.transformer == tmp_path
    assert len(found.tensors) == (3 if name == "dense" else 0)
    for key, tensor in found.tensors.items():
        assert torch.equal(tensor, tensors[key])


def test_dense_layers_that_do_not_fit_the_encoder_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives 7, the layer takes 14"):
        write_sentence_transformers(tmp_path, POOLINGS["dense"], {}, hidden_size=7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    ["../elsewhere", "1_Pooling/../../elsewhere", "/etc", "..\\elsewhere", "C:\\elsewhere", "\\elsewhere", "a\0b"],
)
def test_a_module_outside_the_folder_is_refused(folder: Path, path: str) -> None:
    modules(folder, (OLD + "Transformer", ""), (OLD + "Pooling", path))
    with pytest.raises(CheckpointError, match="inside the model's folder"):
        read_sentence_transformers(folder)


def test_a_module_behind_a_link_out_of_the_folder_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    put(outside / "config.json", {"pooling_mode": "cls"})
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    modules(folder, (OLD + "Transformer", ""), (OLD + "Pooling", "linked"))
    with pytest.raises(CheckpointError, match="inside the model's folder"):
        read_sentence_transformers(folder)


@pytest.mark.parametrize(
    "kind", [OLD + "CLIPModel", OLD + "LayerNorm", "custom_code.Transformer", "os.system", "", "sentence_transformers"]
)
def test_an_unknown_module_is_refused_by_name(folder: Path, kind: str) -> None:
    modules(folder, (OLD + "Transformer", ""), (kind, "1_Pooling"))
    with pytest.raises(CheckpointError, match="not known here") as caught:
        read_sentence_transformers(folder)
    assert kind in str(caught.value)


@pytest.mark.parametrize(
    "kinds",
    [
        [],
        ["Pooling"],
        ["Transformer"],
        ["Pooling", "Transformer"],
        ["Transformer", "Normalize", "Pooling"],
        ["Transformer", "Pooling", "Normalize", "Dense"],
        ["Transformer", "Pooling", "Pooling"],
    ],
)
def test_modules_in_an_order_that_makes_no_sense_are_refused(folder: Path, kinds: list[str]) -> None:
    modules(folder, *((OLD + kind, "1_Pooling") for kind in kinds))
    with pytest.raises(CheckpointError, match="order"):
        read_sentence_transformers(folder)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"type": "x"}]', '[{"type": 3, "path": ""}]', "[" * 200_000, '["\xff', "null"]
)
def test_a_damaged_list_of_modules_is_refused(folder: Path, text: str) -> None:
    (folder / "modules.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        read_sentence_transformers(folder)


def test_a_huge_list_of_modules_is_not_even_read(folder: Path) -> None:
    with (folder / "modules.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="larger than any of its kind"):
        read_sentence_transformers(folder)


def test_a_list_of_modules_is_read_with_a_byte_order_mark(folder: Path) -> None:
    expected = read_sentence_transformers(folder).pooling
    file = folder / "modules.json"
    file.write_bytes("\ufeff".encode() + file.read_bytes())
    assert read_sentence_transformers(folder).pooling == expected


def test_a_list_of_modules_that_is_no_file_is_refused(folder: Path) -> None:
    (folder / "modules.json").unlink()
    (folder / "modules.json").mkdir()
    with pytest.raises(CheckpointError, match=r"modules\.json: a file is expected here"):
        read_sentence_transformers(folder)


@pytest.mark.parametrize(
    ("file", "value", "match"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "median"),
        ("1_Pooling/config.json", {"pooling_mode": []}, "pooling mode"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "mean"]}, "once"),
        ("1_Pooling/config.json", {"pooling_mode": 3}, "pooling mode"),
        ("1_Pooling/config.json", {"word_embedding_dimension": 768}, "another width"),
        ("1_Pooling/config.json", [], "object"),
        ("sentence_bert_config.json", {"max_seq_length": "512"}, "maximum length"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "maximum length"),
        ("sentence_bert_config.json", {"max_seq_length": -3}, "maximum length"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "fill-mask"),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method_output_name": "pooler_output"}}},
            "pooler_output",
        ),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "SparseEncoder"),
        ("config_sentence_transformers.json", {"truncate_dim": "5"}, "truncate_dim.*'5'"),
        ("config_sentence_transformers.json", {"truncate_dim": -1}, "truncate_dim.*-1"),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}, "prompts.*query: "),
        ("config_sentence_transformers.json", {"prompts": {"a": 3}}, "prompts"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"query": "q: "}, "default_prompt_name": "document"},
            "default_prompt.*'document'.*query",
        ),
    ],
)
def test_settings_that_cannot_be_computed_are_refused(folder: Path, file: str, value: object, match: str) -> None:
    put(folder / file, value)
    with pytest.raises(CheckpointError, match=match):
        read_sentence_transformers(folder)


def test_a_missing_pooling_configuration_is_named(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="1_Pooling"):
        read_sentence_transformers(folder)


@pytest.fixture
def with_dense(folder: Path) -> Path:
    modules(folder, (OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"), (OLD + "Dense", "2_Dense"))
    dense(folder / "2_Dense", 14, 5)
    assert read_sentence_transformers(folder).pooling.dense == (DenseLayer(in_features=14, out_features=5),)
    return folder


@pytest.mark.parametrize(
    "values",
    [
        {"in_features": 13},
        {"in_features": "14"},
        {"out_features": 0},
        {"bias": False},
        {"activation_function": "torch.nn.modules.activation.Mystery"},
        {"activation_function": "os.system"},
        {"activation_function": None},
        {"use_residual": True},
        {"module_input_name": "token_embeddings"},
    ],
)
def test_a_dense_layer_that_does_not_fit_is_refused(with_dense: Path, values: dict[str, object]) -> None:
    dense_config = {"in_features": 14, "out_features": 5, "bias": True, **values}
    put(with_dense / "2_Dense" / "config.json", dense_config)
    with pytest.raises(CheckpointError, match="2_Dense"):
        read_sentence_transformers(with_dense)


def test_dense_layers_that_do_not_follow_each_other_are_refused(with_dense: Path) -> None:
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Dense", "2_Dense")
    modules(with_dense, *((OLD + kind, path) for kind, path in kinds))
    with pytest.raises(CheckpointError, match="5 into 14"):
        read_sentence_transformers(with_dense)


def test_dense_weights_in_a_pickle_are_refused(with_dense: Path) -> None:
    (with_dense / "2_Dense" / "model.safetensors").rename(with_dense / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        read_sentence_transformers(with_dense)


def test_dense_weights_in_a_pickle_are_read_where_that_was_allowed(with_dense: Path) -> None:
    expected = read_sentence_transformers(with_dense).tensors
    own = {name.replace("pooling.dense.0", "linear"): tensor for name, tensor in expected.items()}
    (with_dense / "2_Dense" / "model.safetensors").unlink()
    torch.save(own, with_dense / "2_Dense" / "pytorch_model.bin")
    found = read_sentence_transformers(with_dense, allow_pickle=True).tensors
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name])

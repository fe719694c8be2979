from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
import torch

from albertine.checkpoints.archives import unpacked
from albertine.checkpoints.google.folder import GoogleFolder, find_google, read_folder_config
from albertine.checkpoints.google.names import GoogleLayout
from albertine.checkpoints.source import MemorySource
from albertine.errors import CheckpointError


def fill(folder: Path, *names: str) -> Path:
    """Put empty files into a folder; a prefix with a star stands for a checkpoint's three files."""
    for name in names:
        endings = (".index", ".meta", ".data-00000-of-00001") if name.endswith("*") else ("",)
        for ending in endings:
            path = folder / (name.removesuffix("*") + ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return folder


def find(path: Path) -> GoogleFolder:
    found = find_google(path)
    assert found is not None
    return found


def test_berts_folder(tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt*", "bert_config.json", "vocab.txt")
    assert find(tmp_path) == GoogleFolder(
        prefix=tmp_path / "bert_model.ckpt",
        configs=(tmp_path / "bert_config.json",),
        tokenizer_folder=tmp_path,
        tokenizer_files=(tmp_path / "vocab.txt",),
    )


def test_alberts_folder(tmp_path: Path) -> None:
    fill(tmp_path, "model.ckpt-best*", "albert_config.json", "30k-clean.model", "30k-clean.vocab", "checkpoint")
    found = find(tmp_path)
    assert found.prefix == tmp_path / "model.ckpt-best"
    assert found.configs == (tmp_path / "albert_config.json",)
    assert found.tokenizer_files == (tmp_path / "30k-clean.model",)


@pytest.mark.parametrize("vocabulary", ["vocab.txt", "30k-clean.model"])
@pytest.mark.parametrize("given", ["", "variables", "variables/variables", "variables/variables.index"])
def test_a_saved_model_of_tensorflow_hub(vocabulary: str, given: str, tmp_path: Path) -> None:
    fill(tmp_path, "saved_model.pb", "tfhub_module.pb", "variables/variables*", f"assets/{vocabulary}")
    found = find(tmp_path / given)
    assert found.prefix == tmp_path / "variables" / "variables"
    assert found.configs == ()
    assert found.tokenizer_folder == tmp_path / "assets"
    assert found.tokenizer_files == (tmp_path / "assets" / vocabulary,)


def test_a_configuration_put_beside_a_saved_model_is_found(tmp_path: Path) -> None:
    fill(tmp_path, "variables/variables*", "assets/vocab.txt", "bert_config.json")
    assert find(tmp_path).configs == (tmp_path / "bert_config.json",)


@pytest.mark.parametrize(
    "name", ["bert_model.ckpt", "bert_model.ckpt.index", "bert_model.ckpt.meta", "bert_model.ckpt.data-00000-of-00001"]
)
def test_a_prefix_or_any_file_of_a_checkpoint_names_it(name: str, tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt*", "other.ckpt*", "bert_config.json", "vocab.txt")
    found = find(tmp_path / name)
    assert found.prefix == tmp_path / "bert_model.ckpt"
    assert found.tokenizer_files == (tmp_path / "vocab.txt",)


@pytest.mark.parametrize("names", [(), ("config.json", "pytorch_model.bin"), ("model.safetensors.index.json",)])
def test_other_folders_hold_no_checkpoint(names: tuple[str, ...], tmp_path: Path) -> None:
    assert find_google(fill(tmp_path, *names)) is None
    assert find_google(tmp_path / "absent") is None
    assert find_google(Path("/")) is None


def test_hidden_files_of_other_systems_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt*", "._bert_model.ckpt.index", "._bert_config.json", "._vocab.txt")
    found = find(tmp_path)
    assert found.prefix == tmp_path / "bert_model.ckpt"
    assert (found.configs, found.tokenizer_files) == ((), ())


def test_the_checkpoint_file_says_which_of_several(tmp_path: Path) -> None:
    fill(tmp_path, "model.ckpt-1000*", "model.ckpt-2000*", "bert_model.ckpt*")
    for path in ("model.ckpt-1000", "/home/somebody/runs/7/model.ckpt-1000", "C:\\runs\\model.ckpt-1000"):
        (tmp_path / "checkpoint").write_text(
            f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "model.ckpt-2000"\n'
        )
        assert find(tmp_path).prefix == tmp_path / "model.ckpt-1000"


def test_a_checkpoint_file_that_names_an_absent_one_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "model.ckpt-1000*", "model.ckpt-2000*")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "../../model.ckpt-3000"\n')
    with pytest.raises(CheckpointError, match="not in the folder") as caught:
        find_google(tmp_path)
    assert caught.value.allowed == "model.ckpt-1000, model.ckpt-2000"


def test_a_checkpoint_file_does_not_matter_where_there_is_one_checkpoint(tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt*")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3000"\n')
    assert find(tmp_path).prefix == tmp_path / "bert_model.ckpt"


@pytest.mark.parametrize("text", [None, "", "not that kind of file", "\x00\x01"])
def test_the_highest_step_is_taken_else(text: str | None, tmp_path: Path) -> None:
    fill(tmp_path, "model.ckpt-0*", "model.ckpt-900*", "model.ckpt-1000*")
    if text is not None:
        (tmp_path / "checkpoint").write_text(text)
    assert find(tmp_path).prefix == tmp_path / "model.ckpt-1000"


@pytest.mark.parametrize(
    "names",
    [
        ("bert_model.ckpt*", "model.ckpt-1000*"),
        ("model.ckpt-best*", "model.ckpt-1000*"),
        ("a.ckpt-5*", "b.ckpt-7*"),
        ("model.ckpt-07*", "model.ckpt-7*"),
    ],
)
def test_several_checkpoints_in_doubt_are_listed(names: tuple[str, ...], tmp_path: Path) -> None:
    fill(tmp_path, *names)
    with pytest.raises(CheckpointError, match="several checkpoints") as caught:
        find_google(tmp_path)
    assert caught.value.received == ", ".join(sorted(name.removesuffix("*") for name in names))


def test_data_without_its_index_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt.data-00000-of-00001", "bert_config.json")
    with pytest.raises(CheckpointError, match="not the index") as caught:
        find_google(tmp_path)
    assert caught.value.next_step == "Copy bert_model.ckpt.index there too"


SIZES = {"vocab_size": 5, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 3}


@pytest.mark.parametrize(
    ("layout", "files", "chosen"),
    [
        ("google-bert", ["bert_config.json"], "bert_config.json"),
        ("google-bert", ["bert_config.json", "albert_config.json"], "bert_config.json"),
        ("google-albert", ["bert_config.json", "albert_config.json"], "albert_config.json"),
        ("brightmart-albert", ["albert_config_tiny.json", "albert_config_tiny_g.json"], "albert_config_tiny.json"),
        ("google-albert", ["albert_config_tiny.json", "albert_config_tiny_g.json"], "albert_config_tiny_g.json"),
        (
            "google-albert",
            ["albert_config_x.json", "albert_config_small_google.json"],
            "albert_config_small_google.json",
        ),
        ("google-albert", ["albert_config_tiny.json"], "albert_config_tiny.json"),
        ("brightmart-albert", ["albert_config_tiny_google.json"], "albert_config_tiny_google.json"),
    ],
)
def test_the_layout_chooses_among_configurations(
    layout: GoogleLayout, files: list[str], chosen: str, tmp_path: Path
) -> None:
    fill(tmp_path, "albert_model.ckpt*")
    for file in files:
        values = {**SIZES, "embedding_size": 4, "hidden_size": 6 if file == chosen else 8}
        (tmp_path / file).write_text(json.dumps(values))
    read = read_folder_config(find(tmp_path), layout, MemorySource({}, tmp_path))
    assert read.config.hidden_size == 6
    assert read.layout == layout


def test_configurations_that_nothing_chooses_between_are_listed(tmp_path: Path) -> None:
    fill(tmp_path, "albert_model.ckpt*", "albert_config_base.json", "albert_config_tiny.json")
    with pytest.raises(CheckpointError, match="several configurations") as caught:
        read_folder_config(find(tmp_path), "brightmart-albert", MemorySource({}, tmp_path))
    assert caught.value.received == "albert_config_base.json, albert_config_tiny.json"


def test_a_missing_configuration_is_answered_with_one_to_write(tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt*", "vocab.txt")
    tensors = {
        "bert/embeddings/word_embeddings": torch.zeros(5, 4),
        "bert/embeddings/position_embeddings": torch.zeros(9, 4),
        "bert/embeddings/token_type_embeddings": torch.zeros(3, 4),
        "bert/encoder/layer_1/attention/self/query/bias": torch.zeros(4),
        "bert/encoder/layer_0/intermediate/dense/kernel": torch.zeros(4, 7),
    }
    source = MemorySource(tensors, tmp_path)
    with pytest.raises(CheckpointError, match=r"no bert_config\.json beside the checkpoint") as caught:
        read_folder_config(find(tmp_path), "google-bert", source)
    found = re.search(r"\{.*\}", str(caught.value))
    assert found is not None
    (tmp_path / "bert_config.json").write_text(found[0])
    config = read_folder_config(find(tmp_path), "google-bert", source).config
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (5, 4, 7)
    assert (config.num_hidden_layers, config.max_position_embeddings, config.type_vocab_size) == (2, 9, 3)


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "bert_model.ckpt*", "bert_config.json")
    with pytest.raises(CheckpointError, match=r"bert_config\.json: this is not valid JSON"):
        read_folder_config(find(tmp_path), "google-bert", MemorySource({}, tmp_path))


def test_the_real_folders_are_found_also_inside_an_archive(data_dir: Path, tmp_path: Path) -> None:
    for folder in sorted((data_dir / "checkpoints").iterdir()):
        found = find(folder)
        assert found.prefix.with_name(found.prefix.name + ".index").is_file()
        assert len(found.configs) == len(found.tokenizer_files) == 1
        path = tmp_path / f"{folder.name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"{folder.name}/{file.name}")
        with unpacked(path) as inside:
            assert find(inside).prefix == inside / found.prefix.name
            for file in (*found.configs, *found.tokenizer_files):
                assert (inside / file.name).read_bytes() == file.read_bytes()

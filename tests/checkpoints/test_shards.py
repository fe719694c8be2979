"""Shards of both formats: every tensor comes from the file that the index names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from albertine.checkpoints.pickles import open_pickle
from albertine.checkpoints.source import TensorSource, read_tensor
from albertine.checkpoints.tensors import open_tensors
from albertine.errors import CheckpointError

Kind = Literal["safetensors", "bin"]
KINDS = pytest.mark.parametrize("kind", ["safetensors", "bin"])


def write_index(folder: Path, kind: Kind, weight_map: object) -> None:
    name = "model.safetensors.index.json" if kind == "safetensors" else "pytorch_model.bin.index.json"
    (folder / name).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def write_shards(folder: Path, kind: Kind, weight_map: object, shards: Mapping[str, dict[str, Tensor]]) -> None:
    for name, tensors in shards.items():
        if kind == "safetensors":
            save_file(tensors, folder / name)
        else:
            torch.save(tensors, folder / name)
    write_index(folder, kind, weight_map)


def opened(folder: Path, kind: Kind) -> TensorSource:
    return open_tensors(folder) if kind == "safetensors" else open_pickle(folder)


@KINDS
@pytest.mark.parametrize("place", ["1", "2", "3"])
def test_a_tensor_of_several_shards_is_that_of_the_one_the_index_names(tmp_path: Path, kind: Kind, place: str) -> None:
    shards = {
        number: {"w": torch.full((3, int(number)), float(number)), f"own{number}": torch.ones(2)} for number in "123"
    }
    weight_map = {"w": place, **{f"own{number}": number for number in "123"}}
    write_shards(tmp_path, kind, weight_map, shards)
    source = opened(tmp_path, kind)
    assert set(source.entries) == {"w", "own1", "own2", "own3"}
    assert source.entries["w"].shape == (3, int(place))
    assert torch.equal(read_tensor(source, "w"), torch.full((3, int(place)), float(place)))


@KINDS
def test_a_tensor_that_the_index_does_not_name_is_there_beside_the_others(tmp_path: Path, kind: Kind) -> None:
    shards = {
        "1": {"a": torch.ones(3), "extra": torch.full((5,), 1.0)},
        "2": {"b": torch.ones(2), "a": torch.zeros(3), "extra": torch.full((5,), 2.0)},
    }
    write_shards(tmp_path, kind, {"a": "1", "b": "2"}, shards)
    source = opened(tmp_path, kind)
    assert set(source.entries) == {"a", "b", "extra"}
    assert torch.equal(read_tensor(source, "a"), torch.ones(3))
    assert torch.equal(read_tensor(source, "extra"), torch.full((5,), 1.0))


@KINDS
def test_a_promised_tensor_is_not_taken_from_another_shard(tmp_path: Path, kind: Kind) -> None:
    write_shards(
        tmp_path, kind, {"a": "1", "b": "2"}, {"1": {"a": torch.ones(3), "b": torch.ones(2)}, "2": {"c": torch.ones(1)}}
    )
    with pytest.raises(CheckpointError, match=r"/2: this shard lacks tensors that the index promises: b\."):
        opened(tmp_path, kind)


@KINDS
@pytest.mark.parametrize(
    "place", ["../1", "/etc/passwd", "sub/1", "..", ".", "", "a\0b", "\ud800", "a\x1b[2J", 3, None, ["1"]]
)
def test_a_place_that_is_no_file_of_the_folder_is_refused(tmp_path: Path, kind: Kind, place: object) -> None:
    (tmp_path / "sub").mkdir()
    write_shards(tmp_path, kind, {"a": place}, {"1": {"a": torch.ones(3)}, "sub/1": {"a": torch.ones(3)}})
    with pytest.raises(CheckpointError, match=r"must lie in the folder|shards are missing") as caught:
        opened(tmp_path, kind)
    str(caught.value).encode("utf-8")


@KINDS
@pytest.mark.parametrize("weight_map", [None, {}, [], ["a"], 3])
def test_an_index_that_names_nothing_is_refused(tmp_path: Path, kind: Kind, weight_map: object) -> None:
    write_index(tmp_path, kind, weight_map)
    with pytest.raises(CheckpointError, match="no weight_map"):
        opened(tmp_path, kind)


@KINDS
def test_only_the_first_of_many_missing_shards_are_named(tmp_path: Path, kind: Kind) -> None:
    write_index(tmp_path, kind, {f"a{number}": f"{number:02d}" for number in range(17)})
    with pytest.raises(CheckpointError, match=r"17 of 17 shards are missing: 00, 01, 02, 03, 04, 05 and 11 more"):
        opened(tmp_path, kind)


@KINDS
def test_a_shard_that_is_a_pipe_is_not_waited_for(tmp_path: Path, kind: Kind) -> None:
    os.mkfifo(tmp_path / "1")
    write_index(tmp_path, kind, {"a": "1"})
    with pytest.raises(CheckpointError, match="shards are missing"):
        opened(tmp_path, kind)

"""Checkpoints that we write, read by TensorFlow; checkpoints that TensorFlow writes, read by us."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from albertine.checkpoints.bundle.records import TYPE_NAMES
from albertine.checkpoints.bundle.writer import write_bundle, write_checkpoint_state
from albertine.checkpoints.source import read_tensor
from albertine.checkpoints.tensorflow import open_bundle
from albertine.errors import CheckpointError

pytestmark = pytest.mark.peers

MANY = 4001  # with names that share no start, so that the index has several blocks of 256 KiB

# TensorFlow sets up logging and signals when it is imported, so it lives in a process of its own.
SCRIPT = r"""
import hashlib, json, os, sys
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

folder, v1 = sys.argv[1], tf.compat.v1
report = {"type_numbers": {str(number): name for name, number in types_pb2.DataType.items()}}
values = {}

def keep(checkpoint, name, array):
    values[f"{checkpoint}:{name}"] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)

# what we wrote
ours = f"{folder}/ours/model.ckpt"
reader = tf.train.load_checkpoint(ours)
report["listed"] = [[name, shape] for name, shape in tf.train.list_variables(ours)]
report["latest"] = tf.train.latest_checkpoint(f"{folder}/ours")
types = reader.get_variable_to_dtype_map()
report["ours"] = {}
for name, shape in report["listed"]:
    array = reader.get_tensor(name)
    report["ours"][name] = [types[name].name, list(array.shape)]
    keep("ours", name, array)

# the same tensors written by TensorFlow's operation
names = [name for name, _ in report["listed"]]
tf.raw_ops.SaveV2(prefix=f"{folder}/same/model.ckpt", tensor_names=names, shape_and_slices=[""] * len(names),
                  tensors=[tf.constant(reader.get_tensor(name), types[name]) for name in names])

# what TensorFlow's savers write
rng = np.random.default_rng(7)

def variable(name, shape, dtype=tf.float32, **options):
    return v1.get_variable(name, shape, dtype, initializer=tf.zeros_initializer(), **options)

def save(name, build, devices=1, **options):
    os.makedirs(f"{folder}/{name}", exist_ok=True)
    with tf.Graph().as_default():
        tensors = {}
        for made in build():
            plain = made.name.split(":")[0]
            tensors[plain] = made.as_tensor() if hasattr(made, "as_tensor") else made
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": devices})) as session:
            session.run(v1.global_variables_initializer())
            for target in v1.global_variables():
                dtype = target.dtype.base_dtype
                if dtype.is_floating:
                    session.run(v1.assign(target, tf.cast(rng.standard_normal(target.shape), dtype)))
            found = session.run(tensors)
            if name == "saved_model":
                builder = v1.saved_model.Builder(f"{folder}/{name}/model")
                builder.add_meta_graph_and_variables(session, ["serve"])
                builder.save()
            else:
                v1.train.Saver(**options).save(session, f"{folder}/{name}/model.ckpt", write_meta_graph=False)
    for key, array in found.items():
        keep(name, key, array)
    report[name] = {key: [str(array.dtype), list(array.shape)] for key, array in found.items()}

def types_of_all_kinds():
    for dtype in (tf.float16, tf.bfloat16, tf.float32, tf.float64):
        yield variable(f"body/{dtype.name}", [7, 13], dtype)
    yield variable("body/scalar", [])
    yield variable("body/empty", [0, 3])

def partitions():
    yield variable("rows", [13, 5], partitioner=v1.fixed_size_partitioner(4))
    yield variable("columns", [3, 400], partitioner=v1.fixed_size_partitioner(3, axis=1))
    yield variable("half", [300, 2], tf.float16, partitioner=v1.fixed_size_partitioner(2))
    yield variable("long", [20000], partitioner=v1.fixed_size_partitioner(3))
    yield variable("whole", [7])

def shards():
    for number in range(3):
        with tf.device(f"/cpu:{number}"):
            yield variable(f"layer_{number}/kernel", [number + 2, 11])

def training():
    kernel = variable("bert/pooler/dense/kernel", [5, 3])
    step = v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(kernel * kernel)
    v1.train.AdamOptimizer().minimize(loss, global_step=step)
    tf.train.ExponentialMovingAverage(0.9).apply([kernel])
    yield kernel

save("types", types_of_all_kinds)
save("partitions", partitions)
save("shards", shards, devices=3, sharded=True)
save("training", training)
save("saved_model", types_of_all_kinds)
os.makedirs(f"{folder}/objects")
tf.train.Checkpoint(weight=tf.Variable([1.0])).write(f"{folder}/objects/model.ckpt")
short = {hashlib.sha256(name.encode()).hexdigest(): array for name, array in values.items()}
np.savez(f"{folder}/values.npz", **short)
print("REPORT" + json.dumps(report))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    folder: Path
    report: dict[str, dict[str, list[object]]]
    values: dict[str, np.ndarray]

    def raw(self, checkpoint: str, name: str) -> bytes:
        return self.values[hashlib.sha256(f"{checkpoint}:{name}".encode()).hexdigest()].tobytes()


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    numbers = torch.randn(7, 13, generator=generator, dtype=torch.float64) * 50
    dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32)
    found = {f"types/{str(dtype)[6:]}": numbers.to(dtype) for dtype in (*dtypes, torch.int64, torch.bool)}
    found["types/uint8"] = numbers.abs().to(torch.uint8)
    found["types/complex64"] = torch.complex(numbers, -numbers).to(torch.complex64)
    found["scalar"] = torch.tensor(2.5)
    found["empty"] = torch.empty(0, 3)
    found["turned"] = torch.randn(13, 7, generator=generator).t()
    found["strided"] = torch.randn(5, 6, 7, generator=generator)[:, ::2, 1:4]
    found["名字/with spaces \\ \" '"] = torch.ones(2)
    for number in range(MANY):
        found[f"{hashlib.sha256(str(number).encode()).hexdigest()}/kernel"] = torch.tensor([number, 1.5])
    return found


def raw(tensor: Tensor) -> bytes:
    flat = tensor.contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype)[6:]


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is needed for parity")
    folder = tmp_path_factory.mktemp("exchange")
    write_bundle(folder / "ours" / "model.ckpt", tensors())
    write_checkpoint_state(folder / "ours" / "model.ckpt")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(folder / "values.npz") as values:
        arrays = {name: values[name] for name in values}
    return Exchange(folder=folder, report=json.loads(done.stdout.split("REPORT")[-1]), values=arrays)


def test_tensorflow_lists_and_loads_what_we_wrote_with_the_same_bytes(exchange: Exchange) -> None:
    written = tensors()
    listed = exchange.report["listed"]
    assert listed == [[name, list(written[name].shape)] for name in sorted(written, key=str.encode)]
    assert len(list((exchange.folder / "ours").glob("model.ckpt.*"))) == 2
    for name, tensor in written.items():
        assert exchange.report["ours"][name] == [dtype_name(tensor), list(tensor.shape)], name
        assert exchange.raw("ours", name) == raw(tensor), name


def test_the_index_of_the_many_variables_has_several_blocks(exchange: Exchange) -> None:
    assert (exchange.folder / "ours" / "model.ckpt.index").stat().st_size > 262_144


def test_tensorflow_finds_our_checkpoint_as_the_latest(exchange: Exchange) -> None:
    assert exchange.report["latest"] == str(exchange.folder / "ours" / "model.ckpt")


def test_tensorflow_writes_the_same_files_from_the_same_tensors(exchange: Exchange) -> None:
    for ending in ("index", "data-00000-of-00001"):
        ours, theirs = (exchange.folder / who / f"model.ckpt.{ending}" for who in ("ours", "same"))
        assert ours.read_bytes() == theirs.read_bytes(), ending


def test_we_read_the_many_variables_that_tensorflow_wrote(exchange: Exchange) -> None:
    source = open_bundle(exchange.folder / "same" / "model.ckpt")
    assert source.entries.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert raw(read_tensor(source, name)) == raw(tensor), name


@pytest.mark.parametrize(
    ("checkpoint", "place"),
    [
        ("types", "model.ckpt"),
        ("partitions", "model.ckpt"),
        ("shards", "model.ckpt"),
        ("training", "model.ckpt"),
        ("saved_model", "model/variables/variables"),
    ],
)
def test_what_tensorflows_savers_wrote_is_read_with_the_same_bytes(
    exchange: Exchange, checkpoint: str, place: str
) -> None:
    source = open_bundle(exchange.folder / checkpoint / place)
    assert source.entries.keys() == exchange.report[checkpoint].keys()
    for name, (dtype, shape) in exchange.report[checkpoint].items():
        tensor = read_tensor(source, name)
        assert [dtype_name(tensor), list(tensor.shape)] == [dtype, shape], name
        assert raw(tensor) == exchange.raw(checkpoint, name), name


def test_the_sharded_checkpoint_has_several_data_files(exchange: Exchange) -> None:
    assert len(list((exchange.folder / "shards").glob("model.ckpt.data-*-of-00003"))) == 3


def test_what_an_optimizer_and_averaging_left_behind_is_counted(exchange: Exchange) -> None:
    skipped = open_bundle(exchange.folder / "training" / "model.ckpt").skipped
    assert (skipped.slots, skipped.averages) == (2, 1)
    assert skipped.state == ("beta1_power", "beta2_power", "global_step")


def test_an_object_based_checkpoint_is_refused_by_name(exchange: Exchange) -> None:
    with pytest.raises(CheckpointError, match=r"object-based checkpoint of TensorFlow 2.*tf\.compat\.v1"):
        open_bundle(exchange.folder / "objects" / "model.ckpt")


def test_the_numbers_of_types_are_tensorflows(exchange: Exchange) -> None:
    names = {"float": "float32", "double": "float64", "half": "float16"}
    theirs = {
        int(number): str(name).removeprefix("DT_").lower() for number, name in exchange.report["type_numbers"].items()
    }
    for number, name in TYPE_NAMES.items():
        assert names.get(theirs[number], theirs[number]) == name

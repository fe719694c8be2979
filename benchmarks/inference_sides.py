"""The programs that benchmarks/inference.py times: each opens a folder of Hugging Face's form and encodes lists of ids.

A side is made by a function of the folder and answers a list of id arrays with the states of the first tokens, [N, H];
each is told how to batch by itself. Rivals get what helps them: batches sorted by length, a token budget and streams
that were tried beforehand, prepacked graphs, their own quantization.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from albertine.batching.packing import token_budget_batches

Ids = npt.NDArray[np.int32]
Encode = Callable[[Sequence[Ids]], npt.NDArray[np.float32]]
"""Texts in any order to the states of their first tokens, [N, H], in that order."""
Budgets = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A program in one setting."""

    family: str
    """What it is counted among: fp32, bf16 or int8."""
    make: Callable[[Path, int], Encode]
    """A folder and the padded tokens of a batch to what encodes."""
    budgets: Budgets = (512, 2048, 8192)
    """Batches that are tried; the best one counts."""
    albert: bool = True
    """Whether it has ALBERT at all."""


def padded_batches(
    texts: Sequence[Ids], budget: int, run: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], Any]
) -> npt.NDArray[np.float32]:
    """Sort by length, pad inside batches of so many tokens, run each, and put the rows back in order."""
    rows: list[Any] = [None] * len(texts)
    for indices in token_budget_batches([len(one) for one in texts], budget):
        chosen = [texts[place] for place in indices.tolist()]
        for place, row in zip(indices.tolist(), run(*padded(chosen)), strict=True):
            rows[place] = row
    return np.stack(rows).astype(np.float32)


def padded(texts: Sequence[Ids]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ids and mask, [N, T]."""
    shape = (len(texts), max(len(one) for one in texts))
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, one in enumerate(texts):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return ids, mask


# ---------------------------------------------------------------------------------------------------------------- ours


def ours(folder: Path, budget: int, *, precision: str) -> Encode:
    from albertine.checkpoints.load import load_encoder
    from albertine.inference.bench import prepared_encoder, read_texts
    from albertine.inference.precision import choose_precision
    from albertine.records import Encoded

    encoder, _ = load_encoder(folder)
    fused = prepared_encoder(encoder, precision, choose_precision("cpu"), seed=5)

    def many(texts: Sequence[Ids]) -> npt.NDArray[np.float32]:
        rows: list[Any] = [None] * len(texts)
        groups = [np.arange(1)] if len(texts) == 1 else token_budget_batches([len(one) for one in texts], budget)
        for indices in groups:
            chosen = [
                Encoded(input_ids=texts[place], token_type_ids=np.zeros(len(texts[place]), dtype=np.uint8))
                for place in indices.tolist()
            ]
            states, first = read_texts(fused, chosen)
            for place, row in zip(indices.tolist(), states.index_select(0, first).numpy(), strict=True):
                rows[place] = row
        return np.stack(rows)

    return many


# -------------------------------------------------------------------------------------------------------------- rivals


def transformers_side(folder: Path, budget: int, *, dtype: torch.dtype, sort: bool, compiled: bool) -> Encode:
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="sdpa", dtype=dtype).eval()
    call = torch.compile(model, dynamic=True) if compiled else model

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Any:
        with torch.inference_mode():
            given = None if mask.all() else torch.from_numpy(mask)
            return call(torch.from_numpy(ids), attention_mask=given).last_hidden_state[:, 0].float().numpy()

    def in_order(texts: Sequence[Ids]) -> npt.NDArray[np.float32]:
        rows = [run(*padded(texts[first : first + 32])) for first in range(0, len(texts), 32)]
        return np.concatenate(rows)

    return functools.partial(padded_batches, budget=budget, run=run) if sort else in_order


def sentence_transformers_side(folder: Path, budget: int, *, dtype: torch.dtype) -> Encode:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    model = SentenceTransformer(
        modules=[words := Transformer(str(folder)), Pooling(words.get_word_embedding_dimension(), "cls")], device="cpu"
    )
    model = model.to(dtype).eval()

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Any:
        with torch.inference_mode():
            features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            return model(features)["sentence_embedding"].float().numpy()

    return functools.partial(padded_batches, budget=budget, run=run)


def _onnx_graph(folder: Path, *, int8: str | None) -> Path:
    """Return transformers' graph as PyTorch's exporter writes it, as it is or quantized; made once a folder."""
    import transformers

    plain = folder / "rival.onnx"
    if not plain.exists():
        model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        example = (torch.ones(2, 9, dtype=torch.int64), torch.ones(2, 9, dtype=torch.int64))
        axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "last_hidden_state")}
        torch.onnx.export(
            model, example, plain, input_names=["input_ids", "attention_mask"],
            output_names=["last_hidden_state", "pooler_output"], dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    if int8 is None:
        return plain
    target = folder / f"rival.{int8}.onnx"
    if target.exists():
        return target
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = folder / "rival.ready.onnx"
    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    if int8 == "dynamic":
        quantize_dynamic(ready, target, weight_type=QuantType.QInt8, per_channel=True)
        return target
    generator = np.random.default_rng(0)

    class Texts(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = 16

        def get_next(self) -> dict[str, Any] | None:
            self.left -= 1
            if self.left < 0:
                return None
            ids = generator.integers(1, 8000, size=(8, 32)).astype(np.int64)
            return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    quantize_static(
        str(ready), str(target), Texts(), quant_format=QuantFormat.QDQ, per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gemm"],
    )  # fmt: skip
    return target


def onnxruntime_side(folder: Path, budget: int, *, int8: str | None) -> Encode:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(_onnx_graph(folder, int8=int8), options, providers=["CPUExecutionProvider"])

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Any:
        return session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})[0][:, 0]

    return functools.partial(padded_batches, budget=budget, run=run)


def openvino_side(folder: Path, budget: int, *, precision: str, streams: int, int8: bool) -> Encode:
    import openvino

    core = openvino.Core()
    model = core.read_model(_onnx_graph(folder, int8="static" if int8 else None))
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    output = compiled.output("last_hidden_state")
    request = compiled.create_infer_request()

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Any:
        return request.infer({"input_ids": ids, "attention_mask": mask})[output][:, 0].copy()

    def many(texts: Sequence[Ids]) -> npt.NDArray[np.float32]:
        if streams == 1 or len(texts) == 1:
            return padded_batches(texts, budget, run)
        rows: list[Any] = [None] * len(texts)
        queue = openvino.AsyncInferQueue(compiled, streams)

        def done(request: Any, places: list[int]) -> None:
            for place, row in zip(places, request.get_output_tensor(0).data[:, 0].copy(), strict=True):
                rows[place] = row

        queue.set_callback(done)
        for indices in token_budget_batches([len(one) for one in texts], budget):
            ids, mask = padded([texts[place] for place in indices.tolist()])
            queue.start_async({"input_ids": ids, "attention_mask": mask}, indices.tolist())
        queue.wait_all()
        return np.stack(rows).astype(np.float32)

    return many


def ctranslate2_side(folder: Path, budget: int, *, compute: str) -> Encode:
    import ctranslate2

    target = folder / "ctranslate2"
    if not target.exists():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(target))
    encoder = ctranslate2.Encoder(
        str(target), device="cpu", compute_type=compute, inter_threads=1, intra_threads=torch.get_num_threads()
    )

    def run(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Any:
        lists = [row[: int(count)].tolist() for row, count in zip(ids, mask.sum(axis=1), strict=True)]
        return np.asarray(encoder.forward_batch(lists).last_hidden_state)[:, 0].astype(np.float32)

    return functools.partial(padded_batches, budget=budget, run=run)


def _transformers(dtype: torch.dtype, *, sort: bool = True, compiled: bool = False) -> Callable[[Path, int], Encode]:
    return functools.partial(transformers_side, dtype=dtype, sort=sort, compiled=compiled)


SIDES: dict[str, Side] = {
    "ours, fp32": Side(family="fp32", make=functools.partial(ours, precision="fp32")),
    "ours, bf16": Side(family="bf16", make=functools.partial(ours, precision="bf16")),
    "ours, int8": Side(family="int8", make=functools.partial(ours, precision="int8")),
    "transformers, fp32, padded": Side(family="fp32", make=_transformers(torch.float32, sort=False), budgets=(0,)),
    "transformers, fp32": Side(family="fp32", make=_transformers(torch.float32)),
    "transformers, bf16, padded": Side(family="bf16", make=_transformers(torch.bfloat16, sort=False), budgets=(0,)),
    "transformers, bf16": Side(family="bf16", make=_transformers(torch.bfloat16)),
    "transformers, bf16, compiled": Side(family="bf16", make=_transformers(torch.bfloat16, compiled=True)),
    "sentence-transformers, fp32": Side(
        family="fp32", make=functools.partial(sentence_transformers_side, dtype=torch.float32)
    ),
    "sentence-transformers, bf16": Side(
        family="bf16", make=functools.partial(sentence_transformers_side, dtype=torch.bfloat16)
    ),
    "ONNX Runtime, fp32": Side(family="fp32", make=functools.partial(onnxruntime_side, int8=None)),
    "ONNX Runtime, int8 dynamic": Side(family="int8", make=functools.partial(onnxruntime_side, int8="dynamic")),
    "ONNX Runtime, int8 static": Side(family="int8", make=functools.partial(onnxruntime_side, int8="static")),
    "OpenVINO, bf16": Side(
        family="bf16", make=functools.partial(openvino_side, precision="bf16", streams=1, int8=False)
    ),
    "OpenVINO, bf16, 2 streams": Side(
        family="bf16", make=functools.partial(openvino_side, precision="bf16", streams=2, int8=False)
    ),
    "OpenVINO, int8": Side(
        family="int8", make=functools.partial(openvino_side, precision="bf16", streams=1, int8=True)
    ),
    "OpenVINO, int8, 2 streams": Side(
        family="int8", make=functools.partial(openvino_side, precision="bf16", streams=2, int8=True)
    ),
    "CTranslate2, fp32": Side(family="fp32", make=functools.partial(ctranslate2_side, compute="float32"), albert=False),
    "CTranslate2, bf16": Side(
        family="bf16", make=functools.partial(ctranslate2_side, compute="bfloat16"), albert=False
    ),
    "CTranslate2, int8": Side(
        family="int8", make=functools.partial(ctranslate2_side, compute="int8_bfloat16"), albert=False
    ),
}
"""By the names of the table's rows."""

"""An exported folder that answers: its graph, run by the runtime that it was written for, behind Albertine's engine.

B texts, T positions of a row, S tokens of all texts one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from albertine.batching.packing import padded
from albertine.errors import CheckpointError
from albertine.inference.export.heads import Head
from albertine.inference.export.onnx_file import ONNX_FILE, open_onnx
from albertine.inference.export.openvino_file import OPENVINO_FILE, open_openvino
from albertine.records import Batch, Encoded, IntArray
from albertine.tasks.task import FloatArray

__all__ = ["ExportedModule", "Runner", "exported_runner"]

Runner = Callable[[Batch], dict[str, FloatArray]]
"""A padded batch to every output of a graph, by its name."""


def exported_runner(folder: str | Path, *, threads: int | None = None) -> Runner:
    """Open an exported folder with the runtime that its files are for; OpenVINO computes in float32.

    Args:
        folder: as `albertine convert` wrote it.
        threads: that it runs on; None for as many as there are cores.

    Raises:
        CheckpointError: the folder holds no such files, or some that cannot be opened.
        MissingDependencyError: the runtime is not installed.
    """
    if (Path(folder) / ONNX_FILE).is_file():
        session = open_onnx(folder, threads=threads)
        names = [one.name for one in session.get_outputs()]
        inputs = [one.name for one in session.get_inputs()]
        return lambda batch: dict(zip(names, session.run(names, _feed(batch, inputs)), strict=True))
    if (Path(folder) / OPENVINO_FILE).is_file():
        model = open_openvino(folder, precision="f32", threads=threads)
        taken = [one.get_any_name() for one in model.inputs]
        return lambda batch: _named(model(_feed(batch, taken)))
    raise CheckpointError("this is no exported folder", where=str(folder), allowed=f"{ONNX_FILE} or {OPENVINO_FILE}")


def _feed(batch: Batch, names: list[str]) -> dict[str, IntArray]:
    return {name: getattr(batch, name).numpy() for name in names}


def _named(result: Any) -> dict[str, FloatArray]:
    """Return what OpenVINO gives, copied out of memory that its next run writes to."""
    return {port.get_any_name(): np.array(values) for port, values in result.items()}


class ExportedModule(nn.Module):
    """Stands in for a task's module: what it returns, a graph has computed.

    Args:
        runner: of the exported folder.
        head: of the model.
    """

    def __init__(self, runner: Runner, head: Head) -> None:
        super().__init__()
        self._runner = runner
        self._head = head
        self.eval()
        self.place = nn.Parameter(torch.zeros(0), requires_grad=False)  # says on which device inputs are wanted

    def forward(self, batch: Batch) -> Any:
        """Return what the module would for a packed batch."""
        assert batch.sequence_starts is not None, "the engine's batches are packed"
        rows = _padded(batch, batch.sequence_starts)
        assert rows.attention_mask is not None, "a padded batch has a mask"
        real = rows.attention_mask.bool()
        found = self._runner(rows)
        named: Mapping[str, Tensor] = {
            one.name: torch.from_numpy(found[one.name])[real] if one.per_token else torch.from_numpy(found[one.name])
            for one in self._head.outputs
        }
        return self._head.returned(named)


def _padded(batch: Batch, starts: Tensor) -> Batch:
    ids, types = batch.input_ids.numpy(), batch.token_type_ids.numpy()
    rows = [
        Encoded(input_ids=ids[first:end], token_type_ids=types[first:end]) for first, end in pairwise(starts.tolist())
    ]
    return padded(rows, pad_id=0)

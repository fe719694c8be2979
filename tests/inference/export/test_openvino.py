"""OpenVINO's files: the numbers of the model, every weight once, and nothing told to anybody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from albertine.checkpoints.load import load_pretraining
from albertine.errors import CheckpointError
from albertine.inference.export.export import export
from albertine.inference.export.openvino_file import open_openvino
from albertine.models.config import EncoderConfig

pytest.importorskip("onnx")
pytest.importorskip("openvino")


@pytest.mark.parametrize("name", ["bert", "albert-groups", "pre-norm", "brightmart", "transformer"])
def test_the_files_give_what_the_model_does(
    name: str, shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    report = export(save_pretraining(shape(name)), tmp_path / "openvino", to="openvino")
    assert {one.name for one in report.verification.outputs} >= {"last_hidden_state", "prediction_logits"}
    assert all(one.relative < 2e-5 and one.scale > 0.1 for one in report.verification.outputs)
    model = open_openvino(tmp_path / "openvino", threads=1)
    assert [sorted(port.names) for port in model.outputs] == [[one] for one in report.outputs]


def test_every_weight_stands_in_the_files_once_in_as_many_bits_as_were_asked_for(
    shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    config = shape(
        "albert",
        vocab_size=3_000,
        hidden_size=160,
        num_attention_heads=4,
        embedding_size=64,
        num_hidden_layers=12,
        intermediate_size=640,
    )
    source = save_pretraining(config, std=0.08)
    module, _ = load_pretraining(source)
    unique = 4 * sum(one.numel() for one in module.parameters())
    for to, share in (("openvino", 1.0), ("openvino-fp16", 0.5), ("openvino-int8", 0.25)):
        report = export(source, tmp_path / to, to=to)  # type: ignore[arg-type]
        weights = (tmp_path / to / "model.bin").stat().st_size
        assert 0.99 * share * unique < weights < (share + 0.03) * unique, to
        assert report.bytes == weights + (tmp_path / to / "model.xml").stat().st_size
        states = report.verification.outputs[0]
        assert states.relative < {"openvino": 1e-4, "openvino-fp16": 0.01, "openvino-int8": 0.1}[to]
        assert (report.verification.bound is None) == (to != "openvino")
        assert report.products is None


def test_openvino_is_imported_without_what_sends_its_use_over_the_network() -> None:
    code = (
        "import sys\n"
        "from albertine.inference.export.openvino_file import open_openvino\n"
        "try:\n    open_openvino('/nowhere')\nexcept Exception as error:\n    print(error)\n"
        "print(sorted(name for name in sys.modules if 'telemetry' in name and 'openvino_' in name))\n"
        "print('openvino' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "True"]
    assert "no model of OpenVINO's" in done.stdout


def test_files_that_are_not_openvinos_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("nothing of the kind")
    with pytest.raises(CheckpointError, match="OpenVINO cannot open this file"):
        open_openvino(tmp_path)


def test_eight_bits_are_kept_in_memory_too(
    shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path], tmp_path: Path
) -> None:
    config = shape("bert", hidden_size=80, embedding_size=80, num_attention_heads=4, intermediate_size=160)
    export(save_pretraining(config, std=0.1), tmp_path / "openvino", to="openvino-int8")
    model = open_openvino(tmp_path / "openvino", threads=1)
    stored = [node for node in model.get_runtime_model().get_ops() if node.get_type_name() == "Constant"]
    sizes = [
        int(np.prod(node.get_output_shape(0))) for node in stored if str(node.get_element_type()) == "<Type: 'float32'>"
    ]
    assert max(sizes, default=0) < 80 * 80

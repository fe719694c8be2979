"""Opening a large model takes the memory of the model, not twice that: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

from albertine.checkpoints.state import ModelState
from albertine.checkpoints.writing import save_state
from albertine.models.config import EncoderConfig, count_parameters
from albertine.models.encoder import Encoder

OPEN = """
import json, sys
from albertine.checkpoints.load import load_encoder, open_state
from albertine.evaluation.timing import peak_memory_bytes

way = load_encoder if sys.argv[3] == "load_encoder" else open_state
small = way(sys.argv[1])  # what is loaded once, whatever is opened
before = peak_memory_bytes()
opened = way(sys.argv[2])
print(json.dumps(peak_memory_bytes() - before))
"""

LARGE = EncoderConfig.preset("albert-xxlarge", max_position_embeddings=64)
SMALLER = EncoderConfig.preset("albert-xlarge", vocab_size=9999)
SMALL = EncoderConfig.preset("albert-base", vocab_size=99, hidden_size=12, num_attention_heads=3, intermediate_size=7)


def random_state(config: EncoderConfig) -> ModelState:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Encoder(config).state_dict().items()}
    return ModelState(config=config, tensors={f"encoder.{name}": torch.randn(shape) for name, shape in shapes.items()})


def memory_of_opening(small: Path, folder: Path, way: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", OPEN, str(small), str(folder), way], capture_output=True, text=True, check=True
    )
    grown: int = json.loads(run.stdout)
    return grown


@pytest.mark.parametrize(
    "config", [pytest.param(LARGE, marks=pytest.mark.long, id="xxlarge"), pytest.param(SMALLER, id="xlarge")]
)
@pytest.mark.parametrize("format", ["huggingface", "tensorflow"])
def test_opening_takes_little_more_memory_than_the_weights(
    tmp_path: Path, config: EncoderConfig, format: Literal["huggingface", "tensorflow"]
) -> None:
    size = 4 * count_parameters(config).unique
    save_state(random_state(SMALL), None, tmp_path / "small", format)
    save_state(random_state(config), None, tmp_path / "model", format)
    for way in ("load_encoder", "open_state"):
        grown = memory_of_opening(tmp_path / "small", tmp_path / "model", way)
        assert 0.9 * size < grown < 1.2 * size

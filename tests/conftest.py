"""Fixtures that every test may use."""

from __future__ import annotations

import os

# Two test processes share the cores: one thread each, and no message about forks from the tokenizers library.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

from albertine.settings import data_folder

torch.set_num_threads(1)

# The same examples on every run, and no time in which one has to be done, so that a change and not luck turns a run
# red; HYPOTHESIS_PROFILE=random looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the shared data sets; tests that need it are skipped where it is absent."""
    folder = data_folder().resolve()
    if not (folder / "README.md").exists():
        pytest.skip(f"the shared data sets are not at {folder}; set ALBERTINE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def ship_encoder() -> ModuleType:
    """The script benchmarks/ship_encoder.py, which makes the encoders that ship and knows the rules for them."""
    path = Path(__file__).parents[1] / "benchmarks" / "ship_encoder.py"
    if not path.exists():
        pytest.skip(f"{path} is not in a source distribution")
    spec = importlib.util.spec_from_file_location("ship_encoder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ship_encoder"] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def restore_global_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test English reports and the same random numbers, and give the default type back afterwards."""
    monkeypatch.setenv("ALBERTINE_LANG", "en")
    torch.manual_seed(1729)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(False)

"""Learning curves in other programs."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from albertine.errors import ConfigError, MissingDependencyError
from albertine.training.log import LogPoint
from albertine.training.trackers import MlflowLog, open_trackers

POINTS = [
    LogPoint(step=4, examples=52, tokens=400, seconds=1.0, loss=0.7, learning_rate=0.01, parts={"tagging": 0.7}),
    LogPoint(step=8, examples=104, tokens=800, seconds=2.0, loss=0.6, learning_rate=0.02, dev_metrics={"f1": 0.5}),
]


class Client:
    """What MLflow's client is asked for, written down."""

    runs: dict[str, dict[str, object]]

    def __init__(self) -> None:
        Client.runs = getattr(Client, "runs", {})

    def create_run(self, experiment: str, run_name: str) -> types.SimpleNamespace:
        name = f"run{len(self.runs)}"
        self.runs[name] = {"name": run_name, "params": {}, "metrics": [], "ended": 0}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=name))

    def log_param(self, run: str, name: str, value: object) -> None:
        self.runs[run]["params"][name] = value  # type: ignore[index]

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.runs[run]["metrics"].append((name, value, step))  # type: ignore[attr-defined]

    def set_tag(self, run: str, name: str, value: str) -> None:
        self.runs[run][name] = value

    def set_terminated(self, run: str) -> None:
        self.runs[run]["ended"] += 1  # type: ignore[operator]


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    module = types.ModuleType("mlflow")
    module.MlflowClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    Client.runs = {}
    return Client


def test_a_run_is_shown_with_its_parameters_and_goes_on_where_it_was(mlflow: type[Client], tmp_path: Path) -> None:
    parameters = {"task": "token-classification", "training": {"batch_size": 13}}
    with open_trackers(["mlflow"], tmp_path / "names", parameters) as trackers:
        trackers[0](POINTS[0])
    with open_trackers(["mlflow"], tmp_path / "names", parameters) as trackers:
        trackers[0](POINTS[1])
    (run,) = mlflow.runs.values()
    assert run["name"] == "names"
    assert run["params"] == {"task": "token-classification", "training.batch_size": 13}
    assert ("loss/tagging", 0.7, 4) in run["metrics"]  # type: ignore[operator]
    assert ("dev/f1", 0.5, 8) in run["metrics"]  # type: ignore[operator]
    assert run["ended"] == 2


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingDependencyError, match=r"albertine\[mlflow\]"):
        MlflowLog(tmp_path, {})


def test_an_unknown_tracker_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tensorboard"), open_trackers(["tensorbord"], tmp_path, {}):
        pass

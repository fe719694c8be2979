"""From a finished run to a folder that ships: benchmarks/ship_encoder.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import albertine as al
from albertine import shipped
from albertine.checkpoints.storage import read_back
from albertine.training.pretraining.run import PretrainingOutcome


@pytest.fixture(scope="module")
def run(pretrain: Callable[..., PretrainingOutcome], tmp_path_factory: pytest.TempPathFactory) -> PretrainingOutcome:
    return pretrain(tmp_path_factory.mktemp("run") / "out", training={"max_steps": 30})


def words(run: PretrainingOutcome, corpus: Path, place: Path, *more: str) -> list[str]:
    told = [str(run.folder), "--corpus", str(corpus), "--name", "bert-en-nano", "--language", "en"]
    return [*told, "--source", "wikipedia", "--out", str(place), *more]


@pytest.mark.parametrize("storage", ["int8", "bf16"])
def test_a_run_becomes_an_encoder_that_ships(
    ship_encoder: ModuleType, run: PretrainingOutcome, corpus: Path, tmp_path: Path, storage: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    results = [{"task": "opinions", "accuracy": 0.91}, {"task": "topics", "accuracy": 0.5}]
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    place = tmp_path / "shipped"
    more = ("--storage", storage, "--default", "1", "--results", str(tmp_path / "results.json"), "--watts", "7.5")
    assert ship_encoder.main(words(run, corpus, place, *more)) == 0
    told = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(shipped, "ENCODERS", place)
    (found,) = al.shipped_encoders()
    assert (found.name, found.languages, found.licence, found.default) == ("bert-en-nano", ("en",), "CC-BY-SA-4.0", 1)
    assert found.bytes == told["bytes"]
    trained, shipped_model = (al.load_pretraining(one)[0].state_dict() for one in (run.folder, "bert-en-nano"))
    expected = read_back(trained, storage)  # type: ignore[arg-type]
    assert shipped_model.keys() == trained.keys(), "with both heads"
    assert all((tensor == expected[name]).all() for name, tensor in shipped_model.items())
    measured = run.measurements.dev_metrics["masked_word_loss"]
    assert told["held_out"]["as_trained"]["masked_word_loss"] == pytest.approx(measured, abs=1e-3)
    assert told["held_out"]["as_stored"]["masked_word_loss"] == pytest.approx(measured, abs=0.05)
    card = (place / "bert-en-nano" / "README.md").read_text(encoding="utf-8")
    for said in (
        "license: cc-by-sa-4.0",
        "the authors of its articles",
        f"| tokens | {run.measurements.tokens:,} |",
        f"of which step {run.measurements.best_step:,} is kept",
        f"|  | as trained | as {storage} |",
        "| topics | 0.5 |",
        "at 7.5 W for the machine, which was assumed",
        "was not held against evaluation data",
    ):
        assert said in card, said
    assert ("rounded to eight bits" in card) == (storage == "int8")
    manifest = json.loads((place / "bert-en-nano" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"]["corpus"] == json.loads((run.folder / "manifest.json").read_text())["inputs"]["corpus"]
    assert str(tmp_path) not in json.dumps(manifest) + card
    assert ship_encoder.main(["--check", str(place)]) == 0


def test_without_results_there_is_no_such_section_and_overlaps_are_told(
    ship_encoder: ModuleType, run: PretrainingOutcome, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ship_encoder.open_run(run.folder, corpus)
    opened.corpus_report["excluded"] = {"files": [{"texts": 1200}, {"texts": 34}], "documents": 77}
    monkeypatch.setattr(ship_encoder, "open_run", lambda *_: opened)
    assert ship_encoder.main(words(run, corpus, tmp_path)) == 0
    card = (tmp_path / "bert-en-nano" / "README.md").read_text(encoding="utf-8")
    assert "## Results" not in card
    assert "Held against 1,234 evaluation texts of 2 files: 77 documents overlapped" in card


def test_another_corpus_and_an_unfinished_run_are_refused(
    ship_encoder: ModuleType, run: PretrainingOutcome, corpus: Path, make_corpus: Callable[..., Path],
    texts: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = make_corpus(texts(40, seed=8))
    assert ship_encoder.main(words(run, other, tmp_path)) == 2
    assert "not the corpus that the run learnt from" in capsys.readouterr().err
    unfinished = PretrainingOutcome(folder=tmp_path, measurements=run.measurements, curve=())
    assert ship_encoder.main(words(unfinished, corpus, tmp_path / "out")) == 2
    assert "no finished pretraining run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

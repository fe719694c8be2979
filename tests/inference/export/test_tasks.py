"""Trained models of every task that can be exported: the same answers, and the same again without Albertine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from albertine.errors import ConfigError
from albertine.inference.export.export import export
from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.records import Prediction
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig
from albertine.tasks.intent_slots_module import IntentSlotsOptions
from albertine.tasks.opinion_options import OpinionOptions
from albertine.tasks.question_options import QuestionAnsweringOptions
from albertine.tasks.seq2seq_module import Seq2SeqOptions
from albertine.tasks.similarity_options import SimilarityOptions
from albertine.tasks.tagger import TaggingOptions
from albertine.tokenization.tokenizer import Tokenizer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

TEXTS = ["the soup was hot.", "很好吃", "太慢了", "Fox 7, dog 19!", "a", "[SEP] the fox", "北京天气 hot"]
PAIRS = [
    ("who was hot?", "the soup was hot, the bread."),
    ("好吃", "很好吃太慢了"),
    ("a dog", "the fox jumps over 7 dogs"),
]
ENDS = TaskConfig(task="question-answering", max_length=41, pairs=True, options=QuestionAnsweringOptions())


def classes(**options: object) -> TaskConfig:
    labels = () if options.get("problem") == "regression" else ("bad", "good", "so-so")
    return TaskConfig(
        task="text-classification",
        labels=labels,
        max_length=41,
        temperature=1.7,
        options=ClassificationOptions(**options),  # type: ignore[arg-type]
    )


def tags(**options: object) -> TaskConfig:
    return TaskConfig(
        task="token-classification",
        labels=("PER", "LOC"),
        max_length=41,
        options=TaggingOptions(**{"whole_words": False, **options}),  # type: ignore[arg-type]
    )


def similar(**options: object) -> TaskConfig:
    return TaskConfig(
        task="sentence-similarity",
        max_length=41,
        pairs=True,
        options=SimilarityOptions(**{"loss": "cosent", **options}),  # type: ignore[arg-type]
    )


def frames(*, crf: bool) -> TaskConfig:
    return TaskConfig(
        task="intent-slots",
        labels=("book", "ask", "cancel"),
        max_length=41,
        options=IntentSlotsOptions(slots=("day", "town"), crf=crf, whole_words=False),
    )


CASES: dict[str, tuple[str, TaskConfig]] = {
    "one label": ("bert", classes()),
    "one label, no pooler": ("bert-without-pooler", classes()),
    "any labels": ("albert", classes(problem="multi", thresholds=(0.3, 0.5, 0.6))),
    "a number": ("pre-norm", classes(problem="regression", value_mean=3.5, value_spread=1.25)),
    "tags": ("brightmart", tags()),
    "tags in BIO": ("bert", tags(scheme="bio")),
    "tags with a chain": ("albert", tags(crf=True)),
    "answers": ("bert", ENDS),
    "vectors": ("albert", similar()),
    "vectors of first tokens": ("bert", similar(pooling="cls")),
    "largest of vectors": ("pre-norm", similar(pooling="max")),
    "likeness": ("bert", similar(architecture="cross-encoder", loss="cross-entropy", slope=0.8, highest=5.0)),
    "intents and slots": ("bert", frames(crf=False)),
    "intents and slots with a chain": ("albert-groups", frames(crf=True)),
    "without segments": ("transformer", classes()),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_answers_are_those_of_the_model(
    case: str,
    shape: Callable[..., EncoderConfig],
    save_task: Callable[..., tuple[Model, Path]],
    tmp_path: Path,
) -> None:
    name, task_config = CASES[case]
    model, source = save_task(shape(name), task_config)
    if "chain" in case:  # transitions weigh as much as emissions, so that one that is left out shows
        transitions = model.learnt.crf().next.detach()  # type: ignore[union-attr]
        assert 0.5 < float(transitions[transitions > -1000].abs().median()) < 5
    report = export(source, tmp_path / "onnx", to="onnx")
    found = report.verification
    assert all(one.relative < 1e-5 and one.scale > 0.05 for one in found.outputs)
    assert found.changed == ()
    numbers = case in ("a number", "vectors", "vectors of first tokens", "largest of vectors", "likeness")
    assert found.answers == (None if numbers else 26 if case == "answers" else 25)
    described = json.loads((tmp_path / "onnx" / "export.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in described["outputs"]] == list(report.outputs)
    assert described["verification"] == found.summary()
    assert json.loads((tmp_path / "onnx" / "task.json").read_text("utf-8"))["task"] == task_config.task
    assert (tmp_path / "onnx" / "README.md").read_text("utf-8").startswith("# A card\n\n## Using the exported files\n")


def without_albertine(folder: Path, inputs: Sequence[object]) -> object:
    """Run the program of the folder's card where neither Albertine nor PyTorch can be imported."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[-1]
    blocked = "import sys\nfor name in ('albertine', 'torch'):\n    sys.modules[name] = None\n"
    asked = f"print(json.dumps(answer({inputs!r}), default=lambda one: one.tolist()))\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program + asked], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def said(case: str, one: Prediction) -> object:
    """The model's answer as the program gives it."""
    spans = [[span.label, span.start, span.end, span.text] for span in one.spans]
    if case.startswith("one label") or case == "without segments":
        return [one.label, pytest.approx(one.score, abs=1e-5)]
    if case == "any labels":
        return list(one.labels or ())
    if case in ("a number", "likeness"):
        return pytest.approx(one.value, abs=1e-4)
    if case == "answers":
        return one.text
    return [one.label, spans] if case.startswith("intents") else spans


@pytest.mark.parametrize("case", [case for case in CASES if "vectors" not in case])
def test_the_program_of_the_card_gives_the_same_answers_without_albertine(
    case: str,
    shape: Callable[..., EncoderConfig],
    save_task: Callable[..., tuple[Model, Path]],
    tmp_path: Path,
) -> None:
    name, task_config = CASES[case]
    model, source = save_task(shape(name), task_config)
    to = "openvino" if case in ("one label", "tags with a chain") else "onnx"
    export(source, tmp_path / "exported", to=to)  # type: ignore[arg-type]
    inputs: list[object] = list(PAIRS if task_config.pairs else TEXTS)
    expected = [said(case, one) for one in model.predict(inputs)]  # type: ignore[arg-type]
    assert without_albertine(tmp_path / "exported", inputs) == expected
    if "tags" in case:
        assert any(expected)


def test_the_program_of_the_page_runs_as_it_stands(
    shape: Callable[..., EncoderConfig], save_task: Callable[..., tuple[Model, Path]], tmp_path: Path
) -> None:
    page = Path(__file__).parents[3] / "docs" / "export.md"
    (program,) = (
        one for one in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL) if "FOLDER" in one
    )
    model, source = save_task(shape("bert"), classes())
    export(source, tmp_path / "exported" / "reviews", to="onnx")
    blocked = "import sys\nfor name in ('albertine', 'torch'):\n    sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = [line.split() for line in done.stdout.splitlines()]
    expected = model.predict(["很好吃", "太慢了"])
    assert [label for label, _ in said] == [one.label for one in expected]
    assert [float(share) for _, share in said] == pytest.approx([one.score for one in expected], abs=1e-5)


def test_vectors_without_albertine_have_the_similarity_of_the_model(
    shape: Callable[..., EncoderConfig], save_task: Callable[..., tuple[Model, Path]], tmp_path: Path
) -> None:
    model, source = save_task(shape("albert"), similar())
    export(source, tmp_path / "onnx", to="onnx")
    firsts, seconds = (
        np.array(without_albertine(tmp_path / "onnx", [pair[side] for pair in PAIRS])) for side in (0, 1)
    )
    lengths = np.linalg.norm(firsts, axis=1) * np.linalg.norm(seconds, axis=1)
    expected = [one.value for one in model.predict(PAIRS)]
    np.testing.assert_allclose(np.clip((firsts * seconds).sum(axis=1) / lengths, 0, 1), expected, atol=1e-5)


@pytest.mark.parametrize("task", ["aspect-opinions", "seq2seq"])
def test_a_task_whose_answers_take_several_runs_is_refused_by_name(
    task: str, shape: Callable[..., EncoderConfig], save_task: Callable[..., tuple[Model, Path]], tmp_path: Path
) -> None:
    if task == "seq2seq":
        config = TaskConfig(task=task, max_length=16, options=Seq2SeqOptions(bleu_tokenizer="13a"))
    else:
        config = TaskConfig(task=task, labels=("good", "bad"), max_length=41, options=OpinionOptions())
    _, source = save_task(shape("transformer" if task == "seq2seq" else "bert"), config)
    with pytest.raises(ConfigError, match="cannot be exported") as caught:
        export(source, tmp_path / "onnx", to="onnx")
    assert task in str(caught.value)
    assert "text-classification" in str(caught.value)
    assert not (tmp_path / "onnx").exists()
    report = export(source, tmp_path / "onnx", to="onnx", encoder_only=True)
    assert report.outputs == ("last_hidden_state", "pooler_output")


def test_a_baseline_is_refused_by_name(
    tokenizer: Tokenizer, save_task: Callable[..., tuple[Model, Path]], tmp_path: Path
) -> None:
    body = RecurrentConfig(vocab_size=tokenizer.vocab_size, embedding_size=6, hidden_size=5)
    _, source = save_task(body, classes())
    with pytest.raises(ConfigError, match="no encoder") as caught:
        export(source, tmp_path / "onnx", to="onnx")
    assert "bilstm" in str(caught.value)

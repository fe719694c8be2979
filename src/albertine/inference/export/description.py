"""What stands beside an exported graph: export.json, the tokenizer, the card with a program that uses it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import normalizers

from albertine import __version__
from albertine.catalogue import catalogue
from albertine.checkpoints.native import CARD_FILE, CONFIG_FILE, MANIFEST_FILE, TASK_FILE
from albertine.files import write_json, write_text
from albertine.inference.export.encoder_graph import input_names
from albertine.inference.export.heads import VectorHead
from albertine.inference.export.snippets import AnswerKind, Runtime, program
from albertine.inference.export.subject import Subject
from albertine.models.crf import Chain, decoding_chain
from albertine.settings import Language
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig
from albertine.tasks.intent_slots import TASK as INTENT_SLOTS
from albertine.tasks.intent_slots_module import slot_part
from albertine.tasks.question_answering import TASK as QUESTION_ANSWERING
from albertine.tasks.tagger import TaggingModule, tags_of
from albertine.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["EXPORT_FILE", "TAGS_FILE", "describe", "write_companions"]

EXPORT_FILE = "export.json"
TAGS_FILE = "tags.json"
SCHEMA_VERSION = 1

_MEANINGS = {
    "input_ids": "Token ids; every text begins with [CLS] and ends with [SEP], and padding stands behind it.",
    "attention_mask": "1 for tokens of the text, 0 for padding.",
    "token_type_ids": "0 in the first text, 1 in the second one of a pair.",
}
_PACKAGES = ("onnx", "onnxruntime", "openvino")


def describe(subject: Subject, target_format: str, files: Sequence[str]) -> dict[str, object]:
    """Return export.json: what goes in, what comes out, and what else it takes to make answers of it.

    Args:
        subject: the model.
        target_format: of the files.
        files: that hold the graph.
    """
    task_config = None if subject.model is None else subject.model.task_config
    return {
        "schema_version": SCHEMA_VERSION,
        "format": target_format,
        "files": list(files),
        "task": None if task_config is None else task_config.task,
        "max_length": subject.max_length,
        "pad_id": subject.config.pad_token_id if subject.tokenizer is None else subject.tokenizer.pad_id,
        "inputs": [
            {"name": name, "axes": ["batch", "length"], "meaning": _MEANINGS[name]}
            for name in input_names(subject.config)
        ],
        "outputs": [one.to_dict() for one in subject.head.outputs],
        "versions": {"albertine": __version__, "python": platform.python_version(), **_versions()},
    }


def write_companions(
    subject: Subject, folder: Path, description: Mapping[str, object], *, runtime: Runtime, language: Language
) -> None:
    """Write everything that stands beside the graph.

    Args:
        subject: the model.
        folder: which holds the graph already.
        description: export.json.
        runtime: that the program in the card uses.
        language: of the sentence before it.
    """
    write_json(folder / EXPORT_FILE, description)
    write_json(folder / CONFIG_FILE, subject.config_json)
    write_json(folder / MANIFEST_FILE, subject.manifest)
    if subject.model is not None:
        task_config = subject.model.task_config
        write_json(folder / TASK_FILE, task_config.to_dict())
        if isinstance(subject.module, TaggingModule):  # without indents: the table of transitions may be long
            write_text(folder / TAGS_FILE, json.dumps(_tags(subject.module, task_config), ensure_ascii=False) + "\n")
    parts = [subject.card.rstrip()]
    if subject.tokenizer is not None:
        _write_tokenizer(subject.tokenizer, folder, longest=subject.max_length, lowercase=subject.lowercase)
        texts = catalogue(language)
        kind = _answer_kind(subject)
        pairs = kind != "vectors" and subject.model is not None and bool(subject.model.task_config.pairs)
        parts += [
            f"## {texts('export.title')}",
            texts("export.intro", packages=f"{runtime}, tokenizers, numpy"),
            f"```python\n{program(runtime, kind, pairs=pairs)}```",
        ]
    write_text(folder / CARD_FILE, "\n\n".join(parts) + "\n")


def _write_tokenizer(tokenizer: Tokenizer, folder: Path, *, longest: int, lowercase: bool) -> None:
    tokenizer.save(folder, max_length=longest)
    if lowercase:  # what Albertine does before its tokenizer, the library does within
        path = str(folder / "tokenizer.json")
        library = LibraryTokenizer.from_file(path)
        steps = [normalizers.Lowercase(), *([] if library.normalizer is None else [library.normalizer])]
        library.normalizer = normalizers.Sequence(steps)
        library.save(path)


def _tags(module: TaggingModule, task_config: TaskConfig) -> dict[str, object]:
    """Return what it takes to make spans of the scores of tags: their order, their types and their transitions."""
    tags = tags_of(slot_part(task_config) if task_config.task == INTENT_SLOTS.name else task_config)
    learnt = None
    if module.crf is not None:
        learnt = Chain(*(one.detach().numpy() for one in module.crf()))
    chain = decoding_chain(tags.rules, learnt)
    return {
        "names": list(tags.names),
        "labels": list(tags.labels),
        "types": tags.types.tolist(),
        "continuing": tags.continuing.astype(int).tolist(),
        **{name: scores.tolist() for name, scores in chain._asdict().items()},
    }


def _answer_kind(subject: Subject) -> AnswerKind:
    if isinstance(subject.head, VectorHead):
        return "vectors"
    if subject.model is None:
        return "outputs"
    task_config = subject.model.task_config
    if isinstance(subject.module, TaggingModule):
        return "frames" if task_config.task == INTENT_SLOTS.name else "spans"
    if task_config.task == QUESTION_ANSWERING.name:
        return "answers"
    if task_config.task != TEXT_CLASSIFICATION.name:
        return "likeness"
    kinds: dict[str, AnswerKind] = {"single": "label", "multi": "labels", "regression": "number"}
    return kinds[task_config.own(ClassificationOptions).problem]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

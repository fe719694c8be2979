"""The model card: what the model is, what it learnt from, what it is worth, how to use it; every number measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from albertine.catalogue import Catalogue, catalogue
from albertine.data.samples import Splits
from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.settings import Language
from albertine.training.manifest import Measurements

__all__ = ["model_card"]

_LABELS_SHOWN = 30


def model_card(model: Model, measured: Measurements, splits: Splits, *, encoder: str, language: Language) -> str:
    """Write the card of a trained model, Markdown.

    Args:
        model: the model, with its manifest.
        measured: what its training took and gave.
        splits: the data it learnt from.
        encoder: the name of what was trained.
        language: of the text.
    """
    texts = catalogue(language)
    parts = [
        f"---\nlibrary_name: albertine\npipeline_tag: {model.task.name}\n---\n",
        f"# {texts('card.title', encoder=encoder, source=splits.source)}\n",
        _summary(texts, model) + "\n",
        *_section(texts, "model", _model_rows(texts, model, encoder)),
        *_section(texts, "data", _data_rows(texts, splits)),
        *_notes(texts, splits.notes),
        *_section(texts, "training", _training_rows(texts, model, measured)),
        f"## {texts('card.results')}\n",
        _results(texts, measured),
        f"## {texts('card.limits')}\n",
        _limits(texts, model, measured, splits),
        f"## {texts('card.use')}\n",
        "```python\nimport albertine as al\n\n"
        f'model = al.load("{texts("card.this_folder")}")\nmodel.predict(["{texts("card.a_text")}"])\n```\n',
        f"## {texts('card.again')}\n",
        f"```\n{_command(model)}\n```\n\n{texts('card.manifest')}\n",
    ]
    return "\n".join(parts)


def _summary(texts: Catalogue, model: Model) -> str:
    labels = model.labels
    return texts("card.summary", labels=len(labels)) if labels else texts("card.summary_task", task=model.task.name)


def _section(texts: Catalogue, name: str, rows: dict[str, str]) -> Sequence[str]:
    table = "\n".join(f"| {texts(f'card.{key}')} | {_cell(value)} |" for key, value in rows.items())
    return f"## {texts(f'card.{name}')}\n", f"| | |\n|---|---|\n{table}\n"


def _model_rows(texts: Catalogue, model: Model, encoder: str) -> dict[str, str]:
    rows = {"trained_from": encoder, "kind": model.body_kind}
    if isinstance(model.config, EncoderConfig):
        rows["shape"] = texts("card.layers", layers=model.config.num_hidden_layers, width=model.config.hidden_size)
    count = model.parameters_info
    rows |= {"unique": f"{count.unique:,}", "executed": f"{count.executed:,}"}
    if model.tokenizer is not None:
        rows["vocabulary"] = f"{model.tokenizer.vocab_size:,}"
    return rows


def _data_rows(texts: Catalogue, splits: Splits) -> dict[str, str]:
    labels = ", ".join(splits.labels[:_LABELS_SHOWN])
    if len(splits.labels) > _LABELS_SHOWN:
        labels += ", …"
    sizes = texts(
        "card.split_sizes", train=f"{len(splits.train):,}", dev=f"{len(splits.dev):,}", test=f"{len(splits.test):,}"
    )
    return {"source": splits.source, "sizes": sizes, "labels": labels}


def _notes(texts: Catalogue, notes: Sequence[str]) -> Sequence[str]:
    """Return what was done to the data; messages are English in every card."""
    return (f"{texts('card.notes')}\n", "".join(f"* {_cell(note)}\n" for note in notes)) if notes else ()


def _training_rows(texts: Catalogue, model: Model, measured: Measurements) -> dict[str, str]:
    rows = {}
    if measured.learning_rate is not None:
        rows["learning_rate"] = f"{measured.learning_rate:g}"
        rows["steps"] = texts("card.steps_kept", steps=f"{measured.steps:,}", best=f"{measured.best_step:,}")
    rows["examples"] = f"{measured.examples:,}"
    rows["seconds"] = f"{measured.training_seconds:,.1f}"
    if measured.tokens:
        rows["tokens_per_second"] = f"{measured.tokens_per_second:,.0f}"
    rows["precision"] = f"{measured.precision}, {measured.device}"
    if measured.skipped_steps:
        rows["skipped"] = f"{measured.skipped_steps:,}"
    if model.task_config.max_length is not None:
        rows["max_length"] = f"{model.task_config.max_length:,}"
    return rows


def _results(texts: Catalogue, measured: Measurements) -> str:
    names = [*measured.test_metrics] or [*measured.dev_metrics]
    head = f"| {texts('card.metric')} | {texts('card.test')} | {texts('card.dev')} |\n|---|---|---|\n"
    lines = []
    for name in names:
        values = [part.get(name) for part in (measured.test_metrics, measured.dev_metrics)]
        shown = " | ".join("–" if value is None else f"{value:.4f}" for value in values)
        star = " *" if name == measured.main_metric else ""
        lines.append(f"| {_cell(name)}{star} | {shown} |\n")
    chosen = texts("card.chosen_by", metric=measured.main_metric)
    return head + "".join(lines) + "\n" + chosen + "\n" + _exits(texts, measured)


def _exits(texts: Catalogue, measured: Measurements) -> str:
    """Return what every depth of an elastic model is worth."""
    if measured.exits is None:
        return ""
    found = cast("dict[str, Any]", measured.exits)
    rows = "".join(f"| {depth} | {value:.4f} |\n" for depth, value in enumerate(found["by_depth"], 1))
    mean = f"{found['mean_depth']:.2f}"
    auto = f"| {texts('card.depth_auto', mean=mean)} | {found['value']:.4f} |\n"
    return f"\n| {texts('card.depth')} | {texts('card.dev')}: {found['metric']} |\n|---|---|\n{rows}{auto}"


def _limits(texts: Catalogue, model: Model, measured: Measurements, splits: Splits) -> str:
    limits = [texts("card.limit_domain"), texts("card.limit_checks")]
    if model.task_config.temperature is not None:
        limits.append(texts("card.calibrated", temperature=f"{model.task_config.temperature:.3f}"))
    elif "ece" in {**measured.test_metrics, **measured.dev_metrics}:
        limits.append(texts("card.limit_calibration"))
    length = model.task_config.max_length
    if length is not None:
        share = 100 * measured.truncated / max(1, len(splits.train))
        limits.append(texts("card.limit_length", length=length, share=f"{share:.1f}"))
    return "".join(f"* {limit}\n" for limit in limits)


def _command(model: Model) -> str:
    return str(model.manifest.get("command", ""))


def _cell(text: str) -> str:
    """Keep a text from breaking out of its table cell or line."""
    return " ".join(text.replace("|", "\\|").split())

"""What the engine's shortcuts cost: every precision of a trained model against the plain modules in fp32.

    python benchmarks/precision.py TEST MODEL… [--text-column …] [--text-pair-column …] [--label-column …]
        [--quoting off]

The reference is the module as it was trained, without fused passes. For every model and precision: the share of
examples whose prediction is another one, the largest difference of a score, and the difference of the main metric, in
points. int8 takes a folder that `albertine compress` wrote. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from albertine.data.columns import Columns
from albertine.inference.engine import Engine
from albertine.inference.loading import load
from albertine.inference.model import Model, PrecisionAsked
from albertine.records import Example, Prediction


def said(model: Model, answers: Sequence[Any], examples: Sequence[Example]) -> tuple[list[Prediction], float]:
    """Return the predictions and the main metric."""
    task, config = model.task, model.task_config
    metric = config.main_metric or task.main_metric
    return task.decode(answers, examples, config), float(task.score(answers, examples, config)[metric])


def apart(found: Prediction, expected: Prediction) -> float:
    """Return the largest difference of two predictions' scores, or of their numbers."""
    numbers = [abs(found.scores[name] - one) for name, one in expected.scores.items() if name in found.scores]
    if found.value is not None and expected.value is not None:
        numbers.append(abs(found.value - expected.value))
    return max(numbers, default=0.0)


def measured(folder: Path, test: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row a precision."""
    columns = Columns(text=options.text_column, text_pair=options.text_pair_column, label=options.label_column)
    plain = load(folder, precision="fp32")
    assert plain.tokenizer is not None, "a model with an encoder"
    format = plain.task.format(plain.task_config.options)
    examples = format.read(test, columns=columns, on_error="skip", quoting=options.quoting, labelled=True).examples
    reference = Engine(plain.module, plain.tokenizer, plain.task, plain.task_config)
    usual, metric = said(plain, reference.reported_answers(examples), examples)
    rows = []
    precisions: list[PrecisionAsked] = ["fp32", "bf16", *(["int8"] if plain.plan is not None else [])]  # type: ignore[list-item]
    for precision in precisions:
        model = load(folder, precision=precision)
        found, value = said(model, model.answer_examples(examples), examples)
        pairs = list(zip(found, usual, strict=True))
        rows.append(
            {
                "model": folder.name,
                "precision": precision,
                "examples": len(examples),
                "changed_percent": round(100 * sum(one.answer != other.answer for one, other in pairs) / len(pairs), 3),
                "largest_score_difference": max(apart(*pair) for pair in pairs),
                "metric": round(100 * value, 2),
                "metric_points": round(100 * (value - metric), 3),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    for name in ("text", "text-pair", "label"):
        parser.add_argument(f"--{name}-column")
    parser.add_argument("--quoting", default="auto")
    options = parser.parse_args()
    rows = [row for folder in options.models for row in measured(folder, options.test, options)]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

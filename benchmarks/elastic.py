"""Quality against speed of elastic encoders: every exit beside a model that was trained at that depth alone.

Run: python benchmarks/elastic.py DATA --encoder FOLDER --out FOLDER [--task text-classification] [--seeds 3]
     [--epochs 3] [--learning-rate 3e-4] [--max-length 128] [--depths 2,4] [--test FILE]
     [--text-column …] [--text-pair-column …] [--label-column …]

For every seed it trains one elastic model, one ordinary model of all passes, and one of each of the depths, whose
encoder has the same weights and fewer passes. The elastic one is then measured at every depth and with exits that were
fitted on the development split to lose 0.005 of the metric. Speed is that of the test split's texts, in bf16 where this
machine chooses it, sorted and packed, in turns with the ordinary model: a ratio of 1 is the ordinary model's. A run
that is repeated goes on where it stopped. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import albertine as al
from albertine.checkpoints.load import load_encoder
from albertine.checkpoints.writing import save_encoder
from albertine.data.columns import Columns
from albertine.inference.bench import speed_ratio
from albertine.inference.engine import Engine
from albertine.inference.loading import load
from albertine.inference.model import Depth, Model
from albertine.models.encoder import Encoder
from albertine.records import Example
from albertine.training.config import TrainingConfig
from albertine.training.methods.choices import Methods


def shallower(encoder: str, depth: int, folder: Path) -> Path:
    """Write the encoder with its first passes alone, and return the folder."""
    target = folder / f"encoder-{depth}"
    if not target.exists():
        whole, tokenizer = load_encoder(encoder)
        cut = Encoder(replace(whole.config, num_hidden_layers=depth))
        kept = cut.state_dict()
        cut.load_state_dict({name: one for name, one in whole.state_dict().items() if name in kept})
        save_encoder(cut, tokenizer, target)
    return target


def trained(options: argparse.Namespace, encoder: str | Path, name: str, seed: int, *, elastic: bool = False) -> Path:
    """Train a model, or leave the one that was, and return its folder."""
    folder: Path = options.out / f"{name}-{seed}"
    if not (folder / "manifest.json").exists():
        al.finetune(
            options.task,
            options.data,
            encoder=encoder,
            out=folder,
            test=options.test,
            columns=options.columns,
            config=TrainingConfig(epochs=options.epochs, learning_rate=options.learning_rate, seed=seed),
            methods=Methods(elastic=elastic),
            max_length=options.max_length,
            on_error="skip",
        )
    return folder


def quality(model: Model, examples: Sequence[Example]) -> float:
    metric = model.task_config.main_metric or model.task.main_metric
    return float(model.task.score(model.answer_examples(examples), examples, model.task_config)[metric])


def speed(model: Model, usual: Model, examples: Sequence[Example]) -> float:
    """Return how many times as fast a model is as another."""
    assert isinstance(model.predictor, Engine)
    assert isinstance(usual.predictor, Engine)
    return speed_ratio(model.predictor, usual.predictor, examples)


def mean_depth(model: Model, examples: Sequence[Example]) -> float:
    return statistics.mean(model.answers(examples).depths or ())


def measured(options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Return the rows of one seed."""
    elastic = trained(options, options.encoder, "elastic", seed, elastic=True)
    usual_folder = trained(options, options.encoder, "usual", seed)
    usual = load(usual_folder)
    format = usual.task.format(usual.task_config.options)
    files = format.files(Path(options.data), columns=options.columns) if Path(options.data).is_dir() else None
    test = options.test or (files.test or files.dev if files is not None else None)
    if test is None:
        raise SystemExit("name a test file with --test")
    examples = format.read(Path(test), columns=options.columns, on_error="skip", labelled=True).examples
    rows = [row("usual", None, quality(usual, examples), 1.0)]
    encoder = getattr(usual.module, "body")  # noqa: B009  a module's attribute
    depth: Depth
    for depth in range(1, encoder.config.num_passes + 1):
        model = load(elastic, depth=depth)
        rows.append(row("elastic", depth, quality(model, examples), speed(model, usual, examples)))
    auto = load(elastic, depth="auto")
    rows.append(row("elastic, auto", mean_depth(auto, examples), quality(auto, examples), speed(auto, usual, examples)))
    for depth in options.depths:
        alone = load(trained(options, shallower(options.encoder, depth, options.out), f"depth-{depth}", seed))
        rows.append(row("trained at that depth", depth, quality(alone, examples), speed(alone, usual, examples)))
    return rows


def row(name: str, depth: float | None, value: float, ratio: float) -> dict[str, Any]:
    return {"model": name, "depth": depth, "quality": value, "speed": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--depths", default="")
    parser.add_argument("--test", type=Path)
    for name in ("text", "text-pair", "label"):
        parser.add_argument(f"--{name}-column")
    options = parser.parse_args()
    options.depths = [int(one) for one in options.depths.split(",") if one]
    options.columns = Columns(text=options.text_column, text_pair=options.text_pair_column, label=options.label_column)
    options.out.mkdir(parents=True, exist_ok=True)
    found = [measured(options, seed) for seed in range(options.seeds)]
    rows = []
    for same in zip(*found, strict=True):
        qualities = [one["quality"] for one in same]
        depths = [one["depth"] for one in same if one["depth"] is not None]
        rows.append(
            {
                "model": same[0]["model"],
                "depth": round(statistics.mean(depths), 2) if depths else None,
                "quality": round(statistics.mean(qualities), 4),
                "deviation": round(statistics.stdev(qualities), 4) if len(qualities) > 1 else None,
                "speed": round(statistics.median(one["speed"] for one in same), 2),
            }
        )
    for one in rows:
        print("  ".join(f"{name} {value}" for name, value in one.items() if value is not None))
    print(json.dumps({"data": Path(options.data).name, "seeds": options.seeds, "rows": rows}))


if __name__ == "__main__":
    main()

"""The held-out curves of pretraining runs as a Markdown table.

Run: python benchmarks/pretraining_curves.py [--points 10] RUN…, where a run is a folder that `albertine pretrain` made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from albertine.training.log import LogPoint, read_log

SHOWN = ("masked_word_loss", "masked_accuracy", "pair_accuracy", "replaced_auc")


def evaluated(run: Path, count: int) -> list[LogPoint]:
    """Return evenly spread points with an evaluation, the last one among them."""
    points = [point for point in read_log(run / "log.jsonl") if point.dev_metrics]
    places = {round((number + 1) * len(points) / count) - 1 for number in range(count)}
    return [points[place] for place in sorted(place for place in places if place >= 0)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--points", type=int, default=10)
    options = parser.parse_args()
    for run in options.runs:
        points = evaluated(run, options.points)
        names = [name for name in SHOWN if name in points[-1].dev_metrics]
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        measured = manifest["measurements"]
        print(f"### {run.name}\n\n    {manifest['command']}\n")
        print(
            f"{measured['training_seconds'] / 60:.1f} minutes of training and "
            f"{measured['evaluation_seconds'] / 60:.1f} of evaluations, {measured['steps']:,} steps, "
            f"{measured['tokens']:,} tokens, {measured['tokens_per_second']:,.0f} a second ({measured['precision']}).\n"
        )
        print("| minutes | tokens | " + " | ".join(name.replace("_", " ") for name in names) + " |")
        print("|---|---|" + "---|" * len(names))
        for point in points:
            values = " | ".join(f"{point.dev_metrics[name]:.3f}" for name in names)
            print(f"| {point.seconds / 60:.1f} | {point.tokens / 1e6:.2f} M | {values} |")
        print()


if __name__ == "__main__":
    main()

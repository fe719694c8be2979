"""Turn comparisons into the tables of docs/results.md: python benchmarks/results_tables.py FOLDER…

Every FOLDER holds a report.json that `albertine compare` wrote. The tables go to stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path

from albertine.catalogue import catalogue
from albertine.comparison.costs import costs_of
from albertine.comparison.figures import depth_rows
from albertine.comparison.formats import metric_name
from albertine.comparison.report import read_report
from albertine.comparison.results import ComparisonReport
from albertine.comparison.table import COLUMNS


def markdown(report: ComparisonReport) -> str:
    texts = catalogue("en")
    metric = texts(f"metric.{report.main_metric}")
    headings = [texts("table.candidate"), *(texts(f"column.{column.key}", metric=metric) for column in COLUMNS)]
    lines = [
        f"## {report.title}",
        "",
        "```sh",
        report.command,
        "```",
        "",
        f"Train {report.data.train:,}, dev {report.data.dev:,}, test {report.data.test:,}; {report.budget}",
        "",
        *(f"- {note}" for note in report.data.notes),
        "",
        "| " + " | ".join(heading.replace("\n", " ") for heading in headings) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for candidate in report.candidates:
        costs = costs_of(candidate)
        name = f"**{candidate.name}**" if candidate.name == report.recommended else candidate.name
        lines.append("| " + " | ".join([name, *(column.cell(candidate, costs, texts) for column in COLUMNS)]) + " |")
    if depths := depth_rows(report, texts):
        quality = texts("chart.percent", metric=metric_name(report.main_metric, texts))
        headings = [texts("table.candidate"), texts("depth.passes"), quality, texts("depth.speed")]
        lines += ["", "| " + " | ".join(headings) + " |", "|---|---|---:|---:|"]
        lines += [f"| {one.name} | {one.passes} | {one.quality} | {one.speed} |" for one in depths]
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    return "\n".join([*lines, "", *(f"> {reason}" for reason in report.reasons), "", f"Machine: {machine}.", ""])


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(markdown(read_report(Path(folder))))

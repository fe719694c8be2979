"""Make an encoder that ships with the package of a finished pretraining run, and hold what ships against its rules.

    python benchmarks/ship_encoder.py RUN --corpus SHARDS --name albert-zh-tiny --language zh --source wikipedia
        [--source laws] [--storage int8] [--default 1] [--results FILE] [--limit TEXT] [--watts 30] [--out FOLDER]
    python benchmarks/ship_encoder.py --check [FOLDER]

RUN is a folder of `albertine pretrain`, SHARDS the corpus that it learnt from. The weights are those that the run kept,
the best on held-out text, with their masked-word and pair heads. Held-out text is measured in fp32 with the weights as
they were trained and once more as they are stored. The results file holds a list of objects with the same keys, which
become the columns of a table; without it the card has none. A JSON line with everything that was measured goes to
stdout.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albertine.batching.masking import MaskingSchedule, TokenFacts
from albertine.batching.pretraining_batch import PretrainingBatch
from albertine.batching.pretraining_examples import PretrainingBatches
from albertine.batching.shard_format import INDEX_FILE
from albertine.batching.shards import Shards
from albertine.batching.step_plan import Phase
from albertine.checkpoints.load import load_encoder, load_pretraining
from albertine.checkpoints.state import ModelState
from albertine.checkpoints.storage import read_back
from albertine.checkpoints.writing import save_state
from albertine.errors import AlbertineError, ConfigError
from albertine.files import sha256
from albertine.models.config import count_parameters
from albertine.models.heads import PretrainingModel
from albertine.shipped import ENCODERS
from albertine.training.held_out import measure_held_out
from albertine.training.pretraining.choices import PretrainingConfig
from albertine.training.pretraining.plan import PLAN_FILE, PretrainingPlan

LICENCE = "CC-BY-SA-4.0"
LICENCE_NAME = "CC BY-SA 4.0"
LICENCE_PAGE = "https://creativecommons.org/licenses/by-sa/4.0/"
MOST_BYTES, MOST_BYTES_TOGETHER = 8_000_000, 36_000_000
"""Of one encoder, and of all that ship."""
SOURCES = {
    "wikipedia": (
        "Wikipedia",
        f"[{LICENCE_NAME}]({LICENCE_PAGE})",
        "the authors of its articles, whom the history of each article at https://www.wikipedia.org/ names",
    ),
    "laws": ("Chinese laws and regulations", "public domain", "the lawgivers of the People's Republic of China"),
}
"""What a source is called, its licence, and whose text it is."""
METRICS = ("masked_word_loss", "perplexity", "masked_accuracy", "pair_accuracy")
WATTS_A_CORE = 15.0
"""A guess at what a core of a server takes under load, with its share of memory and power supply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished pretraining run with its corpus."""

    folder: Path
    manifest: dict[str, Any]
    plan: PretrainingPlan
    corpus: Path
    corpus_report: dict[str, Any]


def open_run(folder: Path, corpus: Path) -> Run:
    """Read what a run and its corpus say of themselves.

    Raises:
        ConfigError: a run that is not finished, or another corpus.
    """
    if not (folder / "manifest.json").is_file():
        raise ConfigError("this is no finished pretraining run", where=str(folder), next_step="Let it come to its end")
    manifest = read(folder / "manifest.json")
    if manifest.get("inputs", {}).get("task") != "pretraining":
        raise ConfigError("this is no pretraining run", where=str(folder))
    if sha256(corpus / INDEX_FILE) != manifest["inputs"]["corpus"]:
        raise ConfigError("this is not the corpus that the run learnt from", where=str(corpus))
    plan = PretrainingPlan.from_dict(read(folder / PLAN_FILE)["plan"])
    return Run(folder=folder, manifest=manifest, plan=plan, corpus=corpus, corpus_report=read(corpus / "report.json"))


def held_out_batches(run: Run) -> list[PretrainingBatch]:
    """Make the batches that the run's own evaluations read."""
    known = {one.name for one in dataclasses.fields(PretrainingConfig)}
    values = {name: value for name, value in run.manifest["inputs"]["pretraining"].items() if name in known}
    values["mask_share"] = MaskingSchedule(**values["mask_share"])
    values["phases"] = tuple(Phase(**one) for one in values["phases"])
    config, size = PretrainingConfig(**values), run.plan.size
    choices = config.examples(
        pair=run.plan.pair,
        masking=run.plan.masking,
        tokens_per_step=size.tokens_per_step,
        seed=run.manifest["inputs"]["training"]["seed"],
    )
    shards = Shards(run.corpus, "held-out")
    made = PretrainingBatches(shards, TokenFacts.of(shards.tokenizer()), choices, total_steps=size.total_steps)
    tokens = min(config.tokens_per_micro_batch, size.held_out_tokens)
    return made.held_out(-(-size.held_out_tokens // tokens), tokens=tokens)


def measured(model: PretrainingModel, batches: Sequence[PretrainingBatch]) -> dict[str, float]:
    values = measure_held_out(model, batches, "fp32").values()
    return {name: round(values[name], 4) for name in METRICS if name in values}


def ship(run: Run, options: argparse.Namespace) -> dict[str, object]:
    """Write the folder, and return what was measured.

    Raises:
        ConfigError: a run without a masked-word head.
        CheckpointError: the run's weights cannot be read.
    """
    model, tokenizer = load_pretraining(run.folder)
    if model.masked_word_head is None or tokenizer is None:
        raise ConfigError("this run has no masked-word head or no tokenizer", where=str(run.folder))
    batches = held_out_batches(run)
    before = measured(model, batches)
    stored = read_back(model.state_dict(), options.storage)
    model.load_state_dict(stored)
    after = measured(model, batches)
    count = count_parameters(model.config)
    took = run.manifest["measurements"]
    watts = options.watts or WATTS_A_CORE * run.manifest["machine"]["cores"]
    seconds = took["training_seconds"] + took["evaluation_seconds"]
    facts: dict[str, object] = {
        "languages": options.language,
        "licence": LICENCE,
        "default": options.default,
        "sources": options.source,
        "storage": options.storage,
        "held_out": {"as_trained": before, "as_stored": after},
        "energy": {"kilowatt_hours": round(seconds * watts / 3.6e6, 4), "assumed_watts": watts},
    }
    kept = ("schema_version", "created", "versions", "machine", "inputs", "data", "measurements")
    manifest = {
        **{name: run.manifest[name] for name in kept},
        "command": without_places(run.manifest["command"]),
        "parameters": {"unique": count.unique, "executed": count.executed},
        "shipped": facts,
    }
    target = options.out / options.name
    save_state(
        ModelState(config=model.config, tensors=model.state_dict()),
        tokenizer,
        target,
        "albertine",
        storage=options.storage,
        manifest=manifest,
        card=card(options, run, manifest, count.unique, count.executed),
    )
    begun = time.perf_counter()
    load_encoder(target)
    opened = time.perf_counter() - begun
    return {"folder": options.name, "bytes": folder_bytes(target), "open_seconds": round(opened, 3), **facts}


def card(options: argparse.Namespace, run: Run, manifest: Mapping[str, Any], unique: int, executed: int) -> str:
    """Write the card, Markdown."""
    took, facts, data = manifest["measurements"], manifest["shipped"], manifest["data"]
    plan, energy, held_out = run.plan, facts["energy"], facts["held_out"]
    sources = [SOURCES[name] for name in options.source]
    removed = {reason: count for reason, count in run.corpus_report["removed"].items() if count}
    minutes = (took["training_seconds"] + took["evaluation_seconds"]) / 60
    front = ["---", "library_name: albertine", "pipeline_tag: fill-mask", "language:"]
    front += [*(f"- {one}" for one in options.language), "license: cc-by-sa-4.0", "---"]
    rows = [
        [name, f"{held_out['as_trained'][name]:,.4f}", f"{value:,.4f}"] for name, value in held_out["as_stored"].items()
    ]
    parts = [
        "\n".join(front),
        f"# {options.name}",
        "An encoder that ships with Albertine: it makes a vector of every token and of a text as a whole. For answers "
        "it is fine-tuned on labelled texts. Its masked-word head"
        + (" and its head for pairs of sentences are" if plan.pair != "none" else " is")
        + " there too.",
        f'```python\nimport albertine as al\n\nencoder, tokenizer = al.load_encoder("{options.name}")\n'
        f'model = al.finetune("text-classification", data="train.csv", encoder="{options.name}", out="runs/mine")\n```',
        "## Licence and attribution",
        f"The weights and the vocabulary are under [{LICENCE_NAME}]({LICENCE_PAGE}); the code of Albertine is not part "
        "of that. Trained on:",
        table(["source", "licence", "by"], sources),
        "The texts were cleaned, deduplicated and cut into tokens.",
        "## Model",
        table(
            ["", ""],
            [
                ["language", ", ".join(options.language)],
                ["trained from", manifest["inputs"]["encoder"]["name"]],
                ["parameters, stored", f"{unique:,}"],
                ["parameters, met by a text", f"{executed:,}"],
                ["stored as", options.storage],
            ],
        ),
        "## Data",
        table(
            ["", "to learn from", "held out"],
            [[part, f"{data[part]:,}", f"{data[f'held_out_{part}']:,}"] for part in ("documents", "tokens")],
        ),
        overlap(run.corpus_report),
        *(
            [table(["documents left out", ""], [[reason, f"{n:,}"] for reason, n in removed.items()])]
            if removed
            else []
        ),
        "## Training",
        table(
            ["", ""],
            [
                ["objectives", "masked words" + ("" if plan.pair == "none" else f", {plan.pair}")],
                ["masking", plan.masking],
                ["rows", ", ".join(f"{one.length} tokens ({one.share:.0%})" for one in plan.phases)],
                ["steps", f"{took['steps']:,}, of which step {took['best_step']:,} is kept"],
                ["tokens", f"{took['tokens']:,}"],
                ["time", f"{minutes:,.1f} minutes, evaluations among them"],
                ["machine", f"{manifest['machine']['cores']} cores, {took['device']}, {took['precision']}"],
                ["energy", f"about {energy['kilowatt_hours']:,.3f} kWh"],
            ],
        ),
        f"The energy is an estimate: the time above at {energy['assumed_watts']:g} W for the machine, which was "
        "assumed and not measured.",
        "## Held-out text",
        "Measured in fp32, with the weights as they were trained and as they are stored here.",
        table(["", "as trained", f"as {options.storage}"], rows),
        *results(options.results),
        "## Limits",
        "\n".join(f"* {one}" for one in limits(options, plan)),
        "## Train it again",
        f"```\n{manifest['command']}\n```\n\nVersions, data hashes and seeds are in manifest.json.",
    ]
    return "\n\n".join(parts) + "\n"


def overlap(report: Mapping[str, Any]) -> str:
    """Say what was left out because evaluation texts are in it."""
    found = report.get("excluded")
    if not found:
        return "The corpus was not held against evaluation data: texts of public test sets may be in it."
    texts = sum(one["texts"] for one in found["files"])
    return (
        f"Held against {texts:,} evaluation texts of {len(found['files'])} files: {found['documents']:,} documents "
        "overlapped with one of them and were left out."
    )


def results(path: Path | None) -> list[str]:
    if path is None:
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    columns = list(rows[0])
    return ["## Results", table(columns, [[str(row[column]) for column in columns] for row in rows])]


def limits(options: argparse.Namespace, plan: PretrainingPlan) -> list[str]:
    longest = max(one.length for one in plan.phases)
    return [
        "It is small and was trained briefly: expect less than of a published encoder of base size.",
        "It knows the words and the world of its corpus, with the errors and the prejudices that stand there.",
        f"Rows were at most {longest} tokens long; behind that its positions are not trained.",
        "It has not been checked for fairness, nor for private content in its training data.",
        *(["Weights are rounded to eight bits: other programs open it after `albertine convert --to huggingface`."]
          if options.storage == "int8" else []),
        *options.limit,
    ]  # fmt: skip


def problems(place: Path) -> list[str]:
    """Say what is wrong with a place of encoders that ship; each rule names the encoder that breaks it."""
    folders = sorted(one for one in place.iterdir() if one.is_dir())
    found = []
    for folder in folders:
        manifest = read(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
        text = (folder / "README.md").read_text(encoding="utf-8") if (folder / "README.md").is_file() else ""
        told = manifest.get("shipped", {})
        rules = {
            f"has more than {MOST_BYTES:,} bytes": folder_bytes(folder) > MOST_BYTES,
            "has no weights, configuration or vocabulary": not all(
                (folder / name).is_file() for name in ("model.safetensors", "config.json", "tokenizer.json")
            ),
            "has a card that does not name its licence": f"license: {LICENCE.lower()}" not in text
            or LICENCE_NAME not in text,
            "has a card without attribution": "## Licence and attribution" not in text
            or not all(SOURCES[name][2] in text for name in told.get("sources", ())),
            "has a manifest without language, licence or sources": not told.get("languages")
            or told.get("licence") != LICENCE
            or not told.get("sources"),
            "names a place on somebody's machine": any(
                word.startswith("/") for word in manifest.get("command", "").split()
            ),
        }
        found += [f"{folder.name} {rule}" for rule, broken in rules.items() if broken]
    if sum(map(folder_bytes, folders)) > MOST_BYTES_TOGETHER:
        found.append(f"all together have more than {MOST_BYTES_TOGETHER:,} bytes")
    return found


def folder_bytes(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def without_places(command: str) -> str:
    """Return a command line with every absolute path cut to its name."""
    return shlex.join(Path(word).name if word.startswith("/") else word for word in shlex.split(command))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def main(arguments: Sequence[str] | None = None) -> int:
    """Ship, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--language", action="append", choices=("zh", "en"))
    parser.add_argument("--source", action="append", choices=tuple(SOURCES))
    parser.add_argument("--storage", choices=("int8", "bf16"), default="int8")
    parser.add_argument("--default", type=int, help="place among those that are taken unnamed, from 1")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--limit", action="append", default=[], help="one more sentence for the card's limits")
    parser.add_argument("--watts", type=float, help=f"of the machine in training; {WATTS_A_CORE:g} a core")
    parser.add_argument("--out", type=Path, default=ENCODERS)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    place = options.run or options.out if options.check else options.out
    if not options.check:
        if not (options.run and options.corpus and options.name and options.language and options.source):
            parser.error("RUN, --corpus, --name, --language and --source are needed")
        try:
            print(json.dumps(ship(open_run(options.run, options.corpus), options), ensure_ascii=False))
        except AlbertineError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    broken = problems(place)
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

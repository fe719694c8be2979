"""Pretraining steps of ours beside transformers' BertForPreTraining and AlbertForPreTraining, on the CPU in bf16.

Run: python benchmarks/pretraining.py [--models albert-4x312,bert-4x312,…] [--cases full,natural] [--rounds 3]
     python benchmarks/pretraining.py --curves            equal loss curves over 200 steps
transformers must be installed (the `peers` extra). `--list` names the models; without --models the two of 4x312 run, in
six to nine minutes on two cores, most of them for compiling the rival.

Rules. A whole step is timed: forward, backward, clipping at 1.0, AdamW on fp32 master weights. Both sides get the same
initial weights, texts, masked places, vocabulary (21,128) and dropout. A token is a real one: padding counts nothing.
transformers runs under bf16 autocast with AdamW's fused kernel and foreach clipping, eager and compiled, with both of
its attentions; full rows come without a mask. Every side is a process of its own, so that peak memory is its own, and
works in turns with the others, round by round. Figures are medians over the rounds; ratios and shares of the matrix
rate are formed within a round first, so that another program on the machine disturbs them little.

Cases. `full`: rows of exactly the model's length, "[CLS] a [SEP] b [SEP]", 15 % masked. `natural`: what
`PretrainingBatches` makes of the same text: documents end, and a tenth of the rows is cut into shorter texts;
transformers gets those texts padded to the longest of the batch.
The text is random by default: ids with Zipf's frequencies (1/rank over the 21,000 words), sentences of a log-normal
length (median 18 tokens), documents of 2 to 40 sentences. `--corpus FOLDER` takes shards of `albertine corpus build`.

The share of the matrix rate counts 2 FLOP a multiply-add and three products a weight (one forward, two backward), of
the encoder's products, attention's and those of the masked words alone, on real tokens; the rate is that of
2048 x 2048 x 2048 in bf16, measured in every round. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from albertine.settings import prepare_computing

if "--worker-ours" in sys.argv:
    prepare_computing(training=True)  # as the command line does; read once, when torch is imported

import numpy as np
import torch
from pretraining_batches import VOCABULARY, Model, batch_maker, padded
from torch import nn

from albertine.batching.pretraining_batch import PretrainingBatch
from albertine.checkpoints.load import load_pretraining
from albertine.checkpoints.writing import save_encoder
from albertine.evaluation.timing import peak_memory_bytes
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.models.training_blocks import plain_blocks
from albertine.tasks.pretraining import part_weights, pretraining_loss
from albertine.training.config import TrainingConfig
from albertine.training.gradients import StepGradients
from albertine.training.optimizers import build_optimizer, set_learning_rate, step_unless
from albertine.training.processes import SINGLE

BATCHES = 8
WARM_UP_STEPS = 2
MODELS = {
    "albert-4x312": Model(preset="albert-chinese-tiny", dropout=0.0, cases=("full", "natural")),
    "bert-4x312": Model(preset="bert-chinese-tiny", dropout=0.1, cases=("full", "natural")),
    "bert-4x312-no-dropout": Model(preset="bert-chinese-tiny", dropout=0.0),
    "albert-base": Model(preset="albert-base", dropout=0.0, rows=16),
    "bert-base": Model(preset="bert-base", dropout=0.1, rows=16),
    "bert-base-no-dropout": Model(preset="bert-base", dropout=0.0, rows=16),
    "albert-base-512": Model(preset="albert-base", dropout=0.0, rows=4, length=512),
    "bert-base-512": Model(preset="bert-base", dropout=0.1, rows=4, length=512),
}
DEFAULT = "albert-4x312,bert-4x312"
RIVALS = ("eager-sdpa", "eager-eager", "compiled-sdpa", "compiled-eager")


# --------------------------------------------------------------------------------------------------------- the sides

Step = Callable[[PretrainingBatch, float], float]


def our_step(folder: str, *, plain: bool = False) -> Step:
    model, _ = load_pretraining(folder)
    assert isinstance(model, PretrainingModel)
    model.train()
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = build_optimizer(model, TrainingConfig(weight_decay=0.01))

    def forward(batch: PretrainingBatch, place: int) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16), plain_blocks() if plain else contextlib.nullcontext():
            return pretraining_loss(model, batch)

    gradients = StepGradients(
        forward, parameters, SINGLE, torch.device("cpu"), weigh=lambda batch: part_weights(model, batch)
    )

    def step(batch: PretrainingBatch, rate: float) -> float:
        loss = gradients([batch])
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        set_learning_rate(optimizer, rate)
        step_unless(optimizer, ~(torch.isfinite(loss.loss) & torch.isfinite(norm)))
        optimizer.zero_grad(set_to_none=True)
        return float(loss.loss)

    return step


def their_step(folder: str, variant: str, *, mask: bool) -> Step:
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    mode, attention = variant.split("-")
    # the head of ALBERT's pair task has a dropout that ours has not
    options = {"classifier_dropout_prob": 0.0} if "albert" in Path(folder).name else {}
    model = transformers.AutoModelForPreTraining.from_pretrained(folder, attn_implementation=attention, **options)
    model.train()
    matrices = [one for one in model.parameters() if one.ndim >= 2]
    vectors = [one for one in model.parameters() if one.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.0,
        eps=TrainingConfig().optimizer_epsilon,
        fused=True,
    )
    pair = "sentence_order_label" if "Albert" in type(model).__name__ else "next_sentence_label"
    run = torch.compile(model) if mode == "compiled" else model

    def step(batch: PretrainingBatch, rate: float) -> float:
        inputs = padded(batch, mask=mask)
        inputs[pair] = inputs.pop("pair")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = run(**inputs).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


# ------------------------------------------------------------------------------------------------------- the workers


def work(task: dict[str, Any]) -> None:
    """Answer every line `{"count": …}` on stdin with the seconds and losses of so many steps."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    torch.manual_seed(0)
    model = Model(**task["model"])
    if task["side"].startswith("ours"):
        step = our_step(task["folder"], plain=task["side"] == "ours-plain")
    else:
        step = their_step(task["folder"], task["side"], mask=task["case"] != "full")
    make = batch_maker(model, task["case"], task["corpus"])
    batches = [make(number) for number in range(task["batches"])]
    done = 0
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {"seconds": [], "tokens": [], "losses": []}
        for _ in range(request["count"]):
            batch = batches[done % len(batches)]
            rate = task["rate"] * min(1.0, (done + 1) / 20)
            begun = time.perf_counter()
            loss = step(batch, rate)
            answer["seconds"].append(time.perf_counter() - begun)
            answer["tokens"].append(batch.token_count)
            answer["losses"].append(loss)
            done += 1
        out.write(json.dumps({**answer, "peak": peak_memory_bytes()}) + "\n")
        out.flush()


class Worker:
    """One side in a process of its own, which sleeps until it is asked."""

    def __init__(self, side: str, model: Model, case: str, folder: str, options: argparse.Namespace) -> None:
        task = {
            "side": side,
            "model": dataclasses.asdict(model),
            "case": case,
            "folder": folder,
            "corpus": options.corpus,
            "rate": options.rate,
            "batches": 200 if options.curves else BATCHES,
        }
        arguments = [
            sys.executable,
            __file__,
            "--worker-ours" if side.startswith("ours") else "--worker",
            json.dumps(task),
        ]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.rates: list[float] = []
        self.peak = 0

    def steps(self, count: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"count": count}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early; its message is above")
        answer: dict[str, Any] = json.loads(line)
        self.peak = answer["peak"]
        return answer

    def measure(self, count: int) -> None:
        answer = self.steps(count)
        self.rates.append(sum(answer["tokens"]) / sum(answer["seconds"]))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def workers(
    sides: tuple[str, ...], model: Model, case: str, options: argparse.Namespace
) -> Iterator[dict[str, Worker]]:
    """Start the sides from the same random weights."""
    with tempfile.TemporaryDirectory() as parent:
        torch.manual_seed(0)
        made = PretrainingModel(config_of(model))
        folder = str(Path(parent) / model.preset)
        save_encoder(made, None, folder)
        del made
        running = {side: Worker(side, model, case, folder, options) for side in sides}
        try:
            yield running
        finally:
            for worker in running.values():
                worker.close()


def config_of(model: Model) -> EncoderConfig:
    return EncoderConfig.preset(
        model.preset,
        vocab_size=VOCABULARY,
        hidden_dropout_prob=model.dropout,
        attention_probs_dropout_prob=model.dropout,
    )


# ------------------------------------------------------------------------------------------------------- the figures


def matrix_rate() -> float:
    """Return FLOP/s of large bf16 products."""
    one = torch.randn(2048, 2048, dtype=torch.bfloat16)
    seconds = []
    for _ in range(12):
        begun = time.perf_counter()
        torch.mm(one, one)
        seconds.append(time.perf_counter() - begun)
    return 2 * 2048**3 / statistics.median(seconds[2:])


def flops_per_token(model: Model, case: str, corpus: str | None) -> float:
    """Return the FLOP of a step's products over its real tokens."""
    config = config_of(model)
    make = batch_maker(model, case, corpus)
    total = tokens = 0.0
    for number in range(BATCHES):
        batch = make(number)
        starts = batch.batch.sequence_starts
        assert starts is not None
        lengths = starts.diff().double()
        hidden, inner = config.hidden_size, config.intermediate_size
        layer = batch.token_count * (4 * hidden * hidden + 2 * hidden * inner) + 2 * hidden * float((lengths**2).sum())
        words = batch.positions.numel() * (config.embedding_size * (VOCABULARY + hidden))
        projected = batch.token_count * config.embedding_size * hidden if config.has_projection else 0
        total += 6 * (config.num_passes * layer + words + projected)
        tokens += batch.token_count
    return total / tokens


def compare(name: str, case: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    model = MODELS[name]
    sides = ("ours", *(("ours-plain",) if options.plain else ()), *(() if options.ours_only else RIVALS))
    with workers(sides, model, case, options) as running:
        for worker in running.values():
            worker.steps(WARM_UP_STEPS)
        for worker in running.values():
            worker.measure(1)
        taking_part = dict(running)
        for mode in ("eager", "compiled"):  # of the two attentions the slower one is left out
            pair = sorted((side for side in running if side.startswith(mode + "-")), key=lambda s: running[s].rates[0])
            for side in pair[:-1]:
                taking_part.pop(side).close()
        for worker in taking_part.values():
            worker.rates.clear()
        matrix = []
        for _ in range(options.rounds):
            for side, worker in taking_part.items():
                worker.measure(options.steps * (2 if side.startswith("ours") else 1))
            matrix.append(matrix_rate())
    flops = flops_per_token(model, case, options.corpus)
    rivals = {side: statistics.median(one.rates) for side, one in taking_part.items() if not side.startswith("ours")}
    best = taking_part[max(rivals, key=lambda side: rivals[side])].rates if rivals else None
    return [
        {
            "model": name,
            "case": case,
            "length": model.length,
            "dropout": model.dropout,
            "side": side,
            "tokens_per_second": round(statistics.median(worker.rates)),
            "slowest_and_fastest_round": [round(min(worker.rates)), round(max(worker.rates))],
            "matrix_share": round(_ratio([flops * one for one in worker.rates], matrix), 3),
            "floor_tokens_per_second": round(max(matrix) / flops),
            "peak_mb": round(worker.peak / 1e6),
            "ratio_to_best_rival": round(_ratio(worker.rates, best), 2) if best else None,
        }
        for side, worker in taking_part.items()
    ]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def curves(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train 200 steps of 8 rows on both sides from the same weights and batches, without dropout."""
    model = dataclasses.replace(MODELS[name], dropout=0.0, rows=8)
    sides = ("ours", "eager-sdpa", "eager-eager")
    with workers(sides, model, "full", options) as running:
        losses = {side: np.array(worker.steps(200)["losses"]) for side, worker in running.items()}
    print(f"\n{name}: loss over 200 steps, means of 20\n{'steps':>9} " + "".join(f"{side:>13}" for side in sides))
    for first in range(0, 200, 20):
        means = [losses[side][first : first + 20].mean() for side in sides]
        print(f"{first:4}-{first + 19:<4} " + "".join(f"{mean:13.4f}" for mean in means))
    ours, theirs, other = (losses[side] for side in sides)
    differences = {
        "ours_minus_theirs_mean": float((ours - theirs).mean()),
        "ours_minus_theirs_largest": float(np.abs(ours - theirs).max()),
        "noise_mean": float((other - theirs).mean()),
        "noise_largest": float(np.abs(other - theirs).max()),
    }
    print("noise is transformers' other attention: " + json.dumps({k: round(v, 5) for k, v in differences.items()}))
    return {"model": name, **differences}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=DEFAULT, help="comma-separated names")
    parser.add_argument("--cases", default="full,natural", help="full, natural or both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="steps a round, ours takes twice as many")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate")
    parser.add_argument("--corpus", help="a folder that `albertine corpus build` made")
    parser.add_argument("--curves", action="store_true", help="losses instead of speed")
    parser.add_argument("--plain", action="store_true", help="also ours with the plain modules")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--list", action="store_true", help="name the models")
    options = parser.parse_args()
    if options.list:
        sys.exit("\n".join(f"{name:22} {model}" for name, model in MODELS.items()))
    names = options.models.split(",")
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"unknown model {unknown[0]}; there are {', '.join(MODELS)}")
    document: dict[str, Any] = {"benchmark": "pretraining", "cores": os.cpu_count(), "torch": torch.__version__}
    if options.curves:
        document["curves"] = [curves(name, options) for name in names]
    else:
        print(
            f"{'model':22} {'case':8} {'dropout':>7} {'side':15} {'tokens/s':>9} {'fastest':>9} {'of rate':>8} "
            f"{'peak MB':>8} {'x best rival':>12}",
            flush=True,
        )
        document["results"] = []
        for name in names:
            for case in (one for one in MODELS[name].cases if one in options.cases.split(",")):
                for row in compare(name, case, options):
                    document["results"].append(row)
                    ratio = row["ratio_to_best_rival"] or ""
                    print(
                        f"{name:22} {case:8} {row['dropout']:7} {row['side']:15} {row['tokens_per_second']:9,} "
                        f"{row['slowest_and_fastest_round'][1]:9,} {row['matrix_share']:8.1%} {row['peak_mb']:8,} "
                        f"{ratio:>12}",
                        flush=True,
                    )
    print(json.dumps(document))


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] in ("--worker", "--worker-ours"):
        work(json.loads(sys.argv[2]))
    else:
        main()

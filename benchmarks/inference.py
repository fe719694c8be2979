"""Encoders answering beside transformers, sentence-transformers, ONNX Runtime, OpenVINO and CTranslate2, on the CPU.

Run: python benchmarks/inference.py [--models bert-4x312,albert-4x312,…] [--mixes short,long] [--rounds 3] [--latency]
A rival that is not installed is named and left out (extras `export` and `peers`). `--list` names models and sides.

Rules. All sides get the same random weights (a folder in Hugging Face's form), the same texts and as many threads, and
give the states of the first tokens, which are held against ours in fp32 ("off": distance over size). Texts are random
ids; short ones have log-normal lengths, 32 tokens on average and 128 at most, long ones 128 to 512. A token is a real
one: padding counts nothing. Where a side batches by itself ("padded") it takes 32 texts as they come; every other
one gets them sorted by length, in batches of the size that was best of those tried (column "batch"). Each side is a
process of its own and works in turns with the others, round by round; figures are medians over rounds, ratios are
formed within a round.

`--latency` times one text at a time, of 8, 32, 128 and 512 tokens: p50, p95 and p99. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_sides import SIDES, Encode, Ids

from albertine.checkpoints.writing import save_encoder
from albertine.evaluation.timing import peak_memory_bytes, percentiles
from albertine.inference.bench import LATENCY_LENGTHS, drawn_lengths, drawn_texts
from albertine.models.config import EncoderConfig, flops_per_token
from albertine.models.encoder import Encoder

MODELS = {
    "bert-4x312": "bert-chinese-tiny",
    "albert-4x312": "albert-chinese-tiny",
    "bert-4x512": "bert-small",
    "albert-6x384": "albert-chinese-small",
    "bert-base": "bert-base",
    "albert-base": "albert-base",
}
DEFAULT = "bert-4x312,albert-4x312"
VOCABULARY = 21_128
TEXTS = {"short": 512, "long": 48}
TRIED = {"short": 128, "long": 16}
"""Texts by which the size of a batch is chosen."""


# ---------------------------------------------------------------------------------------------------------- the workers


def texts_of(mix: str) -> list[Ids]:
    return [one.input_ids for one in drawn_texts(drawn_lengths(mix, TEXTS[mix], 0), VOCABULARY, 0)]


def one_text(tokens: int) -> list[list[Ids]]:
    return [[one.input_ids] for one in drawn_texts([tokens] * 8, VOCABULARY, tokens)]


def seconds_of(encode: Encode, texts: Sequence[Ids]) -> float:
    begun = time.perf_counter()
    encode(texts)
    return time.perf_counter() - begun


def work(task: dict[str, Any]) -> None:
    """Answer every line on stdin: `prepare` with the best batch, `round` with seconds, `latency` with milliseconds."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    side, folder = SIDES[task["side"]], Path(task["folder"])
    encode: Encode | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prepare":
            texts = texts_of(request["mix"])
            few = texts[: TRIED[request["mix"]]]
            tried = {}
            for budget in side.budgets:
                made = side.make(folder, budget)
                made(few)
                tried[budget] = min(seconds_of(made, few) for _ in range(2)), made
            budget = min(tried, key=lambda one: tried[one][0])
            encode = tried[budget][1]
            answer: dict[str, Any] = {"budget": budget, "first": encode(texts)[:8].tolist()}
        elif request["do"] == "round":
            assert encode is not None
            answer = {"seconds": seconds_of(encode, texts_of(request["mix"]))}
        else:
            made = encode or side.make(folder, side.budgets[0])
            many = one_text(request["tokens"])
            for one in many[:3]:
                made(one)
            times = [1000 * seconds_of(made, many[number % len(many)]) for number in range(request["count"])]
            answer = {"milliseconds": times}
        out.write(json.dumps({**answer, "peak": peak_memory_bytes()}) + "\n")
        out.flush()


class Worker:
    """One side in a process of its own, which sleeps until it is asked."""

    def __init__(self, side: str, folder: Path) -> None:
        task = json.dumps({"side": side, "folder": str(folder)})
        self.messages = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as the process
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.messages,
            text=True,
        )
        self.side = side
        self.seconds: list[float] = []
        self.answer: dict[str, Any] = {}

    def ask(self, **request: Any) -> bool:
        """Ask for something; False where the side has ended, with the reason on stderr."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            self.answer = json.loads(line)
            return True
        self.messages.seek(0)
        last = self.messages.read().strip().splitlines() or ["no message"]
        print(f"left out: {self.side}: {last[-1][:160]}", file=sys.stderr)
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.messages.close()


# ---------------------------------------------------------------------------------------------------------- the figures


def matrix_rate(dtype: torch.dtype) -> float:
    """Return FLOP/s of large products."""
    one = torch.randn(1024, 1024).to(dtype)
    seconds = []
    for _ in range(12):
        begun = time.perf_counter()
        torch.mm(one, one)
        seconds.append(time.perf_counter() - begun)
    return 2 * 1024**3 / statistics.median(seconds[2:])


def started(name: str, folder: Path, wanted: Sequence[str]) -> list[Worker]:
    albert = name.startswith("albert")
    return [Worker(side, folder) for side in wanted if SIDES[side].albert or not albert]


def throughput(name: str, folder: Path, mix: str, wanted: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    workers = []
    for worker in started(name, folder, wanted):
        if worker.ask(do="prepare", mix=mix):
            workers.append(worker)
        else:
            worker.close()
    texts = texts_of(mix)
    tokens = sum(len(one) for one in texts)
    prepared = {one.side: one.answer for one in workers}
    exact = np.array(prepared["ours, fp32"]["first"]) if "ours, fp32" in prepared else None
    matrix = []
    for _ in range(rounds):
        for worker in workers:
            worker.ask(do="round", mix=mix)
            worker.seconds.append(worker.answer["seconds"])
        matrix.append(matrix_rate(torch.bfloat16))
    config = config_of(name)
    flops = sum(len(one) * flops_per_token(config, len(one)) for one in texts) / tokens
    rows = []
    for worker in workers:
        rates = [tokens / seconds for seconds in worker.seconds]
        off = None
        if exact is not None:
            found = np.array(prepared[worker.side]["first"])
            off = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        rows.append(
            {
                "model": name,
                "mix": mix,
                "side": worker.side,
                "family": SIDES[worker.side].family,
                "tokens_per_second": round(statistics.median(rates)),
                "slowest_and_fastest_round": [round(min(rates)), round(max(rates))],
                "bf16_matrix_share": round(
                    statistics.median(rate * flops / one for rate, one in zip(rates, matrix, strict=True)), 3
                ),
                "batch": prepared[worker.side]["budget"],
                "off": None if off is None else round(off, 4),
                "peak_mb": round(worker.answer["peak"] / 1e6),
                "rounds": rates,
            }
        )
        worker.close()
    for row in rows:
        row["ratio_to_best_rival"] = best_ratio(row, rows)
        row["ratio_to_best_rival_of_its_kind"] = best_ratio(
            row, [one for one in rows if one["family"] == row["family"]]
        )
    for row in rows:
        del row["rounds"]
    return rows


def best_ratio(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    """Return how many times as fast a row of ours is as the fastest rival."""
    rivals = [one for one in rows if not one["side"].startswith("ours")]
    if not rivals or not row["side"].startswith("ours"):
        return None
    best = max(rivals, key=lambda one: one["tokens_per_second"])
    return round(statistics.median(one / other for one, other in zip(row["rounds"], best["rounds"], strict=True)), 2)


def latency(name: str, folder: Path, wanted: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    workers = started(name, folder, wanted)
    longest = config_of(name).max_position_embeddings
    for tokens in (one for one in LATENCY_LENGTHS if one <= longest):
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            for worker in list(workers):
                if not worker.ask(do="latency", tokens=tokens, count=60 if tokens < 512 else 20):
                    workers.remove(worker)
                    times.pop(worker.side, None)
                    continue
                times.setdefault(worker.side, []).extend(worker.answer["milliseconds"])
        for side, values in times.items():
            found = percentiles(values)
            rows.append(
                {
                    "model": name,
                    "side": side,
                    "tokens": tokens,
                    "p50_ms": round(found.p50, 3),
                    "p95_ms": round(found.p95, 3),
                    "p99_ms": round(found.p99, 3),
                }
            )
    for worker in workers:
        worker.close()
    return rows


def config_of(name: str) -> EncoderConfig:
    return EncoderConfig.preset(MODELS[name], vocab_size=VOCABULARY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=DEFAULT)
    parser.add_argument("--mixes", default="short,long")
    parser.add_argument("--sides", help="names of rows, separated by semicolons (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--worker")
    options = parser.parse_args()
    if options.worker is not None:
        work(json.loads(options.worker))
        return
    if options.list:
        print("models:", ", ".join(MODELS))
        print("sides:", "; ".join(SIDES))
        return
    wanted = options.sides.split(";") if options.sides else list(SIDES)
    rows: list[dict[str, Any]] = []
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as parent:
            torch.manual_seed(0)
            folder = Path(parent) / name
            save_encoder(Encoder(config_of(name)), None, folder, format="huggingface")
            if options.latency:
                rows += latency(name, folder, wanted, options.rounds)
            else:
                for mix in options.mixes.split(","):
                    rows += throughput(name, folder, mix, wanted, options.rounds)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if value is not None))
    print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()

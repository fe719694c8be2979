"""A run that is killed at any moment, again and again, ends with the curve and the weights of one that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

# Trains in a child that is killed at steps drawn at random, a random moment into them, until one gets through. The
# parent never trains, so that forking is safe; arguments: folder, optimizer, seed of the kills (or none).
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from torch import nn
from torch.nn import functional
from albertine.records import Batch
from albertine.tasks.task import LossPart
from albertine.training.config import TrainingConfig
from albertine.training.loop import fit
from albertine.training.verdicts import Verdict

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1)])  # imports half of torch, the first time
folder, optimizer, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.inner, self.outer = nn.Embedding(23, 99), nn.Linear(99, 99), nn.Linear(99, 3)
        self.norm, self.dropout = nn.LayerNorm(99), nn.Dropout(0.2)

    def forward(self, batch):
        vectors = self.dropout(self.embedding(batch.input_ids).mean(dim=1))
        return self.outer(self.dropout(torch.relu(self.norm(self.inner(vectors)))))


def batches(step):
    generator = torch.Generator().manual_seed(step)
    made = []
    for _ in range(2):
        ids = torch.randint(23, (7, 5 + step % 3), generator=generator)
        labels = torch.randint(3, (7,), generator=generator)
        ids[:, 0] = labels
        made.append(Batch(input_ids=ids, token_type_ids=torch.zeros_like(ids), labels=labels))
    return made


def loss(module, batch):
    logits = module(batch)
    zeros = batch.labels == 0
    rare = functional.cross_entropy(logits[zeros], batch.labels[zeros], reduction="sum")
    every = functional.cross_entropy(logits, batch.labels, reduction="sum")
    parts = {"all": (every, every.new_tensor(7.0)), "zeros": (rare, zeros.sum().float())}
    return {name: LossPart(total=total, weight=weight) for name, (total, weight) in parts.items()}


class Watch:
    # remembers what it saw: lowers the rate at the seventh point, goes back once at the eleventh
    def __init__(self):
        self.seen = 0

    def __call__(self, point):
        self.seen += 1
        if self.seen == 7:
            return Verdict(action="lower", reason="seven", factor=0.5)
        return Verdict(action="roll_back", reason="eleven", factor=0.5) if self.seen == 11 else None


def train(tell):
    torch.manual_seed(5)
    module = Small()
    ids = torch.arange(21).reshape(3, 7)

    def evaluate(precision):
        with torch.inference_mode():
            return {"sum": float(module(Batch(input_ids=ids, token_type_ids=torch.zeros_like(ids))).sum())}

    fit(
        module, loss, batches, learning_rate=0.01, total_steps=None, folder=folder, evaluate=evaluate, progress=tell,
        main_metric="sum",
        config=TrainingConfig(
            precision="fp32", optimizer=optimizer, tokens=4000, warmup_steps=5, cooldown=0.3, schedule="constant",
            log_every=2, evaluations=4, checkpoint_steps=3,
        ),
        watch=Watch(),
    )


kills, draw = 0, random.Random(seed)
while True:
    listen, say = os.pipe()
    child = os.fork()
    if not child:
        os.close(listen)
        train(lambda progress: os.write(say, b"."))
        os._exit(0)
    os.close(say)
    steps = draw.randint(1, 13) if seed and kills < 8 else 10**6
    while steps and os.read(listen, 1):
        steps -= 1
    if not steps:
        time.sleep(draw.random() * 0.01)
        os.kill(child, signal.SIGKILL)
    os.close(listen)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    kills += ended == -signal.SIGKILL
    if ended != -signal.SIGKILL:
        print(json.dumps({"ended": ended, "kills": kills}))
        break
"""


def train(folder: Path, optimizer: str, seed: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), optimizer, str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, int] = json.loads(done.stdout)
    assert told["ended"] == 0, done.stderr
    return told


def curve(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


@pytest.mark.parametrize(("optimizer", "seed"), [("adamw", 3), ("lamb", 4)])
def test_a_run_killed_again_and_again_ends_with_the_curve_and_weights_of_one_that_was_not(
    tmp_path: Path, optimizer: str, seed: int
) -> None:
    assert train(tmp_path / "whole", optimizer, 0)["kills"] == 0
    assert train(tmp_path / "killed", optimizer, seed)["kills"] >= 5
    expected = curve(tmp_path / "whole")
    assert curve(tmp_path / "killed") == expected
    assert "the learning rate is lowered" in str([point["note"] for point in expected])
    assert "went back to step" in str([point["note"] for point in expected])
    whole, killed = (load_file(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        if name != "state":
            assert value.tobytes() == killed[name].tobytes(), name
    files = sorted(path.name for path in (tmp_path / "killed").rglob("*") if path.is_file())
    assert files == ["best.safetensors", "last.safetensors", "log.jsonl"]

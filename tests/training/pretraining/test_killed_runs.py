"""A pretraining that is killed at any moment, again and again, ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Trains in a child: once as it is, into `whole`, then into `killed`, killed nine times a random moment after a random
# number of steps, every third time before the first one. The parent never trains, so that forking is safe. Arguments:
# corpus, encoder, folder of both, choices, seed of the kills.
PROGRAM = """
import json, os, random, signal, sys, time
import torch
import albertine as al
from albertine.cli.output import start_messages
from albertine.batching.masking import MaskingSchedule
from albertine.batching.step_plan import Phase
from albertine.training.pretraining import run, speed  # what is imported here is not imported nine times

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1)])  # imports half of torch, the first time
speed._SECONDS_EACH = 0.0
start_messages()
corpus, encoder, folder, choices, seed = *sys.argv[1:4], json.loads(sys.argv[4]), int(sys.argv[5])


def train(name, tell):
    config = al.PretrainingConfig(
        phases=(Phase(length=32, share=0.7), Phase(length=48, share=0.3)),
        mask_share=MaskingSchedule(first=0.3, last=0.15),
        tokens_per_step=512, first_tokens_per_step=128, ramp=0.4, tokens_per_micro_batch=256, **choices,
    )
    training = al.pretraining_defaults(
        precision="fp32", learning_rate=0.01, tokens=11_000, evaluations=4, checkpoint_steps=3, dropout=0.1, seed=5
    )
    al.pretrain(corpus, encoder=encoder, out=f"{folder}/{name}", config=config, training=training, progress=tell)


def child_of(name):
    listen, say = os.pipe()
    child = os.fork()
    if not child:
        os.close(listen)
        train(name, lambda progress: os.write(say, b"."))
        os._exit(0)
    os.close(say)
    return child, listen


def ended(child, listen):
    while os.read(listen, 64):
        pass
    os.close(listen)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


draw = random.Random(seed)
codes = [ended(*child_of("whole"))]
for number in range(9):
    child, listen = child_of("killed")
    steps = draw.randint(1, 7) if number % 3 else 0
    while steps and os.read(listen, 1):
        steps -= 1
    time.sleep(draw.random() * (0.01 if number % 3 else 0.4))
    os.kill(child, signal.SIGKILL)
    codes.append(ended(child, listen))
codes.append(ended(*child_of("killed")))
print(json.dumps(codes))
"""


def curve(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def measured(folder: Path) -> dict[str, object]:
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["measurements"]
    return {name: value for name, value in values.items() if "seconds" not in name and "per_second" not in name}


@pytest.mark.parametrize(
    ("choices", "seed"),
    [
        ({"pair": "nsp"}, 3),
        pytest.param({"pair": "sop", "objective": "replaced-tokens"}, 4, marks=pytest.mark.long),
        pytest.param({"pair": "none", "masking": "n-grams"}, 5, marks=pytest.mark.long),
    ],
)
def test_a_run_killed_again_and_again_ends_with_the_bits_of_one_that_was_not(
    corpus: Path, encoder: Path, tmp_path: Path, choices: dict[str, object], seed: int
) -> None:
    words = [str(corpus), str(encoder), str(tmp_path), json.dumps(choices), str(seed)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert (codes[0], codes[-1]) == (0, 0), done.stderr
    assert codes.count(-signal.SIGKILL) >= 7
    assert "continuing at step" in done.stderr
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = curve(whole)
    assert len(expected) > 20
    assert len([point for point in expected if point["dev_metrics"]]) == 4
    assert curve(killed) == expected
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert measured(killed) == measured(whole)
    names = [sorted(str(one.relative_to(folder)) for one in folder.rglob("*")) for folder in (whole, killed)]
    assert names[0] == names[1]

"""torchrun: two processes give the losses and weights of one, one of them speaks, and one goes on where two stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from albertine.training.log import read_log
from albertine.training.pretraining.run import PretrainingOutcome

Pretrain = Callable[..., PretrainingOutcome]

# A step has 16 rows of 32 tokens, and is cut into 4 parts.
STEPS = {"max_steps": 50, "learning_rate": 0.005, "evaluations": 2}
PARTS = 128


# The command, which measures for no longer than it must, and says which threads of the group outlive it: the end of the
# interpreter is no place for them.
QUICK = """
import sys
from pathlib import Path
from albertine.cli.main import main
from albertine.training.pretraining import speed

speed._SECONDS_EACH = 0.0
code = main()
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
print(f"threads left: {sum('gloo' in name for name in threads)}.", file=sys.stderr)
sys.exit(code)
"""


def start(program: list[str], corpus: Path, encoder: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """Start two processes of a program that is `albertine`."""
    given = ["--encoder", str(encoder), "--out", str(out), "--lengths", "32", "--tokens-per-step", "512"]
    given += ["--tokens-per-micro-batch", str(PARTS), "--precision", "fp32", "--learning-rate", "0.005", *words]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, *program, "pretrain", str(corpus), *given],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ALBERTINE_LANG": "en"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_alike(one: Path, two: Path) -> None:
    """Hold the curves and the weights of two runs against each other.

    A bias of keys adds the same to all scores of a query, which changes nothing: its gradient is rounding and no more.
    """
    curves = [read_log(folder / "log.jsonl") for folder in (one, two)]
    for first, second in zip(*curves, strict=True):
        assert (first.step, first.tokens, first.examples) == (second.step, second.tokens, second.examples)
        assert second.loss == pytest.approx(first.loss, rel=1e-5)
        assert second.parts == pytest.approx(first.parts, rel=1e-5)
    for name, value in load_file(one / "model.safetensors").items():
        if name.endswith("key.bias"):
            continue
        other = load_file(two / "model.safetensors")[name]
        assert torch.linalg.vector_norm(other - value) <= 1e-5 * torch.linalg.vector_norm(value), name


def test_two_processes_give_what_one_gives_and_one_of_them_speaks(
    pretrain: Pretrain, corpus: Path, make_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    begin = make_encoder(pair=False, hidden_dropout_prob=0.1)
    (tmp_path / "quick.py").write_text(QUICK, encoding="utf-8")
    program = [str(tmp_path / "quick.py")]
    two = start(program, corpus, begin, tmp_path / "two", "--max-steps", "50", "--evaluations", "2", "--json")
    pretrain(tmp_path / "one", encoder=begin, tokens_per_micro_batch=PARTS, training=STEPS)
    out, said = two.communicate(timeout=240)
    assert two.returncode == 0, said
    document = json.loads(out)
    assert document["measurements"]["steps"] == 50
    for text in ("measuring what a step takes", "start at random", "pairs: ", "encoder folder"):
        assert said.count(text) == 1, said
    assert "2 processes" in said
    assert said.count("threads left: 0.") == 2
    assert json.loads((tmp_path / "two" / "plan.json").read_text(encoding="utf-8"))["plan"]["processes"] == 2
    check_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.long
@pytest.mark.parametrize("objective", ["masked-words", "replaced-tokens"])
def test_a_run_begun_on_two_processes_goes_on_on_one(
    pretrain: Pretrain, corpus: Path, encoder: Path, tmp_path: Path, objective: str
) -> None:
    given = ["--max-steps", "50", "--evaluations", "2", "--pair", "sop", "--objective", objective]
    two = start(["-m", "albertine"], corpus, encoder, tmp_path / "two", *given)
    log = tmp_path / "two" / "log.jsonl"
    while two.poll() is None and not (log.exists() and len(log.read_bytes().splitlines()) >= 12):
        time.sleep(0.01)
    two.send_signal(signal.SIGTERM)
    _, said = two.communicate(timeout=240)
    assert "the same command continues" in said
    reached = read_log(log)[-1].step
    assert 11 <= reached < 50
    options = {"pair": "sop", "objective": objective, "tokens_per_micro_batch": PARTS}
    steps = []
    moves = dict(STEPS)
    pretrain(tmp_path / "two", training=moves, progress=lambda told: steps.append(told.step), **options)
    assert steps[-1] == 50
    assert steps[0] > 10
    pretrain(tmp_path / "one", training=moves, **options)
    check_alike(tmp_path / "one", tmp_path / "two")

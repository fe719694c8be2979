"""Several processes give the losses and weights of one; what ends in one of them is heard of in the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from albertine.training.log import read_log
from albertine.training.processes import SINGLE, launched, open_processes

# A small BERT whose loss has two parts that weigh micro-batches differently. It is started once and forks a process for
# every rank of every run that it is asked for on stdin, since starting Python and torch takes longer than the runs.
PROGRAM = """
import json, os, signal, sys, time, traceback
from pathlib import Path
import numpy as np
import torch
from torch.nn import functional
from albertine.batching.packing import packed
from albertine.errors import AlbertineError
from albertine.models.config import EncoderConfig
from albertine.records import Encoded
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import LossPart
from albertine.tasks.text_classification import TASK
from albertine.training.config import TrainingConfig
from albertine.training.loop import fit
from albertine.training.processes import open_processes
from albertine.training.verdicts import Verdict

torch.set_num_threads(1)
SIZES = dict(hidden_size=24, embedding_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=37)
SIZES |= dict(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, initializer_range=0.1)


def main(folder, steps=50, micro=4, learning_rate=2e-3, wait=60, die_at=None, interrupt_at=None, sleep_at=None,
         fail=False, roll_back=False, weighed=False, **options):
    rank = int(os.environ.get("RANK", 0))
    config = EncoderConfig.preset("bert-base", vocab_size=41, max_position_embeddings=16, **SIZES)
    torch.manual_seed(7 + rank)  # only the first process's weights count
    module = TASK.build(config, TaskConfig(task=TASK.name, labels=("one", "two"), max_length=16))

    def batches(step):
        if rank == 1 and step == die_at:
            os._exit(3)
        if rank == 1 and step == interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if rank == 1 and step == sleep_at:
            time.sleep(5)
        draw = np.random.default_rng([5, step])
        made = []
        for _ in range(13):
            ids = draw.integers(5, 41, draw.integers(4, 15)).astype(np.int32)
            label = int(draw.random() < 0.3)
            ids[1] = 5 + label
            made.append(Encoded(input_ids=ids, token_type_ids=np.zeros(len(ids), np.uint8), target=np.array([label])))
        return [packed([made[i] for i in one]) for one in np.array_split(np.arange(13), micro)]

    def loss(module, batch):
        found = functional.cross_entropy(module(batch), batch.labels, reduction="none")
        chosen = (batch.labels == 1).float()
        return {
            "all": LossPart(total=found.sum(), weight=found.new_tensor(len(batch))),
            "twos": LossPart(total=(found * chosen).sum(), weight=chosen.sum()),
        }

    def weigh(batch):
        return {"all": float(len(batch)), "twos": float((batch.labels == 1).sum())}

    def watch(point):
        return Verdict(action="roll_back", reason="a spike") if point.step == 6 else None

    def size():
        return float(sum(value.double().sum() for value in module.parameters()))

    def evaluate(precision):
        assert rank == 0
        if fail:
            raise RuntimeError("the evaluation broke")
        return {"size": size()}

    with open_processes(torch.device("cpu"), seconds_to_wait=wait) as processes:
        result = fit(
            module, loss, batches, learning_rate=learning_rate, total_steps=steps, folder=folder, evaluate=evaluate,
            main_metric="size",
            config=TrainingConfig.from_dict(dict(precision="fp32", log_every=3, evaluate_every=20, seed=3, **options)),
            processes=processes, weigh=weigh if weighed else None, watch=watch if roll_back else None,
        )
    told = dict(steps=result.steps, examples=result.examples, tokens=result.tokens, resumed=result.resumed_from)
    told |= dict(actions=[one.action for one in result.interventions], stopped=result.stop_reason)
    print(json.dumps(told | dict(metric=result.best_metric, losses=[one.loss for one in result.curve], size=size())))


def checked(folder, options):
    try:
        main(Path(folder), **options)
        return 0
    except KeyboardInterrupt:
        return 130
    except AlbertineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 70


def serve():
    torch.optim.AdamW([torch.zeros(1)])  # imports half of torch, the first time
    for line in sys.stdin:
        asked = json.loads(line)
        children = []
        for rank, environment in enumerate(asked["environments"]):
            child = os.fork()
            if not child:
                os.environ.update(environment)
                for number in (1, 2):
                    file = os.open(asked["outputs"] + f".{rank}.{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                    os.dup2(file, number)
                code = checked(asked["folder"], asked["options"])
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            children.append(child)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


if len(sys.argv) > 1:
    sys.exit(checked(sys.argv[1], json.loads(sys.argv[2])))
serve()
"""


class Server:
    """Runs the program in one or more processes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def run(self, folder: Path, world: int, **options: object) -> list[tuple[int, str, str]]:
        """Return exit code, stdout and stderr of each process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
        ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
        outputs = folder.with_suffix(".outputs")
        asked = {"folder": str(folder), "outputs": str(outputs), "options": options}
        asked["environments"] = ranks if world > 1 else [{}]
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        told = [[Path(f"{outputs}.{rank}.{number}").read_text() for number in (1, 2)] for rank in range(world)]
        return [(code, *both) for code, both in zip(codes, told, strict=True)]

    def results(self, folder: Path, world: int, **options: object) -> list[dict[str, object]]:
        told = self.run(folder, world, **options)
        assert [code for code, _, _ in told] == [0] * world, told
        return [json.loads(out) for _, out, _ in told]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    assert made.process.stdin is not None
    assert made.process.stdout is not None
    made.process.stdin.close()
    made.process.wait(timeout=60)
    made.process.stdout.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = load_file(folder / "checkpoints" / "last.safetensors")
    return {name: value for name, value in found.items() if name.startswith("module.")}


def check_equal(one: Path, other: Path) -> None:
    curves = [read_log(folder / "log.jsonl") for folder in (one, other)]
    assert [point.step for point in curves[0]] == [point.step for point in curves[1]]
    for left, right in zip(*curves, strict=True):
        assert left.loss == pytest.approx(right.loss, rel=1e-5)
        assert (left.tokens, left.examples) == (right.tokens, right.examples)
        assert left.parts == pytest.approx(right.parts, rel=1e-5)
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        # relative to the size of the tensor; what is added to all keys alike has no effect, and rounding for a gradient
        if not name.endswith("key.bias"):
            assert float((value - theirs[name]).norm() / theirs[name].norm()) < 1e-5, name


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw", "epsilon": 1e-6},
        {"optimizer": "lamb", "weighed": True, "learning_rate": 0.01},
    ],
    ids=["adamw", "lamb and weights known before"],
)
def test_two_processes_give_the_losses_and_weights_of_one_over_fifty_steps_with_dropout(
    server: Server, tmp_path: Path, options: dict[str, object]
) -> None:
    [alone] = server.results(tmp_path / "one", 1, **options)
    first, second = server.results(tmp_path / "two", 2, **options)
    check_equal(tmp_path / "two", tmp_path / "one")
    assert first == second
    assert {**first, "losses": 0, "metric": 0, "size": 0} == {**alone, "losses": 0, "metric": 0, "size": 0}
    written = sorted(path.name for path in (tmp_path / "two").rglob("*.*"))
    assert written == ["best.safetensors", "last.safetensors", "log.jsonl"]


def test_more_processes_than_micro_batches_still_give_the_same(server: Server, tmp_path: Path) -> None:
    server.results(tmp_path / "one", 1, micro=1, steps=7, epsilon=1e-6)
    server.results(tmp_path / "two", 2, micro=1, steps=7, epsilon=1e-6)
    check_equal(tmp_path / "two", tmp_path / "one")


def test_a_run_of_two_interrupted_in_one_of_them_continues_in_one(server: Server, tmp_path: Path) -> None:
    server.results(tmp_path / "whole", 1, steps=17, epsilon=1e-6)
    told = server.run(tmp_path / "parts", 2, steps=17, epsilon=1e-6, interrupt_at=7)
    assert [code for code, _, _ in told] == [130, 130], told
    [again] = server.results(tmp_path / "parts", 1, steps=17, epsilon=1e-6)
    assert again["resumed"] == 8
    check_equal(tmp_path / "parts", tmp_path / "whole")


def test_a_verdict_reaches_every_process(server: Server, tmp_path: Path) -> None:
    options = {"steps": 11, "roll_back": True, "checkpoint_steps": 4, "epsilon": 1e-6}
    server.results(tmp_path / "one", 1, **options)
    first, second = server.results(tmp_path / "two", 2, **options)
    assert first == second
    assert first["actions"] == ["roll_back"] * 4  # it comes to the same step again, until that is enough
    assert "did not help: a spike" in str(first["stopped"])
    check_equal(tmp_path / "two", tmp_path / "one")


def test_a_process_that_dies_ends_the_others_with_a_clear_line(server: Server, tmp_path: Path) -> None:
    first, second = server.run(tmp_path / "run", 2, die_at=4)
    assert second[0] == 3
    assert first[0] == 1
    assert "another process of this run ended" in first[2]
    assert "Traceback" not in first[2]


def test_a_process_that_hangs_is_not_waited_for_without_end(server: Server, tmp_path: Path) -> None:
    told = server.run(tmp_path / "run", 2, sleep_at=4, wait=1)
    assert [code for code, _, _ in told] == [1, 1]
    assert "does not answer" in told[0][2]


def test_what_fails_in_the_first_process_ends_the_others_with_its_message(server: Server, tmp_path: Path) -> None:
    first, second = server.run(tmp_path / "run", 2, fail=True, steps=20)
    assert first[0] != 0
    assert second[0] == 1
    assert "the first process of this run failed. Received: RuntimeError: the evaluation broke" in second[2]


@pytest.mark.long
def test_torchrun_starts_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(program), str(tmp_path / "run"), '{"steps": 7}'],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"steps": 7') == 2
    assert [point.step for point in read_log(tmp_path / "run" / "log.jsonl")] == [3, 6, 7]


def test_a_single_process_is_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert not launched()
    with open_processes(torch.device("cpu")) as processes:
        assert processes is SINGLE
    assert (processes.rank, processes.world, processes.first) == (0, 1, True)
    numbers = torch.arange(3.0)
    processes.all_sum([numbers])
    processes.copy_from_first([numbers])
    processes.barrier()
    assert numbers.tolist() == [0.0, 1.0, 2.0]
    assert processes.gather(7) == [7]
    assert processes.broadcast("word") == "word"
    assert processes.on_first(lambda: 13) == 13

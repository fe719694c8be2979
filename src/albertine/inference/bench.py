"""How fast an encoder, or a model with one, is on this machine: throughput on mixed lengths, latency of one text.

S tokens.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from albertine.batching.packing import packed, token_budget_batches
from albertine.checkpoints.load import load_encoder
from albertine.checkpoints.native import TASK_FILE
from albertine.errors import ConfigError
from albertine.evaluation.timing import Percentiles, percentiles
from albertine.inference.engine import Engine, EngineSettings
from albertine.inference.fused import FusedEncoder
from albertine.inference.int8_calibration import calibrated_plan
from albertine.inference.int8_plan import Int8Plan
from albertine.inference.kernels import int8_is_supported
from albertine.inference.loading import load
from albertine.inference.precision import Precision, choose_precision
from albertine.models.encoder import Encoder
from albertine.records import Encoded, Example

__all__ = [
    "BENCH_SCHEMA",
    "BenchResult",
    "Latency",
    "Throughput",
    "bench",
    "drawn_lengths",
    "drawn_texts",
    "prepared_encoder",
    "read_texts",
    "speed_ratio",
]

BENCH_SCHEMA = 1
LATENCY_LENGTHS = (8, 32, 128, 512)
MIXES = {"short": (32, 128), "long": (256, 512)}
"""Mean and most tokens of texts of mixed lengths."""
_FEWEST_SHORT, _FEWEST_LONG = 4, 128
_TEXTS = {"short": 2048, "long": 256}
_ROUNDS = 6
"""Turns of two engines; the first warms both up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Texts of mixed lengths, as many as there are, answered as fast as possible."""

    mix: str
    """short: log-normal, 32 tokens on average, up to 128; long: 128 to 512."""
    precision: str
    tokens_per_second: float
    """Real tokens, the median of rounds."""
    texts_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One text at a time."""

    tokens: int
    precision: str
    milliseconds: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What `albertine bench` prints."""

    name: str
    kind: str
    """The passes, and how wide they are."""
    threads: int
    chosen: str
    """What `auto` computes in on this machine."""
    cold_milliseconds: float
    """From a loaded encoder to the first answer: the weights laid out, 32 tokens read."""
    throughput: tuple[Throughput, ...]
    latency: tuple[Latency, ...]
    machine: dict[str, object]

    def to_dict(self) -> dict[str, object]:
        """Return the document that `--json` prints."""
        return {"schema_version": BENCH_SCHEMA, **dataclasses.asdict(self)}

    def render(self) -> str:
        """Return the lines for a terminal."""
        lines = [
            f"{self.name}: {self.kind}; {self.threads} threads; auto computes in {self.chosen}",
            f"first answer {self.cold_milliseconds:,.0f} ms after loading",
            "",
            f"{'texts of mixed lengths':<28}{'tokens/s':>12}{'texts/s':>12}",
        ]
        for one in self.throughput:
            name = f"{one.mix}, {one.precision}"
            lines.append(f"{name:<28}{one.tokens_per_second:>12,.0f}{one.texts_per_second:>12,.0f}")
        lines += ["", f"{'one text':<28}{'p50 ms':>12}{'p95 ms':>12}{'p99 ms':>12}"]
        for row in self.latency:
            name, found = f"{row.tokens} tokens, {row.precision}", row.milliseconds
            lines.append(f"{name:<28}{found.p50:>12.2f}{found.p95:>12.2f}{found.p99:>12.2f}")
        return "\n".join(lines)


def bench(
    name: str | Path,
    *,
    precisions: Sequence[str] | None = None,
    seconds: float = 3.0,
    seed: int = 0,
) -> BenchResult:
    """Measure the encoder of a name or folder with random token ids, which cost what real ones do.

    Args:
        name: an encoder by name or folder, `preset:NAME`, or a model folder, whose int8 plan is used if it has one.
        precisions: of fp32, bf16 and int8; None for all that this machine has.
        seconds: for every row of the result.
        seed: of ids and lengths.

    Raises:
        CheckpointError: there is no such encoder, or it cannot be read.
        ConfigError: the model has no encoder, or no such precision is known.
    """
    encoder, plan = _opened(name)
    config = encoder.config
    asked = list(precisions or ("fp32", "bf16", *(("int8",) if int8_is_supported() else ())))
    unknown = [one for one in asked if one not in ("fp32", "bf16", "int8")]
    if unknown:
        raise ConfigError("unknown precision", received=", ".join(unknown), allowed="fp32, bf16, int8")
    longest = min(512, config.max_position_embeddings)
    chosen = choose_precision("cpu")
    cold = _cold_start(encoder, chosen, seed)
    throughput, latency = [], []
    for precision in asked:
        fast = prepared_encoder(encoder, precision, chosen, plan, seed)
        for mix, (_, most) in MIXES.items():
            if most > longest:
                continue
            texts = drawn_texts(drawn_lengths(mix, _TEXTS[mix], seed), config.vocab_size, seed)
            throughput.append(_throughput(fast, texts, mix, precision, seconds))
        for tokens in LATENCY_LENGTHS:
            if tokens <= longest:
                latency.append(_latency(fast, tokens, precision, seconds / 2, seed))
        del fast
        gc.collect()
    return BenchResult(
        name=str(name),
        kind=f"{config.num_passes} passes of width {config.hidden_size}"
        + (", shared weights" if config.share != "none" else ""),
        threads=torch.get_num_threads(),
        chosen="int8" if plan is not None and int8_is_supported() else chosen,
        cold_milliseconds=cold,
        throughput=tuple(throughput),
        latency=tuple(latency),
        machine={"processor": platform.machine(), "cores": os.cpu_count() or 0, "torch": torch.__version__},
    )


def drawn_lengths(mix: str, count: int, seed: int) -> list[int]:
    """Return the lengths of a mix: short ones log-normal with a deviation of 0.7, long ones spread evenly."""
    mean, most = MIXES[mix]
    generator = np.random.default_rng(seed)
    if mix == "long":
        return [int(one) for one in generator.integers(_FEWEST_LONG, most + 1, size=count)]
    deviation = 0.7
    drawn = generator.lognormal(np.log(mean) - deviation**2 / 2, deviation, size=count)
    return [int(one) for one in np.clip(np.rint(drawn), _FEWEST_SHORT, most)]


def drawn_texts(lengths: Sequence[int], vocab_size: int, seed: int) -> list[Encoded]:
    """Return texts of random ids."""
    generator = np.random.default_rng(seed)
    return [
        Encoded(
            input_ids=generator.integers(1, vocab_size, size=length).astype(np.int32),
            token_type_ids=np.zeros(length, dtype=np.uint8),
        )
        for length in lengths
    ]


def speed_ratio(fast: Engine, usual: Engine, examples: Sequence[Example]) -> float:
    """Return how many times as fast one engine is as another, the median of turns; tokenization left out."""
    encoded = usual.encode_items(examples)
    ratios = []
    for _ in range(_ROUNDS):
        seconds = []
        for engine in (usual, fast):
            begin = time.perf_counter()
            engine.encoded_answers(encoded, examples)
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])


def _opened(name: str | Path) -> tuple[Encoder, Int8Plan | None]:
    """Return the encoder of a name or folder, and its int8 plan."""
    if not (Path(name) / TASK_FILE).is_file():
        encoder, _ = load_encoder(name)
        return encoder.eval(), None
    model = load(name)
    body = getattr(model.module, "body", None)
    if not isinstance(body, Encoder):
        raise ConfigError(
            "this model has no encoder to measure",
            received=model.body_kind,
            next_step="albertine compare measures every kind of model on real texts",
        )
    return body, model.plan


def prepared_encoder(
    encoder: Encoder, precision: str, chosen: Precision, plan: Int8Plan | None = None, seed: int = 0
) -> FusedEncoder:
    """Return an encoder that runs in a precision.

    Args:
        encoder: on the processor.
        precision: fp32, bf16 or int8.
        chosen: what an int8 encoder computes the rest in.
        plan: for int8; None to fit one to random ids.
        seed: of those ids.
    """
    if precision != "int8":
        return FusedEncoder(encoder, "fp32" if precision == "fp32" else "bf16").eval()
    if plan is None:  # random ids give ranges that cost what real ones do

        def run(watch: Callable[..., None]) -> None:
            most = encoder.config.max_position_embeddings
            lengths = [min(length, most) for length in drawn_lengths("short", 32, seed)]
            texts = drawn_texts(lengths, encoder.config.vocab_size, seed)
            read_texts(FusedEncoder(encoder, "fp32", watch=watch).eval(), texts)

        plan, _ = calibrated_plan(encoder, run)
    return FusedEncoder(encoder, chosen, plan).eval()


def read_texts(encoder: FusedEncoder, texts: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """Return the last states of packed texts, [S, H], and where each text begins, [N]."""
    batch = packed(texts)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=encoder.states == torch.bfloat16)
    with torch.inference_mode(), autocast:
        states = encoder(
            batch.input_ids, token_type_ids=batch.token_type_ids, sequence_starts=batch.sequence_starts
        ).last_hidden_state
    assert batch.sequence_starts is not None, "packed"
    return states, batch.sequence_starts[:-1]


def _throughput(
    encoder: FusedEncoder, texts: Sequence[Encoded], mix: str, precision: str, seconds: float
) -> Throughput:
    settings = EngineSettings()
    lengths = [len(one) for one in texts]
    groups = token_budget_batches(lengths, settings.max_tokens, settings.max_texts)
    rates: list[float] = []
    begun = time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        for indices in groups:
            read_texts(encoder, [texts[place] for place in indices.tolist()])
        rates.append(1 / (time.perf_counter() - start))
    rate = float(np.median(rates[1:]))
    return Throughput(
        mix=mix, precision=precision, tokens_per_second=rate * sum(lengths), texts_per_second=rate * len(texts)
    )


def _latency(encoder: FusedEncoder, tokens: int, precision: str, seconds: float, seed: int) -> Latency:
    texts = drawn_texts([tokens] * 16, encoder.config.vocab_size, seed)
    for one in texts[:3]:
        read_texts(encoder, [one])
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 20 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        read_texts(encoder, [texts[len(times) % len(texts)]])
        times.append(1000 * (time.perf_counter() - start))
    return Latency(tokens=tokens, precision=precision, milliseconds=percentiles(times))


def _cold_start(encoder: Encoder, precision: Precision, seed: int) -> float:
    texts = drawn_texts([min(32, encoder.config.max_position_embeddings)], encoder.config.vocab_size, seed)
    begun = time.perf_counter()
    read_texts(FusedEncoder(encoder, precision).eval(), texts)
    return 1000 * (time.perf_counter() - begun)

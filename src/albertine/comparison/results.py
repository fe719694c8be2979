"""What a comparison measures, as records: the runs, the candidates summed up over their seeds, the whole report."""

from __future__ import annotations

from dataclasses import dataclass, field

from albertine.evaluation.significance import Interval

__all__ = [
    "CandidateSummary",
    "ComparisonReport",
    "CurvePoint",
    "DataSummary",
    "DepthPoint",
    "Interval",
    "PredictionCost",
    "RunResult",
    "TrainingCost",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One point of a learning curve."""

    step: int
    examples: int
    """Training examples seen so far, repetitions counted."""
    seconds: float
    """Training time so far, evaluations not counted."""
    loss: float
    """Mean training loss since the last point."""
    dev_metric: float | None = None
    """The main metric on the development split; None where it was not evaluated here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCost:
    """What one training run took."""

    seconds: float
    """Wall-clock time of the training steps and evaluations."""
    examples: int
    """Training examples seen, repetitions counted."""
    tokens: int
    """Real tokens seen, padding not counted; 0 for models without tokens."""
    tokens_per_second: float
    peak_memory_bytes: int
    """Largest resident memory of the training process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionCost:
    """What prediction takes on this machine, measured in a process of its own."""

    latency_ms_p50: float
    """One request (one text), tokenization included; over at least 100 requests after warming up."""
    latency_ms_p95: float
    latency_ms_p99: float
    requests: int
    texts_per_second: float
    """Batched throughput over the test texts (or a sample of them)."""
    tokens_per_second: float
    peak_memory_bytes: int
    """Largest resident memory of the measuring process."""
    bytes_on_disk: int
    """Everything in the model folder that is needed to predict."""
    precision: str
    """fp32 or bf16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthPoint:
    """An elastic model at one depth, on the test split."""

    depth: int | None
    """Passes that every text took; None where each took as many as it needed."""
    passes: float
    """That a text took on average."""
    quality: float
    """The main metric."""
    speed: float
    """Texts a second, over those with all passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One candidate trained with one seed."""

    candidate: str
    seed: int
    failed: str | None = None
    """Why the run failed; None where it did not. A failed run has no evidence."""
    folder: str = ""
    """The model folder, relative to the comparison's."""
    evidence: tuple[tuple[float, ...], ...] = ()
    """What is kept of the answer to every test item, numbers that `ComparisonReport.evidence_columns` names."""
    learnt: bool = True
    """False where the answers do not depend on what was read: as good as always answering the same."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Every metric of the task on the test split."""
    dev_metric: float | None = None
    """The main metric on the development split, at the kept checkpoint."""
    curve: tuple[CurvePoint, ...] = ()
    training: TrainingCost | None = None
    prediction: PredictionCost | None = None
    parameters_unique: int = 0
    parameters_executed: int = 0
    """Parameters counted as often as a text meets them: a shared block once a pass."""
    flops_per_token: float | None = None
    depths: tuple[DepthPoint, ...] = ()
    """Of an elastic model, the shallow ones first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSummary:
    """One candidate, over all its seeds."""

    name: str
    kind: str
    """bert, albert, encoder (any other column of values), or the baseline's name."""
    description: str
    """A line for the reader, such as "12 layers x 768, ALBERT sharing, random weights"."""
    quality: Interval | None
    """The main metric on the test split, bootstrap over items and seeds; None where every run failed."""
    seeds: tuple[int, ...]
    failed: int
    """Runs that failed, among the seeds."""
    difference_to_best: Interval | None = None
    """Main metric minus the best candidate's, paired over items; None for the best itself."""
    p_value: float | None = None
    """Paired test against the best, corrected for the number of candidates (Holm); None for the best itself."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means over the seeds that did not fail."""
    runs: tuple[RunResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary:
    """The data as it was used."""

    source: str
    """File name or names, without their folders."""
    sha256: dict[str, str]
    train: int
    dev: int
    test: int
    labels: tuple[str, ...]
    label_counts: dict[str, int]
    """In the training split; empty where the data have no labels."""
    notes: tuple[str, ...] = ()
    """What was done to the data (duplicates removed, rows skipped, columns guessed), one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonReport:
    """Everything in report.json."""

    schema_version: int
    title: str
    task: str
    main_metric: str
    greater_is_better: bool
    evidence_columns: tuple[str, ...]
    """What the numbers in `RunResult.evidence` are. Of classification: gold_label and predicted_label, indices into
    `DataSummary.labels`, and confidence, the probability of the predicted one."""
    data: DataSummary
    candidates: tuple[CandidateSummary, ...]
    """Best quality first; candidates whose runs all failed last."""
    recommended: str | None
    """The name of the candidate to take; None where all failed."""
    reasons: tuple[str, ...]
    """Why, in sentences that follow from the numbers (in the report's language)."""
    budget: str
    """What every training run was allowed, in words."""
    command: str
    machine: dict[str, str]
    """Processor, cores, memory, versions."""
    created: str
    """ISO 8601, UTC."""
    language: str

"""The card of a pretrained encoder: what it learnt from, how, and how well it predicts held-out text."""

from __future__ import annotations

from collections.abc import Mapping

from albertine.catalogue import catalogue
from albertine.models.config import EncoderConfig, count_parameters
from albertine.settings import Language
from albertine.training.config import TrainingConfig
from albertine.training.manifest import Measurements
from albertine.training.pretraining.choices import PretrainingConfig
from albertine.training.pretraining.plan import PretrainingPlan
from albertine.training.result import TrainingResult

__all__ = ["encoder_card"]


def encoder_card(
    config: EncoderConfig,
    *,
    name: str,
    corpus: Mapping[str, object],
    choices: PretrainingConfig,
    training: TrainingConfig,
    plan: PretrainingPlan,
    result: TrainingResult,
    measured: Measurements,
    command: str,
    language: Language,
) -> str:
    """Write the card of a pretrained encoder, Markdown.

    Args:
        config: of the encoder.
        name: of what was trained.
        corpus: its name under `source`, and `documents`, `held_out_documents`, `tokens`, `held_out_tokens`.
        choices: what was learnt.
        training: how weights moved.
        plan: of the run.
        result: of the loop.
        measured: what it took and gave.
        command: that does it again.
        language: of the text.
    """
    texts = catalogue(language)
    count = count_parameters(config)
    model = {
        texts("card.trained_from"): name,
        texts("card.shape"): texts("card.layers", layers=config.num_hidden_layers, width=config.hidden_size),
        texts("card.unique"): f"{count.unique:,}",
        texts("card.executed"): f"{count.executed:,}",
        texts("card.vocabulary"): f"{config.vocab_size:,}",
    }
    data = {texts("card.source"): str(corpus["source"])} | {
        texts(f"pretraining.{part}"): texts(
            "pretraining.split_sizes", train=f"{corpus[part]:,}", held_out=f"{corpus[f'held_out_{part}']:,}"
        )
        for part in ("documents", "tokens")
    }
    share = choices.mask_share
    shares = f"{share.first:.0%}" if share.first == share.last else f"{share.first:.0%} → {share.last:.0%}"
    run = {
        texts("pretraining.objectives"): choices.objective + ("" if plan.pair == "none" else f", {plan.pair}"),
        texts("pretraining.masking"): f"{plan.masking}, {shares}",
        texts("pretraining.rows"): ", ".join(f"{one.length} ({one.share:.0%})" for one in plan.phases),
        texts("pretraining.tokens_seen"): texts(
            "pretraining.tokens_seen_value",
            tokens=f"{result.tokens:,}",
            epochs=f"{result.tokens / max(1, int(str(corpus['tokens']))):.2f}",
        ),
        texts("card.steps"): texts("card.steps_kept", steps=f"{result.steps:,}", best=f"{result.best_step:,}"),
        texts("pretraining.optimizer"): f"{training.optimizer}, {training.schedule}",
        texts("card.learning_rate"): f"{plan.learning_rate:g}",
        texts("card.seconds"): f"{result.seconds:,.1f}",
        texts("card.tokens_per_second"): f"{result.tokens_per_second:,.0f}",
        texts("card.precision"): f"{result.precision}, {measured.device}",
    }
    if result.skipped_steps:
        run[texts("card.skipped")] = f"{result.skipped_steps:,}"
    done = [f"* {one.step:,}: {_cell(one.describe())}\n" for one in result.interventions]
    parts = [
        "---\nlibrary_name: albertine\npipeline_tag: fill-mask\n---\n",
        f"# {texts('pretraining.title', name=_cell(name), source=_cell(str(corpus['source'])))}\n",
        texts("pretraining.summary") + "\n",
        _table(texts("card.model"), model),
        _table(texts("pretraining.corpus"), data),
        _table(texts("card.training"), run),
        *([texts("pretraining.interventions") + "\n", "".join(done)] if done else ()),
        f"## {texts('card.results')}\n",
        _results(texts("pretraining.held_out"), texts("pretraining.value"), measured),
        f"## {texts('card.limits')}\n",
        f"* {texts('pretraining.limit_domain')}\n"
        f"* {texts('pretraining.limit_length', length=max(one.length for one in plan.phases))}\n"
        f"* {texts('card.limit_checks')}\n",
        f"## {texts('card.use')}\n",
        "```python\nimport albertine as al\n\n"
        f'encoder, tokenizer = al.load_encoder("{texts("card.this_folder")}")\n'
        f'model = al.finetune("text-classification", data="train.csv", encoder="{texts("card.this_folder")}", '
        'out="runs/mine")\n```\n',
        f"## {texts('card.again')}\n",
        f"```\n{command}\n```\n\n{texts('card.manifest')}\n",
    ]
    return "\n".join(parts)


def _table(title: str, rows: Mapping[str, str]) -> str:
    return f"## {title}\n\n| | |\n|---|---|\n" + "".join(f"| {key} | {_cell(value)} |\n" for key, value in rows.items())


def _results(title: str, value: str, measured: Measurements) -> str:
    head = f"| {title} | {value} |\n|---|---|\n"
    return head + "".join(
        f"| {name}{' *' if name == measured.main_metric else ''} | {_number(one)} |\n"
        for name, one in measured.dev_metrics.items()
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value > 1 and value.is_integer() else f"{value:.4f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())

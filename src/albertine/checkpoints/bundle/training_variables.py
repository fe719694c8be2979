"""Which variables of a TensorFlow checkpoint belong to the training and not to the model."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

__all__ = ["SkippedVariables", "VariableKind", "variable_kind"]

VariableKind = Literal["model", "slot", "average", "state"]
"""Of the model, one of an optimizer's numbers about a variable, a variable's moving average, other state."""

# Last parts of names that optimizers give to what they keep beside a variable: those of BERT's, ALBERT's and NVIDIA's
# AdamW and LAMB, then TensorFlow's own and its add-ons'. A second slot of TensorFlow's own has `_1` behind it.
_SLOTS = re.compile(
    r"(adam_[mv]|lamb_[mv]|lars_m|(Adam|AdamW|LazyAdam|NAdam|AdaMax|AMSGrad|Momentum|RMSProp|Adagrad|AdagradDA|Adadelta"
    r"|Ftrl|LAMB|LARS|AdamWeightDecay|Adafactor|GradientDescent|ProximalAdagrad)(Optimizer)?(_\d+)?|accum_vars?)"
)
# Names that are a slot's only beside a variable: they are short enough to be a layer's.
_SHORT_SLOTS = re.compile(r"(m|v|vr|vc|vhat|accumulator|momentum|grad_accum|accum_grads?)")
_AVERAGES = re.compile(r"(ExponentialMovingAverage|moving_average|ema)(_\d+)?")
_STATE = re.compile(
    r"(global_step|local_step|save_counter|beta[12]_power|learning_rate|(current_|dynamic_)?loss_scale\w*"
    r"|(num_)?good_steps|\w*finite_steps)(_\d+)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedVariables:
    """What a checkpoint holds besides the model, and is not read."""

    slots: int = 0
    """Variables that an optimizer keeps beside those of the model."""
    averages: int = 0
    """Moving averages of the model's variables."""
    state: tuple[str, ...] = ()
    """The names of everything else: the step, powers of an optimizer's betas, the loss scale, text."""

    @property
    def summary(self) -> str:
        """What is skipped in words, such as `160 optimizer slots and global_step`; empty where nothing is."""
        parts = [f"{self.slots:,} optimizer slot{'s' * (self.slots != 1)}"] if self.slots else []
        if self.averages:
            parts.append(f"{self.averages:,} moving average{'s' * (self.averages != 1)}")
        parts += self.state if len(self.state) <= 3 else [f"{len(self.state):,} other training variables"]
        return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def variable_kind(name: str, names: Collection[str], *, counter: bool) -> VariableKind:
    """Say what a variable is for.

    Args:
        name: of the variable.
        names: of all variables of the checkpoint; fast to look up.
        counter: whether it is text, or a whole number without axes: no weight of a model is.
    """
    owner, _, last = name.rpartition("/")
    if owner and (_SLOTS.fullmatch(last) or (_SHORT_SLOTS.fullmatch(last) and owner in names)):
        return "slot"
    if owner and _AVERAGES.fullmatch(last):
        return "average"
    if counter or _STATE.fullmatch(last):
        return "state"
    return "model"

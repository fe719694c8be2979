"""Watches a pretraining run for the ways in which BERT and ALBERT fail, names the likely cause, and steps in.

ln V is the cross entropy of knowing nothing; the unigram entropy that of knowing how often each token occurs and
nothing else, where the masked-word loss of failed runs is known to stay.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from albertine.errors import ConfigError
from albertine.tasks.pretraining import MASKED_WORDS, PAIR, PretrainingMetrics
from albertine.training.curve_spans import Span, span_of, unigram_entropy
from albertine.training.held_out import HeldOut
from albertine.training.hidden_rank import HiddenStateRank, hidden_state_rank
from albertine.training.log import LogPoint
from albertine.training.verdicts import Verdict
from albertine.training.watchdog_limits import WatchdogLimits

__all__ = ["HiddenStateRank", "Watchdog", "WatchdogLimits", "hidden_state_rank", "unigram_entropy"]


_LEAST_IN_SPAN = 6
_FIRST_STEPS = 50
"""Before them a loss may be high and flat: the rate is still close to 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    step: int
    metrics: PretrainingMetrics | None
    rank: HiddenStateRank | None


class Watchdog:
    """Shown every point of the learning curve, says what is to be done where something goes wrong.

    A run that goes back to a checkpoint, or is resumed, shows points of steps that were shown before: what was seen of
    those steps is forgotten then.

    Args:
        vocab_size: V.
        progress: share of the run that is over at a point, from 0 to 1.
        phase: which phase of the run a point ends in, counted up; None where rows never change. Longer rows are harder,
            and most of their positions new: losses are held against those of the same phase alone.
        unigram_entropy: of the corpus in nats, see `unigram_entropy`; None where it is not known.
        limits: when something counts as a failure.

    Raises:
        ConfigError: an entropy that this vocabulary cannot have.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        progress: Callable[[LogPoint], float],
        phase: Callable[[LogPoint], int] | None = None,
        unigram_entropy: float | None = None,
        limits: WatchdogLimits | None = None,
    ) -> None:
        self.limits = limits or WatchdogLimits()
        self.nothing = math.log(vocab_size)
        if unigram_entropy is not None and not 0.0 <= unigram_entropy <= self.nothing + 1e-6:
            raise ConfigError(
                "not an entropy of this vocabulary",
                where="unigram_entropy",
                received=unigram_entropy,
                allowed=f"0 to ln {vocab_size} = {self.nothing:.3f}",
            )
        self.unigram = unigram_entropy
        self._progress = progress
        self._phase: Callable[[LogPoint], int] = phase or (lambda point: 0)
        self._points: list[LogPoint] = []
        self._medians: list[float] = []
        self._measured: list[_Measured] = []
        # by the name of what was done: the step after which it was
        self._done: dict[str, int] = {}
        self._next_look = 0.0

    def measured(
        self, step: int, *, metrics: PretrainingMetrics | None = None, rank: HiddenStateRank | None = None
    ) -> None:
        """Take note of what was measured after `step` steps and stands in no point; it counts from the next one on.

        A rank before the first step, of the random weights, tells a collapse in training from a model that began so.
        """
        self._measured.append(_Measured(step=step, metrics=metrics, rank=rank))

    def __call__(self, point: LogPoint) -> Verdict | None:
        """Judge the run at a new point of its curve; None where nothing is to be done or said."""
        if self._points and point.step < self._points[-1].step:
            self._forget(point.step)
        if verdict := _not_finite(point):
            return verdict
        if (held_out := HeldOut.of_values(point.dev_metrics)) is not None:
            self.measured(point.step, metrics=held_out.metrics, rank=held_out.rank)
        self._points.append(point)
        self._medians.append(statistics.median(self._words(self.limits.window)))
        rules: list[Callable[[LogPoint], Verdict | None]] = [self._worse_than_nothing, self._spike]
        if point.step >= self.limits.least_steps:
            rules.append(self._vanished)
            if self._progress(point) >= self._next_look:
                self._next_look = self._progress(point) + self.limits.slow_rules_every
                rules += [self._collapsed, self._rising, self._stuck, self._leaking, self._chance, self._undetected]
        return next((verdict for rule in rules if (verdict := rule(point))), None)

    def _forget(self, step: int) -> None:
        """Forget everything from `step` on."""
        kept = bisect.bisect_left(self._points, step, key=_step_of)
        del self._points[kept:], self._medians[kept:]
        self._measured = [one for one in self._measured if one.step < step]
        self._next_look = 0.0

    def _words(self, count: int) -> list[float]:
        """Return the phase's last masked-word losses (the whole loss where it has no such part), at most `count`."""
        return [_words_of(point) for point in self._points[self._phase_begin() :][-count:]]

    def _phase_begin(self) -> int:
        """Return the place of the first point of the phase that the last one ends in."""
        return bisect.bisect_left(self._points, self._phase(self._points[-1]), key=self._phase)

    def _once(self, name: str, verdict: Verdict) -> Verdict | None:
        """Give the verdict the first time only."""
        if name in self._done:
            return None
        self._done[name] = self._points[-1].step
        return verdict

    def _worse_than_nothing(self, point: LogPoint) -> Verdict | None:
        """Three points above ln V by a tenth, and not on the way down."""
        last = self._words(3)
        if len(last) < 3 or point.step < _FIRST_STEPS or min(last) < 1.1 * self.nothing or last[-1] < 0.98 * last[0]:
            return None
        return Verdict(
            action="roll_back",
            factor=1 / 3,
            reason=f"the masked-word loss is {last[-1]:.2f}, worse than knowing nothing (ln V = {self.nothing:.2f}): "
            "the run has diverged, most often because the learning rate is too high. Try a lower --learning-rate or a "
            "longer --warmup",
        )

    def _spike(self, point: LogPoint) -> Verdict | None:
        limits = self.limits
        values = self._words(limits.spike_window + limits.spike_points)
        if len(values) < limits.spike_window // 2 + limits.spike_points:
            return None
        before, last = values[: -limits.spike_points], values[-limits.spike_points :]
        usual = statistics.median(before)
        deviation = 1.4826 * statistics.median(abs(value - usual) for value in before)
        limit = usual + max(limits.spike_deviations * deviation, limits.spike_share * usual, limits.spike_least)
        if min(last) <= limit:
            return None
        return Verdict(
            action="roll_back",
            reason=f"the masked-word loss jumped from {usual:.3f} to {last[-1]:.3f} and stayed there: a step of Adam "
            "was too large for what the gradients had become. If it comes back, try a lower --learning-rate, a lower "
            "--max-grad-norm or beta2 0.98, and look at the texts of these steps",
        )

    def _vanished(self, point: LogPoint) -> Verdict | None:
        limits = self.limits
        known = self._points[-10 * limits.window :]
        norms = [one.gradient_norm for one in known if one.gradient_norm is not None]
        last = norms[-limits.vanished_points :]
        if len(last) < limits.vanished_points or self._medians[-1] < 0.1:
            return None
        limit = limits.least_gradient
        if len(norms) >= 2 * limits.window and not self._learnt():
            limit = max(limit, limits.gradient_share * statistics.median(norms[: -limits.vanished_points]))
        if max(last) >= limit:
            return None
        return Verdict(
            action="stop",
            reason=f"the gradients have vanished (norm {last[-1]:.2g}) while the masked-word loss is "
            f"{self._medians[-1]:.2f}: nothing is learnt any more. Are weights frozen, or the activations saturated by "
            "a rate that was too high? Begin again with a lower --learning-rate and a longer --warmup",
        )

    def _collapsed(self, point: LogPoint) -> Verdict | None:
        ranks = [one.rank for one in self._measured if one.rank is not None]
        if not ranks or not self._is_collapsed(ranks[-1]):
            return None
        seen = (
            f"the hidden states of all tokens have become one (effective rank {ranks[-1].effective_rank:.1f} of "
            f"{ranks[-1].width}, mean cosine {ranks[-1].mean_cosine:.4f})"
        )
        cause = (
            "the learning rate is too high for so many layers. Try half of it with a longer --warmup, or fewer layers"
        )
        if any(not self._is_collapsed(one) for one in ranks[:-1]):
            self._measured = [one for one in self._measured if one.rank is not ranks[-1]]
            return Verdict(action="roll_back", factor=1 / 3, reason=f"{seen}: most often {cause}")
        return self._once("collapsed", Verdict(action="continue", reason=f"{seen} since the first look: {cause}"))

    def _is_collapsed(self, rank: HiddenStateRank) -> bool:
        limits = self.limits
        return rank.effective_rank < limits.collapsed_rank and rank.mean_cosine > limits.collapsed_cosine

    def _rising(self, point: LogPoint) -> Verdict | None:
        limits, now = self.limits, self._progress(point)
        last = self._span(now - limits.span, now)
        begin = max(self._progress_at(self._done.get("rising")), self._progress(self._points[self._phase_begin()]))
        earlier = []
        end = now - limits.span
        while end - limits.span >= begin:
            earlier.append((self._span(end - limits.span, end), end))
            end -= limits.span
        known = [(span, end) for span, end in earlier if span is not None]
        if last is None or not known:
            return None
        lowest, end = min(known, key=lambda one: one[0].mean)
        rise = max(limits.rising_share * lowest.mean, limits.rising_least, 5.0 * math.hypot(last.error, lowest.error))
        if last.mean < lowest.mean + rise or now - end < 1.5 * limits.span:
            return None
        seen = f"the masked-word loss has risen since {end:.0%} of the run, from {lowest.mean:.3f} to {last.mean:.3f}"
        if "rising" in self._done:
            return Verdict(
                action="stop",
                reason=f"{seen}, also at half the learning rate. Look at the order of the corpus (does it change its "
                "kind of text?) and at the masking schedule; the weights before the rise are the better ones",
            )
        return self._once(
            "rising",
            Verdict(
                action="lower",
                reason=f"{seen}: the learning rate is too high for where the run has come, or the texts have changed",
            ),
        )

    def _progress_at(self, step: int | None) -> float:
        """Return the share of the run that was over at a step, 0 for none."""
        if step is None or not self._points:
            return 0.0
        place = bisect.bisect_left(self._points, step, key=_step_of)
        return self._progress(self._points[min(place, len(self._points) - 1)])

    def _span(self, begin: float, end: float) -> Span | None:
        """Return the masked-word loss from `begin` to `end`, shares of the run; None where points are too few."""
        first = self._place(begin)
        values = [_words_of(point) for point in self._points[first : self._place(end)]]
        if len(values) < _LEAST_IN_SPAN:
            return None
        return span_of(np.array(values))

    def _place(self, share: float) -> int:
        """Return how many points there are up to a share of the run."""
        return bisect.bisect_right(self._points, share, key=self._progress)

    def _stuck(self, point: LogPoint) -> Verdict | None:
        limits, share = self.limits, self._progress(point)
        median = self._medians[-1]
        if share < limits.stuck_warn or self._learnt() or self._falling(point):
            return None
        if median >= limits.stuck_share * self.nothing:
            seen = f"the masked-word loss ({median:.2f}) has not left ln V = {self.nothing:.2f}"
            cause = "not even word frequencies are learnt: is the learning rate far too low or high, or a part frozen"
        else:
            assert self.unigram is not None, "learnt otherwise"
            seen = f"the masked-word loss ({median:.2f}) has not left the unigram entropy {self.unigram:.2f}"
            cause = "word frequencies are learnt and nothing of the context: most often the learning rate is too high"
        again = "Try a third of --learning-rate, a longer --warmup, a smaller model first, or more tokens"
        warned, lowered = self._done.get("stuck-warn"), self._done.get("stuck-lower")
        if warned is None:
            reason = f"{seen} yet; if it stays: {cause}. {again}"
            return self._once("stuck-warn", Verdict(action="continue", reason=reason))
        if share < max(limits.stuck_lower, self._progress_at(warned) + limits.span / 2):
            return None
        if lowered is None:
            reason = f"{seen} after {share:.0%} of the run; {cause}"
            return self._once("stuck-lower", Verdict(action="lower", factor=1 / 3, reason=reason))
        if share < max(limits.stuck_stop, self._progress_at(lowered) + limits.span):
            return None
        return Verdict(action="stop", reason=f"{seen} after {share:.0%} of the run; {cause}. {again}")

    def _learnt(self) -> bool:
        """Say whether words are predicted better than by their frequency."""
        known = [self.nothing] if self.unigram is None else [self.nothing, self.unigram]
        return self._medians[-1] < self.limits.stuck_share * min(known)

    def _falling(self, point: LogPoint) -> bool:
        """Say whether the loss is clearly lower than it was before, or that cannot be told yet."""
        now, width = self._progress(point), self.limits.span
        begin = max(0.0, now - 3.5 * width, self._progress(self._points[self._phase_begin()]))
        earlier, last = self._span(begin, begin + width), self._span(now - width, now)
        return earlier is None or last is None or last.mean < (1.0 - self.limits.still_falling) * earlier.mean

    def _leaking(self, point: LogPoint) -> Verdict | None:
        pairs = [one.parts[PAIR] for one in self._points[-self.limits.window :] if PAIR in one.parts]
        if len(pairs) < self.limits.window or statistics.median(pairs) >= self.limits.leak_loss:
            return None
        metrics = self._last_metrics()
        by_chance = metrics is not None and _at_chance(metrics)
        if self._learnt() and not by_chance:
            return None
        return self._once(
            "leaking",
            Verdict(
                action="continue",
                reason=f"the pair loss is {statistics.median(pairs):.3f} while "
                + ("held-out pairs are judged by chance" if by_chance else "words are not learnt yet")
                + ": the labels are all the same, or follow from something other than the texts' meaning. Look at the "
                "corpus: does every document begin alike, is the order of sentences marked by numbers?",
            ),
        )

    def _chance(self, point: LogPoint) -> Verdict | None:
        limits = self.limits
        pairs = [one.parts[PAIR] for one in self._points[-limits.window :] if PAIR in one.parts]
        if self._progress(point) < limits.chance_after or len(pairs) < limits.window:
            return None
        if statistics.median(pairs) < limits.chance_share * math.log(2):
            return None
        metrics = self._last_metrics()
        if metrics is not None and metrics.pairs and not _at_chance(metrics):
            return None
        return self._once(
            "chance",
            Verdict(
                action="continue",
                reason=f"pairs are still judged by chance (loss {statistics.median(pairs):.3f}, ln 2 is "
                f"{math.log(2):.3f}) after {point.tokens:,} tokens: the texts may be too short or too loosely ordered, "
                "or the model too small. Masked words are learnt all the same; --pair none would spare the effort",
            ),
        )

    def _undetected(self, point: LogPoint) -> Verdict | None:
        metrics = self._last_metrics()
        area = None if metrics is None else metrics.replaced_auc
        if area is None or area >= self.limits.least_area or self._progress(point) < self.limits.chance_after:
            return None
        return self._once(
            "undetected",
            Verdict(
                action="continue",
                reason="replaced tokens cannot be told from the text's own (area under the curve "
                f"{area:.2f}, chance 0.5): the generator is too good, or learns nothing. Try a narrower generator, or "
                "a lower --learning-rate",
            ),
        )

    def _last_metrics(self) -> PretrainingMetrics | None:
        return next((one.metrics for one in reversed(self._measured) if one.metrics is not None), None)


def _not_finite(point: LogPoint) -> Verdict | None:
    values = {"loss": point.loss, **point.parts, "gradient norm": point.gradient_norm or 0.0}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad:
        return None
    return Verdict(
        action="roll_back",
        reason=f"the {bad[0]} is not finite: the weights have overflowed, most often because the learning rate is too "
        "high or the warm-up too short. If it comes back, try --precision fp32 and a lower --learning-rate",
    )


def _step_of(point: LogPoint) -> int:
    return point.step


def _words_of(point: LogPoint) -> float:
    return point.parts.get(MASKED_WORDS, point.loss)


def _at_chance(metrics: PretrainingMetrics) -> bool:
    """Say whether the held-out pairs may well have been guessed: within three standard deviations of a half."""
    accuracy = metrics.pair_accuracy
    return accuracy is not None and accuracy <= 0.5 + 1.5 / math.sqrt(metrics.pairs)

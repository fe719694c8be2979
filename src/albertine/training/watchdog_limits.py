"""When something in a pretraining run counts as a failure, and why there.

ln V is the cross entropy of knowing nothing; the unigram entropy that of knowing how often each token occurs.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WatchdogLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogLimits:
    """When something counts as a failure: set so that healthy runs, noisy ones too, are left alone."""

    window: int = 8
    """Points of the curve that a median is taken over."""
    least_steps: int = 300
    """Steps before anything but numbers that are not finite and losses worse than ln V is judged: the first ones of a
    healthy run look like any failure."""
    spike_window: int = 24
    """Points, or half as many at the beginning, that a spike is held against: so few as the window above may lie close
    together by chance."""
    spike_deviations: float = 8.0
    """A point is part of a spike where it lies so many robust standard deviations (1.4826 times the median distance
    from the median) above the median of these: out of the reach of noise."""
    spike_share: float = 0.1
    """And so large a share of the median above it, since a smooth curve has next to no deviation."""
    spike_least: float = 0.1
    """And at least so many nats, for losses near 0."""
    spike_points: int = 2
    """Points in a row that make a spike; one alone mends itself."""
    stuck_share: float = 0.98
    """The masked-word loss has not left ln V or the unigram entropy while its median is above this share of it. Runs
    that were reported as stuck stood at the entropy itself; healthy ones fall through it within some points."""
    span: float = 0.1
    """Share of the run over which losses are averaged to tell whether they fall or rise."""
    still_falling: float = 0.01
    """A mean lower by this share than that of two and a half spans before is falling, and not stuck."""
    stuck_warn: float = 0.25
    """Share of the run after which being stuck is said: a healthy run of 12 layers waits at the unigram entropy too,
    through warm-up and a while longer."""
    stuck_lower: float = 0.4
    """Share of the run after which the rate is lowered for it: the cure that was reported for ALBERT xxlarge."""
    stuck_stop: float = 0.6
    """Share of the run after which it is given up: what is left would not suffice to learn."""
    chance_after: float = 0.35
    """Share of the run after which pairs should be judged better than by chance. Only said, never acted on: sentence
    order is learnt after words are, and small models learn it late."""
    chance_share: float = 0.99
    """The pair loss is that of chance while its median is above this share of ln 2."""
    leak_loss: float = 0.05
    """A pair loss below this while words are not learnt yet is no understanding: the labels follow from something
    else, or are all the same. (Next sentence, understood, ends near 97 % right, a loss around 0.1.)"""
    least_area: float = 0.55
    """Area under the curve of replaced tokens below which, as late as that, the discriminator has learnt nothing."""
    least_gradient: float = 1e-6
    """Gradient norms below it move nothing; healthy ones lie between 0.01 and 10."""
    gradient_share: float = 1e-3
    """And below this share of the median of all points before, while words are not learnt yet."""
    vanished_points: int = 3
    """Points in a row with such gradients."""
    collapsed_rank: float = 1.5
    """Effective rank of the hidden states below which, together with the cosine, they have collapsed. Random weights
    of 24 shared layers have 20, tasks of a few words 2, collapsed models 1.0."""
    collapsed_cosine: float = 0.999
    """Mean cosine above which they have. Healthy encoders reach 0.99 by dimensions that all tokens share."""
    rising_share: float = 0.05
    """The masked-word loss has risen where its mean over a span lies by this share above the lowest such mean so far,
    and by five standard errors, so that noise alone does not do it."""
    rising_least: float = 0.1
    """And at least so many nats, for losses near 0."""
    slow_rules_every: float = 0.002
    """Share of the run between two looks at what takes long to show, so that a point costs the same however many came
    before it."""

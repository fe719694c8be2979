"""Where no learning rate is given, the kind of model chooses one."""

from __future__ import annotations

import pytest

from albertine.models.config import EncoderConfig
from albertine.models.recurrent import BASELINE as BILSTM
from albertine.models.recurrent import RecurrentConfig
from albertine.training.config import TrainingConfig
from albertine.training.defaults import chosen_learning_rate


@pytest.mark.parametrize(
    ("preset", "pretrained", "rate"),
    [
        ("albert-chinese-tiny", True, 1e-4),
        ("albert-chinese-tiny", False, 5e-4),
        ("bert-small", False, 5e-4),
        ("bert-base", True, 5e-5),
        ("albert-base", False, 1e-4),
        ("albert-base", True, 2e-5),
        ("bert-large", True, 2e-5),
        ("albert-xxlarge", True, 1e-5),
    ],
)
def test_width_and_pretraining_choose_the_rate(preset: str, pretrained: bool, rate: float) -> None:
    config = EncoderConfig.preset(preset)
    assert chosen_learning_rate(TrainingConfig(), config, pretrained=pretrained, baseline=None) == rate


def test_a_baseline_names_its_own_rate_and_the_user_has_the_last_word() -> None:
    body = RecurrentConfig(vocab_size=99)
    assert chosen_learning_rate(TrainingConfig(), body, pretrained=False, baseline=BILSTM) == BILSTM.learning_rate
    config = TrainingConfig(learning_rate=0.5)
    assert chosen_learning_rate(config, body, pretrained=False, baseline=BILSTM) == 0.5

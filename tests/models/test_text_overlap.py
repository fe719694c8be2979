from __future__ import annotations

import itertools
import logging
import math

import numpy as np
import pytest
import torch

from albertine.errors import CheckpointError, ConfigError, DataError
from albertine.models.pair_features import FEATURES, Frequencies, OverlapConfig, PairFeatures
from albertine.models.text_overlap import Overlap

FIRST = [
    "The cat sat on the mat.",
    "A man plays the guitar",
    "我想去北京",
    "How old are you?",
    "no rain today",
    "Five dogs ran",
    "怎么还款",
    "the price rose 3 %",
]
SECOND = [
    "the cat sat on a mat",
    "A woman peels potatoes",
    "我想去上海",
    "How old is he?",
    "rain today",
    "five dogs ran home",
    "如何提前还款？",
    "the price rose 5 %",
]
SCORES = [0.95, 0.1, 0.5, 0.4, 0.2, 0.8, 0.7, 0.6]
LABELS = [1, 0, 0, 0, 0, 1, 1, 1]


def features_of(first: str, second: str, *learnt: str) -> dict[str, float]:
    found = PairFeatures(Frequencies.learn(learnt or [first, second], 1000)).of([first], [second])
    return dict(zip(FEATURES, found[0].tolist(), strict=True))


def fitted(**options: object) -> Overlap:
    return Overlap(OverlapConfig()).fit(FIRST, LABELS, 2, pairs=SECOND, **options)  # type: ignore[arg-type]


def test_the_features_of_a_pair_are_those_counted_by_hand() -> None:
    found = features_of("The cat sat.", "the cat ran 2 km", "the cat sat", "the cat", "a dog")
    # {the, cat, sat} and {the, cat, ran, 2, km}; with edges four and six word pairs, of which two are common
    assert found["word_jaccard"] == pytest.approx(2 / 6)
    assert found["word_containment"] == pytest.approx(2 / 3)
    assert found["word_pair_jaccard"] == pytest.approx(2 / 8)
    assert found["word_pair_containment"] == pytest.approx(2 / 4)
    # 12 different pairs of characters, as "at" stands twice, and 17; the 8 of " the cat " are common
    assert found["character_pair_jaccard"] == pytest.approx(8 / (12 + 17 - 8))
    assert found["character_pair_containment"] == pytest.approx(8 / 12)
    assert found["length_ratio"] == pytest.approx(3 / 5)
    assert found["different_numbers"] == 1.0
    assert found["different_negation"] == 0.0
    assert found["rarest_difference"] == pytest.approx(math.log(1 + 3) + 1)
    assert found["length"] == pytest.approx(math.log(6))


def test_a_chinese_character_is_a_word() -> None:
    found = features_of("我不去", "我去。")
    assert found["word_jaccard"] == pytest.approx(2 / 3)
    assert found["word_containment"] == 1.0
    assert found["word_pair_containment"] == pytest.approx(2 / 3)
    assert found["different_negation"] == 1.0
    assert found["length_ratio"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [("it isn't true", "it is true", 1.0), ("it isn't true", "never", 0.0), ("没有问题", "有问题", 1.0)],
)
def test_denying_in_one_text_alone_is_seen(first: str, second: str, differs: float) -> None:
    assert features_of(first, second)["different_negation"] == differs


def test_the_share_of_numbers_in_one_text_alone() -> None:
    assert features_of("10 of 20", "20 or 30")["different_numbers"] == pytest.approx(2 / 3)
    assert features_of("no number", "none here")["different_numbers"] == 0.0


@pytest.mark.parametrize("text", ["The cat sat on the mat.", "我想去北京 OK", ":-)", "x", "lone \ud800 surrogate"])
def test_a_text_is_equal_to_itself(text: str) -> None:
    found = features_of(text, text.upper(), "something else")
    equal = [name for name in FEATURES if "cosine" in name or "jaccard" in name or "containment" in name]
    assert [found[name] for name in equal] == pytest.approx([1.0] * len(equal))
    assert found["rarest_difference"] == found["different_numbers"] == found["different_negation"] == 0.0


def test_texts_of_signs_and_blank_texts_have_features() -> None:
    assert features_of(":-)", ":-(")["word_jaccard"] == 0.0
    rows = PairFeatures(Frequencies.learn(["a"], 9)).of(["", "", "a"], ["", "a", " \n"])
    assert np.isfinite(rows).all()
    assert rows[0, FEATURES.index("word_cosine")] == 1.0
    assert rows[1:, FEATURES.index("word_cosine")].tolist() == [0.0, 0.0]


def test_the_order_of_the_two_texts_does_not_matter() -> None:
    features = PairFeatures(Frequencies.learn([*FIRST, *SECOND], 1000))
    np.testing.assert_allclose(features.of(FIRST, SECOND), features.of(SECOND, FIRST), atol=1e-12)


def test_cosines_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    first = [" ".join(text.lower().split("?")[0].rstrip(".").split()) for text in FIRST[:2] + FIRST[3:6]]
    second = [" ".join(text.lower().split("?")[0].rstrip(".").split()) for text in SECOND[:2] + SECOND[3:6]]
    second[0] += " mat mat"
    features = PairFeatures(Frequencies.learn([*first, *second], 1000)).of(first, second)
    rivals = {
        "character_cosine": TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 3)),
        "word_cosine": TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+"),
        "word_pair_cosine": TfidfVectorizer(
            sublinear_tf=True,
            analyzer=lambda text: [" ".join(both) for both in itertools.pairwise(["", *text.split(), ""])],
        ),
    }
    for name, rival in rivals.items():
        rival.fit([*first, *second])
        expected = np.asarray(rival.transform(first).multiply(rival.transform(second)).sum(axis=1)).ravel()
        np.testing.assert_allclose(features[:, FEATURES.index(name)], expected, atol=1e-12, err_msg=name)
        assert 0 < expected.min() < expected.max() < 1 or name == "word_pair_cosine"


def test_a_new_word_in_both_texts_speaks_for_them() -> None:
    learnt = ("the cat sat", "the dog ran")
    shared = features_of("the zyx", "a zyx", *learnt)["word_cosine"]
    apart = features_of("the zyx", "a xyz", *learnt)["word_cosine"]
    assert apart == 0.0
    assert shared > 0.4


def test_frequencies_count_equal_texts_once_and_from_a_thousand_on_drop_what_is_met_once() -> None:
    twice = Frequencies.learn(["a b", "a b", "a c"], 100)
    assert twice.texts == 2
    assert dict(twice.counts["words"]) == {"a": 2, "b": 1, "c": 1}
    many = Frequencies.learn([f"common w{place}" for place in range(1000)], 100)
    assert dict(many.counts["words"]) == {"common": 1000}
    assert dict(many.counts["word-pairs"]) == {" common": 1000}
    assert len(Frequencies.learn(FIRST, 3).counts["characters"]) == 3


def test_many_pairs_have_the_features_of_each_by_itself() -> None:
    features = PairFeatures(Frequencies.learn([*FIRST, *SECOND], 1000))
    repeated = features.of(FIRST * 257, SECOND * 257)
    assert repeated.shape == (8 * 257, len(FEATURES))
    alone = np.concatenate([features.of([one], [two]) for one, two in zip(FIRST, SECOND, strict=True)])
    np.testing.assert_allclose(repeated, np.tile(alone, (257, 1)), atol=1e-12)
    assert features.of([], []).shape == (0, len(FEATURES))


def test_labels_are_those_of_scikit_learns_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = [0, 1, 2, 1, 1, 0, 0, 2]
    model = Overlap(OverlapConfig(inverse_regularization=0.5)).fit(FIRST, labels, 3, pairs=SECOND)
    rows = PairFeatures(Frequencies.learn([*FIRST, *SECOND], 1000)).of(FIRST, SECOND)
    rival = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, tol=1e-10, max_iter=5000)).fit(rows, labels)
    np.testing.assert_allclose(np.exp(model.outputs(FIRST, SECOND)), rival.predict_proba(rows), atol=2e-3)


def test_numbers_are_those_of_scikit_learns_ridge_regression() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = Overlap(OverlapConfig(inverse_regularization=0.5)).fit(FIRST, SCORES, None, pairs=SECOND)
    rows = PairFeatures(Frequencies.learn([*FIRST, *SECOND], 1000)).of(FIRST, SECOND)
    rival = make_pipeline(StandardScaler(), Ridge(alpha=2.0)).fit(rows, SCORES)
    assert model.output_size == 1
    np.testing.assert_allclose(model.outputs(FIRST, SECOND)[:, 0], rival.predict(rows), atol=1e-5)


def test_the_development_split_chooses_and_the_log_says_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = fitted(dev_texts=FIRST, dev_targets=LABELS, dev_pairs=SECOND)
    assert model.config.inverse_regularization is not None
    assert model.dev_metric is not None
    assert model.dev_metric >= 0.75
    assert "accuracy" in caplog.text
    assert "development split" in caplog.text


def test_the_cosine_alone_is_taken_where_it_is_better(caplog: pytest.LogCaptureFixture) -> None:
    # in training longer texts score higher, in development it is what the texts share, and length is the other way
    first = [f"w{place} " * (place + 1) for place in range(12)]
    second = [f"w{place} " * (place + 1) if place % 2 else f"v{place} " * (place + 1) for place in range(12)]
    scores = [place / 12 + 0.01 * (place % 2) for place in range(12)]
    dev_first = ["a b c d", "a b c d e f g h", "a", "k l m n o p q r s t", "a b c"]
    dev_second = ["a b c d", "a b c d x y z q", "a", "A B C D E F G H I J", "a b z"]
    dev_scores = [1.0, 0.5, 1.0, 0.0, 0.7]
    caplog.set_level(logging.INFO)
    model = Overlap(OverlapConfig()).fit(
        first, scores, None, pairs=second, dev_texts=dev_first, dev_targets=dev_scores, dev_pairs=dev_second
    )
    assert model.config.features == ("character_cosine",)
    assert "alone" in caplog.text
    found = model.outputs(dev_first, dev_second)[:, 0]
    assert found[0] == pytest.approx(found[2])
    assert found[0] > found[4] > found[3]


def test_where_all_numbers_are_the_same_the_cosine_is_the_answer() -> None:
    for pairs in (SECOND, None):
        model = Overlap(OverlapConfig()).fit(FIRST, [1.0] * len(FIRST), None, pairs=pairs)
        rows = PairFeatures(Frequencies.learn([*FIRST, *(pairs or ())], 1000)).of(FIRST, SECOND)
        np.testing.assert_allclose(model.outputs(FIRST, SECOND)[:, 0], rows[:, 0], atol=1e-6)
        again = Overlap.from_tensors(model.config, model.tensors())
        np.testing.assert_array_equal(again.outputs(FIRST, SECOND), model.outputs(FIRST, SECOND))


@pytest.mark.parametrize("targets", [LABELS, SCORES], ids=["labels", "numbers"])
def test_a_model_comes_back_from_its_tensors_with_the_same_answers(targets: list[float]) -> None:
    first, second = [*FIRST, "lone \ud800 surrogate", "line\nbreaks\x1eand\x00"], [*SECOND, "\udfff", ":-)\x00"]
    model = Overlap(OverlapConfig()).fit(first, [*targets, 0, 1], 2 if targets is LABELS else None, pairs=second)
    again = Overlap.from_tensors(model.config, model.tensors())
    np.testing.assert_array_equal(again.outputs(first, second), model.outputs(first, second))
    assert again.parameter_count == model.parameter_count
    assert again.output_size == model.output_size


def test_fitting_twice_gives_the_same_model() -> None:
    first, second = (fitted().tensors() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_class_weights_and_labels_that_do_not_occur() -> None:
    light, heavy = fitted(), fitted(class_weights=[5.0, 1.0])
    assert (heavy.outputs(FIRST, SECOND)[:, 0] > light.outputs(FIRST, SECOND)[:, 0]).all()
    sparse = Overlap(OverlapConfig()).fit(FIRST, [2 * label for label in LABELS], 4, pairs=SECOND)
    shares = np.exp(sparse.outputs(FIRST, SECOND))
    assert shares.shape == (len(FIRST), 4)
    assert shares[:, [1, 3]].max() < 1e-9
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)


def test_single_texts_and_a_single_label_are_refused() -> None:
    with pytest.raises(DataError, match="two texts of a pair"):
        Overlap(OverlapConfig()).fit(FIRST, LABELS, 2)
    with pytest.raises(DataError, match="1 of 8"):
        Overlap(OverlapConfig()).fit(FIRST, SCORES, None, pairs=[None, *SECOND[1:]])
    with pytest.raises(DataError, match="two texts of a pair"):
        fitted().outputs(["alone"])
    with pytest.raises(DataError, match="only one label"):
        Overlap(OverlapConfig()).fit(FIRST, [1] * len(FIRST), 2, pairs=SECOND)


@pytest.mark.parametrize(
    ("field", "value"),
    [("features", ()), ("features", ("length", "length")), ("features", ("luck",)), ("max_features", 0)],
)
def test_a_value_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        OverlapConfig(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="inverse_regularization"):
        OverlapConfig(inverse_regularization=0.0)


def test_missing_or_odd_tensors_are_refused() -> None:
    model = fitted()
    tensors = model.tensors()
    with pytest.raises(CheckpointError, match=r"counts\.words"):
        Overlap.from_tensors(model.config, {name: tensors[name] for name in tensors if name != "counts.words"})
    with pytest.raises(CheckpointError, match="disagree"):
        Overlap.from_tensors(model.config, {**tensors, "counts.words": tensors["counts.words"][1:]})
    with pytest.raises(CheckpointError, match="disagree"):
        Overlap.from_tensors(model.config, {**tensors, "weights": tensors["weights"][1:]})

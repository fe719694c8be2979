from __future__ import annotations

import numpy as np
import pytest
import torch

from albertine import registry
from albertine.batching.packing import packed, padded
from albertine.errors import CheckpointError, ConfigError, DataError
from albertine.models.bag_of_words import BagOfWords
from albertine.models.baseline import Baseline
from albertine.models.ngrams import BagOfWordsConfig, block_features, learn_block
from albertine.models.recurrent import BiLstm, RecurrentConfig
from albertine.models.word_vectors import AveragedVectors, WordVectorsConfig
from albertine.records import Batch, Encoded

GOOD = [
    "很好吃 Good food!",
    "味道不错",
    "快递很快，满意",
    "a lovely phone",
    "Works well",
    "非常喜欢",
    "great value",
    "值得推荐",
]
BAD = [
    "太慢了",
    "质量很差",
    "Broken on arrival",
    "terrible  food",
    "再也不买了",
    "a bad phone",
    "不值得",
    "waste of money",
]
TEXTS = GOOD + BAD
LABELS = [1] * len(GOOD) + [0] * len(BAD)


def encoded_texts(lengths: list[int], vocab_size: int = 99) -> list[Encoded]:
    random = np.random.default_rng(0)
    return [
        Encoded(
            input_ids=random.integers(1, vocab_size, length).astype(np.int32),
            token_type_ids=np.zeros(length, dtype=np.uint8),
        )
        for length in lengths
    ]


def pooled(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        output = module(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            sequence_starts=batch.sequence_starts,
            position_ids=batch.position_ids,
        )
    result: torch.Tensor = output.pooler_output
    return result


MODULES = [
    BiLstm(RecurrentConfig(vocab_size=99, embedding_size=13, hidden_size=7)),
    BiLstm(RecurrentConfig(vocab_size=99, embedding_size=13, hidden_size=7, pooling="mean", num_hidden_layers=2)),
    AveragedVectors(WordVectorsConfig(vocab_size=99, embedding_size=13, bigram_buckets=31)),
    AveragedVectors(WordVectorsConfig(vocab_size=99, embedding_size=13, bigram_buckets=0)),
]


@pytest.mark.parametrize("module", MODULES, ids=["bilstm-max", "bilstm-mean", "vectors", "vectors-without-bigrams"])
def test_padded_packed_and_single_texts_give_the_same_vectors(module: torch.nn.Module) -> None:
    module.eval()
    texts = encoded_texts([5, 13, 1, 7])
    in_rows = pooled(module, padded(texts, pad_id=0))
    in_a_row = pooled(module, packed(texts))
    alone = torch.cat([pooled(module, packed([text])) for text in texts])
    torch.testing.assert_close(in_a_row, in_rows)
    torch.testing.assert_close(alone, in_rows)
    assert in_rows.shape == (4, module.config.output_size)


@pytest.mark.parametrize("module", MODULES, ids=["bilstm-max", "bilstm-mean", "vectors", "vectors-without-bigrams"])
def test_a_packed_text_without_tokens_gives_zeros_and_disturbs_no_other(module: torch.nn.Module) -> None:
    module.eval()
    texts = encoded_texts([5, 7])
    ids = torch.from_numpy(np.concatenate([text.input_ids for text in texts])).long()
    with torch.inference_mode():
        result = module(ids, sequence_starts=torch.tensor([0, 5, 5, 12])).pooler_output
    torch.testing.assert_close(result[[0, 2]], pooled(module, packed(texts)))
    assert result[1].abs().max() == 0


@pytest.mark.parametrize("module", MODULES, ids=["bilstm-max", "bilstm-mean", "vectors", "vectors-without-bigrams"])
def test_hidden_states_have_the_shape_of_the_input(module: torch.nn.Module) -> None:
    module.eval()
    texts = encoded_texts([5, 13])
    rows, flat = padded(texts, pad_id=0), packed(texts)
    with torch.inference_mode():
        in_rows = module(rows.input_ids, attention_mask=rows.attention_mask).last_hidden_state
        in_a_row = module(flat.input_ids, sequence_starts=flat.sequence_starts).last_hidden_state
    assert rows.attention_mask is not None
    assert in_rows.shape[:2] == rows.input_ids.shape
    torch.testing.assert_close(in_rows[rows.attention_mask.bool()], in_a_row)


def test_the_two_directions_equal_a_bidirectional_lstm_over_a_packed_sequence() -> None:
    module = BiLstm(RecurrentConfig(vocab_size=99, embedding_size=13, hidden_size=7, num_hidden_layers=2)).eval()
    rival = torch.nn.LSTM(13, 7, num_layers=2, bidirectional=True, batch_first=True)
    for layer, (ahead, back) in enumerate(zip(module.forwards, module.backwards, strict=True)):
        for name, value in ahead.named_parameters():
            rival.get_parameter(f"{name[:-1]}{layer}").data = value.data
        for name, value in back.named_parameters():
            rival.get_parameter(f"{name[:-1]}{layer}_reverse").data = value.data
    batch = padded(encoded_texts([5, 13, 1, 7]), pad_id=0)
    assert batch.attention_mask is not None
    with torch.inference_mode():
        sequence = torch.nn.utils.rnn.pack_padded_sequence(
            module.embedding(batch.input_ids), batch.attention_mask.sum(1), batch_first=True, enforce_sorted=False
        )
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(rival(sequence)[0], batch_first=True)
        states = module(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    torch.testing.assert_close(states, expected)


def test_the_vector_of_a_text_is_the_mean_of_its_tokens_and_bigrams() -> None:
    module = AveragedVectors(WordVectorsConfig(vocab_size=99, embedding_size=13, bigram_buckets=31)).eval()
    assert module.bigrams is not None
    ids = torch.tensor([5, 9, 5])
    buckets = module.bucket(ids[:-1], ids[1:])
    with torch.inference_mode():
        expected = torch.cat([module.tokens(ids), module.bigrams(buckets)]).mean(dim=0)
        result = module(ids, sequence_starts=torch.tensor([0, 3])).pooler_output[0]
    torch.testing.assert_close(result, expected)


def test_bigrams_see_the_order_and_spread_over_the_buckets() -> None:
    module = AveragedVectors(WordVectorsConfig(vocab_size=8000, bigram_buckets=1 << 16))
    first, second = torch.arange(8000), torch.arange(8000).flip(0)
    assert (module.bucket(first, second) != module.bucket(second, first)).float().mean() > 0.99
    pairs = torch.cartesian_prod(torch.arange(256), torch.arange(256))
    used = module.bucket(pairs[:, 0], pairs[:, 1]).unique()
    assert int(used.min()) >= 0
    assert int(used.max()) < 1 << 16
    # 65,536 balls thrown into as many boxes reach 1 - 1/e of them
    assert len(used) > 0.6 * (1 << 16)


@pytest.mark.parametrize("module", MODULES, ids=["bilstm-max", "bilstm-mean", "vectors", "vectors-without-bigrams"])
def test_every_parameter_of_a_baseline_module_is_trained(module: torch.nn.Module) -> None:
    module.train()
    batch = packed(encoded_texts([5, 13, 7]))
    module(batch.input_ids, sequence_starts=batch.sequence_starts).pooler_output.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    module.zero_grad()
    module.eval()


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: RecurrentConfig(vocab_size=99, hidden_size=0), "hidden_size"),
        (lambda: RecurrentConfig(vocab_size=99, classifier_dropout_prob=1.0), "classifier_dropout_prob"),
        (lambda: RecurrentConfig(vocab_size=99, pooling="sum"), "pooling"),  # type: ignore[arg-type]
        (lambda: RecurrentConfig(vocab_size=99, pad_token_id=99), "pad_token_id"),
        (lambda: WordVectorsConfig(vocab_size=0), "vocab_size"),
        (lambda: WordVectorsConfig(vocab_size=99, bigram_buckets=-1), "bigram_buckets"),
        (lambda: WordVectorsConfig(vocab_size=99, initializer_range=0.0), "initializer_range"),
        (lambda: BagOfWordsConfig(blocks=()), "blocks"),
        (lambda: BagOfWordsConfig(blocks=("words", "words")), "blocks"),
        (lambda: BagOfWordsConfig(word_ngrams=(2, 1)), "word_ngrams"),
        (lambda: BagOfWordsConfig(max_features=0), "max_features"),
        (lambda: BagOfWordsConfig(inverse_regularization=0.0), "inverse_regularization"),
    ],
)
def test_a_value_out_of_range_is_named(build: object, field: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=field):
        build()


def test_probabilities_equal_those_of_a_scikit_learn_pipeline() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion, Pipeline

    labels = [index % 3 for index in range(len(TEXTS))]
    config = BagOfWordsConfig(inverse_regularization=3.0)
    bag = BagOfWords(config).fit(TEXTS, labels, 3)
    alone = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    word = rf"[{alone}]|[^\W{alone}]+"
    rival = Pipeline(
        [
            (
                "features",
                FeatureUnion(
                    [
                        ("words", TfidfVectorizer(sublinear_tf=True, token_pattern=word, ngram_range=(1, 2))),
                        (
                            "characters",
                            TfidfVectorizer(
                                sublinear_tf=True,
                                analyzer="char",
                                ngram_range=(2, 4),
                                preprocessor=lambda text: f" {' '.join(text.lower().split())} ",
                            ),
                        ),
                    ]
                ),
            ),
            ("model", LogisticRegression(C=3.0, tol=1e-10, max_iter=2000)),
        ]
    ).fit(TEXTS, labels)
    unseen = ["好吃 phone", "", "terrible 不错 value", "GOOD good good", "只有新词xyz"]
    # the two solvers stop at slightly different places
    np.testing.assert_allclose(bag.scores(TEXTS + unseen), rival.predict_proba(TEXTS + unseen), atol=5e-3)
    tensors = bag.tensors()
    names = [
        f"{block}__{feature}"
        for block in ("words", "characters")
        for feature in tensors[f"features.{block}"].numpy().tobytes().decode().split("\n")
    ]
    places = {name: place for place, name in enumerate(rival["features"].get_feature_names_out())}
    order = [places[name] for name in names]
    rival["model"].coef_[:, order] = tensors["weights"].numpy().T
    rival["model"].intercept_ = tensors["intercept"].numpy()
    # with the same weights nothing but the rounding of the stored idf is left
    np.testing.assert_allclose(bag.scores(TEXTS + unseen), rival.predict_proba(TEXTS + unseen), atol=1e-6)


def test_two_classes_are_fitted_and_a_text_without_known_features_gets_the_prior() -> None:
    bag = BagOfWords(BagOfWordsConfig()).fit(TEXTS, LABELS, 2)
    probabilities = bag.scores([*TEXTS, ""])
    assert (probabilities[:-1].argmax(axis=1) == LABELS).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    intercept = bag.tensors()["intercept"].double().numpy()
    np.testing.assert_allclose(probabilities[-1], np.exp(intercept) / np.exp(intercept).sum())


def test_a_bag_of_words_comes_back_from_its_tensors_with_the_same_answers() -> None:
    texts = [*TEXTS, "lone \ud800 surrogate", "line\nbreaks\x1eand\x00controls"]
    bag = BagOfWords(BagOfWordsConfig()).fit(texts, [*LABELS, 0, 1], 2)
    again = BagOfWords.from_tensors(bag.config, bag.tensors())
    assert again.feature_count == bag.feature_count
    assert again.parameter_count == bag.parameter_count
    np.testing.assert_array_equal(again.scores(texts), bag.scores(texts))


def test_the_development_split_chooses_features_and_strength() -> None:
    bag = BagOfWords(BagOfWordsConfig()).fit(
        TEXTS, LABELS, 2, dev_texts=["好吃", "很差", "bad food"], dev_targets=[1, 0, 0], metric="macro_f1"
    )
    assert bag.config.inverse_regularization is not None
    assert bag.dev_metric is not None
    assert set(bag.config.blocks) <= {"words", "characters"}


def test_fitting_twice_gives_the_same_model() -> None:
    first, second = (BagOfWords(BagOfWordsConfig()).fit(TEXTS, LABELS, 2).tensors() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_class_weights_move_the_answer_towards_the_heavier_class() -> None:
    light = BagOfWords(BagOfWordsConfig()).fit(TEXTS, LABELS, 2)
    heavy = BagOfWords(BagOfWordsConfig()).fit(TEXTS, LABELS, 2, class_weights=[5.0, 1.0])
    assert (heavy.scores(TEXTS)[:, 0] > light.scores(TEXTS)[:, 0]).all()


def test_a_label_that_no_training_text_has_is_never_answered() -> None:
    bag = BagOfWords(BagOfWordsConfig()).fit(TEXTS, [label * 2 for label in LABELS], 4)
    probabilities = bag.scores(TEXTS)
    assert probabilities.shape == (len(TEXTS), 4)
    assert probabilities[:, [1, 3]].max() < 1e-9


def test_one_class_only_is_refused() -> None:
    with pytest.raises(DataError, match="only one label"):
        BagOfWords(BagOfWordsConfig()).fit(TEXTS, [1] * len(TEXTS), 2)


def test_the_second_text_of_a_pair_counts() -> None:
    bag = BagOfWords(BagOfWordsConfig()).fit(["x"] * len(TEXTS), LABELS, 2, pairs=TEXTS)
    probabilities = bag.scores(["x", "x"], ["味道不错", "质量很差"])
    assert probabilities[0, 1] > 0.5 > probabilities[1, 1]


def test_missing_or_odd_tensors_are_refused() -> None:
    bag = BagOfWords(BagOfWordsConfig()).fit(TEXTS, LABELS, 2)
    tensors = bag.tensors()
    with pytest.raises(CheckpointError, match="idf"):
        BagOfWords.from_tensors(bag.config, {name: tensors[name] for name in tensors if name != "idf"})
    with pytest.raises(CheckpointError, match="disagree"):
        BagOfWords.from_tensors(bag.config, {**tensors, "idf": tensors["idf"][1:]})


def test_chinese_characters_are_words_and_others_are_not_cut() -> None:
    config = BagOfWordsConfig()
    assert block_features("iPhone很好", "words", config) == ["iphone", "很", "好", "iphone 很", "很 好"]
    assert block_features("a  b", "characters", config)[:4] == [" a", "a ", " b", "b "]


def test_features_of_many_texts_stand_in_two_of_them_and_the_most_frequent_are_kept() -> None:
    texts = [f"common number {index % 7} rare{index}" for index in range(1000)]
    config = BagOfWordsConfig(max_features=5)
    assert list(learn_block(texts, "words", config))[:3] == ["common", "common number", "number"]
    assert len(learn_block(texts, "words", config)) == 5
    everything = learn_block(texts, "words", BagOfWordsConfig())
    assert not any("rare" in feature for feature in everything)
    direct: dict[str, int] = {}
    for text in texts:
        for feature in set(block_features(text, "characters", BagOfWordsConfig())):
            direct[feature] = direct.get(feature, 0) + 1
    kept = {feature: times for feature, times in direct.items() if times >= 2}
    assert learn_block(texts, "characters", BagOfWordsConfig()) == kept


def test_the_registered_baselines_build_models_that_fit_their_vocabulary() -> None:
    for name in ("bag-of-words", "bilstm", "word-vectors"):
        baseline = registry.baselines.get(name)
        assert isinstance(baseline, Baseline)
        assert baseline.name == name
        config = baseline.make_config(99)
        model = baseline.build(config)
        assert model.config == config
        assert baseline.training == ("solver" if isinstance(model, BagOfWords) else "loop")
        assert (baseline.learning_rate is None) == (baseline.training == "solver")

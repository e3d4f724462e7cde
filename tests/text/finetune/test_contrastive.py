"""Contrastive fine-tuning aligns texts of items with common users."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch

import kgrec
from kgrec import Recommender
from kgrec.cli.app import app
from kgrec.config import Config, TuneSettings
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import MissingExtra, UsageError
from kgrec.evaluation.leakage import leaks
from kgrec.query.similar import nearest_nodes
from kgrec.runs.folder import find_run, read_run, root_of
from kgrec.runs.save_load import load_tuned
from kgrec.signals.content import Embeddings
from kgrec.signals.content.embeddings import EmbeddingsSettings
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import COMMUNITY_SCHEMA, LIKED, shuffled
from kgrec.text import TransformersEncoder, VectorCache, text_vectors
from kgrec.text.finetune import contrastive as tuning
from kgrec.text.finetune.contrastive import fine_tune
from kgrec.text.finetune.dataset import Histories
from kgrec.text.finetune.info_nce import contrast
from kgrec.text.projection_head import WHITENING_RIDGE, Head, split_head

pytestmark = pytest.mark.slow

WORDS = [
    "robot laser galaxy rocket planet engine orbit comet signal metal alien fusion",
    "garden flower tulip meadow river forest spring honey orchard rain seed valley",
    "knife bread butter oven pepper onion soup kitchen sugar dinner lemon salt",
]
QUICK = TuneSettings(method="full", rate=3e-3, steps=60, batch=16, check_every=20, history=6, hard_negatives=1)


def communities(n_users=40, n_items=30, seed=0):
    """Users of three communities, whose items share hardly a word: only behaviors say which words belong together."""
    rng = np.random.default_rng(seed)
    side, of_item = np.arange(3 * n_users) % 3, np.arange(3 * n_items) % 3
    titles = [" ".join(rng.choice(WORDS[s].split(), 2, replace=False)) for s in of_item]
    took = [rng.choice(np.flatnonzero(of_item == s), 8, replace=False) for s in side]
    user_ids, item_ids = ([f"{x}{n:03d}" for n in range(len(of))] for x, of in (("u", side), ("i", of_item)))
    nodes = {"User": pa.table({"user_id": user_ids}), "Item": pa.table({"item_id": item_ids, "title": titles})}
    liked = {
        "src": np.repeat(user_ids, 8),
        "dst": np.take(item_ids, np.concatenate(took)),
        "rating": np.full(8 * len(side), 5.0),
        "timestamp": np.tile(np.arange(8.0), len(side)),
        "split": np.tile(["train"] * 6 + ["valid", "test"], len(side)).tolist(),
    }
    return check(GraphTables(COMMUNITY_SCHEMA, nodes, {LIKED: pa.table(liked)}))


@pytest.fixture(scope="module")
def graph():
    return GraphSnapshot.from_tables(communities())


@pytest.fixture(scope="module")
def encoder(model):
    return TransformersEncoder(model("bert"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "cache"))


def rank_of_last(graph, encoder):
    """Mean share of the unseen items that the text signal ranks before a user's withheld one; 0.5 is chance."""
    split = by_given(graph)
    train = split.train
    scores = Embeddings().fit(train, text_vectors(train, encoder, VectorCache())).scores(np.arange(train.n_users))
    scores[train.interactions.toarray() > 0] = -np.inf
    own = scores[split.test.user_num, split.test.item_num]
    before = (scores[split.test.user_num] > own[:, None]).sum(axis=1)
    return float(np.mean(before / np.isfinite(scores[split.test.user_num]).sum(axis=1)))


@pytest.fixture(scope="module")
def tuned(graph, encoder, tmp_path_factory):
    """All weights of a small random model, tuned on the train part of the graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fine_tune(by_given(graph).train, encoder, VectorCache(), QUICK)


def test_fine_tuning_aligns_texts_without_shared_words(graph, encoder, tuned):
    assert rank_of_last(graph, encoder.with_tuning(tuned)) < rank_of_last(graph, encoder) - 0.05


@pytest.mark.parametrize(("method", "rate"), [("lora", 1e-2), ("adalora", 3e-2)])
def test_low_rank_methods_learn(graph, encoder, method, rate):
    settings = QUICK.model_copy(update={"method": method, "rate": rate})
    low = fine_tune(by_given(graph).train, encoder, VectorCache(), settings)
    assert low.losses[-1][1] < low.losses[0][1] - 0.03  # the head, which comes first, has done the most of it
    assert rank_of_last(graph, encoder.with_tuning(low)) < rank_of_last(graph, encoder) - 0.03
    assert all("lora" in name for name in split_head(low.weights)[0])


def test_head_starts_whitened_and_generalizes(graph, encoder):
    train = by_given(graph).train
    vectors = text_vectors(train, encoder, VectorCache())["Item"]
    signal = Embeddings(EmbeddingsSettings(ridge=WHITENING_RIDGE)).fit(train, {"Item": vectors})
    found = Head.whitening(vectors)(torch.as_tensor(vectors)).detach().numpy()
    np.testing.assert_allclose(found @ found.T, signal.item_vectors @ signal.item_vectors.T, atol=1e-4)
    only_head = fine_tune(train, encoder, VectorCache(), QUICK.model_copy(update={"steps": 1, "rate": 1e-9}))
    assert rank_of_last(graph, encoder.with_tuning(only_head)) < rank_of_last(graph, encoder) - 0.05


def test_prefix_changes_vectors_not_weights(graph, encoder):
    settings = QUICK.model_copy(update={"method": "prefix", "rate": 1e-2, "rank": 4, "steps": 2})
    prefixed = encoder.with_tuning(fine_tune(by_given(graph).train, encoder, VectorCache(), settings))
    assert [weights.shape[0] for weights in split_head(prefixed.tuned.weights)[0].values()] == [4]
    texts = ["robot laser", "a garden of tulips and honey"]
    assert np.abs(prefixed.encode(texts) - encoder.encode(texts)).max() > 1e-3
    np.testing.assert_allclose(prefixed.encode(texts)[:1], prefixed.encode(texts[:1]), atol=1e-5)


def test_prefix_shortens_long_texts(graph, model):
    short = TransformersEncoder(model("roberta"))  # takes 32 tokens
    settings = QUICK.model_copy(update={"method": "prefix", "rank": 8, "steps": 1})
    prefixed = short.with_tuning(fine_tune(by_given(graph).train, short, VectorCache(), settings))
    assert np.isfinite(prefixed.encode(["robot laser " * 40])).all()


def test_shuffled_labels_destroy_the_result(encoder, tuned, graph):
    mixed = GraphSnapshot.from_tables(shuffled(communities(), only=LIKED))
    in_vain = fine_tune(by_given(mixed).train, encoder, VectorCache(), QUICK)
    assert rank_of_last(mixed, encoder.with_tuning(in_vain)) > 0.4
    assert rank_of_last(graph, encoder.with_tuning(in_vain)) > rank_of_last(graph, encoder.with_tuning(tuned)) + 0.05


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("method", ["full", "adalora"])
def test_interrupted_training_resumes_to_the_same_result(graph, encoder, method, tmp_path, monkeypatch):
    settings = QUICK.model_copy(update={"method": method, "steps": 12, "check_every": 4, "batch": 8})
    train, whole_step, done = by_given(graph).train, tuning._Tuning._step, []

    def step(self, n):
        if n == 6 and len(done) == 6:
            raise KeyboardInterrupt
        whole_step(self, n)
        done.append(n)

    expected = fine_tune(train, encoder, VectorCache(), settings)
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(tuning._Tuning, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(train, encoder, VectorCache(), settings)
    found = fine_tune(train, encoder, VectorCache(), settings)
    assert done == [*range(6), *range(4, 12)]
    assert found.losses == expected.losses
    assert found.weights.keys() == expected.weights.keys()
    for name, weights in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], weights)


def test_finished_training_is_not_repeated(graph, encoder, monkeypatch):
    settings = QUICK.model_copy(update={"steps": 2})
    first = fine_tune(by_given(graph).train, encoder, VectorCache(), settings)
    monkeypatch.setattr(tuning._Tuning, "_step", None)
    assert fine_tune(by_given(graph).train, encoder, VectorCache(), settings).digest == first.digest
    with pytest.raises(TypeError):  # another seed is another run
        fine_tune(by_given(graph).train, encoder, VectorCache(), settings, seed=1)


def test_damaged_checkpoint_restarts_training(graph, encoder, tmp_path):
    settings = QUICK.model_copy(update={"steps": 2})
    first = fine_tune(by_given(graph).train, encoder, VectorCache(), settings)
    files = list((tmp_path / "cache" / "tuning").iterdir())
    assert len(files) == 2  # the head has one of its own
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    assert fine_tune(by_given(graph).train, encoder, VectorCache(), settings).losses == first.losses


def test_early_stopping_keeps_the_best_weights(graph, encoder):
    settings = QUICK.model_copy(update={"rate": 1.0, "steps": 50, "check_every": 2, "patience": 2})
    worse = fine_tune(by_given(graph).train, encoder, VectorCache(), settings)
    assert [step for step, _ in worse.losses] == [0, 2, 4]
    head = Head.from_weights(split_head(worse.weights)[1])
    expected = head(torch.as_tensor(encoder.encode(["robot laser"])))
    np.testing.assert_allclose(encoder.with_tuning(worse).encode(["robot laser"]), expected, atol=1e-5)


def test_tuned_encoder_has_its_own_cache_entries(graph, encoder, tuned, tmp_path):
    cache, both = VectorCache(tmp_path / "vectors"), (encoder, encoder.with_tuning(tuned))
    assert both[0].identity != both[1].identity
    vectors = [text_vectors(graph, one, cache)["Item"] for one in both]
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01
    encoded = cache.encoded
    text_vectors(graph, encoder.with_tuning(tuned), cache)
    assert cache.encoded == encoded


def test_tuned_weights_of_another_schema_are_refused(graph, encoder, tuned):
    values = COMMUNITY_SCHEMA.to_dict()
    values["nodes"]["Item"]["text"] = ["a thing called {title}"]
    other = replace(graph, schema=Schema.from_dict(values | {"name": "things"}))
    with pytest.raises(UsageError, match=r"schema 'things'; expected 'communities' as it was .*Train again"):
        text_vectors(other, encoder.with_tuning(tuned), VectorCache())


def test_tuned_weights_of_another_model_are_refused(tuned, model):
    with pytest.raises(UsageError, match="expected the one that was fine-tuned"):
        TransformersEncoder(model("gpt2"), tuned=tuned)


def test_encoder_without_tuning_support_is_refused(graph):
    with pytest.raises(UsageError, match="expected a transformers model, which can be fine-tuned"):
        Recommender(tune="full", encoder=WordEncoder()).fit(graph)


def test_missing_peft_names_the_extra(graph, encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r'pip install "kgrec\[tune\]"'):
        fine_tune(by_given(graph).train, encoder, VectorCache(), TuneSettings(method="lora"))


def test_fine_tuning_without_histories_fails(graph, encoder):
    first = np.r_[True, np.diff(graph.behaviors.user_num) > 0]
    with pytest.raises(UsageError, match="no data to fine-tune on"):
        fine_tune(graph.with_behaviors(first), encoder, VectorCache(), QUICK)


class TestRecommender:
    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, graph, encoder, tmp_path_factory):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KGREC_CACHE", str(tmp_path_factory.mktemp("cache")))
            settings = QUICK.model_copy(update={"steps": 10})
            config = Config(signals=("embeddings", "popularity"), tune=settings, encoder={"model": str(encoder.folder)})
            return Recommender(config).fit(graph)

    def test_fine_tuning_uses_the_tuning_graph(self, fitted, graph):
        split = by_given(graph)
        assert fitted._trained.tuned.origin.learned_from == split.train.digest
        assert fitted._model.train.digest == split.train_and_valid.digest
        assert fitted._trained.seconds["tune"] > 0

    def test_fine_tuning_does_not_leak(self, fitted, graph):
        split, trained = by_given(graph), fitted._trained
        arguments = (fitted.config, fitted._encode, "train+valid")
        assert leaks(split, trained, *arguments).empty
        origin = replace(trained.tuned.origin, learned_from=graph.digest)
        known = replace(trained, tuned=replace(trained.tuned, origin=origin))
        assert set(leaks(split, known, *arguments)["stage"]) == {"fine-tuning"}

    def test_saved_run_holds_tuned_encoder(self, fitted, graph, tmp_path):
        fitted.save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        assert loaded._encoder.identity == fitted._encoder.identity
        assert load_tuned(read_run(tmp_path / "run")).losses == fitted._trained.tuned.losses
        for text in ("robot laser", "words that no item has"):
            found, expected = (x.recommend_for_text(text, k=5) for x in (loaded, fitted))
            assert found["item_id"].tolist() == expected["item_id"].tolist()

    def test_fold_in_encodes_with_tuned_weights(self, fitted, graph):
        grown = fitted.fold_in(graph)
        assert grown._encoder.identity == fitted._encoder.identity
        assert grown._trained.tuned is fitted._trained.tuned

    def test_second_fit_starts_from_the_original_model(self, fitted, graph, monkeypatch):
        monkeypatch.setattr(Recommender, "_fine_tuned", lambda self, settings, split, fit_on: self._encoders.tuned)
        again = Recommender(fitted.config)
        again._use(fitted._trained.tuned)
        assert again.fit(graph)._trained.tuned is None


def test_loss_corrects_for_sampling_probability():
    """By hand: scores 2, 0 and, for what may not compete, 9; shares ½ and ¼ make them 2 + ln 2 and 0 + ln 4."""
    users, items = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    target, competes = torch.tensor([0]), torch.tensor([[True, True, False]])
    share = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    p = 2 * np.exp(2) / (2 * np.exp(2) + 4)

    def loss(focal):
        return float(contrast(users @ items.T / 0.5 - share, target, competes, torch.ones(1), focal))

    assert loss(0.0) == pytest.approx(-np.log(p), abs=1e-6)
    assert loss(2.0) == pytest.approx(-np.log(p) * (1 - p) ** 2, abs=1e-6)


class TestHistories:
    @pytest.fixture(scope="class")
    @classmethod
    def train(cls, graph):
        return by_given(graph).train

    @pytest.fixture(scope="class")
    @classmethod
    def histories(cls, train):
        return Histories(train, 0)

    def test_windows_follow_time_and_hold_out_users(self, histories, train):
        pairs = zip(train.behaviors.user_num, train.behaviors.item_num, strict=True)
        when = dict(zip(pairs, train.behaviors.time, strict=True))
        for held_out in (False, True):
            drawn = histories.draw(900, 4, np.random.default_rng(0), held_out=held_out)
            assert (histories.held_out[drawn.user] == held_out).all()
            assert len(drawn.user) == 5 * (histories.held_out == held_out).sum()  # all but the first of six
            for user, items in zip(drawn.user, drawn.item, strict=True):
                times = [when[user, item] for item in items[items >= 0]]
                assert len(times) >= 2
                assert all(one < two for one, two in pairwise(times))

    def test_user_text_excludes_the_target(self, histories, train):
        assert not histories.has_text(np.arange(train.n_users)).any()  # "liked …" is all their text is made of

    def test_seen_items_are_not_negatives(self, histories, train):
        user, items = np.array([3, 3]), np.arange(train.n_items)
        own = train.interactions[3].indices
        competes = histories.is_candidate(user, own[:2], items)
        for row, target in zip(competes, own[:2], strict=True):
            assert row[target]
            assert not row[np.setdiff1d(own, target)].any()
            assert row[np.setdiff1d(items, own)].all()

    def test_hard_negatives_are_similar_and_unseen(self, histories, train, monkeypatch):
        monkeypatch.setattr("kgrec.text.finetune.dataset.HARD_NEGATIVE_POOL_ITEMS", 5)
        side = np.eye(3, dtype=np.float32)[np.arange(train.n_items) % 3]  # items of one community are alike
        for n in range(20):
            windows = histories.draw(1, 4, np.random.default_rng(n))
            near = histories.hard_negatives(windows, side, 3, np.random.default_rng(n))
            assert len(near) == 3
            assert not np.isin(near, train.interactions[windows.user[0]].indices).any()
            assert (near % 3 == windows.item[0, -1] % 3).all()

    @pytest.mark.parametrize(("balance", "most", "least"), [("undersample", 1, 0), ("oversample", 9, 1)])
    def test_rare_targets_weigh_more_than_popular_ones(self, histories, balance, most, least):
        order = np.argsort(histories.popularity)
        rare, popular = (
            np.mean([histories.target_weights(items, balance, np.random.default_rng(n)) for n in range(50)])
            for items in (order[:20], order[-20:])
        )
        weights = histories.target_weights(order, balance, np.random.default_rng(0))
        assert least <= weights.min() <= weights.max() <= most
        assert rare > popular * 1.1


def test_tune_settings_are_set_by_path():
    config = Config.read(None, ["tune.method=lora", "tune.rank=4", "encoder.model=a"])
    assert (config.tune.method, config.tune.rank, config.encoder.model) == ("lora", 4, "a")
    assert Config.checked({"tune": "prefix"}).tune.method == "prefix"
    with pytest.raises(UsageError, match=r"unknown setting 'tune.ranks'; expected one of method, rank"):
        Config.read(None, ["tune.ranks=4"])
    with pytest.raises(UsageError, match=r"setting 'seed.x': found seed=1; expected its settings by name"):
        Config.read(None, ["seed=1", "seed.x=1"])


def test_train_command_tunes_and_nearest_uses_tuned_model(encoder, tmp_path, capsys):
    graph = str(tmp_path / "communities.lbug")
    with kgrec.open(graph, create=True) as store:
        store.write(communities())
    model = ["--set", f"encoder.model={encoder.folder}", "--set", "signals=embeddings,popularity"]
    tuning = ["--set", "tune.method=full", "--set", "tune.steps=3", "--set", "tune.rate=0.01"]
    app(["train", graph, *model, *tuning, "--json"], standalone_mode=False)
    app(["publish", graph], standalone_mode=False)
    run = find_run(root_of(graph))
    assert [step for step, _ in run.info["tuned"]["losses"]] == [0, 3]
    assert "tune" in run.info["seconds"]
    with kgrec.open(graph, read_only=True) as store:
        title = communities().nodes["Item"].column("title")[7].as_py()
        assert nearest_nodes(store, text=title, k=1)["score"][0] == pytest.approx(1, abs=1e-4)
    app(["evaluate", graph, "--json"], standalone_mode=False)
    capsys.readouterr()

"""The second stage re-ranks the best items by their texts if that improves the validation metric."""

import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import kgrec
from kgrec import Recommender
from kgrec import recommender as recommending
from kgrec.cli.app import app
from kgrec.config import Config, RerankSettings
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from kgrec.evaluation.evaluate import FIRST, measure
from kgrec.evaluation.leakage import leaks
from kgrec.hybrid.model import HYBRID
from kgrec.hybrid.second_stage import SecondStage
from kgrec.runs.folder import find_run, root_of
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import COMMUNITY_SCHEMA, LIKED, shuffled
from kgrec.text import TransformersEncoder
from kgrec.text.finetune import cross_encoder
from kgrec.text.finetune.cross_encoder import CrossEncoder, learn
from kgrec.training.fold_in import fold_in

pytestmark = pytest.mark.slow

WORDS = ["robot laser galaxy rocket planet engine", "garden flower tulip meadow river forest"]
QUICK = {
    "method": "full",
    "rate": 3e-3,
    "steps": 200,
    "batch": 16,
    "check_every": 50,
    "history": 3,
    "max_tokens": 48,
    "top": 100,
    "negatives": 2,
}


def tastes(n_users=60, n_items=40):
    """Users of two tastes; every item is taken by about as many, and its title alone tells whose taste it is."""
    rng = np.random.default_rng(0)
    side, of_item = np.arange(2 * n_users) % 2, np.arange(2 * n_items) % 2
    titles = [" ".join(rng.choice(WORDS[s].split(), 3, replace=False)) for s in of_item]
    took = [rng.choice(np.flatnonzero(of_item == s), 6, replace=False) for s in side]
    user_ids, item_ids = ([f"{x}{n:03d}" for n in range(len(of))] for x, of in (("u", side), ("i", of_item)))
    liked = {
        "src": np.repeat(user_ids, 6),
        "dst": np.take(item_ids, np.concatenate(took)),
        "rating": np.full(6 * len(side), 5.0),
        "timestamp": np.tile(np.arange(6.0), len(side)),
        "split": np.tile(["train"] * 4 + ["valid", "test"], len(side)).tolist(),
    }
    nodes = {"User": pa.table({"user_id": user_ids}), "Item": pa.table({"item_id": item_ids, "title": titles})}
    return check(GraphTables(COMMUNITY_SCHEMA, nodes, {LIKED: pa.table(liked)}))


def fitted(tables, folder, **rerank):
    """A first stage that knows popularity alone, and a second that reads."""
    encoder = TransformersEncoder(folder)
    config = Config.checked({"signals": ["popularity"], "rerank": {**QUICK, **rerank}})
    return Recommender(config, encoder=encoder).fit(GraphSnapshot.from_tables(tables), fit_on="train")


@pytest.fixture(scope="module")
def small(model):
    return model("bert")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model_of_tastes(small, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fitted(tastes(), small)


def rank_of_withheld(model, split):
    """Mean rank of the test item of every user among the unseen, by the first stage and by both."""
    users, items = split.test.user_num, split.test.item_num
    scored = model.score(users)
    ranks = []
    for scores in (scored.blended, scored.total):
        open_ = np.where(scored.seen.toarray() > 0, -np.inf, scores)
        ranks.append(float((open_ > open_[np.arange(len(users)), items][:, None]).sum(axis=1).mean()))
    return ranks


def test_cross_encoder_ranks_held_out_items_higher(model_of_tastes):
    model, split = model_of_tastes._model, by_given(GraphSnapshot.from_tables(tastes()))
    first, both = rank_of_withheld(model, split)
    assert both < first - 3
    measured = next(iter(measure(model, split, [20]).values())).evaluations
    assert measured[HYBRID].means["NDCG@20"] > 1.3 * measured[FIRST].means["NDCG@20"]
    found = model_of_tastes._trained.choices["rerank"]
    assert found["domains"]["Item"]["weight"] > 0
    assert found["report"]["taken"]["f1-score"] >= 0.7


def test_shuffled_labels_destroy_the_result(small):
    mixed = shuffled(tastes(), only=LIKED)
    in_vain = fitted(mixed, small)
    found = in_vain._trained.choices["rerank"]
    assert found["report"]["taken"]["f1-score"] < 0.6
    domain = found["domains"]["Item"]
    first, both = rank_of_withheld(in_vain._model, by_given(GraphSnapshot.from_tables(mixed)))
    assert both > first - 2
    assert domain["weight"] == 0 or domain["gain"][0] < 0.05


def test_second_stage_without_validation_gain_is_unused(small):
    # One step at a rate of next to nothing: the head is random.
    unread = fitted(tastes(), small, steps=1, rate=1e-9)
    domain = unread._trained.choices["rerank"]["domains"]["Item"]
    assert (domain["weight"] == 0) == (unread._model.second is None)
    assert domain["tried"][str(domain["weight"])] >= domain["tried"]["0.0"]


def test_shares_sum_and_lower_items_stay_below(model_of_tastes):
    model = model_of_tastes._model
    listed = model_of_tastes.recommend(model.train.users.ids[:5], k=30)
    total = listed[["graph", "cf", "content"]].sum(axis=1)
    np.testing.assert_allclose(total, listed["score"], rtol=1e-5, atol=1e-5)
    assert (listed["content"].abs() > 1e-6).any()
    second = replace(model.second, settings=model.second.settings.model_copy(update={"top": 7}))
    scored = replace(model, second=second).score(np.arange(5))
    assert (scored.score_offsets >= 0).all()
    assert ((scored.score_offsets > 0).sum(axis=1) == 6).all()  # all of the best 7 but the least sure
    assert not scored.score_offsets[scored.seen.toarray() > 0].any()
    explained = model_of_tastes.explain("u000", listed["item_id"][0])
    assert sum(explained.shares.values()) == pytest.approx(explained.score, rel=1e-5)
    assert explained.shares["re-ranking"] > 0
    assert explained.rank == 1


def test_saved_run_holds_the_cross_encoder(model_of_tastes, small, tmp_path):
    model_of_tastes.save(tmp_path / "run")
    again = Recommender.load(tmp_path / "run", encoder=TransformersEncoder(small))
    users = model_of_tastes._model.train.users.ids[:4]
    kgrec_frames = [m.recommend(users, k=10) for m in (model_of_tastes, again)]
    assert kgrec_frames[0]["item_id"].tolist() == kgrec_frames[1]["item_id"].tolist()
    np.testing.assert_allclose(kgrec_frames[0]["score"], kgrec_frames[1]["score"], atol=1e-4)
    with pytest.raises(UsageError, match="expected a transformers model to re-rank with"):
        Recommender.load(tmp_path / "run", encoder=WordEncoder())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "no/such/folder"}, "no text model 'no/such/folder'"),
        ({"method": "lora"}, r'run: pip install "kgrec\[tune\]"'),
        ({"top": 1}, "setting 'rerank.top': found 1"),
    ],
)
def test_missing_requirement_fails_before_fitting(small, settings, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr(recommending, "train", None)
    with pytest.raises(UsageError, match=message):
        fitted(tastes(), small, **settings)


def test_cross_encoder_uses_the_tuning_graph(model_of_tastes):
    split = by_given(GraphSnapshot.from_tables(tastes()))
    trained, second = model_of_tastes._trained, model_of_tastes._model.second
    arguments = (model_of_tastes.config, model_of_tastes._encode, "train")
    assert second.tuned.origin.learned_from == split.train.digest
    assert leaks(split, trained, *arguments).empty
    origin = replace(second.tuned.origin, learned_from=split.graph.digest)
    cross = CrossEncoder(second.cross.encoder, replace(second.tuned, origin=origin))
    leaky = SecondStage(cross, second.train, second.settings, second.weights, second.seed)
    found = leaks(split, replace(trained, model=replace(trained.model, second=leaky)), *arguments)
    assert set(found["stage"]) == {"re-ranking"}


def test_fold_in_keeps_the_cross_encoder(model_of_tastes):
    grown = tastes()
    user, item = pa.table({"user_id": ["new"]}), pa.table({"item_id": ["i999"], "title": ["robot laser galaxy"]})
    nodes = {
        "User": pa.concat_tables([grown.nodes["User"], user]),
        "Item": pa.concat_tables([grown.nodes["Item"], item], promote_options="default"),
    }
    liked = {"src": ["new"] * 2, "dst": ["i000", "i002"], "rating": [5.0] * 2, "timestamp": [0.0, 1.0]}
    more = pa.table({**liked, "split": ["train"] * 2}).cast(grown.edges[LIKED].schema)
    tables = check(GraphTables(COMMUNITY_SCHEMA, nodes, {LIKED: pa.concat_tables([grown.edges[LIKED], more])}))
    train = by_given(GraphSnapshot.from_tables(tables)).train
    again = fold_in(model_of_tastes._trained, train, {}).model
    scored = again.score(again.train.users.nums(["new"]))
    ours = np.arange(train.n_items) % 2 == 0
    assert scored.score_offsets[0, ours].sum() > scored.score_offsets[0, ~ours].sum()


@pytest.mark.usefixtures("one_thread")
def test_interrupted_training_resumes_to_the_same_result(small, tmp_path, monkeypatch):
    train = by_given(GraphSnapshot.from_tables(tastes())).train
    settings = RerankSettings(**QUICK | {"steps": 9, "check_every": 3})
    whole_step, done = cross_encoder._Training._step, []

    def ranked(users, items):
        return np.broadcast_to(np.arange(train.n_items), (len(users), train.n_items))

    def step(self, n):
        if n == 5 and len(done) == 5:
            raise KeyboardInterrupt
        whole_step(self, n)
        done.append(n)

    encoder = TransformersEncoder(small, max_tokens=48)
    expected, _ = learn(train, encoder, ranked, settings)
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(cross_encoder._Training, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        learn(train, encoder, ranked, settings)
    found, _ = learn(train, encoder, ranked, settings)
    assert done == [*range(5), *range(3, 9)]
    assert found.learned.losses == expected.learned.losses
    for name, weights in expected.learned.weights.items():
        np.testing.assert_array_equal(found.learned.weights[name], weights)


@pytest.mark.parametrize(
    ("family", "method"), [("bert", "lora"), ("roberta", "lora"), ("gpt2", "lora"), ("bert", "prefix")]
)
def test_scores_survive_batching_and_reload(model, family, method):
    train = by_given(GraphSnapshot.from_tables(tastes())).train
    settings = RerankSettings(**QUICK | {"steps": 2, "method": method, "rate": 1e-2, "rank": 4})
    encoder = TransformersEncoder(model(family), max_tokens=24)
    cross, report = learn(train, encoder, lambda u, i: np.zeros((len(u), 1), np.int64), settings)
    assert set(report) == {"taken", "not taken"}
    first = np.array(["robot laser. galaxy.", "a garden " * 40, "tulip"], dtype=object)
    second = np.array(["rocket", "river forest", "meadow " * 40], dtype=object)
    scores = cross.scores(first, second)
    again = CrossEncoder(encoder, cross.learned)
    np.testing.assert_allclose(
        np.concatenate([again.scores(first[[n]], second[[n]]) for n in range(3)]), scores, atol=1e-4
    )


def test_rerank_commands(small, tmp_path, capsys):
    graph = str(tmp_path / "tastes.lbug")
    with kgrec.open(graph, create=True) as store:
        store.write(tastes())
    settings = QUICK | {"steps": 5, "check_every": 5, "top": 10}
    rerank = [word for name, value in settings.items() for word in ("--set", f"rerank.{name}={value}")]
    chosen = ["--set", f"encoder.model={small}", "--set", "signals=popularity"]
    app(["train", graph, *chosen, *rerank], standalone_mode=False)
    capsys.readouterr()
    run = find_run(root_of(graph))
    app(["evaluate", graph], standalone_mode=False)
    assert (FIRST in capsys.readouterr().out) == bool(run.info["second"])
    app(["runs", "show", graph], standalone_mode=False)
    out = capsys.readouterr().out
    assert "f1-score" in out
    assert "re-ranking of" in out

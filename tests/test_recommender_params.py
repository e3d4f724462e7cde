"""Parameters of the estimator as in scikit-learn; its repr, report and HTML."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from sklearn.base import clone

from kgrec import Config, NotFittedError, Recommender, UsageError
from kgrec.data.snapshot import GraphSnapshot
from kgrec.testing.encoder import WordEncoder

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def model(communities: GraphSnapshot) -> Recommender:
    return Recommender(signals=("popularity", "ease"), seed=3).fit(communities)


def test_constructor_names_every_setting() -> None:
    names = set(inspect.signature(Recommender).parameters)
    assert names == {*Config.model_fields, "config", "fetch"}


def test_get_params_gives_arguments_as_they_were() -> None:
    encoder = WordEncoder()
    params = Recommender(seed=3, encoder=encoder).get_params()
    assert params.keys() == inspect.signature(Recommender).parameters.keys()
    assert params["seed"] == 3
    assert params["encoder"] is encoder
    assert params["budget"] is None


def test_set_params_changes_settings_and_unfits(communities: GraphSnapshot) -> None:
    model = Recommender(signals=("popularity",), seed=3).fit(communities)
    assert model.set_params(budget="1h", seed=4) is model
    assert (model.config.budget, model.config.seed, model.config.signals) == ("1h", 4, ("popularity",))
    with pytest.raises(NotFittedError):
        model.recommend(["u000"])


def test_set_params_with_wrong_value_changes_nothing(model: Recommender) -> None:
    before = model.get_params()
    with pytest.raises(UsageError, match=r"unknown parameter 'sede'; near matches: seed"):
        model.set_params(sede=1)
    with pytest.raises(UsageError, match="setting 'seed': found -1"):
        model.set_params(seed=-1)
    assert model.get_params() == before
    assert len(model.recommend(["u000"])) == 10


def test_clone_of_scikit_learn_gives_an_unfitted_copy(model: Recommender) -> None:
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.config == model.config
    with pytest.raises(NotFittedError):
        copy.recommend(["u000"])


def test_settings_go_on_top_of_a_config() -> None:
    model = Recommender(Config(seed=1, budget="1h"), seed=2, encoder="some-model")
    assert (model.config.seed, model.config.budget) == (2, "1h")
    assert model.config.encoder is not None
    assert model.config.encoder.model == "some-model"


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.recommend(["u000"]),
        lambda model: model.similar_items(["i000"]),
        lambda model: model.similar_users(["u000"]),
        lambda model: model.explain("u000", "i000"),
        lambda model: model.save("nowhere"),
        lambda model: model.report_,
        lambda model: model.evaluate(None),
    ],
)
def test_methods_before_fit_say_so(use) -> None:
    with pytest.raises(NotFittedError, match=r"not fitted. Call fit\(...\) first"):
        use(Recommender())
    assert issubclass(NotFittedError, UsageError)


def test_repr_shows_signals_and_metric(model: Recommender, communities: GraphSnapshot) -> None:
    n = len(communities.behaviors.where(communities.behaviors.split != "test"))
    value = next(iter(model.report_.scores.values()))
    assert repr(Recommender(seed=3)) == "Recommender(seed=3), not fitted"
    assert repr(model) == (
        f"Recommender(signals=('popularity', 'ease'), seed=3), learned from {n} interactions of 40 users with 20 "
        f"items; NDCG@20 on validation {value:.4f} (Item)"
    )
    assert value > 0.3


def test_report_holds_choices_and_reasons(model: Recommender) -> None:
    report = model.report_
    assert set(report.settings) == set(report.shares["Item"]) == {"popularity", "ease"}
    assert sum(report.shares["Item"].values()) == pytest.approx(1, abs=1e-3)
    assert {"choose", "blend"} <= report.seconds.keys()
    assert (report.tried["chosen"] == "yes").sum() == 3
    assert report.protocol.startswith("random 10%")


def test_report_of_a_saved_model_is_the_same(model: Recommender, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.report_.summary() == model.report_.summary()
    assert repr(loaded) == repr(model)


def test_html_of_a_model_is_escaped() -> None:
    shown = Recommender(encoder=EVIL)._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown

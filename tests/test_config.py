from pathlib import Path

import pytest

from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.signals.cf import IALS, Popularity


def test_defaults_file_and_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 3\nsignals: [lightgcn, ease]\n")
    config = Config.read(path, ["seed=4"])
    assert config.seed == 4
    assert config.signals == ("lightgcn", "ease")
    assert Config.read() == Config()
    assert Config.read(None, ["signals=ease, ials"]).signals == ("ease", "ials")


def test_all_mistakes_are_reported():
    with pytest.raises(UsageError) as caught:
        Config.checked({"sede": 1, "seed": -1, "signals": ["magic"]})
    message = str(caught.value)
    assert "unknown setting 'sede'; expected one of signals, models, metric, encoder" in message
    assert "setting 'seed': found -1" in message
    assert "unknown signal 'magic'; expected one of" in message


@pytest.mark.parametrize(("content", "expected"), [("seed: [", "cannot be read"), ("- 1", "holds list")])
def test_file_that_is_not_a_config_fails(tmp_path, content, expected):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(UsageError, match=expected):
        Config.read(tmp_path / "c.yaml")


def test_missing_file_and_override_without_value(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        Config.read(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="setting 'seed'; expected key=value"):
        Config.read(None, ["seed"])


def test_config_survives_dump_and_load():
    config = Config(seed=5, signals=("lightgcn",))
    assert Config.checked(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("budget=5", "setting 'budget': found 5; expected a duration above zero, such as 90s, 2min or 1h"),
        ("signals=", "setting 'signals': found None; expected names, such as popularity,ease"),
        ("seed=-1", "setting 'seed': found -1; expected a number greater than or equal to 0"),
        ("seed=x", "setting 'seed': found 'x'; expected a whole number"),
        ("encoder=3", "setting 'encoder': found 3; expected a name, or settings by name"),
    ],
)
def test_bad_value_message_is_readable(setting, told):
    with pytest.raises(UsageError) as error:
        Config.read(overrides=[setting])
    assert str(error.value) == told


def test_all_wrong_settings_are_reported():
    with pytest.raises(UsageError) as error:
        Config.checked({"signals": [], "seed": -1, "encoder": {"model": None}})
    for told in ("'signals': found []; expected one name", "'seed': found -1", "'encoder.model': found None"):
        assert told in str(error.value)


def test_wrong_signal_is_one_problem_with_near_matches() -> None:
    with pytest.raises(UsageError) as error:
        Config.read(overrides=["signals=poplarity"])
    assert str(error.value).startswith("unknown signal 'poplarity'; expected one of ")
    assert str(error.value).endswith("; near matches: popularity")


def test_models_are_read_from_file_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("models:\n  ials: {factors: 128}\nmetric: Recall@10\n")
    config = Config.read(tmp_path / "c.yaml", ["models.ease.dropout=0.1", "models.ials.alpha=2"])
    assert config.models == {"ials": {"factors": 128, "alpha": 2}, "ease": {"dropout": 0.1}}
    assert config.metric == "Recall@10"
    assert Config.checked(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["models.ials.factor=128"], "unknown setting 'models.ials.factor'; expected one of factors, "),
        (["models.ials.factor=128"], "; near matches: factors"),
        (["models.ials.factors=x"], "setting 'models.ials.factors': found 'x'; expected a whole number"),
        (["models.ials.alpha=0"], "setting 'models.ials.alpha': found 0; expected a number greater than 0"),
        (["models.ials.alpha=1e9"], "found '1e9'; expected a number of at most 1,000,000 in size"),
        (["models.ialz.factors=1"], "setting 'models': unknown signal 'ialz'; expected one of "),
        (["models.ials=3"], "setting 'models.ials': found 3; expected settings by name"),
        (["models=3"], "setting 'models': found 3; expected settings by name"),
        (["signals=ease", "models.ials.factors=2"], "'models.ials': expected one of the signals that take part: ease"),
        (["a.b.c.d=1"], "setting 'a.b.c.d'; expected a name, two such as tune.rank, or three"),
        (["metric=NDGC@20"], "setting 'metric': found 'NDGC@20'; expected one of NDCG, Recall, "),
        (["metric=NDCG@0"], "setting 'metric': found 'NDCG@0'; expected one of "),
        (["metric=NDCG"], "at a cut-off, such as NDCG@20"),
        (["metric=3"], "setting 'metric': found 3; expected a text"),
    ],
)
def test_wrong_model_setting_or_metric_is_named(settings: list[str], told: str) -> None:
    with pytest.raises(UsageError) as error:
        Config.read(overrides=settings)
    assert told in str(error.value)


def test_wrong_settings_of_several_models_are_reported() -> None:
    with pytest.raises(UsageError) as error:
        Config.checked({"models": {"ials": {"factor": 1, "alpha": -1}, "easy": {}}, "metric": "F1@3", "seed": -1})
    for told in ("models.ials.factor'", "'models.ials.alpha'", "'easy'", "'metric'", "'seed'"):
        assert told in str(error.value)


def test_settings_of_a_run_are_read_without_its_plugins() -> None:
    values = {"signals": ["ease", "rarity"], "models": {"rarity": {"power": 2}}}
    assert Config.checked(values, installed=False).signals == ("ease", "rarity")
    with pytest.raises(UsageError, match="unknown signal 'rarity'"):
        Config.checked(values)


def test_signal_class_and_object_are_signals_and_fix_settings() -> None:
    config = Config.checked({"signals": ["ease", IALS(IALS.Settings(factors=8)), Popularity]})
    assert config.signals == ("ease", IALS, Popularity)
    assert config.models == {"ials": {"factors": 8}}
    assert config.model_dump(mode="json")["signals"] == ["ease", "ials", "popularity"]
    with pytest.raises(UsageError, match="found two 'ials' that differ; expected each signal once"):
        Config.checked({"signals": [IALS(IALS.Settings(factors=8)), IALS(IALS.Settings(factors=16))]})


@pytest.mark.parametrize("wrong", [3, None, dict, "No name"])
def test_value_that_is_not_a_signal_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="expected the name of a signal, or a class of signals"):
        Config.checked({"signals": ["ease", wrong]})

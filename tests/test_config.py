import pytest

from kgrec.config import Config
from kgrec.errors import UsageError


def test_defaults_file_and_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 3\nsignals: [lightgcn, ease]\n")
    config = Config.read(path, ["seed=4"])
    assert config.seed == 4
    assert config.signals == ("lightgcn", "ease")
    assert Config.read() == Config()
    assert Config.read(None, ["signals=ease, ials"]).signals == ("ease", "ials")


def test_every_mistake_is_told_at_once():
    with pytest.raises(UsageError) as caught:
        Config.checked({"sede": 1, "seed": -1, "signals": ["magic"]})
    message = str(caught.value)
    assert "unknown setting 'sede'; expected one of signals, encoder" in message
    assert "setting 'seed': found -1" in message
    assert "setting 'signals.0': found 'magic'" in message


@pytest.mark.parametrize(("content", "expected"), [("seed: [", "cannot be read"), ("- 1", "holds list")])
def test_a_file_that_is_no_config(tmp_path, content, expected):
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
def test_a_bad_value_is_told_in_words_of_a_user(setting, told):
    with pytest.raises(UsageError) as error:
        Config.read(overrides=[setting])
    assert str(error.value) == told


def test_all_wrong_settings_are_told():
    with pytest.raises(UsageError) as error:
        Config.checked({"signals": [], "seed": -1, "encoder": {}})
    for told in ("'signals': found []; expected one name", "'seed': found -1", "'encoder.model': found nothing"):
        assert told in str(error.value)


def test_a_wrong_signal_is_one_problem():
    with pytest.raises(UsageError) as error:
        Config.read(overrides=["signals=foo"])
    assert str(error.value).startswith("setting 'signals.0': found 'foo'; expected 'popularity', ")
    assert ";" not in str(error.value).partition("expected")[2]

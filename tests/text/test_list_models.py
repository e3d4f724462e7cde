import json

import pytest

from kgrec.text.list_models import encoders_table
from kgrec.text.multilingual import INSTALL, is_installed


@pytest.fixture(autouse=True)
def only_packaged(request, monkeypatch):
    if "multilingual" not in request.node.name:
        monkeypatch.setattr("kgrec.text.list_models.is_installed", lambda: False)


def test_multilingual_model_is_listed_if_installed(hub):
    if not is_installed():
        pytest.skip(INSTALL)
    row = encoders_table().set_index("model").loc["multilingual"]
    assert (row["where"], row["dim"], row["max_tokens"], row["note"]) == ("extra", 384, 512, "")


def test_packaged_model_is_listed_without_cache(hub, tmp_path):
    hub.rename(tmp_path / "elsewhere")
    [row] = encoders_table().to_dict("records")
    assert (row["model"], row["where"], row["dim"], row["max_tokens"]) == ("all-MiniLM-L6-v2", "packaged", 384, 256)
    assert row["parameters"] == pytest.approx(22.7e6, rel=0.01)
    assert (row["megabytes"], row["pooling"], row["note"]) == (91, "mean", "")


def test_cached_models_are_listed_with_size_and_speed(hub):
    import torch
    from safetensors.torch import load_file

    table = encoders_table(measure=True).set_index("model")
    row = table.loc["tiny/sentences"]
    [weights] = hub.rglob("*.safetensors")
    assert row["parameters"] == sum(torch.numel(x) for x in load_file(weights).values())
    assert (row["where"], row["dim"], row["max_tokens"], row["pooling"]) == ("cache", 32, 512, "mean")
    assert row["texts_per_second"] > table.loc["all-MiniLM-L6-v2", "texts_per_second"] > 0


def test_unusable_models_are_listed_with_a_reason(hub):
    snapshot = hub / "models--tiny--sentences" / "snapshots" / "abc"
    (hub / "models--no--weights" / "snapshots" / "x").mkdir(parents=True)
    (hub / "datasets--tiny--texts" / "snapshots" / "x").mkdir(parents=True)
    config = snapshot / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "from the future"}))
    row = encoders_table().set_index("model").loc["tiny/sentences"]
    assert "does not load as a text model" in row["note"]
    assert len(encoders_table()) == 2


def test_unknown_values_are_empty(hub, kgrec):
    (hub / "models--tiny--sentences" / "snapshots" / "abc" / "config.json").write_text("{")
    row = json.loads(kgrec("encoders", "--json").out)[1]
    assert (row["model"], row.get("dim"), row.get("max_tokens")) == ("tiny/sentences", None, None)
    assert "nan" not in kgrec("encoders").out.lower()


def test_encoders_command(hub, kgrec):
    shown = kgrec("encoders")
    assert shown.code == 0
    assert "all-MiniLM-L6-v2" in shown.out
    assert "tiny/sentences" in shown.out
    rows = json.loads(kgrec("encoders", "--json").out)
    assert [row["model"] for row in rows] == ["all-MiniLM-L6-v2", "tiny/sentences"]
    assert "texts_per_second" not in rows[0]
    assert rows[1]["max_tokens"] == 512

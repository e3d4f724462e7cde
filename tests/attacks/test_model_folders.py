"""An untrusted text model: none of its code runs, and nothing is downloaded without a request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAST

from kgrec.config import Config, EncoderSettings, RerankSettings
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import RunError, UsageError
from kgrec.query.similar import nearest_nodes
from kgrec.recommender import Recommender
from kgrec.store import open_graph
from kgrec.text import TransformersEncoder, VectorCache, encoder_of
from kgrec.text.finetune.cross_encoder import CrossEncoder, body_of

pytestmark = pytest.mark.slow

RUNS = "import pathlib; pathlib.Path({marker!r}).touch()\n"


@pytest.fixture(scope="module")
def bert(model: Callable[..., Path]) -> Path:
    """A folder of a small model; tests only read it."""
    return model("bert")


@pytest.fixture
def hostile(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy whose files name code that leaves `ran` in the test's folder; every prompt is answered with yes."""
    folder = Path(shutil.copytree(bert, tmp_path / "hostile"))
    for name in ("modeling_own", "tokenization_own"):
        (folder / f"{name}.py").write_text(RUNS.format(marker=str(tmp_path / "ran")))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return folder


def change(file: Path, **keys: Any) -> None:
    """Set keys of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


CODE = {"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.Model"}
CODE |= {"AutoModelForSequenceClassification": "modeling_own.Model", "AutoTokenizer": ["tokenization_own.T", None]}


def test_encoder_code_never_runs(hostile: Path, tmp_path: Path) -> None:
    change(hostile / "config.json", auto_map=CODE, model_type="own")
    encoder = TransformersEncoder(hostile)
    for load in (lambda: encoder.encode(["text"]), CrossEncoder(encoder).classifier):
        with pytest.raises(
            UsageError, match=r"config.json names code of its own \(auto_map\), which kgrec does not run"
        ):
            load()
    assert not (tmp_path / "ran").exists()


def test_tokenizer_code_never_runs(hostile: Path, tmp_path: Path) -> None:
    change(hostile / "tokenizer_config.json", auto_map=CODE, tokenizer_class="Own")
    TransformersEncoder(hostile).count_tokens(["text"])
    assert not (tmp_path / "ran").exists()


def test_code_beside_a_known_model_is_ignored(hostile: Path, tmp_path: Path, bert: Path) -> None:
    change(hostile / "config.json", auto_map=CODE)
    np.testing.assert_array_equal(TransformersEncoder(hostile).encode(["a"]), TransformersEncoder(bert).encode(["a"]))
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_read(hostile: Path, tmp_path: Path) -> None:
    (hostile / "model.safetensors").rename(hostile / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"expected config.json, a tokenizer and \*.safetensors. Weights in other"):
        TransformersEncoder(hostile)


def test_pickled_weights_are_read_on_request(bert: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(bert, tmp_path / "pickled"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"or trust them: encoder\.allow_pickle_weights=true"):
        TransformersEncoder(folder)
    trusting = TransformersEncoder(folder, allow_pickle_weights=True)
    np.testing.assert_array_equal(trusting.encode(["a"]), TransformersEncoder(bert).encode(["a"]))
    before = trusting.digest
    torch.save({}, folder / "pytorch_model.bin")
    assert TransformersEncoder(folder, allow_pickle_weights=True).digest != before


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            {"type": "modeling_own.Model", "path": ""},
            "asks for 'modeling_own.Model' in ''; expected one of Transformer",
        ),
        ({"type": "os.system", "path": "id"}, "asks for 'os.system'"),
        ({"type": "sentence_transformers.models.WordEmbeddings", "path": "0"}, "asks for 'WordEmbeddings'"),
        ({"type": "sentence_transformers.models.Dense", "path": "../bert"}, "asks for 'Dense' in '../bert'"),
        ({"type": "sentence_transformers.models.Dense", "path": "2_Dense"}, r"2_Dense holds no model.safetensors"),
    ],
)
def test_module_from_elsewhere_is_refused(hostile: Path, tmp_path: Path, module: Any, message: str) -> None:
    (hostile / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(UsageError, match=message):
        TransformersEncoder(hostile)
    assert not (tmp_path / "ran").exists()


OWN_MODEL = """
import pathlib
from transformers import BertConfig, BertModel
pathlib.Path({marker!r}).touch()
class Config(BertConfig):
    model_type = "own"
class Model(BertModel):
    config_class = Config
"""


def test_code_runs_on_request_and_never_for_a_run(hostile: Path, tmp_path: Path, bert: Path) -> None:
    own = {name: CODE[name] for name in ("AutoConfig", "AutoModel")}
    change(hostile / "config.json", auto_map=own, model_type="own")
    (hostile / "modeling_own.py").write_text(OWN_MODEL.format(marker=str(tmp_path / "ran")))
    values = {"encoder": {"model": str(hostile), "trust_remote_code": True, "allow_pickle_weights": True}}
    of_run = Config.from_run(values).encoder
    assert of_run == EncoderSettings(model=str(hostile))
    with pytest.raises(UsageError, match=r"trust it: encoder\.trust_remote_code=true"):
        encoder_of(of_run, fetch=False).encode(["a"])
    assert not (tmp_path / "ran").exists()
    trusting = encoder_of(Config.checked(values).encoder)
    np.testing.assert_allclose(trusting.encode(["a"]), TransformersEncoder(bert).encode(["a"]), atol=1e-6)
    assert (tmp_path / "ran").exists()
    assert trusting.digest != encoder_of(of_run).digest  # its code counts too


def test_run_folder_cannot_allow_code(hostile: Path, tmp_path: Path, communities: GraphSnapshot) -> None:
    model = Recommender(Config.read(overrides=[FAST])).fit(communities)
    trusting = EncoderSettings(model=str(hostile), trust_remote_code=True, allow_pickle_weights=True)
    model.config = model.config.model_copy(update={"encoder": trusting})
    loaded = Recommender.load(model.save(tmp_path / "run").folder)
    assert loaded.config.encoder == EncoderSettings(model=str(hostile))


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../bert/model.safetensors", "/etc/model.safetensors", 3])
def test_index_of_weights_elsewhere_is_refused(hostile: Path, shard: object) -> None:
    (hostile / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"a": shard}}))
    with pytest.raises(UsageError, match=r"index.json names .*; expected \*.safetensors beside it"):
        TransformersEncoder(hostile)


def test_adapter_that_names_another_model_is_refused(hostile: Path) -> None:
    (hostile / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')
    with pytest.raises(UsageError, match="holds an adapter for another model; expected a complete model"):
        TransformersEncoder(hostile)


def test_kernel_from_the_hub_is_refused(hostile: Path) -> None:
    change(hostile / "config.json", attn_implementation="some/kernel")
    with pytest.raises(UsageError, match="asks for a kernel of 'some/kernel', which kgrec does not download"):
        TransformersEncoder(hostile)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, hub: Path) -> list[str]:
    """Models that were asked for over the network."""
    import huggingface_hub

    asked: list[str] = []
    real = huggingface_hub.snapshot_download

    def download(name: str, **options: Any) -> str:
        if not options.get("local_files_only"):
            asked.append(name)
            raise OSError("no network")
        return str(real(name, cache_dir=str(hub), **options))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


ABSENT = "'some/model' is not on this machine, and kgrec downloads none for a run. Run: hf download some/model"


def test_run_whose_model_is_absent_is_one_error(
    communities: GraphSnapshot, tmp_path: Path, no_network: list[str]
) -> None:
    model = Recommender(Config.read(overrides=[FAST])).fit(communities)
    model.config = model.config.model_copy(update={"encoder": EncoderSettings(model="some/model")})
    loaded = Recommender.load(model.save(tmp_path / "run").folder)
    for use in (loaded._encode, loaded.refit, loaded.fit):
        with pytest.raises(RunError, match=ABSENT):
            use(communities)
    with pytest.raises(RunError, match=ABSENT):
        body_of(loaded.config.model_copy(update={"rerank": RerankSettings(model="some/model")}), fetch=False)
    assert no_network == []
    with pytest.raises(UsageError, match="no text model 'some/model'"):
        encoder_of(loaded.config.encoder)
    assert no_network == ["some/model"]


def test_run_takes_its_model_from_the_cache(no_network: list[str]) -> None:
    assert encoder_of(EncoderSettings(model="tiny/sentences"), fetch=False).name == "tiny/sentences"
    assert no_network == []


def test_similar_with_damaged_run_fails(cinema: Path) -> None:
    from kgrec.jobs.train import publish_run

    run = publish_run(str(cinema))["run"]
    (cinema.with_suffix(".runs") / run / "run.json").write_text("{")
    with open_graph(cinema, read_only=True) as store, pytest.raises(RunError, match=r"run\.json is damaged"):
        nearest_nodes(store, text="a film")


OTHER = [{"x": (2, 2)}, {"keys": (2, 16), "vectors": (3, 8)}, {"keys": (1, 16), "vectors": (1, 5)}]


@pytest.mark.parametrize("arrays", OTHER)
def test_cache_with_other_content_is_encoded_again(tmp_path: Path, arrays: dict[str, tuple[int, ...]]) -> None:
    from safetensors.numpy import save

    from kgrec.text.cache import _Shelf

    class Encoder:
        name = identity = "e"
        dim = 8

        def encode(self, texts: list[str]) -> Any:
            return np.full((len(texts), 8), 8**-0.5, np.float32)

    VectorCache(tmp_path).encode(["a"], Encoder())
    [file] = tmp_path.rglob("*.safetensors")
    content = save({name: np.ones(shape, np.uint8 if name == "keys" else np.float32) for name, shape in arrays.items()})
    file.with_name(f"{_Shelf(file.parent)._digest(content)}.safetensors").write_bytes(content)
    file.unlink()
    cache = VectorCache(tmp_path)
    assert cache.encode(["a"], Encoder()).shape == (1, 8)
    assert (cache.encoded, cache.hits) == (1, 0)

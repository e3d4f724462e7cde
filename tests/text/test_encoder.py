import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.encoder_contract import TextEncoderContract
from kgrec.text import TransformersEncoder, encoder_of
from kgrec.text import encoder as encoder_file

pytestmark = pytest.mark.slow


class TestWordEncoder(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls):
        return WordEncoder()


class TestMeanPooling(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged):
        return packaged


class TestClsPooling(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged):
        return TransformersEncoder(packaged.folder, pooling="cls", batch_tokens=64)


class TestDecoder(TextEncoderContract):
    """A GPT whose tokenizer pads on the left, as embedding models' do."""

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, model):
        return TransformersEncoder(model("gpt2"), max_tokens=16)

    test_similar_texts_have_similar_vectors = None  # the weights are random


class TestInt8(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged):
        return TransformersEncoder(packaged.folder, precision="int8")


class TestEncoderDecoder(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, model):
        return TransformersEncoder(model("t5"))

    test_similar_texts_have_similar_vectors = None


@pytest.mark.parametrize(
    ("family", "files", "pooling"),
    [
        ("bert", {}, "mean"),
        ("gpt2", {}, "last"),
        ("llama", {}, "last"),
        ("t5", {}, "mean"),
        ("bert", {"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, "cls"),
        ("gpt2", {"pooling": {"pooling_mode_mean_tokens": True}}, "mean"),
        ("bert", {"pooling": {"pooling_mode_lasttoken": True}}, "last"),
        ("bert", {"pooling": {"pooling_mode": "cls"}}, "cls"),
    ],
)
def test_pooling_follows_the_model(model, family, files, pooling):
    folder = model(family, **files)
    assert TransformersEncoder(folder).pooling == pooling
    given = next(x for x in ("mean", "cls") if x != pooling)
    assert TransformersEncoder(folder, pooling=given).pooling == given


def test_several_poolings_are_concatenated(model):
    folder = model("bert", pooling={"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True})
    encoder = TransformersEncoder(folder)
    assert (encoder.pooling, encoder.dim, encoder.encode(["a text"]).shape) == ("max+mean", 64, (1, 64))


def test_pooling_unknown_to_the_library_is_an_error(model):
    folder = model("bert", pooling={"pooling_mode": "attention"})
    with pytest.raises(UsageError, match="does not load as a text model: Invalid pooling mode: 'attention'"):
        TransformersEncoder(folder).encode(["a text"])


@pytest.fixture(scope="module")
def dense(model, tmp_path_factory):
    """A model with a dense layer, as sentence-transformers saves it, and what that library encodes with it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    torch.manual_seed(0)
    parts = [Transformer(str(model("bert"))), Pooling(32, "weightedmean"), Dense(32, 16), Normalize()]
    theirs, folder = SentenceTransformer(modules=parts, device="cpu"), tmp_path_factory.mktemp("dense")
    theirs.save_pretrained(str(folder), create_model_card=False)
    texts = ["red", "a far longer text about oil filters and paint", "words " * 600]
    return folder, texts, theirs.encode(texts, batch_size=1, show_progress_bar=False)  # its padding is on the left


def test_dense_layer_equals_sentence_transformers(dense):
    folder, texts, expected = dense
    encoder = TransformersEncoder(folder, max_tokens=512)
    assert (encoder.dim, encoder.pooling) == (16, "weightedmean")
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-6)


def test_identity_depends_on_dense_layer(dense, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(dense[0], tmp_path / "copy"))
    before = TransformersEncoder(folder).identity
    file = folder / "2_Dense" / "model.safetensors"
    changed = {name: values + 1 for name, values in load_file(file).items()}
    file.unlink()
    save_file(changed, tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").rename(file)
    assert TransformersEncoder(folder).identity != before


def test_dense_layer_of_another_width_is_an_error(dense, tmp_path):
    folder = Path(shutil.copytree(dense[0], tmp_path / "copy"))
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["cls", "max"]}')
    with pytest.raises(UsageError, match="2_Dense takes 32 numbers, and pooling cls\\+max gives 64"):
        TransformersEncoder(folder).encode(["a text"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_padding_does_not_change_vectors(model, family, pooling):
    """Against transformers itself, one text at a time: nothing is padded there, on whatever side."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = model(family)
    tokenizer, bare = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["red", "red green blue yellow", "a far longer text about oil filters and paint"]
    reduce = {"mean": lambda h: h.mean(0), "cls": lambda h: h[0], "last": lambda h: h[-1]}[pooling]
    with torch.inference_mode():
        ids = [tokenizer(t, return_tensors="pt")["input_ids"] for t in texts]
        expected = [reduce(bare(input_ids=x).last_hidden_state[0]).numpy() for x in ids]
    expected = [x / np.linalg.norm(x) for x in expected]
    np.testing.assert_allclose(TransformersEncoder(folder, pooling=pooling).encode(texts), expected, atol=1e-5)


def test_decoder_vector_covers_the_whole_text(model):
    """In a causal model the last token sees the whole text, so cutting the text must change its vector."""
    whole, cut = TransformersEncoder(model("gpt2")).encode(["red green blue", "red green"])
    assert whole @ cut < 0.999


def test_prefixes_default_to_the_model(model):
    prompts = {"prompts": {"query": "query: ", "passage": "passage: ", "other": "x"}, "default_prompt_name": "other"}
    folder = model("bert", prompts=prompts)
    assert TransformersEncoder(folder).prefix == "passage: "
    assert TransformersEncoder(folder, use="query").prefix == "query: "
    assert TransformersEncoder(folder, query_prefix="", use="query").prefix == ""
    del prompts["prompts"]["query"]
    assert TransformersEncoder(model("bert", prompts=prompts), use="query").prefix == "x"
    assert TransformersEncoder(model("bert", prompts={"prompts": {"query": "q"}})).prefix == ""


def test_settings_make_an_encoder(model):
    folder = str(model("bert"))
    whole = {"model": folder, "pooling": "cls", "text_prefix": "t", "query_prefix": "q", "precision": "int8"}
    settings = Config.checked({"encoder": whole}).encoder
    for_text, for_query = encoder_of(settings), encoder_of(settings, "query")
    assert (for_text.pooling, for_text.precision, for_text.prefix, for_query.prefix) == ("cls", "int8", "t", "q")
    assert encoder_of(Config.checked({"encoder": folder}).encoder).folder == Path(folder)
    assert encoder_of(None).name == "all-MiniLM-L6-v2"


def test_settings_without_a_model_change_the_packaged_one():
    encoder = encoder_of(Config.checked({"encoder": {"max_tokens": 9, "encode_behaviors": True}}).encoder)
    assert (encoder.folder, encoder.name) == (encoder_of(None).folder, "all-MiniLM-L6-v2")
    assert (encoder.max_tokens, encoder.encodes_behaviors, encoder_of(None).encodes_behaviors) == (9, True, False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"model": "m", "poling": "cls"}, "unknown setting 'encoder.poling'; expected one of model, pooling"),
        ({"model": "m", "pooling": "max"}, "setting 'encoder.pooling': found 'max'"),
        ({"model": 3}, "setting 'encoder.model'"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(UsageError, match=message):
        Config.checked({"encoder": setting})


@pytest.mark.parametrize(("family", "limit"), [("gpt2", 32), ("roberta", 32), ("bert", 512)])
def test_texts_longer_than_the_model_are_cut(model, family, limit):
    folder = model(family)
    encoder = TransformersEncoder(folder, pooling="mean", max_tokens=10_000)
    long, cut = encoder.encode(["word " * 2000, "word " * (limit - 2)])
    np.testing.assert_allclose(long, cut, atol=1e-5)


def test_max_tokens_defaults_to_the_trained_length(model):
    encoder = TransformersEncoder(model("bert", sentences={"max_seq_length": 5}))
    long, cut = encoder.encode(["red green blue yellow", "red green blue"])
    np.testing.assert_allclose(long, cut, atol=1e-6)


def test_int8_is_close_and_smaller(packaged):
    import torch

    small = TransformersEncoder(packaged.folder, precision="int8")
    texts = ["a funny movie for kids", "an oil filter", "garden flowers"]
    assert np.einsum("nd,nd->n", small.encode(texts), packaged.encode(texts)).min() > 0.99
    assert not np.array_equal(small.encode(texts), packaged.encode(texts))
    layers = [m for m in small._model.modules() if isinstance(m, torch.nn.Linear)]
    assert layers == []


def test_half_precision_is_close(model):
    folder = model("bert")
    half, full = (TransformersEncoder(folder, precision=p).encode(["red", "green"]) for p in ("half", "full"))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=0.02)
    assert not np.array_equal(half, full)


def test_default_precision_is_half_where_that_is_fast(packaged, monkeypatch):
    texts = ["a funny movie for kids", "an oil filter", "garden flowers"]
    assert TransformersEncoder(packaged.folder).precision == "full"
    monkeypatch.setattr(encoder_file, "has_bfloat16", lambda device: True)
    fast = TransformersEncoder(packaged.folder)
    assert fast.precision == "half"
    assert np.einsum("nd,nd->n", fast.encode(texts), packaged.encode(texts)).min() > 0.999


def test_batches_are_halved_until_they_fit(model, monkeypatch):
    import torch

    encoder = TransformersEncoder(model("bert"), batch_tokens=1000)
    texts = [f"{'word ' * (i % 5)}{i}" for i in range(40)]
    expected, sizes, forward = encoder.encode(texts), [], encoder._model.forward

    def small_memory(input_ids, **rest):
        sizes.append(input_ids.numel())
        if input_ids.numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(input_ids=input_ids, **rest)

    monkeypatch.setattr(encoder._model, "forward", small_memory)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
    assert max(sizes) > 100
    again = len(sizes)
    encoder.encode(texts)
    assert max(sizes[again:]) <= 100  # what fits is remembered
    with pytest.raises(UsageError, match=r"no memory on \w+ for one text of \d+ tokens"):
        encoder.encode(["word " * 200])


def test_other_model_errors_are_raised(model, monkeypatch):
    encoder = TransformersEncoder(model("bert"))

    def broken(**_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(encoder._model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        encoder.encode(["a text"])


def test_similar_meaning_beats_shared_words(packaged):
    film, same, other = packaged.encode(["a funny movie for kids", "comedy film for children", "a funny oil filter"])
    assert film @ same > film @ other + 0.2


def test_packaged_model_gives_the_published_similarity(packaged):
    """The first example of the model's card: 'This is an example sentence' and 'Each sentence is converted'."""
    first, second = packaged.encode(["This is an example sentence", "Each sentence is converted"])
    np.testing.assert_allclose(first[:3], [0.0676, 0.0635, 0.0487], atol=1e-3)
    np.testing.assert_allclose(second[:3], [0.0864, 0.1028, 0.0053], atol=1e-3)


def test_longer_texts_are_cut(packaged):
    short = TransformersEncoder(packaged.folder, max_tokens=5)
    same, longer = short.encode(["red green blue", "red green blue yellow brown"])
    np.testing.assert_allclose(same, longer, atol=1e-5)


def test_prefix_is_added_to_every_text(packaged):
    prefixed = TransformersEncoder(packaged.folder, text_prefix="query: ")
    np.testing.assert_allclose(prefixed.encode(["red"]), packaged.encode(["query: red"]), atol=1e-5)


@pytest.mark.parametrize(
    "setting",
    [{"pooling": "cls"}, {"max_tokens": 8}, {"text_prefix": "query: "}, {"precision": "int8"}, {"precision": "half"}],
)
def test_identity_depends_on_settings(packaged, setting):
    assert TransformersEncoder(packaged.folder, **setting).identity != packaged.identity
    assert TransformersEncoder(packaged.folder, batch_tokens=8).identity == packaged.identity


def test_identity_depends_on_content_not_path(packaged, tmp_path):
    shutil.copytree(packaged.folder, tmp_path / "copy")
    assert TransformersEncoder(tmp_path / "copy").identity == packaged.identity
    shutil.copytree(packaged.folder, tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    assert TransformersEncoder(tmp_path / "other").identity != packaged.identity


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "no/such/folder"}, "no text model 'no/such/folder'; expected a folder, or a model id"),
        ({"model": Path(__file__).parent}, "holds no transformers model; expected config.json"),
        ({"model": ".", "pooling": "max"}, "setting 'encoder.pooling': found 'max'; expected 'mean', 'cls' or 'last'"),
        (
            {"model": ".", "precision": "int4"},
            "setting 'encoder.precision': found 'int4'; expected 'full', 'half' or 'int8'",
        ),
        ({"model": ".", "max_tokens": 0}, "setting 'encoder.max_tokens': found 0; expected a number greater than"),
        ({"model": ".", "batch_tokens": 0}, "batch_tokens 0; expected a whole number from 1 on"),
    ],
)
def test_wrong_use_is_a_clear_error(arguments, message):
    with pytest.raises(UsageError, match=message):
        TransformersEncoder(**arguments)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_damaged_model_is_named(packaged, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(packaged.folder, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:1000])
    with pytest.raises(UsageError, match=f"{folder} does not load as a text model: .*Download or copy it again"):
        TransformersEncoder(folder).encode(["a text"])


def test_dim_reads_any_config_key(packaged, tmp_path):
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(dim=24, hidden_dim=32, n_layers=1, n_heads=2, vocab_size=50)
    DistilBertModel(config).save_pretrained(tmp_path)
    shutil.copy(packaged.folder / "tokenizer.json", tmp_path)
    assert TransformersEncoder(tmp_path).dim == 24


def in_new_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_model_without_tokenizer_says_how_to_get_one(model):
    folder = model("bert")
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(UsageError, match=r"model without a tokenizer; expected one of tokenizer.json.*save_pretrained"):
        TransformersEncoder(folder)


def test_broken_json_file_is_named(model):
    folder = model("bert")
    (folder / "config_sentence_transformers.json").write_text("{oops")
    with pytest.raises(UsageError, match=r"config_sentence_transformers.json is not JSON .*download or copy"):
        TransformersEncoder(folder)


def test_offline_error_lists_cached_models(hub):
    with pytest.raises(UsageError) as error:
        TransformersEncoder("tiny/sentence")
    assert "no text model 'tiny/sentence': not a folder here, and the Hugging Face hub answers: " in str(error.value)
    assert "hf download tiny/sentence --local-dir FOLDER" in str(error.value)
    assert "In the cache: tiny/sentences; near matches: tiny/sentences" in str(error.value)
    shutil.rmtree(hub)
    with pytest.raises(UsageError, match="In the cache: no text model"):
        TransformersEncoder("tiny/sentence")


def test_loading_is_silent_and_keeps_logging_levels():
    code = """
import logging, sys, warnings
warnings.simplefilter("error")
from kgrec.text import default_encoder
assert "torch" not in sys.modules and "transformers" not in sys.modules
from transformers.utils import logging as theirs
def state():
    return logging.root.level, list(logging.root.handlers), theirs.get_verbosity(), theirs.is_progress_bar_enabled()
before = state()
default_encoder().encode(["a text"])
assert state() == before
"""
    done = in_new_process(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_order_is_kept_over_many_batches(packaged):
    texts = [f"{'word ' * (i * 7 % 20)}{i}" for i in range(30)]
    tiny = TransformersEncoder(packaged.folder, batch_tokens=64)
    np.testing.assert_allclose(tiny.encode(texts), packaged.encode(texts), atol=1e-5)

"""A model's tokenizer and embedding table, read from its files: without transformers, which takes seconds to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kgrec.errors import UsageError

if TYPE_CHECKING:
    import torch

_TABLES: Final = ("word_embeddings.weight", "tok_embeddings.weight", "embed_tokens.weight", "wte.weight")
"""Ends of the names of embedding tables in files of weights."""


def plain_tokenizer(folder: Path) -> Any | None:
    """Return the tokenizer of a model, without truncation and padding; None if it has no tokenizer.json.

    Raises:
        UsageError: the file is damaged.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no narrower class
        reason = str(error).splitlines()[0]
        raise UsageError(f"{folder} does not load as a text model: {reason}. Download or copy it again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def embedding_table(folder: Path) -> torch.Tensor | None:
    """Return the vectors of a model's tokens, [tokens, d], mapped into memory; None if no file names such a table.

    Raises:
        UsageError: a file of weights is damaged.
    """
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                name = next((name for name in weights.keys() if name.endswith(_TABLES)), None)  # noqa: SIM118
                if name:
                    table: torch.Tensor = weights.get_tensor(name)
                    return table
        except SafetensorError as error:
            raise UsageError(f"{file} is damaged: {error}. Download or copy the model again") from error
    return None

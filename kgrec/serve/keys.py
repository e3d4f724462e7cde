"""API keys: a file of named keys, each with its scopes and a hash. A key itself is shown once and not stored."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kgrec._util.files import write_atomic
from kgrec.errors import UsageError, listed

Scope = Literal["read", "write", "query", "admin"]
"""read: recommendations, items, users · write: events · query: free queries · admin: metrics and releases."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

_PREFIX: Final = "kgrec_"
_COST: Final = {"n": 2**14, "r": 8, "p": 1}
"""Cost of scrypt: about 50 ms, once per key and process."""


class ApiKey(BaseModel):
    """A named key.

    Attributes:
        name: name of the key, for logs; unique in its file.
        scopes: what the key may do.
        salt, hash: hexadecimal; the hash is scrypt of the key.
        requests_per_second: allowed rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w.-]{1,64}$")
    scopes: tuple[Scope, ...]
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    requests_per_second: Annotated[float, Field(gt=0)] = 1000.0

    def fits(self, key: str) -> bool:
        """Return whether a key is this one, in constant time."""
        return hmac.compare_digest(_hash(key, self.salt), self.hash)


_FILE: Final = TypeAdapter(list[ApiKey])


class ApiKeys:
    """The keys of a file.

    A key contains its name, so that scrypt runs for keys with a known name only; and a key that was found is remembered
    by its SHA-256, so that it runs once.
    """

    def __init__(self, path: str | Path) -> None:
        """Read a file of keys.

        Raises:
            UsageError: the file cannot be read or is not a file of keys.
        """
        self._by_name = {key.name: key for key in read_keys(path)}
        self._known: dict[bytes, ApiKey] = {}

    def recall(self, key: str) -> ApiKey | None:
        """Return the named key that a key was found to be; None if it was not found yet."""
        return self._known.get(_digest(key))

    def find(self, key: str) -> ApiKey | None:
        """Return the named key that a key is; None if it is none of the file."""
        named = self._by_name.get(key.removeprefix(_PREFIX).rpartition(".")[0])
        if named is None or not named.fits(key):
            return None
        self._known[_digest(key)] = named
        return named


def read_keys(path: str | Path) -> list[ApiKey]:
    """Return the keys of a file.

    Raises:
        UsageError: the file cannot be read or is not a file of keys.
    """
    try:
        return _FILE.validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}. Run: kgrec keys add {path} NAME --scope read"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} is not a file of keys: {place}: {first['msg']}") from None


def add_key(path: str | Path, name: str, scopes: Sequence[str], requests_per_second: float = 1000.0) -> str:
    """Add a named key to a file, which is created if it does not exist; return the key, which is not stored.

    Raises:
        UsageError: the name is taken or invalid, a scope is unknown, or the file is not a file of keys.
    """
    if wrong := sorted(set(scopes) - set(SCOPES)):
        raise UsageError(f"unknown scope: {wrong[0]!r}. Expected one of {listed(SCOPES)}")
    if not scopes:
        raise UsageError(f"no scope. Expected at least one of {listed(SCOPES)}")
    known = read_keys(path) if Path(path).exists() else []
    if name in {key.name for key in known}:
        raise UsageError(f"{path} has a key named {name!r}. Choose another name, or remove it from the file")
    key, salt = f"{_PREFIX}{name}.{secrets.token_hex(32)}", secrets.token_hex(16)
    try:
        added = ApiKey(
            name=name,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            salt=salt,
            hash=_hash(key, salt),
            requests_per_second=requests_per_second,
        )
    except ValidationError as error:
        raise UsageError(f"invalid key {name!r}: {error.errors()[0]['msg']}") from None
    lines = [json.dumps(entry.model_dump(mode="json")) for entry in [*known, added]]
    write_atomic(path, "[\n" + ",\n".join(lines) + "\n]\n")
    return key


def _hash(key: str, salt: str) -> str:
    digest = hashlib.scrypt(key.encode("utf-8", "surrogateescape"), salt=bytes.fromhex(salt), dklen=32, **_COST)
    return digest.hex()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

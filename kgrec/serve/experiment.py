"""A/B test: arms with a share of the users each, assigned by a hash of the user's id.

name: new-model
arms:
  control: {share: 0.45}                                # the live release; the first arm is the control
  candidate: {share: 0.45, release: 20261128-043000-1a2b}
  holdout: {share: 0.1, popular: true}                  # popular items
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kgrec._util.safe_yaml import described, read_yaml
from kgrec.errors import UsageError

Name = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
_BUCKETS: Final = 2**64


class Arm(BaseModel):
    """One arm.

    Attributes:
        share: share of the users, 0 to 1.
        release: name of the run that answers; None: the live one.
        popular: whether the arm gets popular items, to measure what recommendations bring at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(gt=0, lt=1)]
    release: Name | None = None
    popular: bool = False


class Experiment(BaseModel):
    """An A/B test.

    Attributes:
        name: name of the experiment; another name assigns users again.
        arms: name → arm; the first is the control.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    arms: Annotated[dict[Name, Arm], Field(min_length=2)]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        total = sum(arm.share for arm in self.arms.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of the arms sum to {total:g}. Expected 1")
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the experiment of a YAML file.

        Raises:
            UsageError: the file cannot be read, or is not an experiment; the error lists every problem.
        """
        try:
            return cls.model_validate(read_yaml(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not an experiment: it is no text in UTF-8") from None
        except yaml.YAMLError as error:
            reason, line = described(error)
            raise UsageError(f"{path} is not an experiment: {reason}, line {line}") from None
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, part['loc'])) or 'the file'}: {part['msg']}" for part in error.errors()]
            raise UsageError("\n  ".join([f"{path} is not an experiment:", *lines])) from None

    def arm_of(self, user_id: str) -> str:
        """Return the arm of a user, the same in every process and at every time."""
        digest = hashlib.sha256(f"{self.name}:{user_id}".encode("utf-8", "surrogatepass")).digest()
        ends = np.cumsum([arm.share for arm in self.arms.values()])
        place = int(np.searchsorted(ends, int.from_bytes(digest[:8], "big") / _BUCKETS, side="right"))
        return list(self.arms)[min(place, len(ends) - 1)]

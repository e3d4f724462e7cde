from collections.abc import Iterator

import pytest

from kgrec.text import encoder


@pytest.fixture(autouse=True, scope="package")
def full_precision() -> Iterator[None]:
    """Encode in full precision by default, whatever the processor, since these tests compare digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "has_bfloat16", lambda device: False)
        yield

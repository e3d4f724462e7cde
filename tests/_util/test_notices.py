import warnings

import pytest

from kgrec._util.notices import DataNotice, notice, notices


def test_notice_in_python_is_a_warning() -> None:
    with pytest.warns(DataNotice, match="2 rows left out"):
        notice("2 rows left out")


def test_notices_passes_only_notices() -> None:
    told: list[str] = []
    with pytest.warns(UserWarning, match="another"), notices(told.append):  # noqa: PT031
        for _ in range(2):
            notice("the same twice")
        warnings.simplefilter("always")
        warnings.warn("another", UserWarning, stacklevel=1)
    assert told == ["the same twice", "the same twice"]

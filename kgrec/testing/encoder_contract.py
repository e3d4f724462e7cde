"""Contract tests of text encoders. A subclass provides a fixture:

class TestMyEncoder(TextEncoderContract):
    @pytest.fixture(scope="class")
    def encoder(self):
        return MyEncoder()
"""

from __future__ import annotations

import numpy as np

from kgrec.text.base import TextEncoder

TEXTS = [
    "a heist film with a clever thief",
    "a clever thief plans a heist",
    "acrylic paint brushes for artists",
    "brushes",
    "a long description that goes on about a clever thief " * 10,
    "Überraschung 映画 🎬",
]


class TextEncoderContract:
    """Tests of the TextEncoder port; a subclass provides a fixture `encoder`."""

    def test_encode_gives_one_float32_row_per_text(self, encoder: TextEncoder) -> None:
        """Shape and type are those of the port."""
        vectors = encoder.encode(TEXTS)
        assert vectors.shape == (len(TEXTS), encoder.dim)
        assert vectors.dtype == np.float32

    def test_encode_no_text_gives_no_row(self, encoder: TextEncoder) -> None:
        """An empty list of texts gives an empty matrix."""
        assert encoder.encode([]).shape == (0, encoder.dim)

    def test_vectors_have_length_one(self, encoder: TextEncoder) -> None:
        """Rows have length 1, so that a dot product is a cosine."""
        np.testing.assert_allclose(np.linalg.norm(encoder.encode([*TEXTS, ""]), axis=1), 1, atol=1e-5)

    def test_vector_does_not_depend_on_its_batch(self, encoder: TextEncoder) -> None:
        """The vector of a text is the same alone, in a batch, and in another order."""
        together = encoder.encode(TEXTS)
        alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], alone, atol=1e-5)

    def test_similar_texts_have_similar_vectors(self, encoder: TextEncoder) -> None:
        """Similar texts have closer vectors than different ones."""
        heist, like, unlike, *_ = encoder.encode(TEXTS)
        assert heist @ like > heist @ unlike + 0.1

    def test_identity_and_name_are_strings(self, encoder: TextEncoder) -> None:
        """The cache uses the identity as key, reports show the name."""
        assert encoder.name
        assert encoder.identity == encoder.identity.strip() != ""

"""scikit-learn: ``SentenceVectorizer``, texts to vectors in a pipeline.

::

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from simsearch.integrations.sklearn import SentenceVectorizer

    classifier = make_pipeline(SentenceVectorizer(), LogisticRegression()).fit(texts, labels)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from simsearch.encoder import Prompt, Vectors
from simsearch.errors import SettingsError
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.sources import DEFAULT_MODEL


class SentenceVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Texts to unit vectors, float32 (texts, dim). ``fit`` loads the model and learns nothing.

    ``model``, ``pooling`` and ``whitening`` are those of ``SentenceEncoder.load``; the default is
    the embedded model. Copied or pickled it forgets the model and loads it again when it is asked.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        pooling: str | None = None,
        whitening: str | None = None,
        prompt: Prompt = "document",
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.whitening = whitening
        self.prompt = prompt

    def fit(self, X: Sequence[str], y: Any = None) -> SentenceVectorizer:
        """Load the model."""
        _checked(X)
        self.n_features_out_ = self._loaded().dim
        return self

    def transform(self, X: Sequence[str]) -> Vectors:
        """The vectors of texts. Raises SettingsError for anything but a sequence of strings."""
        check_is_fitted(self)
        return self._loaded().encode(_checked(X), prompt=self.prompt)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """``simsearch0``, ``simsearch1`` and so on."""
        check_is_fitted(self)
        names = [f"simsearch{i}" for i in range(self.n_features_out_)]
        return np.array(names, dtype=object)

    def _loaded(self) -> SentenceEncoder:
        if not hasattr(self, "_encoder"):
            self._encoder = SentenceEncoder.load(
                self.model, pooling=self.pooling, whitening=self.whitening
            )
        return self._encoder

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_encoder"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise SettingsError("X is one string; give a list of strings, such as [text]")
    found = list(texts)
    for text in found:
        if not isinstance(text, str):
            raise SettingsError(f"X has {text!r}; give strings")
    return found

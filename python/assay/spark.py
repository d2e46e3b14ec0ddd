"""Scores Spark data frames.

    from assay.spark import Scorer

    scored = Scorer(["http://node1:8000", "http://node2:8000"]).score(frame.repartition("prompt"))

The repartition brings the responses to a prompt together, so that they are sent together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pandas
from pyspark.sql import DataFrame
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from . import _protocol
from ._batches import BatchScorer, score_columns, urls_of
from .client import Client


class Scorer:
    """Adds a column for each attribute to frames of prompts and responses, by `mapInPandas`.

    A frame has columns of the names `prompt` (texts, or arrays of messages) and `response` (texts). With several URLs,
    each prompt goes to one of them, and to the next one if that does not answer. A row that cannot be scored fails its
    task, unless `error` names a column for the reason; its scores are then null. `attributes` are the names of the
    scores, by default those that the first server reports; a model that scores steps reports none.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        attributes: Sequence[str] | None = None,
        api_key: str | None = None,
        model: str | None = None,
        prompt: str = "prompt",
        response: str = "response",
        prefix: str = "score_",
        error: str | None = None,
        retry_for: float = 600.0,
        **fields: Any,
    ):
        urls = urls_of(url)
        # Spark sends this object to its workers, so that it holds no connection.
        self._options = {"url": urls, "api_key": api_key, "model": model, "retry_for": retry_for, "fields": fields}
        self._prompt, self._response, self._prefix, self._error = prompt, response, prefix, error
        if attributes is None:
            with Client(urls[0], api_key=api_key, model=model, retry_for=retry_for) as client:
                attributes = client.attributes()
        if not attributes:
            raise ValueError("the server reports no attributes; name the columns to add with `attributes`")
        self._attributes = list(attributes)

    def score(self, frame: DataFrame) -> DataFrame:
        """The frame with its scores."""
        return frame.mapInPandas(self, self.schema(frame))

    def schema(self, frame: DataFrame) -> StructType:
        """The schema of the frame with its scores."""
        added = [StructField(self._prefix + name, DoubleType()) for name in self._attributes]
        if self._error is not None:
            added.append(StructField(self._error, StringType()))
        return StructType([*frame.schema.fields, *added])

    def __call__(self, frames: Iterator[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        with closing(BatchScorer(**self._options)) as scorer:
            for frame in frames:
                items = scorer.items(list(frame[self._prompt]), list(frame[self._response]))
                if self._error is None:
                    _protocol.check(items)
                scores = score_columns(items, self._attributes)
                columns: dict[str, Any] = {self._prefix + name: values for name, values in scores.items()}
                if self._error is not None:
                    columns[self._error] = [item.error or "" for item in items]
                yield frame.assign(**columns)

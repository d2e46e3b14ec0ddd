"""`assay.spark.Scorer` on Spark in its local mode: `make test-spark`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rows import ROWS

from assay import Server

pytest.importorskip("pandas")
pytest.importorskip("pyspark")

from pyspark.sql import DataFrame, SparkSession  # noqa: E402

from assay.spark import Scorer  # noqa: E402


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    yield session
    session.stop()


def by_id(frame: DataFrame) -> dict[int, dict]:
    return {row["id"]: row.asDict() for row in frame.collect()}


def test_a_frame_gets_the_scores_of_assay_score(spark: SparkSession, server: Server, scored, tmp_path: Path):
    frame = spark.createDataFrame(ROWS).repartition(4, "prompt")
    result = Scorer(server.url).score(frame)
    assert by_id(result) == scored
    # Also after Spark has written and read them.
    result.write.parquet(str(tmp_path / "scored"))
    assert by_id(spark.read.parquet(str(tmp_path / "scored"))) == scored


def test_messages_are_prompts_too_and_another_server_answers_for_one_that_is_gone(spark: SparkSession, engine, server: Server, scored):
    gone = Server(engine, "--threads", "1")
    gone.close()
    rows = [row | {"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
    frame = spark.createDataFrame(rows, "id long, prompt array<struct<role: string, content: string>>, response string")
    attributes = [name.removeprefix("score_") for name in scored[0] if name.startswith("score_")]
    found = by_id(Scorer([gone.url, server.url], attributes=attributes, retry_for=60).score(frame))
    for number, row in scored.items():
        assert all(found[number]["score_" + name] == row["score_" + name] for name in attributes)


def test_a_row_without_scores_fails_the_job_unless_a_column_takes_the_reason(spark: SparkSession, server: Server):
    frame = spark.createDataFrame([("q", "long " * 20_000), ("q", "a")], ["prompt", "response"])
    with pytest.raises(Exception, match="has no scores"):
        Scorer(server.url).score(frame).collect()
    too_long, good = Scorer(server.url, error="error").score(frame).collect()
    assert "tokens" in too_long["error"] and too_long["score_helpfulness"] is None
    assert good["error"] == "" and good["score_helpfulness"] is not None

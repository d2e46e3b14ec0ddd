"""Scores a folder of Parquet files with several servers: spark-submit score.py IN OUT"""

import sys

from pyspark.sql import SparkSession

from assay.spark import Scorer

SERVERS = ["http://reward-0:8000", "http://reward-1:8000"]

source, target = sys.argv[1:]
session = SparkSession.builder.getOrCreate()
frame = session.read.parquet(source).repartition("prompt")
Scorer(SERVERS, error="score_error").score(frame).write.parquet(target)

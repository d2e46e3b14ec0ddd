"""Scores a data set on a Ray cluster, by several servers.

    python score.py --input pairs/ --output scored/ --url http://node1:8000 http://node2:8000
"""

import argparse

import ray

from assay.ray import Scorer

parser = argparse.ArgumentParser()
parser.add_argument("--input", required=True, help="Parquet files with columns prompt and response")
parser.add_argument("--output", required=True)
parser.add_argument("--url", nargs="+", default=["http://localhost:8000"])
parser.add_argument("--actors", type=int, default=4)
arguments = parser.parse_args()

data = ray.data.read_parquet(arguments.input)
# Rows with one prompt share its computation if they are in one batch: sort by prompt if they are not together.
scored = data.map_batches(
    Scorer,
    fn_constructor_kwargs={"url": arguments.url},
    concurrency=arguments.actors,
    batch_size=512,
)
scored.write_parquet(arguments.output)

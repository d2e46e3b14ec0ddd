"""Scores generations in a distilabel pipeline."""

from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts

from assay.distilabel import AssayScores

with Pipeline(name="scores") as pipeline:
    load = LoadDataFromDicts(data=[{"instruction": "What is 1+1?", "generations": ["2", "3"]}])
    load >> AssayScores(url="http://localhost:8000", attribute="helpfulness")

if __name__ == "__main__":
    print(pipeline.run(use_cache=False)["default"]["train"][0])

"""Rows that the tests of data pipelines score."""

ROWS = [{"id": n, "prompt": f"What is {n // 4}+1?", "response": f"It is {n}."} for n in range(200)]

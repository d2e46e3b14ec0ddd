"""`assay.ray.Scorer` on real Ray: `make test-ray`."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rows import ROWS

from assay import ScoringError, Server, ServerError

numpy = pytest.importorskip("numpy")
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from ray.cluster_utils import Cluster  # noqa: E402

from assay.ray import Scorer  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    arguments = {"num_cpus": 4, "include_dashboard": False, "object_store_memory": 500_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def by_id(dataset) -> dict[int, dict]:
    return {row["id"]: row for row in dataset.take_all()}


def test_a_dataset_gets_the_scores_of_assay_score(cluster, server: Server, scored):
    data = ray.data.from_items(ROWS, override_num_blocks=4)
    arguments = {"url": server.url}
    result = data.map_batches(Scorer, fn_constructor_kwargs=arguments, concurrency=1, batch_size=32)
    assert by_id(result) == scored


def test_a_node_that_is_killed_loses_no_row(cluster: Cluster, server: Server, scored):
    # Pickled by its value: workers cannot import this file.
    slow = lambda batch: time.sleep(0.4) or batch  # noqa: E731
    node = cluster.add_node(num_cpus=2, object_store_memory=500_000_000)
    cluster.wait_for_nodes()
    data = ray.data.from_items(ROWS, override_num_blocks=12).map_batches(slow, batch_size=16)
    result = data.map_batches(Scorer, fn_constructor_kwargs={"url": server.url}, concurrency=2, batch_size=16)
    killer = threading.Timer(6.0, cluster.remove_node, [node])
    killer.start()
    try:
        assert by_id(result) == scored
    finally:
        killer.join()


def test_another_server_answers_for_one_that_is_gone(engine: Path, server: Server, scored):
    gone = Server(engine, "--threads", "1")
    gone.close()
    scorer = Scorer([gone.url, server.url], retry_for=60)
    batch = {name: numpy.array([row[name] for row in ROWS], dtype=object) for name in ROWS[0]}
    result = scorer(batch)
    names = [name for name in scored[0] if name.startswith("score_")]
    for name in names:
        assert result[name].tolist() == [scored[row["id"]][name] for row in ROWS]
    with pytest.raises(ServerError):
        Scorer(gone.url, retry_for=0)({"prompt": ["q"], "response": ["a"]})


def test_an_actor_may_start_a_server_of_its_own(engine: Path, scored):
    scorer = Scorer(engine=str(engine), engine_options=["--threads", "1"])
    result = scorer({"prompt": [ROWS[0]["prompt"]], "response": [ROWS[0]["response"]]})
    assert result["score_helpfulness"].tolist() == [scored[0]["score_helpfulness"]]


def test_a_row_without_scores_stops_the_job_unless_a_column_takes_the_reason(server: Server):
    batch = lambda: {"prompt": ["q", "q"], "response": ["long " * 20_000, "a"]}  # noqa: E731
    with pytest.raises(ScoringError):
        Scorer(server.url)(batch())
    result = Scorer(server.url, error="error")(batch())
    assert "tokens" in result["error"][0] and result["error"][1] == ""
    assert numpy.isnan(result["score_helpfulness"][0]) and not numpy.isnan(result["score_helpfulness"][1])
    # A batch without any scores has the same columns, or the dataset would have two schemas.
    failed = Scorer(server.url, error="error")({"prompt": ["q"], "response": ["long " * 20_000]})
    assert set(failed) == set(result) and numpy.isnan(failed["score_helpfulness"]).all()
    with pytest.raises(ValueError):
        Scorer()

"""The alert rules and every query of the dashboard, on a real Prometheus that scrapes a server under load."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
sys.path.insert(0, str(ROOT / "tests/wire"))
from conftest import Engines, Server, conversation, until  # noqa: E402

DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = [panel for outer in DASHBOARD["panels"] for panel in [outer, *outer.get("panels", [])] if panel["type"] != "row"]
QUERIES = [(f"{panel['title']}: {target['legendFormat']}", target["expr"]) for panel in PANELS for target in panel["targets"]]
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"][0]["rules"]
NAME = re.compile(r'^pub\(super\) const \w+: MetricName =\s*\(\s*"(\w+)",\s*"([^"]+)",?\s*\)', re.MULTILINE)
NAMES = dict(NAME.findall((ROOT / "src/telemetry/names.rs").read_text()))
PROCESS = ("process_cpu_seconds_total", "process_resident_memory_bytes", "up")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid_and_fire_when_they_should():
    promtool("check", "rules", "rules.yaml")
    promtool("check", "config", "prometheus.yml")
    promtool("test", "rules", "rules_test.yaml")


def test_exactly_the_existing_metrics_are_documented():
    page = (ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert documented == set(NAMES)


def test_rules_and_dashboard_query_existing_metrics():
    for expression in [rule["expr"] for rule in RULES] + [query for _, query in QUERIES]:
        names = re.findall(r"\b([a-z_0-9]+)\{", expression)
        assert names, expression
        for name in names:
            stem = re.sub(r"_(bucket|sum|count)$", "", name)
            assert stem in NAMES or name in NAMES or name in PROCESS, name


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(query for _, query in QUERIES)
    rest = {name for name in NAMES if not re.search(rf"\b{name}(_bucket|_sum)?\{{", shown)}
    assert rest <= NOT_SHOWN, rest


NOT_SHOWN: set[str] = set()


def test_the_dashboard_is_what_its_script_writes_and_every_panel_is_described():
    subprocess.run([sys.executable, ROOT / "tools/make_dashboard.py", "--check"], check=True, timeout=60)
    assert all(panel["description"].endswith(".") for panel in PANELS)
    first_screen = [panel for panel in PANELS if panel["gridPos"]["y"] == 0]
    assert len(first_screen) == 6 and all(panel["type"] == "stat" for panel in first_screen)
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]][1:] == ["job", "namespace", "model", "instance"]


def test_every_alert_has_a_section_in_the_runbook_and_is_tested():
    sections = set(re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))
    assert sections == {rule["alert"] for rule in RULES}
    tests = (MONITORING / "rules_test.yaml").read_text()
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert f'alertname="{rule["alert"]}"' in tests, rule["alert"]


class Prometheus:
    """A Prometheus that scrapes one server, and itself, every second."""

    def __init__(self, folder: Path, target: str):
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(MONITORING / "rules.yaml")]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        # Another program, as a shared Prometheus has many.
        config["scrape_configs"].append({"job_name": "other", "static_configs": [{"targets": [address]}]})
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://{address}"
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command.append(f"--web.listen-address={address}")
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until(self._ready)

    def _ready(self) -> bool:
        try:
            return urllib.request.urlopen(self.url + "/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def ask(self, path: str, **parameters: str):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list:
        return self.ask("query", query=expression)["result"]

    def panel(self, query: str) -> list:
        """What a panel of the dashboard shows while "All" is chosen for every variable."""
        expression = query.replace("$__rate_interval", "10s")
        for variable in DASHBOARD["templating"]["list"][1:]:
            expression = expression.replace(f"${variable['name']}", self._every(variable))
        return self.query(expression)

    def _every(self, variable: dict) -> str:
        if "allValue" in variable:
            return variable["allValue"]
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
        return "(" + "|".join(self.ask(f"label/{label}/values", **{"match[]": metric})) + ")"


def load(server: Server, stop: threading.Event) -> None:
    """Sends requests, some of them wrong, until `stop` is set."""
    number = 0
    with server.client() as client:
        while not stop.is_set():
            client.chat.completions.create(model="five", messages=conversation(f"answer {number % 50}"))
            number += 1
            if number % 5 == 0:
                server.get("/nowhere")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory) -> Iterator[Prometheus]:
    engines = Engines(tmp_path_factory.mktemp("engines"))
    folder = tmp_path_factory.mktemp("prometheus")
    variables = stand_in(folder)
    with Server(engines["llama3-tiny"], "--served-model-name", "five", "--max-connections", "16", **variables) as server:
        scraper = Prometheus(folder, server.address)
        stop = threading.Event()
        threads = [threading.Thread(target=load, args=(server, stop)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: scraper.query('sum(rate(request_success_total{job="assay"}[10s])) > 0'))
            # A rate over ten seconds needs one more scrape.
            time.sleep(5)
            yield scraper
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            scraper.process.terminate()
            scraper.process.wait()


def stand_in(folder: Path) -> dict[str, str]:
    """The environment with which the server loads a stand-in for the driver library, with one GPU."""
    compiler = os.environ.get("CC", "cc")
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    return {"LD_LIBRARY_PATH": str(folder)}


# Metrics of models that generate text, of rare events and of TLS, which the server under test does not have.
NO_DATA = {"time_per_output_token_seconds", "request_truncations_total", "tls_certificate_expiry_seconds"}


@pytest.mark.parametrize("query", [query for _, query in QUERIES], ids=[title for title, _ in QUERIES])
def test_every_dashboard_query_returns_data(prometheus: Prometheus, query: str):
    result = prometheus.panel(query)
    if any(name in query for name in NO_DATA):
        return
    assert result, f"no data for {query}"
    assert any(series["value"][1] != "NaN" for series in result), f"only NaN for {query}"


def test_the_dashboard_shows_no_other_program_of_a_shared_prometheus(prometheus: Prometheus):
    until(lambda: prometheus.query('up{job="other"} == 1'))
    shown = dict(QUERIES)
    assert [series["value"][1] for series in prometheus.panel(shown["Servers up: Servers up"])] == ["1"]
    for title, query in QUERIES:
        assert all(series["metric"].get("job", "assay") == "assay" for series in prometheus.panel(query)), title


def test_a_server_without_requests_is_idle_rather_than_nan():
    stats = [panel for panel in PANELS if panel["type"] == "stat"]
    for panel in stats:
        (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
        assert (mapping["type"], mapping["options"]["match"]) == ("special", "nan")


def test_prometheus_accepts_the_rules_and_a_healthy_server_raises_no_alert(prometheus: Prometheus):
    rules = prometheus.ask("rules")["groups"][0]["rules"]
    assert len(rules) == len(RULES)
    for rule in rules:
        assert rule["health"] == "ok", rule
        assert rule["state"] == "inactive", rule

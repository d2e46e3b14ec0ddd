#!/usr/bin/env python3
"""Writes deploy/monitoring/dashboard.json, the Grafana dashboard.

    tools/make_dashboard.py           writes it
    tools/make_dashboard.py --check   fails if it is not what this script writes
"""

import json
import sys
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "deploy/monitoring/dashboard.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# `namespace` matches servers without that label too, as `.*` stands for "All".
SERVERS = 'job=~"$job", namespace=~"$namespace", instance=~"$instance"'
SERIES = SERVERS + ', model_name=~"$model"'
RATE = "$__rate_interval"
WIDTH = 24
# A share of no requests, or a quantile of none, is NaN.
IDLE = {"type": "special", "options": {"match": "nan", "result": {"text": "no requests", "index": 0}}}


def selected(name: str, **labels: str) -> str:
    extra = "".join(f', {label}=~"{value}"' for label, value in labels.items())
    return f"{name}{{{SERIES}{extra}}}"


def rate(name: str, by: str = "", **labels: str) -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({selected(name, **labels)}[{RATE}]))"


def quantile(share: float, name: str, by: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({selected(name + '_bucket')}[{RATE}])))"


def mean(name: str, by: str = "") -> str:
    return f"{rate(name + '_sum', by)} / {rate(name + '_count', by)}"


def quantiles(name: str) -> list[tuple[str, str]]:
    return [(quantile(0.5, name), "median"), (quantile(0.95, name), "p95"), (quantile(0.99, name), "p99")]


REQUESTS = f"({rate('request_success_total')} + {rate('request_failure_total')})"
SERVER_ERRORS = "engine_failed|engine_stalled|internal_error|non_finite_score"
BUSY = f"avg(rate({selected('iteration_seconds_total')}[{RATE}]))"

# The first screen: title, unit, decimals, thresholds (colour from a value on), query, description.
STATS = [
    ("Servers up", "none", 0, [("red", None), ("green", 1)], f"sum(up{{{SERVERS}}}) or vector(0)",
     "Servers that answer the scrape. A server that loads its engine answers too."),
    ("Requests", "reqps", 1, [("blue", None)], REQUESTS,
     "Requests answered per second, with a result or with an error. A list counts once for each of its items."),
    ("Server errors", "percentunit", 2, [("green", None), ("orange", 0.001), ("red", 0.01)],
     f"({rate('request_errors_total', reason=SERVER_ERRORS)} or vector(0)) / {REQUESTS}",
     "Share of requests that the server failed to answer. Errors of clients are not counted. Alert: AssayServerErrors."),
    ("Latency p99", "s", 3, [("green", None), ("orange", 5), ("red", 10)], quantile(0.99, "e2e_request_latency_seconds"),
     "99 of 100 requests are answered in this time, from arrival to the response. Long waits raise it: see Queue time."),
    ("Queue time p95", "s", 3, [("green", None), ("orange", 1), ("red", 5)], quantile(0.95, "request_queue_time_seconds"),
     "95 of 100 requests wait no longer than this until the engine starts with them. Alert: AssaySlowQueue."),
    ("Engine busy", "percentunit", 0, [("green", None), ("orange", 0.8), ("red", 0.95)], BUSY,
     "Share of the time in which the engines compute. Near 100 %, more load only makes the queue longer."),
]

TABLE = (
    "Servers", f"max by (instance, version, profile, model_name) ({selected('assay_build_info')})",
    "Every server with its version, the profile of its engine and its model.",
)

# Rows of graphs: title, unit, [(query, legend)], description.
ROWS = [
    ("Traffic", False, [
        ("Requests", "reqps", [(rate("request_success_total"), "with a result"), (rate("request_failure_total"), "with an error")],
         "Requests answered per second."),
        ("Errors by code", "reqps", [(rate("request_errors_total", "reason"), "{{reason}}")],
         "Requests answered with an error per second, by the code in the error. docs/errors.md explains each."),
        ("Latency", "s", quantiles("e2e_request_latency_seconds"), "Time from a request's arrival until its response is ready."),
        ("Time to the scores", "s", quantiles("time_to_first_token_seconds"),
         "Time from arrival until the scores, or the first token of a model that generates text, are known."),
        ("Finish reasons", "reqps", [(rate("request_finish_total", "finished_reason"), "{{finished_reason}}")],
         "Requests answered per second, by finish reason."),
        ("Saved and lost work", "reqps", [(rate("request_cancelled_total"), "client disconnected"),
                                         (rate("request_deduplicated_total"), "answered by an identical request"),
                                         (rate("request_truncations_total"), "prompt truncated")],
         "Requests whose client left before the response, that needed no computation of their own, or whose prompt was cut."),
    ]),
    ("Scores", False, [
        ("Mean score", "none", [(mean("reward_score", "attribute"), "{{attribute}}")],
         "Mean of the returned scores. A sudden change means other inputs, or another model."),
        ("Scores returned", "ops", [(rate("reward_score_count", "attribute"), "{{attribute}}")], "Scores returned per second."),
        ("Median score", "none", [(quantile(0.5, "reward_score", "attribute"), "{{attribute}}")],
         "Median, as exact as the buckets of the histogram are narrow: set --score-buckets to fit the model."),
        ("Lowest and highest tenth", "none", [(quantile(0.1, "reward_score", "attribute"), "{{attribute}} p10"),
                                             (quantile(0.9, "reward_score", "attribute"), "{{attribute}} p90")],
         "One score in ten is below p10 and one above p90, as exact as the buckets: set --score-buckets to fit the model."),
        ("NaN and infinity", "none", [(f"sum(increase({selected('reward_non_finite_scores_total')}[{RATE}]))", "requests")],
         "Requests that failed because a score was NaN or infinite. Anything above 0 is a fault. Alert: AssayNonFiniteScores."),
    ]),
    ("Queue and engine", False, [
        ("Waiting and running", "none", [(selected("num_requests_running"), "running {{instance}}"),
                                        (selected("num_requests_waiting"), "waiting {{instance}}")],
         "Requests in the engine, and in the queue before it."),
        ("Waiting tokens", "none", [(selected("num_tokens_waiting"), "{{instance}}")],
         "Tokens of the waiting requests: divided by the rate of prompt tokens, it is the wait of the next request."),
        ("Queue time", "s", quantiles("request_queue_time_seconds"), "Time from arrival until the engine starts with a request."),
        ("Engine time", "s", quantiles("request_inference_time_seconds"),
         "Time from the first iteration that has a part of a request until its output."),
        ("Tokens", "none", [(rate("prompt_tokens_total"), "prompt"), (rate("prefix_cache_hit_tokens_total"), "shared prefix"),
                           (rate("generation_tokens_total"), "generated")],
         "Tokens per second: of prompts, those among them that were not computed because they are shared, and generated ones."),
        ("Engine busy", "percentunit", [(f"rate({selected('iteration_seconds_total')}[{RATE}])", "{{instance}}")],
         "Share of the time in which an engine computes."),
        ("Iterations", "ops", [(rate("iterations_total"), "iterations")], "Batches that the engines compute per second."),
        ("Tokens per iteration", "none", [(mean("iteration_tokens"), "mean"), (quantile(0.95, "iteration_tokens"), "p95")],
         "Tokens in a batch. Many small batches mean a light load, or a full KV cache."),
        ("Sequences per iteration", "none", [(mean("iteration_sequences"), "mean"),
                                            (quantile(0.95, "iteration_sequences"), "p95"),
                                            (f"max({selected('num_request_max')})", "limit")],
         "Sequences in a batch, and the limit that the engine was built with or --max-batch-size sets."),
        ("Fill of iterations", "percentunit", [(mean("iteration_fill_ratio"), "mean")],
         "Tokens of a batch as a share of the limit. Under load, near 100 % is efficient."),
        ("KV cache", "none", [(f"sum by (state) ({selected('kv_cache_blocks')})", "{{state}}")],
         "Blocks in use, kept because their prefix may come again, and free. A full cache is normal under load."),
        ("KV cache in use", "percentunit", [(selected("gpu_cache_usage_perc"), "{{instance}}")],
         "Share of the KV cache that requests in flight use, on GPUs and CPUs."),
        ("Preemptions", "ops", [(rate("sequence_preempted_total"), "preempted")],
         "Generating sequences per second that gave up their place in the KV cache. Alert: AssayPreemptions."),
        ("Prompt length", "none", quantiles("request_prompt_tokens"), "Tokens of a request's prompt."),
        ("Generated length", "none", quantiles("request_generation_tokens"), "Tokens generated for a request; 1 for scores."),
        ("Time per generated token", "s", quantiles("time_per_output_token_seconds"),
         "Time between two tokens of a text. Empty for reward models."),
        ("Changes of the engine directory", "none", [(f"increase({selected('engine_directory_changes_total')}[{RATE}])", "{{instance}}")],
         "Times that the directory no longer held the engine that is served. Alert: AssayEngineDirectoryChanged."),
        ("Engine failures and restarts", "none", [(f"increase({selected('engine_failures_total')}[{RATE}])", "failures {{instance}}"),
                                                 (f"increase({selected('engine_restarts_total')}[{RATE}])", "restarts {{instance}}")],
         "Times that the engine failed or stalled, and was loaded again. Alerts: AssayEngineRestarted, AssayEngineFailing."),
    ]),
    ("Process", True, [
        ("Connections", "none", [(selected("http_connections"), "{{instance}}")], "Open connections; the limit is --max-connections."),
        ("Connections refused or cut", "ops", [(rate("http_connections_cut_total", "reason"), "{{reason}}")],
         "Connections per second that the server refused or closed, by reason. Alert: AssayConnectionsRefused."),
        ("Resident memory", "bytes", [(selected("process_resident_memory_bytes"), "{{instance}}")], "Memory of the process, weights included."),
        ("CPU", "none", [(f"rate({selected('process_cpu_seconds_total')}[{RATE}])", "{{instance}}")], "Cores that the process uses."),
        ("Certificate", "s", [(f"min by (instance) ({selected('tls_certificate_expiry_seconds')}) - time()", "{{instance}}")],
         "Time until the server's certificate expires; empty without TLS. Alert: AssayCertificateExpires."),
    ]),
    ("GPUs", True, [
        ("GPU busy", "percentunit", [(selected("gpu_utilization"), "{{instance}} {{device_id}}")], "Share of the time in which a GPU computes, by its driver."),
        ("GPU memory", "bytes", [(selected("gpu_memory_used_bytes"), "used {{instance}} {{device_id}}"),
                                (selected("gpu_memory_total_bytes"), "total {{instance}} {{device_id}}")], "Memory of a GPU, and what any process uses of it."),
        ("GPU power", "watt", [(selected("gpu_power_usage_watts"), "draws {{instance}} {{device_id}}"),
                              (selected("gpu_power_limit_watts"), "limit {{instance}} {{device_id}}")], "Power that a GPU draws, and its limit."),
        ("GPU mean power", "watt", [(f"rate({selected('gpu_total_energy_consumption_joules')}[{RATE}])", "{{instance}} {{device_id}}")],
         "Mean power between two scrapes, from the energy counter of the driver."),
    ]),
]


def targets(queries: list[tuple[str, str]], **more) -> list[dict]:
    return [
        {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": query, "legendFormat": legend} | more
        for index, (query, legend) in enumerate(queries)
    ]


def stat(title: str, unit: str, decimals: int, steps: list, query: str, description: str) -> dict:
    thresholds = {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]}
    return {
        "type": "stat", "title": title, "description": description,
        "fieldConfig": {"defaults": {
            "unit": unit, "decimals": decimals, "thresholds": thresholds, "noValue": "no data", "mappings": [IDLE],
        }, "overrides": []},
        "options": {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
        "targets": targets([(query, title)]),
    }


def graph(title: str, unit: str, queries: list, description: str) -> dict:
    defaults = {"unit": unit, "custom": {"fillOpacity": 8, "showPoints": "never"}}
    # Scores may be below 0; nothing else is, but the time until a certificate expires.
    if not any("reward_score" in query and "count" not in query or "expiry" in query for query, _ in queries):
        defaults["min"] = 0
    return {
        "type": "timeseries", "title": title, "description": description,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": targets(queries),
    }


def table(title: str, query: str, description: str) -> dict:
    hidden = {"Time": True, "Value": True}
    return {
        "type": "table", "title": title, "description": description,
        "fieldConfig": {"defaults": {}, "overrides": []}, "options": {"showHeader": True},
        "targets": targets([(query, "")], format="table", instant=True),
        "transformations": [{"id": "organize", "options": {"excludeByName": hidden, "renameByName": {"model_name": "model"}}}],
    }


def variable(name: str, label: str, query: str, every: str | None = ".*") -> dict:
    """A choice of label values. "All" stands for the regular expression `every`, or for the values that were found."""
    found = {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": {"query": query, "refId": name},
        "includeAll": True, "multi": True, "allValue": every, "current": {"text": "All", "value": "$__all"}, "refresh": 2, "sort": 1,
    }
    return {key: value for key, value in found.items() if value is not None}


def place(panel: dict, x: int, y: int, width: int, height: int) -> dict:
    return {**panel, "datasource": DATASOURCE, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def grid(panels: list[dict], y: int, columns: int, height: int) -> tuple[list[dict], int]:
    """The panels side by side from `y` on, and the first free line below them."""
    width = WIDTH // columns
    placed = [place(panel, index % columns * width, y + index // columns * height, width, height) for index, panel in enumerate(panels)]
    return placed, y + -(-len(panels) // columns) * height


def dashboard() -> dict:
    panels, y = grid([stat(*one) for one in STATS], 0, 6, 5)
    panels.append(place(table(*TABLE), 0, y, WIDTH, 5))
    y += 5
    for title, collapsed, graphs in ROWS:
        row = {"type": "row", "title": title, "collapsed": collapsed, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}}
        inside, below = grid([graph(*one) for one in graphs], y + 1, 3, 8)
        if collapsed:
            panels.append({**row, "panels": inside})
            y += 1
        else:
            panels += [{**row, "panels": []}, *inside]
            y = below
    number = 0
    for panel in [one for outer in panels for one in [outer, *outer.get("panels", [])]]:
        number += 1
        panel["id"] = number
    info = "assay_build_info"
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        # `up` and the metrics of processes are those of every target, so that "All" must not be every job.
        variable("job", "Job", f"label_values({info}, job)", every=None),
        variable("namespace", "Namespace", f'label_values({info}{{job=~"$job"}}, namespace)'),
        variable("model", "Model", f'label_values({info}{{job=~"$job", namespace=~"$namespace"}}, model_name)'),
        variable("instance", "Server", f'label_values({info}{{job=~"$job", namespace=~"$namespace", model_name=~"$model"}}, instance)'),
    ]
    return {
        "title": "Assay", "uid": "assay", "tags": ["assay"], "schemaVersion": 39, "version": 2, "editable": True, "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"}, "templating": {"list": variables}, "panels": panels,
    }


def main() -> None:
    text = json.dumps(dashboard(), indent=2) + "\n"
    if sys.argv[1:] == ["--check"]:
        if OUTPUT.read_text() != text:
            sys.exit(f"{OUTPUT} is stale: run tools/make_dashboard.py")
        return
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main()

"""The Helm chart, rendered by Helm if it is installed, else by Go's templates (`render.go`).

The second needs Debian's golang-go, golang-github-masterminds-sprig-dev and golang-github-ghodss-yaml-dev.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/assay"
LEAST = {"image": {"repository": "registry.example.org/assay"}, "engines": {"existingClaim": "engines"}}


def merged(below: dict, above: dict) -> dict:
    result = dict(below)
    for name, value in above.items():
        result[name] = merged(below[name], value) if isinstance(value, dict) and isinstance(below.get(name), dict) else value
    return result


@pytest.fixture(scope="session")
def renderer(tmp_path_factory) -> list[str]:
    """A command to which the chart, a release and values are appended."""
    if shutil.which("helm"):
        return ["bash", "-c", 'helm template "$1" "$0" --values <(echo "$2")']
    if not shutil.which("go"):
        pytest.skip("neither helm nor go is installed")
    program = tmp_path_factory.mktemp("render") / "render"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-p=1"}
    subprocess.run(["go", "build", "-o", program, Path(__file__).with_name("render.go")], env=environment, check=True)
    return [str(program)]


@pytest.fixture
def render(renderer: list[str]):
    def run(values: dict, release: str = "judge") -> subprocess.CompletedProcess:
        command = [*renderer, CHART, release, json.dumps(merged(LEAST, values))]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def objects(render):
    def run(values: dict, release: str = "judge") -> dict[str, dict]:
        """The objects by their kind; a second one of a kind by kind and name."""
        done = render(values, release)
        assert done.returncode == 0, done.stderr
        found: dict[str, dict] = {}
        for one in filter(None, yaml.safe_load_all(done.stdout)):
            kind = one["kind"]
            found[kind if kind not in found else f"{kind} {one['metadata']['name']}"] = one
        return found

    return run


def pods(found: dict[str, dict]) -> list[dict]:
    """The pods of a Deployment, a LeaderWorkerSet or a Job."""
    templates = []
    for kind in ["Deployment", "Job"]:
        templates += [found[kind]["spec"]["template"]] if kind in found else []
    if "LeaderWorkerSet" in found:
        both = found["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]
        templates += [both["leaderTemplate"], both["workerTemplate"]]
    return templates


EVERYTHING = {
    "engines": {"path": "judge"},
    "servedModelName": ["a", "b"],
    "apiKeysSecret": "keys",
    "signingKeySecret": "signing",
    "tlsSecret": "tls",
    "cache": {"existingClaim": "cache"},
    "build": {"enabled": True, "checkpoint": "checkpoints/judge", "output": "judge", "args": ["--dtype", "int8"]},
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "initContainers": [{"name": "first", "image": "busybox"}],
    "sidecars": [{"name": "beside", "image": "busybox"}],
    "ingress": {"enabled": True, "className": "nginx", "hosts": ["judge.example.org"], "tls": [{"secretName": "t"}]},
    "autoscaling": {"enabled": True},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True, "annotations": {"folder": "Assay"}},
    "commonLabels": {"team": "rl"},
    "priorityClassName": "high",
    "podSecurityContext": {"runAsUser": 1000},
    "containerSecurityContext": {"runAsNonRoot": True},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "service": {"annotations": {"a": "b"}},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "config": {"metrics_port": 9000},
}
ACCEPTED = [
    {},
    EVERYTHING,
    {"engines": {"existingClaim": "", "hostPath": "/engines"}, "gpus": 1, "config": {"max_seq_len": 4096}},
    {"gpus": 8, "nodes": 2, "sshSecret": "ssh", "networkPolicy": {"enabled": True}},
    {"gpus": 1, "build": {"enabled": True, "checkpoint": "c", "output": "e", "target": "h100"}},
    {"replicas": 4, "gateway": {"enabled": True, "parentRefs": [{"name": "eg"}], "hostnames": ["judge.example.org"]}},
]


@pytest.mark.parametrize("release", ["judge", "assay", "my-assay-2", "x" * 53])
@pytest.mark.parametrize("values", ACCEPTED, ids=range(len(ACCEPTED)))
def test_the_objects_of_any_release_belong_together(objects, values: dict, release: str):
    found = objects(values, release)
    name = found["Service"]["metadata"]["name"]
    assert len(name) <= 63 and all(one["metadata"]["name"].startswith(name) for one in found.values())
    labels = pods(found)[-1 if "Job" not in found else 0]["metadata"]["labels"]
    service = found["Service"]["spec"]["selector"]
    assert service.items() - {("leaderworkerset.sigs.k8s.io/worker-index", "0")} <= labels.items()
    for kind in ["PodDisruptionBudget", "Deployment"]:
        if kind in found:
            assert found[kind]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    if "Job" in found:
        assert not service.items() <= found["Job"]["spec"]["template"]["metadata"]["labels"].items()
    for pod in pods(found):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def test_the_alerts_and_the_dashboard_are_those_of_the_repository(objects):
    found = objects(EVERYTHING)
    rules = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text())
    assert found["PrometheusRule"]["spec"] == rules
    board = found["ConfigMap judge-assay-dashboard"]
    assert json.loads(board["data"]["assay.json"]) == json.loads((ROOT / "deploy/monitoring/dashboard.json").read_text())
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    # The alerts select job="assay": the monitor takes the job from a label of the service.
    label = found["ServiceMonitor"]["spec"]["jobLabel"]
    assert found["Service"]["metadata"]["labels"][label] == "assay"


def test_what_options_change_follows_in_the_other_objects(objects):
    found = objects(EVERYTHING)
    ports = {port["name"]: port["port"] for port in found["Service"]["spec"]["ports"]}
    assert ports == {"http": 8000, "metrics": 9000}
    endpoint = found["ServiceMonitor"]["spec"]["endpoints"][0]
    assert endpoint["port"] == "metrics" and "scheme" not in endpoint
    config = yaml.safe_load(found["ConfigMap"]["data"]["assay.yaml"])
    assert config["engine"] == "/engines/judge" and config["metrics_port"] == 9000
    pod = pods(found)[0]["spec"]
    assert pod["securityContext"]["runAsUser"] == 1000 and pod["securityContext"]["runAsNonRoot"] is True
    assert [container["name"] for container in pod["containers"]] == ["assay", "beside"]
    assert found["Service"]["metadata"]["labels"]["team"] == "rl"
    with_tls = objects({"tlsSecret": "tls", "serviceMonitor": {"enabled": True}})
    assert with_tls["ServiceMonitor"]["spec"]["endpoints"][0]["scheme"] == "https"


def test_replicas_behind_a_gateway_get_all_responses_to_a_prompt(objects):
    values = {"gateway": {"enabled": True, "parentRefs": [{"name": "eg", "namespace": "gateways"}]}, "service": {"port": 80}}
    found = objects(values)
    route, policy = found["HTTPRoute"], found["BackendTrafficPolicy"]
    assert route["spec"]["parentRefs"] == values["gateway"]["parentRefs"]
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    service = found["Service"]
    assert backend == {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    (target,) = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == ("HTTPRoute", route["metadata"]["name"])
    # The header that the clients send.
    header = policy["spec"]["loadBalancer"]["consistentHash"]["header"]["name"]
    for client in ["src/score/client/routing.rs", "python/assay/_plans.py"]:
        assert f'"{header}"' in (ROOT / client).read_text()
    other = objects(values | {"gateway": values["gateway"] | {"envoyPolicy": False}})
    assert "HTTPRoute" in other and "BackendTrafficPolicy" not in other


def test_a_port_for_metrics_that_is_null_is_none(objects):
    watched = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}]}}
    found = objects(watched | {"config": {"metrics_port": None}, "tlsSecret": "tls"})
    endpoint = found["ServiceMonitor"]["spec"]["endpoints"][0]
    assert (endpoint["port"], endpoint["scheme"]) == ("http", "https")
    assert [port["name"] for port in found["Service"]["spec"]["ports"]] == ["http"]
    allowed = [rule["ports"] for rule in found["NetworkPolicy"]["spec"]["ingress"]]
    assert all(ports == [{"port": "http"}] for ports in allowed)


def test_the_key_that_signs_responses_is_where_the_server_looks_and_only_its_group_reads_it(objects):
    found = objects({"signingKeySecret": "signing"})
    config = yaml.safe_load(found["ConfigMap"]["data"]["assay.yaml"])
    pod = pods(found)[0]["spec"]
    [mount] = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "signing"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "signing"]
    assert config["signing_key"] == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    # The server refuses a key that others may read; a number in octal is one of YAML 1.1.
    assert volume["secret"]["defaultMode"] == 0o440 and "fsGroup" in pod["securityContext"]


def test_servers_are_added_when_tokens_wait(objects):
    found = objects({"autoscaling": {"enabled": True, "waitingTokens": 1000}})
    (metric,) = found["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "1000"
    # The server has a gauge of this name.
    assert f'"{metric["pods"]["metric"]["name"]}"' in (ROOT / "src/telemetry/names.rs").read_text()


def test_the_build_job_runs_the_command_once(objects, tmp_path: Path):
    container = pods(objects(EVERYTHING))[-1]["spec"]["containers"][0]
    assert container["args"][2:] == [
        "build-engine", "--model", "/engines/checkpoints/judge", "--target", "cpu", "--output", "/engines/judge", "--dtype", "int8",
    ]  # fmt: skip
    script = container["args"][0]
    command = [*container["command"], script, str(tmp_path), "echo", "built"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "built\n"
    (tmp_path / "engine.yaml").touch()
    assert "exists already" in subprocess.run(command, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"repository": ""}}, "image.repository is not set"),
        ({"engines": {"existingClaim": ""}}, "there are no engines"),
        ({"engines": {"hostPath": "/b"}}, "leave one empty"),
        ({"nodes": 2, "sshSecret": "ssh"}, "set gpus"),
        ({"nodes": 2, "gpus": 8}, "set sshSecret"),
        ({"nodes": 2, "gpus": 8, "sshSecret": "s", "autoscaling": {"enabled": True}}, "autoscaling works only"),
        ({"config": {"port": 9}}, "service.port"),
        ({"config": {"tls_client_ca": "/ca"}}, "kubelet"),
        ({"config": {"tls-client-ca": "/ca"}}, "write tls_client_ca"),
        ({"config": {"protect_metrics": True}, "serviceMonitor": {"enabled": True}}, "the monitor has no API key"),
        ({"build": {"enabled": True}}, "build.checkpoint"),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"gateway": {"enabled": True}}, "gateway.parentRefs"),
        ({"gateway": {"enabled": True, "parentRefs": [{"name": "eg"}]}, "tlsSecret": "tls"}, "plain HTTP"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_sentence(render, values: dict, words: str):
    done = render(values)
    assert done.returncode != 0 and words in done.stderr


def test_the_schema_knows_every_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(value: dict, part: dict, path: str) -> None:
        assert set(value) == set(part["properties"]) - {"global"}, path
        for name, inner in value.items():
            if isinstance(inner, dict) and "properties" in part["properties"][name]:
                compare(inner, part["properties"][name], f"{path}.{name}")

    compare(values, schema, "values")

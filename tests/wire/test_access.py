"""Access: API keys, TLS, CORS origins, separate ports."""

import datetime
import http.client
import ipaddress
import json
import os
import re
import signal
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest
from conftest import Engines, Server, assay, conversation, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY, OTHER = "sk-0123456789abcdef0123", "sk-fedcba9876543210fedc"


def ask(url: str, method: str = "GET", body: bytes | None = None, context=None, **headers: str):
    """The status, headers and text of a response."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def chat(client: openai.OpenAI) -> str:
    answer = client.chat.completions.create(model="five", messages=conversation())
    return answer.choices[0].message.content


# --- API keys ---


def test_requests_need_a_key_and_keys_can_change_while_serving(engines: Engines, tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text(f"# of the trainers\n{KEY} trainer\n")
    with Server(engines["llama3-tiny"], "--served-model-name", "five", "--api-keys-file", keys) as server:
        with pytest.raises(openai.AuthenticationError) as refused:
            chat(server.client())
        assert refused.value.status_code == 401
        assert refused.value.code == "invalid_api_key"
        assert refused.value.type == "invalid_request_error"
        assert chat(server.client().with_options(api_key=KEY))
        status, headers, text = ask(server.url + "/v1/models")
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(text)["error"]["code"] == "missing_api_key"
        assert server.get("/v1/health/ready")[0] == 200
        assert server.metric("request_errors_total") == 2

        keys.write_text(f"{OTHER}\n")
        server.process.send_signal(signal.SIGHUP)
        server.logged("API keys reloaded")
        assert chat(server.client().with_options(api_key=OTHER))
        with pytest.raises(openai.AuthenticationError):
            chat(server.client().with_options(api_key=KEY))

        keys.write_text(f"{KEY}\n")
        until(lambda: ask(server.url + "/v1/models", authorization=f"Bearer {KEY}")[0] == 200)

        keys.write_text("short\n")
        until(lambda: any("not reloaded" in line for line in server.lines))
        assert ask(server.url + "/v1/models", authorization=f"Bearer {KEY}")[0] == 200
        assert server.end() == 0
        log = "".join(server.lines)
        assert KEY not in log and OTHER not in log


def test_metrics_can_be_protected_or_moved_to_another_port(engines: Engines, tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    with Server(engines["llama3-tiny"], "--api-keys-file", keys, "--protect-metrics") as server:
        assert ask(server.url + "/metrics")[0] == ask(server.url + "/v1/metrics")[0] == 401
        assert ask(server.url + "/metrics", authorization=f"Bearer {KEY}")[0] == 200
    with Server(engines["llama3-tiny"], "--api-keys-file", keys, "--metrics-port", "0") as server:
        metrics = "http://" + server.logged("metrics listening")["address"]
        assert "num_requests_running" in ask(metrics + "/metrics")[2]
        assert ask(server.url + "/metrics", authorization=f"Bearer {KEY}")[0] == 404
        assert ask(metrics + "/v1/models")[0] == 404


# --- CORS ---


def test_web_pages_may_call_only_from_configured_origins(engines: Engines):
    page = {"Origin": "https://example.org", "Access_Control_Request_Method": "POST"}
    with Server(engines["llama3-tiny"]) as server:
        _, headers, _ = ask(server.url + "/v1/models", **page)
        assert "access-control-allow-origin" not in headers
    with Server(engines["llama3-tiny"], "--cors-origin", "https://example.org") as server:
        status, headers, _ = ask(server.url + "/v1/chat/completions", "OPTIONS", **page)
        assert (status, headers["access-control-allow-origin"]) == (200, "https://example.org")
        other = {**page, "Origin": "https://example.com"}
        assert "access-control-allow-origin" not in ask(server.url + "/v1/models", **other)[1]
    refused = assay("serve", "--engine", str(engines["llama3-tiny"]), "--port", "0", "--cors-origin", "example.org")
    assert refused.returncode == 1 and "`example.org` is not a valid origin" in refused.stderr


# --- The admin port ---


def test_an_operator_sets_the_log_level_and_drains_the_server(engines: Engines):
    with Server(engines["llama3-tiny"], "--admin-port", "0") as server:
        admin = "http://" + server.logged("admin listening")["address"] + "/admin"
        assert admin.startswith("http://127.0.0.1:")
        assert json.loads(ask(admin + "/log-level")[2]) == {"log_level": "info"}
        assert ask(admin + "/log-level", "PUT", b"debug")[0] == 200
        server.get("/v1/models")
        assert server.logged("answered")["span"]["path"] == "/v1/models"
        assert ask(admin + "/log-level", "PUT", b"loud=loud")[0] == 400
        assert ask(admin + "/drain", "POST", Origin="https://example.org")[0] == 403
        assert ask(server.url + "/admin/drain", "POST")[0] == 404
        assert ask(admin + "/drain", "POST")[0] == 202
        assert server.process.wait(60) == 0


# --- TLS ---


SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority that signs certificates for 127.0.0.1 and writes them to a directory."""

    def __init__(self, folder: Path, name: str):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._write(f"{name}.pem", self._sign(self.name, self.key, is_authority=True))

    def certify(self, name: str) -> tuple[Path, Path]:
        """The files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{name}.key").write_bytes(secret)
        return self._write(f"{name}.pem", self._sign(subject, key)), self.folder / f"{name}.key"

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool = False):
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        certificate = certificate.not_valid_before(now - day).not_valid_after(now + day)
        certificate = certificate.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        certificate = certificate.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        # Python 3.13 refuses certificates without what RFC 5280 asks for.
        own, issuer = key.public_key(), self.key.public_key()
        certificate = certificate.add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        certificate = certificate.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        if is_authority:
            certificate = certificate.add_extension(SIGNS_CERTIFICATES, critical=True)
        return certificate.sign(self.key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        (self.folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return self.folder / name


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "authority")


def test_a_tls_port_refuses_plain_http(engines: Engines, authority: Authority):
    cert, key = authority.certify("server")
    with Server(engines["llama3-tiny"], "--tls-key", key, "--tls-cert", cert) as server:
        context = ssl.create_default_context(cafile=authority.file)
        url = "https://" + server.address
        assert ask(url + "/v1/health/ready", context=context)[0] == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(server.url + "/v1/health/ready")
        counted = re.compile(r'^http_connections_cut_total\{reason="handshake"[^}]*\} [1-9]', re.MULTILINE)
        until(lambda: counted.search(ask(url + "/metrics", context=context)[2]))
        expiry = re.search(r"^tls_certificate_expiry_seconds\{.*\} (\d+)$", ask(url + "/metrics", context=context)[2], re.MULTILINE)
        due = x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc
        assert float(expiry[1]) == due.timestamp()


def test_new_certificates_are_served_without_a_restart(engines: Engines, authority: Authority, tmp_path: Path):
    def put(cert: Path, key: Path) -> None:
        """Replaces the files as Kubernetes does: they are links into a directory, which is itself a link."""
        folder = tmp_path / f"{cert.stem}-{key.stem}"
        folder.mkdir()
        (folder / "tls.crt").write_bytes(cert.read_bytes())
        (folder / "tls.key").write_bytes(key.read_bytes())
        (tmp_path / "new").symlink_to(folder)
        (tmp_path / "new").rename(tmp_path / "data")

    def served(server: Server) -> str:
        host, port = server.address.rsplit(":", 1)
        return ssl.get_server_certificate((host, int(port)))

    (first, first_key), (second, second_key), (_, other_key) = map(authority.certify, ["first", "second", "third"])
    put(first, first_key)
    files = ["--tls-key", tmp_path / "data/tls.key", "--tls-cert", tmp_path / "data/tls.crt"]
    with Server(engines["llama3-tiny"], *files) as server:
        assert served(server) == first.read_text()
        context = ssl.create_default_context(cafile=authority.file)
        open_already = http.client.HTTPSConnection(server.address, context=context)
        open_already.request("GET", "/v1/health/ready")
        assert open_already.getresponse().read()

        put(second, second_key)
        until(lambda: served(server) == second.read_text())
        open_already.request("GET", "/v1/health/ready")
        assert open_already.getresponse().status == 200

        put(second, other_key)
        assert "do not match" in server.logged_with("not reloaded")["message"]
        assert served(server) == second.read_text()
        put(first, first_key.rename(first_key.with_name("again.key")))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: served(server) == first.read_text())
        assert server.end() == 0


def test_mtls_by_the_variables_of_nim_requires_a_client_certificate(engines: Engines, authority: Authority, tmp_path: Path):
    cert, key = authority.certify("server")
    variables = {"NIM_SSL_MODE": "MTLS", "NIM_SSL_KEY_PATH": str(key), "NIM_SSL_CERTS_PATH": str(cert)}
    variables["NIM_SSL_CA_CERTS_PATH"] = str(authority.file)
    with Server(engines["llama3-tiny"], **variables) as server:
        url = "https://" + server.address + "/v1/health/ready"
        context = ssl.create_default_context(cafile=authority.file)
        with pytest.raises(OSError):
            ask(url, context=context)
        context.load_cert_chain(*Authority(tmp_path, "stranger").certify("client"))
        with pytest.raises(OSError):
            ask(url, context=context)
        context = ssl.create_default_context(cafile=authority.file)
        context.load_cert_chain(*authority.certify("client"))
        assert ask(url, context=context)[0] == 200


def test_unusable_files_of_keys_and_certificates_are_refused_in_one_sentence(engines: Engines, authority: Authority, tmp_path: Path):
    cert, key = authority.certify("one")
    other_cert, _ = authority.certify("two")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no PEM at all")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def refused(*arguments: str | Path, **variables: str) -> str:
        arguments = ["serve", "--engine", engines["llama3-tiny"], "--port", "0", *arguments]
        done = assay(*map(str, arguments), ASSAY_LOG_LEVEL="error", **variables)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        return done.stderr

    assert "tls_key needs tls_cert" in refused("--tls-key", key)
    assert "do not match" in refused("--tls-key", key, "--tls-cert", other_cert)
    assert f"{nonsense} does not contain a private key in PEM" in refused("--tls-key", nonsense, "--tls-cert", cert)
    assert f"{nonsense} does not contain a certificate in PEM" in refused("--tls-key", key, "--tls-cert", nonsense)
    assert "cannot read none.pem" in refused("--tls-key", key, "--tls-cert", "none.pem")
    for file in ["/dev/zero", pipe, tmp_path]:
        for option, arguments in [
            ("tls_key", ("--tls-key", file, "--tls-cert", cert)),
            ("tls_cert", ("--tls-key", key, "--tls-cert", file)),
            ("tls_client_ca", ("--tls-key", key, "--tls-cert", cert, "--tls-client-ca", file)),
            ("api_keys_file", ("--api-keys-file", file)),
        ]:
            assert f"{option}: cannot read {file}: it is not a regular file" in refused(*arguments)
    assert "set tls_key and tls_cert too" in refused("--tls-client-ca", cert)
    assert "name it with NIM_SSL_KEY_PATH" in refused(NIM_SSL_MODE="tls")
    assert "NIM_SSL_MODE=`on`: expected DISABLED" in refused(NIM_SSL_MODE="on")

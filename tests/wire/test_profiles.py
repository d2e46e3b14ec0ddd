"""Several engines in one directory, as an operator sees them."""

import json
import re
from pathlib import Path

from conftest import Engines, Server, assay


def profiles(folder: Path) -> list[dict]:
    done = assay("profiles", "--json", "--engines", str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_listing_has_the_format_of_nim(engines: Engines, tmp_path: Path):
    engines.copy("llama3-tiny", tmp_path)
    broken = engines.copy("qwen2-tiny", tmp_path)
    (broken / "engine.yaml").write_text("format: 1\n")
    listing = assay("profiles", NIM_CACHE_PATH=str(tmp_path))
    assert re.fullmatch(
        r"MODEL PROFILES\n"
        r"- Compatible with system and runnable:\n"
        r"  - [0-9a-f]{64} \(onednn-\w+-f32\)\n"
        r"- Incompatible with system:\n"
        rf"  - {broken}\n      cannot be used: .*engine.yaml.*\n",
        listing.stdout,
    ), listing


def test_the_only_usable_engine_is_served(engines: Engines, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path / "deeper")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/engine.yaml").write_text("format: 1\n")
    with Server(tmp_path) as server:
        assert json.loads(server.get("/v1/models")[1])["data"][0]["id"] == engine.name


def test_an_engine_is_selected_by_its_profile_id(engines: Engines, tmp_path: Path):
    for name in ["llama3-tiny", "qwen2-tiny"]:
        engines.copy(name, tmp_path)
    refused = assay("serve", "--engines", str(tmp_path), "--port", "0")
    assert refused.returncode == 1 and "llama3-tiny, qwen2-tiny" in refused.stderr, refused
    wanted = next(profile for profile in profiles(tmp_path) if profile["model"] == "qwen2-tiny")
    with Server(tmp_path, "--profile", wanted["id"][:12]) as server:
        assert json.loads(server.get("/v1/models")[1])["data"][0]["id"] == "qwen2-tiny"


def test_a_changed_manifest_is_refused_and_listed_as_unusable(engines: Engines, tmp_path: Path):
    engine = engines.copy("llama3-tiny", tmp_path)
    text = (engine / "engine.yaml").read_text()
    (engine / "engine.yaml").write_text(re.sub(r"onednn: .*", "onednn: 1.0.0", text))
    refused = assay("serve", "--engine", str(engine), "--port", "0")
    assert refused.returncode == 1 and "engine.yaml" in refused.stderr, refused
    assert profiles(tmp_path)[0]["reason"].startswith("was changed after the build")


def test_print_ranks_prints_the_number_of_ranks(engines: Engines):
    assert assay("serve", "--print-ranks", "--engine", str(engines["llama3-tiny"])).stdout == "1\n"

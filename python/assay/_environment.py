"""The server that trainers' functions use, from environment variables.

| variable | meaning |
|---|---|
| `ASSAY_URL` | the server's URL; default http://localhost:8000 |
| `ASSAY_API_KEY` | its API key |
| `ASSAY_MODEL` | the model's name; default the first that is served |
| `ASSAY_RANK_BY` | the attribute that is the reward; default the server's rule |
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from .async_client import AsyncClient
from .client import Client


def options() -> dict[str, Any]:
    return {
        "url": os.environ.get("ASSAY_URL", "http://localhost:8000"),
        "api_key": os.environ.get("ASSAY_API_KEY") or None,
        "model": os.environ.get("ASSAY_MODEL") or None,
    }


def rank_by() -> str | None:
    return os.environ.get("ASSAY_RANK_BY") or None


@cache
def client() -> Client:
    return Client(**options())


def async_client() -> AsyncClient:
    """A new client: one of another event loop cannot be used."""
    return AsyncClient(**options())

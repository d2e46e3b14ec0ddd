"""Client of Assay, an inference server for reward models.

    from assay import Client

    client = Client("http://localhost:8000")
    client.score("What is 1+1?", ["2", "3"])    # [{"helpfulness": 2.03, ...}, {...}]

`AsyncClient` is the same for asyncio, and `Server` starts a server in the background. The modules `assay.trl`,
`assay.verl`, `assay.openrlhf`, `assay.slime`, `assay.areal`, `assay.xtuner`, `assay.roll`, `assay.skyrl`,
`assay.nemo_rl`, `assay.scaffolding`, `assay.distilabel`, `assay.ray` and `assay.spark` connect trainers and data
pipelines.
"""

from ._protocol import Item, Message, Prompt, Scores
from .async_client import AsyncClient
from .client import Client
from .errors import AssayError, ScoringError, ServerError
from .server import Server

__all__ = [
    "AssayError",
    "AsyncClient",
    "Client",
    "Item",
    "Message",
    "Prompt",
    "Scores",
    "ScoringError",
    "Server",
    "ServerError",
]

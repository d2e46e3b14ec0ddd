"""Client packages of other services, as they are, against a running server."""

import cohere
import pytest
from conftest import ATTRIBUTES, LOUVRE, PARIS, Server
from huggingface_hub import InferenceClient
from infinity_client import Client
from infinity_client.api.default import classify, models, rerank
from infinity_client.models import ClassifyInput, RerankInput
from test_trainers import chat_scores, chatml, llama3

DOCUMENTS = ["No.", LOUVRE, "Stay at home."]


def expected(server: Server, model: str) -> dict[int, float]:
    """The first score of each document, as a chat completion gives it."""
    return {index: chat_scores(server, model, text)[0] for index, text in enumerate(DOCUMENTS)}


def test_cohere_ranks_documents_by_both_versions_of_its_api(one_score: Server):
    clients = [
        cohere.ClientV2(api_key="none", base_url=one_score.url),
        cohere.Client(api_key="none", base_url=one_score.url),
    ]
    for client in clients:
        answer = client.rerank(model="one", query=PARIS, documents=DOCUMENTS, top_n=2)
        wanted = expected(one_score, "one")
        best = sorted(wanted, key=wanted.get, reverse=True)[:2]
        assert [result.index for result in answer.results] == best
        assert [result.relevance_score for result in answer.results] == [wanted[index] for index in best]


def test_infinity_ranks_and_classifies_under_its_prefix(one_score: Server):
    client = Client(base_url=one_score.url + "/infinity", raise_on_unexpected_status=True)
    body = RerankInput(query=PARIS, documents=DOCUMENTS, return_documents=True, raw_scores=True)
    answer = rerank.sync(client=client, body=body)
    assert {result.index: result.relevance_score for result in answer.results} == expected(one_score, "one")
    assert [result.document for result in answer.results] == [DOCUMENTS[result.index] for result in answer.results]
    classes = classify.sync(client=client, body=ClassifyInput(input_=[chatml()], raw_scores=True))
    assert [entry.score for entry in classes.data[0]] == chat_scores(one_score, "one")


def test_infinity_lists_the_model(server: Server):
    client = Client(base_url=server.url + "/infinity", raise_on_unexpected_status=True)
    listed = models.sync(client=client).data
    assert [model.id for model in listed] == ["five", "nvidia/nemotron-4-340b-reward"]
    assert listed[0].capabilities == ["classify", "rerank"] and listed[0].stats["queue_absolute"] == 0


def test_infinity_gets_probabilities_where_it_asks_for_them(one_score: Server):
    client = Client(base_url=one_score.url + "/infinity", raise_on_unexpected_status=True)
    # The client writes its own default, false, into every request.
    answer = rerank.sync(client=client, body=RerankInput(query=PARIS, documents=DOCUMENTS))
    assert all(0 < result.relevance_score < 1 for result in answer.results)


@pytest.mark.parametrize("function", ["none", None])
def test_hugging_faces_client_classifies_a_text(server: Server, function: str | None):
    client = InferenceClient(model=server.url)
    labels = client.text_classification(llama3(), function_to_apply=function)
    assert {entry.label: entry.score for entry in labels} == dict(
        zip(ATTRIBUTES, chat_scores(server, "five"), strict=True)
    )
    assert len(client.text_classification(llama3(), top_k=2)) == 2

"""Scores a good and a bad response with the OpenAI client, as in the guide to NVIDIA's NIM."""

import sys

from openai import OpenAI

QUESTION = "I am going to Paris, what should I see?"
RESPONSES = {
    "good": (
        "Start with the Eiffel Tower, and go up before sunset to see the city light up. The Louvre holds the Mona "
        "Lisa and needs half a day; the Musee d'Orsay nearby shows the Impressionists. Walk along the Seine to "
        "Notre-Dame, and spend an evening in Montmartre around the Sacre-Coeur. If you have a day to spare, take "
        "the train to Versailles."
    ),
    "bad": "to of Lisa the see Tower up and half Louvre a day day day the Seine Paris Paris",
}


def rewards(client: OpenAI, model: str, question: str, response: str) -> dict[str, float]:
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}, {"role": "assistant", "content": response}],
        stream=False,
    )
    pairs = completion.choices[0].message.content.split(",")
    return {name: float(value) for name, value in (pair.split(":") for pair in pairs)}


def main() -> None:
    client = OpenAI(base_url=sys.argv[1], api_key="none")
    model = client.models.list().data[0].id
    print(f"\nQuestion: {QUESTION}")
    for kind, response in RESPONSES.items():
        print(f"\nA {kind} response: {response}")
        print(rewards(client, model, QUESTION, response))


if __name__ == "__main__":
    main()

"""Records how Jinja2 renders chat templates of many forms, in tests/golden/templates.jsonl.

The templates are in tools/template_survey, each named by what it exercises. They take turns apart as the templates of
well-known models do, in words and texts of their own. Each line of the recorded file has a template's name, its text
and, for each conversation, the rendered text or null if Jinja2 raises an error.
"""

import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

ROOT = pathlib.Path(__file__).parent.parent

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather <in> a town & its \"suburbs\".",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "Name"},
                "days": {"type": ["integer", "null"], "enum": [1, 2, 3]},
                "more": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "number"}}}},
            },
            "required": ["town"],
        },
    },
}
CALL = {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"town": "Oslo", "days": 2}}}
USER, ANSWER = {"role": "user", "content": "  What is 2 + 2?\n"}, {"role": "assistant", "content": "It is 4. "}
SYSTEM = {"role": "system", "content": "Be brief.\n\n- é \"x\"\n"}
THOUGHT = {"role": "assistant", "content": "<think>\nTwo and two\n</think>\n\nFour."}
REASONED = {"role": "assistant", "content": "Four.", "reasoning_content": "Two and two", "thinking": "Two and two"}
CALLS = {"role": "assistant", "tool_calls": [CALL]}
BOTH = {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, CALL]}
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "{\"rain\": true}"}

CONVERSATIONS = {
    "question": {"messages": [USER]},
    "prompt": {"messages": [USER], "add_generation_prompt": True},
    "answer": {"messages": [USER, ANSWER]},
    "system": {"messages": [SYSTEM, USER, ANSWER]},
    "turns": {"messages": [SYSTEM, USER, ANSWER, USER, {"role": "assistant", "content": ""}]},
    "thought": {"messages": [USER, THOUGHT, USER, THOUGHT]},
    "reasoned": {"messages": [USER, REASONED, USER, REASONED]},
    "tools": {"messages": [SYSTEM, USER], "tools": [TOOL, TOOL], "add_generation_prompt": True},
    "calls": {"messages": [USER, CALLS, RESULT, ANSWER], "tools": [TOOL]},
    "both": {"messages": [SYSTEM, USER, BOTH, RESULT, RESULT, ANSWER, USER], "tools": [TOOL]},
    "named": {"messages": [{"role": "user", "name": "Ann", "content": "Hi"}, ANSWER]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]}, ANSWER]},
    "order": {"messages": [ANSWER, USER]},
    "twice": {"messages": [USER, USER, ANSWER]},
    "late": {"messages": [USER, ANSWER, SYSTEM, USER]},
    "role": {"messages": [USER, {"role": "observer", "content": "Hm"}, ANSWER]},
    "developer": {"messages": [{"role": "developer", "content": "Be kind."}, USER, ANSWER]},
}
CONVERSATIONS["options"] = {
    "messages": [USER, ANSWER, USER],
    "tools": [TOOL],
    "documents": [{"title": "Rain", "text": "It rained."}],
    "add_generation_prompt": True,
    "enable_thinking": False,
    "reasoning_effort": "high",
    "date_string": "1 May 2020",
    "controls": {"length": "short", "é": [1, 2.5, None]},
    "plugins": ["search", "sandbox", "code"],
    "persona": "You sail.",
    "beside_question": False,
}
FIXED = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None, "add_generation_prompt": False}


class Fixed(datetime.datetime):
    """A clock that always shows one day."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def render(template, variables):
    try:
        return chat_template_utils._compile_jinja_template(template).render(**{**FIXED, **variables})
    except Exception:
        return None


def main():
    chat_template_utils.datetime = Fixed
    lines = [{name: {**FIXED, **variables} for name, variables in CONVERSATIONS.items()}]
    for file in sorted((ROOT / "tools/template_survey").glob("*.jinja")):
        name, template = file.stem.replace("_", " "), file.read_text(encoding="utf-8")
        texts = {conversation: render(template, variables) for conversation, variables in CONVERSATIONS.items()}
        lines.append({"name": name, "template": template, "texts": texts})
    path = ROOT / "tests/golden/templates.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    for line in lines[1:]:
        print(line["name"], "raises an error on", [name for name, text in line["texts"].items() if text is None])


if __name__ == "__main__":
    main()

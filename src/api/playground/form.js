// What is asked: the conversation, the responses, and what can be pasted in their place.

import { $, element, letter, mark } from "./dom.js";

const ROLES = ["user", "assistant", "system"];
const STARTING_PROMPT = "I am going to Paris, what should I see?";
const STARTING_RESPONSES = [
  "See the Louvre and the Musée d'Orsay, walk along the Seine in the evening, and take a day for Versailles.",
  "Paris is in France.",
];

let made = 0;

/** A text box under a head with a button that removes it. */
function box(kind, head, text, removed) {
  const id = kind === "turn" && !$("prompt") ? "prompt" : `${kind}-${++made}`;
  const remove = element("button", { type: "button", class: "small" }, "Remove");
  const label = element("label", { for: id });
  const area = element("textarea", { id, rows: 3 });
  const whole = element("div", { class: kind }, element("div", { class: "head" }, ...head, label, remove), area);
  area.value = text;
  remove.addEventListener("click", () => {
    const next = whole.nextElementSibling ?? whole.previousElementSibling;
    whole.remove();
    number();
    removed();
    (next?.querySelector("textarea") ?? $("add")).focus();
  });
  return whole;
}

export function addResponse(text = "") {
  const added = box("response", [mark(0)], text, changed);
  $("responses").append(added);
  number();
  return added;
}

export function addTurn(role, text = "") {
  const choice = element("select", { "aria-label": "Role of the turn" }, ...ROLES.map((name) => element("option", {}, name)));
  choice.value = role;
  choice.addEventListener("change", number);
  const added = box("turn", [choice], text, changed);
  $("turns").append(added);
  number();
  return added;
}

/** Tells whatever shows results that they are no longer those of the form. */
function changed() {
  $("ask").dispatchEvent(new Event("input", { bubbles: true }));
}

/** Letters and colours follow the order. */
function number() {
  const responses = [...document.querySelectorAll(".response")];
  responses.forEach((response, index) => {
    response.querySelector(".mark").replaceWith(mark(index));
    name(response, `Response ${letter(index)}`, `Remove response ${letter(index)}`, responses.length);
  });
  const turns = [...document.querySelectorAll(".turn")];
  turns.forEach((turn, index) => {
    turn.querySelector("select").hidden = turns.length === 1;
    name(turn, turns.length === 1 ? "Prompt" : `Turn ${index + 1}`, `Remove turn ${index + 1}`, turns.length);
  });
}

function name(whole, label, removal, count) {
  whole.querySelector("label").textContent = label;
  const remove = whole.querySelector("button");
  remove.setAttribute("aria-label", removal);
  remove.hidden = count === 1;
}

const texts = (selector) => [...document.querySelectorAll(selector)].map((area) => area.value);

export function messages() {
  const turns = [...document.querySelectorAll(".turn")].map((turn) => ({
    role: turn.querySelector("select").value,
    content: turn.querySelector("textarea").value,
  }));
  return $("system").value.trim() ? [{ role: "system", content: $("system").value }, ...turns] : turns;
}

/** The body of a request for scores. Until the models are listed, the server's own is meant. */
export function rewardsRequest() {
  const model = $("model").value;
  return { ...(model && { model }), messages: messages(), responses: texts(".response textarea") };
}

// --- What is pasted ---

/** The response that an object has, under the names that data sets use. */
const responseOf = (item) => (typeof item === "string" ? item : item?.response ?? item?.text ?? item?.completion ?? item?.content);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    const lines = text.split("\n").filter((line) => line.trim());
    try {
      return lines.length > 1 ? lines.map((line) => JSON.parse(line)) : undefined;
    } catch {
      return undefined;
    }
  }
}

/** The conversation, if it has one, and the responses of what was pasted. */
export function readPasted(text) {
  const json = parsed(text);
  if (json === undefined) {
    return { responses: text.split(/^-{3,}[ \t]*$/m).map((part) => part.trim()).filter(Boolean) };
  }
  if (Array.isArray(json)) return { responses: json.map(responseOf).filter((one) => typeof one === "string") };
  const responses = (json.responses ?? json.candidates ?? json.documents ?? []).map(responseOf);
  const prompt = json.messages ?? (json.prompt ?? json.query ? [{ role: "user", content: json.prompt ?? json.query }] : undefined);
  return { messages: prompt, responses: responses.filter((one) => typeof one === "string") };
}

function usePasted() {
  const { messages: turns, responses } = readPasted($("paste").value);
  if (responses.length === 0) {
    $("paste-note").textContent = "No responses found.";
    return;
  }
  if (Array.isArray(turns)) {
    $("turns").replaceChildren();
    $("system").value = turns.find((turn) => turn.role === "system")?.content ?? "";
    turns.filter((turn) => turn.role !== "system").forEach((turn) => addTurn(turn.role, turn.content));
  }
  $("responses").replaceChildren();
  responses.forEach((text) => addResponse(text));
  $("paste").value = "";
  $("paste-box").open = false;
  $("paste-note").textContent = "";
  changed();
}

export function start() {
  addTurn("user", STARTING_PROMPT);
  STARTING_RESPONSES.forEach((text) => addResponse(text));
  $("add").addEventListener("click", () => {
    addResponse().querySelector("textarea").focus();
    changed();
  });
  $("add-turn").addEventListener("click", () => {
    const roles = [...document.querySelectorAll(".turn select")].map((choice) => choice.value);
    addTurn(roles.at(-1) === "user" ? "assistant" : "user").querySelector("textarea").focus();
    changed();
  });
  $("paste-use").addEventListener("click", usePasted);
}

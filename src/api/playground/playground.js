// The playground: what is typed becomes one POST /v1/rewards, and its answer becomes bars.
"use strict";

const HUES = ["#2f6db3", "#b3592f", "#3f8f4f", "#8a4fa8", "#a8842b", "#2b8f9b", "#b03a6a", "#6b6f76"];
const NOTHING = "Nothing scored yet.";
const STARTING_RESPONSES = [
  "See the Louvre and the Musée d'Orsay, walk along the Seine in the evening, and take a day for Versailles.",
  "Paris is in France.",
];

const $ = (id) => document.getElementById(id);

/** An element with text or children; never parses HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    // The page's content policy refuses style attributes; styles set so are allowed.
    if (key === "style") made.style.cssText = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const letter = (index) => (index < 26 ? String.fromCharCode(65 + index) : String(index + 1));
const hue = (index) => `--hue: ${HUES[index % HUES.length]}`;
const mark = (index) => element("span", { class: "mark", style: hue(index) }, letter(index));

// --- What is asked ---

function addResponse(text = "") {
  const id = `response-${crypto.randomUUID ? crypto.randomUUID() : Math.random()}`;
  const remove = element("button", { type: "button" }, "Remove");
  const box = element("div", { class: "response" },
    element("div", { class: "head" }, mark(0), element("label", { for: id }), remove),
    element("textarea", { id, rows: 3 }));
  box.querySelector("textarea").value = text;
  remove.addEventListener("click", () => {
    const next = box.nextElementSibling ?? box.previousElementSibling;
    box.remove();
    number();
    (next?.querySelector("textarea") ?? $("add")).focus();
  });
  $("responses").append(box);
  number();
  return box;
}

/** Letters and colours follow the order. */
function number() {
  const boxes = [...document.querySelectorAll(".response")];
  boxes.forEach((box, index) => {
    box.querySelector(".mark").replaceWith(mark(index));
    box.querySelector("label").textContent = `Response ${letter(index)}`;
    const remove = box.querySelector("button");
    remove.setAttribute("aria-label", `Remove response ${letter(index)}`);
    remove.disabled = boxes.length === 1;
  });
}

function request() {
  const messages = [];
  if ($("system").value.trim()) messages.push({ role: "system", content: $("system").value });
  messages.push({ role: "user", content: $("prompt").value });
  const responses = [...document.querySelectorAll(".response textarea")].map((box) => box.value);
  // Until the models are listed, the server's own is meant.
  const model = $("model").value;
  return { ...(model && { model }), messages, responses };
}

/** The key is kept for this tab alone, where the browser keeps anything. */
const kept = {
  read() { try { return sessionStorage.getItem("key") ?? ""; } catch { return ""; } },
  write(key) { try { sessionStorage.setItem("key", key); } catch { /* It is typed again then. */ } },
};

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

// --- What is shown ---

function status(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

/** The answer's body; what a refusal says is thrown. */
async function read(reply) {
  const answer = await reply.json();
  $("key").setAttribute("aria-invalid", String(reply.status === 401));
  if (reply.status === 401) {
    $("key").focus();
    throw new Error($("key").value.trim() ? "This API key is not one of the server's." : "This server asks for an API key: type it into the marked field.");
  }
  if (!reply.ok) throw new Error(answer.error?.message ?? `the server answered ${reply.status}`);
  return answer;
}

function clear() {
  for (const id of ["ranking", "attributes", "figures"]) $(id).replaceChildren();
}

/** Numbers as the server sent them, cut for the eye; the whole is in the title. */
function value(score) {
  return element("span", { class: "value", title: String(score) }, score.toFixed(4));
}

function showRanking(data, responses) {
  const best = [...data].sort((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity));
  $("ranking").replaceChildren(...best.map((item) => {
    const text = element("span", { class: item.error ? "bad" : "text" });
    text.textContent = item.error ? item.error.message : responses[item.index] || "(empty)";
    return element("li", {}, element("span", { class: "rank" }, item.rank ? `${item.rank}.` : "–"), mark(item.index), text);
  }));
}

/** One scale for all bars, zero included, so that lengths compare. */
function showAttributes(data) {
  const scored = data.filter((item) => item.scores);
  const names = Object.keys(scored[0]?.scores ?? {});
  const all = scored.flatMap((item) => Object.values(item.scores));
  const low = Math.min(0, ...all);
  const high = Math.max(0, ...all);
  const place = (score) => (high > low ? (100 * (score - low)) / (high - low) : 0);
  $("attributes").replaceChildren(...names.map((name) => {
    const bars = scored.map((item) => {
      const score = item.scores[name];
      const [from, to] = [place(Math.min(0, score)), place(Math.max(0, score))];
      const fill = element("i", { style: `${hue(item.index)}; left: ${from}%; width: ${Math.max(to - from, 0.4)}%` });
      const zero = element("b", { style: `left: ${place(0)}%` });
      return element("div", { class: "bar", role: "img", "aria-label": `${name} of response ${letter(item.index)}: ${score}` },
        mark(item.index), element("span", { class: "track" }, fill, zero), value(score));
    });
    return element("div", { class: "attribute" }, element("h3", {}, name), ...bars);
  }));
}

function showFigures(answer, milliseconds) {
  const figure = (name, text) => element("div", {}, element("dt", {}, name), element("dd", {}, text));
  const usage = answer.usage ?? {};
  const cached = usage.prompt_tokens_details?.cached_tokens ?? usage.cached_tokens ?? 0;
  $("figures").replaceChildren(
    figure("tokens", String(usage.prompt_tokens ?? "?")),
    figure("not computed again", String(cached)),
    figure("time", `${milliseconds.toFixed(0)} ms`));
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** JSON as a Python literal: strings are alike, the three constants do not occur here. */
function showCode(body) {
  const url = new URL("v1/rewards", location.href).href;
  const key = $("key").value.trim() ? " \\\n  -H \"Authorization: Bearer $ASSAY_API_KEY\"" : "";
  $("curl").textContent = `curl ${url} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${shellQuoted(JSON.stringify(body, null, 2))}`;
  const auth = key ? ",\n    headers={\"Authorization\": f\"Bearer {os.environ['ASSAY_API_KEY']}\"}" : "";
  $("python").textContent = `${key ? "import os\n\n" : ""}import requests\n\nanswer = requests.post(\n    ${JSON.stringify(url)},\n    json=${JSON.stringify(body, null, 4).replaceAll("\n", "\n    ")}${auth},\n)\nanswer.raise_for_status()\nfor item in answer.json()["data"]:\n    print(item["index"], item["scores"])`;
  $("code").hidden = false;
}

async function score(event) {
  event?.preventDefault();
  const body = request();
  $("score").disabled = true;
  status("Scoring…");
  showCode(body);
  const began = performance.now();
  try {
    const answer = await read(await fetch("v1/rewards", { method: "POST", headers: headers(), body: JSON.stringify(body) }));
    showRanking(answer.data, body.responses);
    showAttributes(answer.data);
    showFigures(answer, performance.now() - began);
    if (!$("model").options.length) models();
    const failed = answer.data.filter((item) => item.error).length;
    status(`Scored ${answer.data.length - failed} of ${answer.data.length} responses with ${answer.model}.`, failed > 0);
  } catch (error) {
    clear();
    status(error.message, true);
  } finally {
    $("score").disabled = false;
  }
}

async function models() {
  const keyWasAsked = $("key").getAttribute("aria-invalid") === "true";
  try {
    const answer = await read(await fetch("v1/models", { headers: headers() }));
    $("model").replaceChildren(...answer.data.map((model) => element("option", {}, model.id)));
    if (keyWasAsked) status(NOTHING);
  } catch (error) {
    status(error.message, true);
  }
}

async function copy(button) {
  const text = $(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($(button.dataset.copy));
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

STARTING_RESPONSES.forEach((text) => addResponse(text));
$("add").addEventListener("click", () => addResponse().querySelector("textarea").focus());
$("ask").addEventListener("submit", score);
$("key").value = kept.read();
$("key").addEventListener("input", () => kept.write($("key").value.trim()));
$("key").addEventListener("change", models);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("score").disabled) score(event);
});
document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
models();

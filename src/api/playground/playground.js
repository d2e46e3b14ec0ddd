// The playground: what is typed becomes one POST /v1/rewards, or /v1/chat/completions for a model that generates.

import { $, element, status } from "./dom.js";
import { addTurn, messages, rewardsRequest, start } from "./form.js";
import { clear, figures, show, showCode } from "./results.js";

const NOTHING = { true: "Nothing generated yet.", false: "Nothing scored yet." };
const PRINT_SCORES = "for item in answer.json()[\"data\"]:\n    print(item[\"index\"], item[\"scores\"])";
const PRINT_TEXT = "print(answer.json()[\"choices\"][0][\"message\"][\"content\"])";

/** Whether the model generates text instead of scoring it. */
let generates = false;

/** The key is kept for this tab alone, where the browser keeps anything. */
const kept = {
  read() { try { return sessionStorage.getItem("key") ?? ""; } catch { return ""; } },
  write(key) { try { sessionStorage.setItem("key", key); } catch { /* It is typed again then. */ } },
};

/** Asks the server; what goes wrong is thrown as a sentence. */
async function ask(path, body) {
  const key = $("key").value.trim();
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  let reply;
  try {
    reply = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  } catch {
    throw new Error(`The server does not answer at ${location.host}. Is it still running?`);
  }
  let answer;
  try {
    answer = await reply.json();
  } catch {
    throw new Error(`${location.host} answered ${reply.status} with something other than JSON: is there a proxy before Assay?`);
  }
  const refused = reply.status === 401;
  $("key").setAttribute("aria-invalid", String(refused));
  if (refused) {
    $("key-label").hidden = false;
    $("key").focus();
    throw new Error(key ? "This API key is not one of the server's." : "This server asks for an API key: type it into the marked field.");
  }
  if (!reply.ok) throw new Error(answer.error?.message ?? `The server answered ${reply.status}.`);
  return answer;
}

async function submit(event) {
  event.preventDefault();
  $("score").disabled = true;
  status(generates ? "Generating …" : "Scoring …");
  const started = performance.now();
  try {
    await (generates ? generate(started) : score(started));
    $("result").classList.remove("stale");
  } catch (error) {
    clear();
    status(error.message, true);
  } finally {
    $("score").disabled = false;
  }
}

async function score(started) {
  const body = rewardsRequest();
  const answer = await ask("v1/rewards", body);
  show(answer, body.responses, performance.now() - started);
  showCode("v1/rewards", body, Boolean($("key").value.trim()), PRINT_SCORES);
  const failed = answer.data.filter((item) => item.error).length;
  status(`Scored ${answer.data.length - failed} of ${answer.data.length} responses with ${answer.model}.`, failed > 0);
}

async function generate(started) {
  const model = $("model").value;
  const body = { ...(model && { model }), messages: messages() };
  const answer = await ask("v1/chat/completions", body);
  const choice = answer.choices[0];
  clear();
  const goOn = element("button", { type: "button", class: "small" }, "Continue the conversation");
  goOn.addEventListener("click", () => {
    addTurn("assistant", choice.message.content);
    addTurn("user").querySelector("textarea").focus();
    stale();
  });
  $("reply").append(element("pre", { class: "reply", tabindex: 0, "aria-label": "Reply" }, choice.message.content || "(empty)"), goOn);
  figures(answer, performance.now() - started);
  showCode("v1/chat/completions", body, Boolean($("key").value.trim()), PRINT_TEXT);
  const why = choice.finish_reason === "length" ? ", which is the limit" : "";
  status(`${answer.model} generated ${answer.usage.completion_tokens} tokens${why}.`);
}

/** Dims results that are no longer those of the form. */
function stale() {
  if ($("figures").children.length === 0 || $("result").classList.contains("stale")) return;
  $("result").classList.add("stale");
  status(`Edited since: ${generates ? "generate" : "score"} again.`);
}

async function models() {
  const keyWasAsked = $("key").getAttribute("aria-invalid") === "true";
  try {
    const answer = await ask("v1/models");
    $("model").replaceChildren(...answer.data.map((model) => element("option", {}, model.id)));
    const first = answer.data[0] ?? {};
    generates = !first.attributes && !first.ranked_by;
    document.body.classList.toggle("generates", generates);
    $("answer-title").textContent = generates ? "Reply" : "Scores";
    $("do").textContent = generates ? "Generate" : "Score";
    for (const id of ["responses-box", "add"]) $(id).hidden = generates;
    if (keyWasAsked || generates) status(NOTHING[generates]);
    await about(first);
  } catch (error) {
    status(error.message, true);
  }
}

/** What answers, in the head of the page. */
async function about(model) {
  const facts = [];
  const attributes = model.attributes?.length;
  if (attributes) facts.push(attributes === 1 ? "1 attribute" : `${attributes} attributes`);
  if (generates) facts.push("generates text");
  if (model.max_model_len) facts.push(`up to ${model.max_model_len.toLocaleString("en")} tokens`);
  try {
    const manifest = (await ask("v1/metadata")).selectedModelProfile;
    if (manifest) facts.push(manifest);
  } catch { /* The rest is shown. */ }
  try {
    facts.push(`Assay ${(await ask("version")).version}`);
  } catch { /* The rest is shown. */ }
  $("about").textContent = facts.join(" · ");
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

start();
if (/Mac|iPhone|iPad/.test(navigator.platform)) $("shortcut").textContent = "⌘ Enter";
$("ask").addEventListener("submit", submit);
$("ask").addEventListener("input", (event) => {
  if (!["key", "paste"].includes(event.target.id)) stale();
});
$("key").value = kept.read();
$("key-label").hidden = !kept.read();
$("key").addEventListener("input", () => kept.write($("key").value.trim()));
$("key").addEventListener("change", models);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("score").disabled) submit(event);
});
document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
models();

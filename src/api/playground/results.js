// What is shown: the ranking first, then bars, or a table where there are many responses or attributes.

import { $, breakable, element, hue, letter, mark } from "./dom.js";

// With this many or more, a table shows more at a glance than bars.
const TABLE_RESPONSES = 5;
const TABLE_ATTRIBUTES = 9;

/** A score cut for the eye; the whole is in the title. */
const value = (score) => element("span", { class: "value", title: String(score) }, score.toFixed(4));

export function clear() {
  for (const id of ["ranking-box", "attributes", "figures", "reply"]) $(id).replaceChildren();
}

/** Shows an answer of /v1/rewards; `responses` are the texts that it scores. */
export function show(answer, responses, milliseconds) {
  const scored = answer.data.filter((item) => item.scores);
  const names = Object.keys(scored[0]?.scores ?? {});
  // What decided goes first.
  const by = answer.ranked_by;
  const ordered = names.includes(by) ? [by, ...names.filter((name) => name !== by)] : names;
  const best = [...answer.data].sort((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity));
  clear();
  if (answer.data.length >= TABLE_RESPONSES) {
    $("attributes").append(byResponse(best, ordered, responses, by));
  } else {
    $("ranking-box").append(ranking(best, responses, by));
    if (ordered.length >= TABLE_ATTRIBUTES) $("attributes").append(byAttribute(best, ordered));
    else $("attributes").append(...bars(scored, ordered));
  }
  figures(answer, milliseconds);
}

const decided = (item, by) => item.scores?.[by] ?? item.score;

function ranking(best, responses, by) {
  const rows = best.map((item) => {
    const text = element("span", { class: item.error ? "bad" : "text" });
    text.textContent = item.error ? item.error.message : responses[item.index] || "(empty)";
    const score = decided(item, by);
    return element("li", {}, element("span", { class: "rank" }, item.rank ? `${item.rank}.` : "–"), mark(item.index),
      ...(typeof score === "number" ? [value(score)] : []), text);
  });
  const reason = by ? [element("p", { class: "reason" }, "Ranked by ", element("strong", {}, by))] : [];
  return element("div", {}, ...reason, element("ol", { id: "ranking" }, ...rows));
}

/** One scale for all bars, zero included, so that lengths compare. */
function bars(scored, names) {
  const all = scored.flatMap((item) => Object.values(item.scores));
  const low = Math.min(0, ...all);
  const high = Math.max(0, ...all);
  const place = (score) => (high > low ? (100 * (score - low)) / (high - low) : 0);
  return names.map((name) => {
    const lines = scored.map((item) => {
      const score = item.scores[name];
      const [from, to] = [place(Math.min(0, score)), place(Math.max(0, score))];
      const fill = element("i", { style: `${hue(item.index)}; left: ${from}%; width: ${Math.max(to - from, 0.4)}%` });
      const zero = element("b", { style: `left: ${place(0)}%` });
      return element("div", { class: "bar", role: "img", "aria-label": `${name} of response ${letter(item.index)}: ${score}` },
        mark(item.index), element("span", { class: "track" }, fill, zero), value(score));
    });
    return element("div", { class: "attribute" }, element("h3", {}, name), ...lines);
  });
}

/** A cell, tinted by the place of its score among those of the same attribute. */
function cell(score, scores) {
  if (typeof score !== "number") return element("td", { class: "number" }, "–");
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const share = high > low ? (score - low) / (high - low) : 0.5;
  return element("td", { class: "number tinted", style: `--share: ${share.toFixed(3)}` }, value(score));
}

/** A row for each response, sortable by rank and by each attribute. */
function byResponse(best, names, responses, by) {
  const column = (name) => best.map((item) => item.scores?.[name]).filter((score) => typeof score === "number");
  const rows = best.map((item) => {
    const text = item.error ? item.error.message : responses[item.index] || "(empty)";
    const full = element("details", { class: item.error ? "bad" : "" }, element("summary", {}, text), element("p", {}, text));
    const cells = names.map((name) => cell(item.scores?.[name], column(name)));
    const row = element("tr", {}, element("td", { class: "number" }, item.rank ? String(item.rank) : "–"),
      element("th", { scope: "row" }, element("div", {}, element("span", { class: "mark plain" }, letter(item.index)), full)), ...cells);
    row.keys = [item.rank ?? Infinity, item.index, ...names.map((name) => -(item.scores?.[name] ?? -Infinity))];
    return row;
  });
  const body = element("tbody", {}, ...rows);
  const heads = ["Rank", "Response", ...names].map((name, index) => {
    // The column of ranks is narrow, so its heading is a sign.
    const label = index === 0 ? { title: name, "aria-label": name } : {};
    const button = element("button", { type: "button", class: "sort", ...label }, ...breakable(index === 0 ? "#" : name));
    const head = element("th", { scope: "col", "aria-sort": index === 0 ? "ascending" : "none" }, button);
    if (name === by) head.append(element("span", { class: "by" }, "ranks"));
    button.addEventListener("click", () => {
      body.append(...[...body.children].sort((a, b) => a.keys[index] - b.keys[index]));
      heads.forEach((one) => one.setAttribute("aria-sort", "none"));
      // Scores are sorted from the highest down.
      head.setAttribute("aria-sort", index < 2 ? "ascending" : "descending");
    });
    return head;
  });
  return scrolled("table-responses", "A row for each response", element("thead", {}, element("tr", {}, ...heads)), body);
}

/** A row for each attribute, a column for each response. */
function byAttribute(best, names) {
  const scored = best.filter((item) => item.scores);
  const heads = scored.map((item) => element("th", { scope: "col" }, mark(item.index)));
  const rows = names.map((name) => {
    const scores = scored.map((item) => item.scores[name]);
    return element("tr", {}, element("th", { scope: "row" }, element("div", {}, ...breakable(name))), ...scores.map((score) => cell(score, scores)));
  });
  const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Attribute"), ...heads));
  return scrolled("table-attributes", "A row for each attribute", head, element("tbody", {}, ...rows));
}

function scrolled(kind, label, ...parts) {
  const note = element("p", { class: "reason" }, "The tint compares the scores of one attribute. Wide tables scroll sideways.");
  const table = element("table", { class: kind, "aria-label": label }, ...parts);
  return element("div", {}, note, element("div", { class: "scrolled", tabindex: 0, role: "group", "aria-label": label }, table));
}

export function figures(answer, milliseconds) {
  const figure = (name, text) => element("div", {}, element("dt", {}, name), element("dd", {}, text));
  const usage = answer.usage ?? {};
  const cached = usage.prompt_tokens_details?.cached_tokens ?? usage.cached_tokens ?? 0;
  $("figures").replaceChildren(
    figure("prompt tokens", String(usage.prompt_tokens ?? "?")),
    ...(usage.completion_tokens > 1 ? [figure("generated tokens", String(usage.completion_tokens))] : []),
    figure("from cache", String(cached)),
    figure("time", `${milliseconds.toFixed(0)} ms`));
}

// --- The same request elsewhere ---

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** JSON as a Python literal: strings are alike, and of the three constants only `true` occurs here. */
const python = (body) => JSON.stringify(body, null, 4).replaceAll("\n", "\n    ").replaceAll(/: true(?=,?\n)/g, ": True");

/** Shows `body` as commands; `print` is what the Python program does with each answer. */
export function showCode(path, body, hasKey, print) {
  const url = new URL(path, location.href).href;
  const key = hasKey ? " \\\n  -H \"Authorization: Bearer $ASSAY_API_KEY\"" : "";
  $("curl").textContent = `curl ${url} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${shellQuoted(JSON.stringify(body, null, 2))}`;
  const auth = key ? ",\n    headers={\"Authorization\": f\"Bearer {os.environ['ASSAY_API_KEY']}\"}" : "";
  $("python").textContent = `${key ? "import os\n\n" : ""}import requests\n\nanswer = requests.post(\n    ${JSON.stringify(url)},\n    json=${python(body)}${auth},\n)\nanswer.raise_for_status()\n${print}`;
  $("code").hidden = false;
}

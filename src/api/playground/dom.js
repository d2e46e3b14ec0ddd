// Small helpers for elements. None of them parses HTML.

export const $ = (id) => document.getElementById(id);

/** An element with attributes, and with texts or elements in it. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    // The page's content policy refuses style attributes; styles set so are allowed.
    if (key === "style") made.style.cssText = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A long name that may wrap after its separators. */
export const breakable = (name) => name.split(/(?<=[-_./])/).flatMap((part) => [part, element("wbr")]);

// White letters on each have a contrast of 4.5 or more.
const HUES = ["#2f6db3", "#a34d25", "#2f7a3f", "#8a4fa8", "#7d6010", "#1d7480", "#b03a6a", "#5f636a"];

export const letter = (index) => (index < 26 ? String.fromCharCode(65 + index) : String(index + 1));
export const hue = (index) => `--hue: ${HUES[index % HUES.length]}`;
export const mark = (index) => element("span", { class: "mark", style: hue(index) }, letter(index));

export function status(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

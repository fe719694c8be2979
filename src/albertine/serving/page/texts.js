// What the page says, in the language that was chosen. Messages of the server are English and stay so.

let texts = {}; // by key, in English and Chinese
let language = "en";

/** Read a file that stands beside this one. */
export const file = async (name) => (await fetch(new URL(name, import.meta.url))).json();

export async function loadTexts() {
  texts = await file("texts.json");
}

/** Say everything in a language; what was built from texts is to be built anew. */
export function speak(wanted) {
  language = wanted;
  document.documentElement.lang = wanted;
  document.title = `${t("title")} · Albertine`;
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = t(one.dataset.text);
}

export const spoken = () => language;

/** The text of a key that may not exist, such as that of a plug-in's task; else the other one. */
export const known = (key, otherwise) => texts[key]?.[language === "zh" ? 1 : 0] ?? otherwise;

/** The text of a key, its placeholders filled in; numbers are written as the language writes them. */
export const t = (key, values = {}) =>
  known(key).replace(/\{(\w+)\}/g, (_, name) =>
    typeof values[name] === "number" ? number(values[name]) : values[name]);

export const number = (value, options) => new Intl.NumberFormat(language, options).format(value);
export const decimals = (value) => number(value, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
export const percent = (value) =>
  number(value, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

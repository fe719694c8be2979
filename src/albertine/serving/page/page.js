// The page put together: what is chosen, asked and shown.

import { inShort, modelView, taskName } from "./about.js";
import { apiKey, call, callModel, Failure, keepKey, storage } from "./api.js";
import { at, make, show, soft } from "./dom.js";
import { failureView, headline } from "./failures.js";
import { announced, answerView, spanNames, verdict } from "./results.js";
import { size } from "./spans.js";
import { file, loadTexts, number, speak, spoken, t } from "./texts.js";

const MODES = ["predict", "search", "encode"];
const TEXTS = ["first", "second"];
const FIELDS = {
  text: ["text"],
  pair: ["text_a", "text_b"],
  question: ["question", "context"],
  "text or pair": ["text", "optional"],
  search: ["query"],
  encode: ["text_a", "text_b"],
};
const HITS = 10; // that a search gives
const POLL = 2000; // milliseconds, until models that are loading are looked at again

let models = [];
let trouble = null; // why there is no list of models
let examples = {};
const details = new Map(); // of models, by their ids
let asked = null; // the question that the answers are to
let outcomes = []; // an answer or a failure each, of as many models as are done
let running = null; // the AbortController of the request under way

const usable = () => models.filter((one) => modes(one).length > 0); // a model that is loading may not say yet
const chosen = () => models.find((one) => one.id === at("model").value);
const mode = () => at("mode").value;
const names = () => [at("model").value, at("other").value].filter(Boolean);
const fields = () => FIELDS[mode() === "predict" ? chosen().input : mode()];
const say = (text) => (at("status").textContent = text);
const warn = (text) => (at("alert").textContent = text);

// --- models

async function loadModels() {
  const before = JSON.stringify([models, trouble]);
  let loading = false;
  try {
    models = (await call("v1/models")).answer.data;
    loading = models.some((one) => one.state === "loading");
    trouble = loading || usable().length ? null : new Failure("no_models");
  } catch (failure) {
    trouble = failure;
  }
  if (loading) setTimeout(loadModels, POLL);
  if (JSON.stringify([models, trouble]) === before) return;
  if (trouble) report(trouble);
  showModels();
}

/** Say aloud what failed; where a key is wanted, ask for it. */
function report(failure) {
  warn(headline(failure));
  if (failure.type === "unauthorized") showKey(true);
}

/** What a model can do here; vectors are compared only where it gives no answers. */
function modes({ capabilities }) {
  return MODES.filter((one) => capabilities.includes(one) && !(one === "encode" && capabilities.includes("predict")));
}

function choose(id, options) {
  const before = at(id).value;
  at(id).replaceChildren(...options.map(([value, text, disabled]) =>
    make("option", { value, disabled, selected: value === before }, text)));
}

function option(model) {
  const { id, state } = model;
  const words = state === "ready" ? taskName(model) : t(`state.${state}`);
  return [id, `${id} — ${words}`, !modes(model).length];
}

function showModels() {
  const some = usable().length > 0;
  show(!some && !trouble, "loading");
  show(some, "form", "answers", "about");
  const focused = at("trouble").contains(document.activeElement);
  at("trouble").replaceChildren(trouble ? failureView(trouble, "h2", loadModels, ready) : "");
  if (!some) return;
  choose("model", models.map(option));
  if (focused) at("model").focus();
  showModes();
}

function showModes() {
  const able = modes(chosen());
  choose("mode", able.map((one) => [one, t(`mode.${one}`)]));
  show(able.length > 1, "mode-field");
  showOthers();
}

/** Offer the models that can be asked the same. */
function showOthers() {
  const first = chosen();
  const alike = (one) => mode() !== "predict" || (one.task === first.task && one.input === first.input);
  const others = usable().filter((one) => one !== first && modes(one).includes(mode()) && alike(one));
  choose("other", [["", t("other.none")], ...others.map(option)]);
  show(others.length > 0, "other-field");
  fields().forEach((field, place) => (at(`${TEXTS[place]}-label`).textContent = t(`field.${field}`)));
  at("second").classList.toggle("long", fields()[1] === "context");
  show(fields().length > 1, "second-field");
  showExamples();
  showAbout();
}

function showExamples() {
  const { task, input } = chosen();
  const kind = { search: "search", encode: "sentence-similarity" }[mode()] ?? task;
  const held = examples[`${kind}/${input}`] ?? examples[kind] ?? examples["text-classification"];
  const ordered = spoken() === "zh" ? ["zh", "en"] : ["en", "zh"];
  at("examples").replaceChildren(...ordered.flatMap((lang) => held[lang].map(([first, second = ""]) => make("li", {},
    make("button", { type: "button", class: "chip", lang, onclick: () => take(first, second) }, first)))));
}

function take(first, second) {
  at("first").value = first;
  at("second").value = second;
  run();
}

/** Show the models chosen, once they have said what they are. */
async function showAbout() {
  await Promise.allSettled(names().filter((name) => !details.has(name)).map(async (name) => {
    details.set(name, (await callModel(name, "")).answer);
  }));
  const known = names().flatMap((name) => details.get(name) ?? []);
  at("cards").replaceChildren(...known.map(modelView));
  for (const id of ["model", "other"]) {
    const detail = details.get(at(id).value);
    at(`${id}-facts`).textContent = detail ? inShort(detail) : "";
  }
  showCounts();
}

// --- what is asked

function showCounts() {
  const limit = Math.min(...names().map((name) => details.get(name)?.max_characters ?? Infinity));
  for (const id of TEXTS) {
    const count = size(at(id).value);
    at(`${id}-count`).textContent = t(limit < Infinity ? "characters.limit" : "characters", { count, limit });
    if (count > limit) complain(id, t("characters.over", { limit }));
  }
}

function complain(id, text) {
  at(`${id}-note`).textContent = text;
  at(id).setAttribute("aria-invalid", String(text !== ""));
}

/** What stands in the form; null where a text is missing or too long, which is said at its field. */
function question() {
  const wanted = fields();
  const used = TEXTS.slice(0, wanted.length);
  const [first, second = ""] = used.map((id) => at(id).value);
  used.forEach((id, place) => complain(id, at(id).value.trim() || wanted[place] === "optional" ? "" : t("missing")));
  showCounts();
  const wrong = used.find((id) => at(id).getAttribute("aria-invalid") === "true");
  if (wrong) {
    warn(at(`${wrong}-note`).textContent);
    at(wrong).focus();
    return null;
  }
  const isQuestion = wanted[0] === "question";
  const pair = isQuestion ? { question: first, context: second } : { text_a: first, text_b: second };
  const body = {
    predict: { inputs: second.trim() ? pair : first, scores: true },
    search: { query: first, k: HITS },
    encode: { texts: [first, second] },
  }[mode()];
  return { mode: mode(), names: names(), body, text: isQuestion ? second : first, question: isQuestion };
}

// --- answers

async function run() {
  const next = running || !chosen() ? null : question();
  if (!next) return;
  if (at("results").contains(document.activeElement)) at("run").focus(); // what had it is about to go
  running = new AbortController();
  const { signal } = running;
  asked = next;
  outcomes = [];
  warn("");
  say(t("running"));
  for (const name of asked.names) {
    showAnswers();
    const outcome = await answerOf(name, signal);
    if (signal.aborted) break;
    outcomes.push(outcome);
  }
  running = null;
  if (document.activeElement === at("stop")) at("run").focus();
  showAnswers();
  tell();
}

async function answerOf(name, signal) {
  try {
    const { answer, ...times } = await callModel(name, `/${asked.mode}`, asked.body, signal);
    const outcome = { name, ...times, tokens: answer.usage.tokens, range: details.get(name)?.value_range };
    if (asked.mode === "search") return { ...outcome, hits: answer.hits[0] };
    if (asked.mode === "encode") return { ...outcome, cosine: cosine(...answer.vectors) };
    return { ...outcome, prediction: answer.predictions[0] };
  } catch (failure) {
    return { name, failure: failure instanceof Failure ? failure : new Failure("unreadable") };
  }
}

function cosine(first, second) {
  const product = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);
  return product(first, second) / (Math.sqrt(product(first, first) * product(second, second)) || 1);
}

/** Tell a screen reader what came of it. */
function tell() {
  const said = outcomes.filter((one) => !one.failure).map((one) => `${one.name}: ${announced(one, asked)}.`);
  say([...said, both()?.text, outcomes.length < asked.names.length && t("stopped")].filter(Boolean).join(" "));
  for (const { failure } of outcomes) if (failure) report(failure);
}

/** Both answers held against each other; null where there are not two. */
function both() {
  return outcomes.length === 2 && !outcomes.some((one) => one.failure) ? verdict(...outcomes, asked) : null;
}

function showAnswers() {
  const busy = running !== null;
  at("run").textContent = t(busy ? "running" : "run");
  at("run").setAttribute("aria-disabled", String(busy));
  show(busy, "stop", "working");
  if (!asked) return at("results").replaceChildren(make("p", { class: "empty" }, t("answer.empty")));
  const labels = spanNames(outcomes);
  const held = both();
  const view = (outcome, other) => {
    if (!outcome) return soft(t(busy ? "running" : "stopped"));
    if (outcome.failure) return failureView(outcome.failure, "h4", run, ready);
    return [answerView(outcome, asked, other, labels), cost(outcome)];
  };
  const panels = asked.names.map((name, place) => make("article", { class: "panel answer" }, make("h3", {}, name),
    view(outcomes[place], held && !held.same && outcomes[1 - place])));
  const banner = held && make("p", { class: held.same ? "verdict" : "verdict apart" },
    make("span", { class: "mark", "aria-hidden": "true" }, held.same ? "=" : "≠"), held.text);
  return at("results").replaceChildren(banner ?? "", make("div", { class: "answers" }, panels));
}

function cost({ computing, milliseconds, tokens }) {
  const short = (value) => ({ count: number(value, { maximumSignificantDigits: 3 }) });
  const model = computing && t("answer.computing", short(computing));
  const read = tokens > 0 && t("answer.tokens", { count: tokens });
  const whole = t("answer.milliseconds", short(milliseconds));
  return soft([model, whole, read].filter(Boolean).join(" · "));
}

const ready = () => say(t("again.now"));

// --- the page around it

function showKey(visible) {
  show(visible || apiKey() !== null, "key-toggle");
  show(visible, "key-form");
  at("key-toggle").setAttribute("aria-expanded", String(visible));
  if (visible) at("key").focus();
}

function useKey(key) {
  const usable = /^[\x21-\x7e]*$/.test(key);
  complain("key", usable ? "" : t("key.unusable"));
  if (!usable) return warn(t("key.unusable"));
  keepKey(key);
  at("key").value = "";
  details.clear();
  showKey(false);
  return loadModels();
}

function setLanguage(language) {
  speak(language);
  showModels();
  showAnswers();
}

/** Act on a choice, and remember it. */
function remember(name, then) {
  at(`${name}s`).addEventListener("change", ({ target }) => {
    storage("localStorage").setItem(`albertine.${name}`, target.value);
    then(target.value);
  });
}

/** Say that there is no connection, unless the server is on this machine and needs none. */
async function showOffline() {
  const reached = navigator.onLine || (await call("health").then(() => true, () => false));
  show(!reached, "offline");
}

function listen() {
  const submitted = (id, then) => at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    then();
  });
  submitted("form", run);
  submitted("key-form", () => useKey(at("key").value.trim()));
  at("key-forget").addEventListener("click", () => useKey(""));
  at("key-toggle").addEventListener("click", () => showKey(at("key-form").hidden));
  at("stop").addEventListener("click", () => running?.abort());
  at("model").addEventListener("change", showModes);
  at("mode").addEventListener("change", showOthers);
  at("other").addEventListener("change", showAbout);
  for (const id of TEXTS) at(id).addEventListener("input", () => {
    complain(id, "");
    showCounts();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
    if (event.key === "Escape") running?.abort();
  });
  remember("language", setLanguage);
  remember("theme", (theme) => (document.documentElement.dataset.theme = theme));
  for (const event of ["online", "offline"]) window.addEventListener(event, showOffline);
  showOffline();
}

async function start() {
  await loadTexts();
  examples = await file("examples.json");
  const { lang, dataset } = document.documentElement; // theme.js has set both
  for (const one of document.querySelectorAll("header input")) one.checked = [lang, dataset.theme].includes(one.value);
  listen();
  showKey(false);
  setLanguage(lang);
  await loadModels();
}

start();

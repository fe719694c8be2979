// What models answer, each kind in its own way, and two answers held against each other.

import { make, soft } from "./dom.js";
import { lines, pieces } from "./spans.js";
import { decimals, known, number, percent, t } from "./texts.js";

const SHOWN = 10; // labels, before somebody asks for more
const STYLES = ["solid", "dashed", "dotted", "double"]; // of lines, so that colour is never the only sign
const HUES = 5; // has no divisor in common with the styles: 20 different marks

const spanName = (label) => known(`span.${label}`, label);
const spanKey = (one) => one && [one.start, one.end, one.label].join();
const opinionKey = (one) => [spanKey(one.aspect), spanKey(one.expression), one.category, one.polarity].join("|");

/** The answer where it is one thing, and no list of findings. */
function answerLine({ label, labels, value, output, spans }, { question }) {
  if (question) return spans?.[0]?.text ?? t("answer.none");
  if (labels) return labels.join(", ") || t("answer.no_label");
  return value === undefined ? label ?? output : decimals(value);
}

/** What a model says, in a few words. */
function inWords({ prediction, hits, cosine }, asked) {
  if (cosine !== undefined) return decimals(cosine);
  const line = prediction && answerLine(prediction, asked);
  if (line !== undefined && prediction.abstained) return t("answer.unsure");
  const found = hits ?? prediction.opinions ?? (asked.question ? undefined : prediction.spans);
  const count = found && t(found.length ? "answer.found" : "answer.nothing", { count: found.length });
  return [line, count].filter(Boolean).join(", ");
}

/** The same with how sure the model is, for a screen reader. */
export function announced(outcome, asked) {
  const score = outcome.prediction?.score;
  return inWords(outcome, asked) + (score === undefined ? "" : `, ${sure(score)}`);
}

const sure = (score) => t("answer.sure", { percent: percent(score) });

/** Hold two answers against each other. */
export function verdict(first, second, asked) {
  const values = [first, second].map((one) => one.cosine ?? one.prediction?.value);
  if (values[0] !== undefined) {
    const difference = decimals(Math.abs(values[0] - values[1]));
    return { same: difference === decimals(0), text: t("verdict.value", { difference }) };
  }
  const same = essence(first, asked) === essence(second, asked);
  const words = [first, second].map((one) => inWords(one, asked));
  if (same || words[0] === words[1]) return { same, text: t(same ? "verdict.same" : "verdict.differs") };
  return { same, text: t("verdict.apart", { first: words[0], second: words[1] }) };
}

function essence({ prediction, hits }, asked) {
  if (hits) return JSON.stringify(hits.map((hit) => hit.text));
  const { label, labels = [], output, spans = [], opinions = [], abstained } = prediction;
  if (asked.question) return abstained ? null : spanKey(spans[0]);
  const said = abstained ? null : label;
  return JSON.stringify([said, [...labels].sort(), output, spans.map(spanKey).sort(), opinions.map(opinionKey).sort()]);
}

/**
 * Show an answer: a prediction, hits or a cosine.
 * @param asked `text` is what places count in, `question` says whether that may answer one.
 * @param other What the other model says, to mark what only this one does.
 * @param names The labels of spans; their places choose colours and lines.
 */
export function answerView({ prediction, hits, cosine, range }, asked, other, names) {
  if (hits) return hits.length ? hitList(hits) : said(t("answer.nothing"));
  if (cosine !== undefined) return [said(decimals(cosine)), bar(cosine)];
  const { label, labels, value, scores, score, spans, opinions, output, abstained, truncated } = prediction;
  const answer = answerLine(prediction, asked);
  const shown = [];
  const silent = t(answer === undefined ? "answer.partly" : "answer.silent");
  if (abstained) shown.push(make("p", { class: "silent" }, silent));
  if (abstained && answer) shown.push(make("p", {}, t("answer.guess", { answer })));
  else if (answer !== undefined) shown.push(said(answer || t("answer.nothing")));
  if (score !== undefined) shown.push(soft(sure(score)));
  if (range) {
    const [low, high] = range;
    shown.push(bar((value - low) / (high - low)), soft(`${number(low)} … ${number(high)}`));
  }
  const found = asked.question ? spans?.slice(0, 1) : (spans || opinions) && allSpans(prediction);
  if (found) shown.push(marked(asked.text, found, names));
  if (opinions) shown.push(opinionTable(opinions, other));
  else if (spans && (spans.length || !asked.question)) shown.push(spanTable(spans, other));
  if (scores) shown.push(bars(scores, labels ?? [label ?? output], labels));
  if (truncated) shown.push(soft(t("answer.truncated")));
  return shown;
}

/** The labels of the pieces that answers speak of, each once. */
export const spanNames = (outcomes) =>
  [...new Set(outcomes.flatMap(({ prediction }) => allSpans(prediction ?? {})).map((one) => one.label))].sort();

/** The pieces of a text, those that opinions speak of among them, each once. */
function allSpans({ spans = [], opinions = [] }) {
  const all = [...spans, ...opinions.flatMap((one) => [one.aspect, one.expression])].filter(Boolean);
  return [...new Map(all.map((one) => [spanKey(one), one])).values()];
}

const said = (text) => make("p", { class: "said" }, text);

function bar(share) {
  const filled = make("i");
  filled.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, filled);
}

function table(name, titles, rows) {
  const head = titles.map((key, place) =>
    make("th", { scope: "col", colspan: name === "scores" && place ? 2 : null }, t(`table.${key}`)));
  return make("table", { class: name }, make("caption", { class: "unseen" }, t(`table.${name}`)),
    make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows));
}

function bars(scores, chosen, several) {
  const first = [];
  const rest = [];
  for (const [label, share] of Object.entries(scores).sort((a, b) => b[1] - a[1])) {
    const applies = chosen.includes(label);
    const row = make("tr", { class: applies && "best" },
      make("th", { scope: "row" }, label, several && applies && " ✓"), cell(bar(share)), probability(share));
    (applies || first.length < SHOWN ? first : rest).push(row);
  }
  const all = (rows) => table("scores", ["label", "probability"], rows);
  const more = make("summary", {}, t("answer.more", { count: rest.length }));
  return [all(first), rest.length > 0 && make("details", {}, more, all(rest))];
}

/** The text with its pieces marked: a tint, a line for each, and its label behind it. */
function marked(text, spans, names) {
  const place = lines(spans);
  const hue = (index) => names.indexOf(spans[index].label);
  const colour = (index) => `hue${hue(index) % HUES}`;
  const shown = pieces(text, spans).map(({ text: words, within, ends }) => {
    if (!within.length) return words;
    const held = within.reduce((inner, index) => {
      const line = make("span", { class: colour(index) }, inner);
      line.style.textDecorationStyle = STYLES[hue(index) % STYLES.length];
      line.style.textUnderlineOffset = `${0.25 + 0.3 * place[index]}em`;
      return line;
    }, words);
    const tags = ends.map((index) => make("b", { class: `tag ${colour(index)}` }, spanName(spans[index].label)));
    return [make("mark", { class: colour(within.at(-1)) }, held), tags];
  });
  return make("div", { class: "text", tabindex: "0", role: "group", "aria-label": t("table.text") }, shown);
}

const cell = (held) => make("td", {}, held);
const probability = (score) => cell(percent(score));

/** The first cell of a row, which says so where the other model has nothing like it. */
function first(held, key, theirs) {
  const lone = theirs && !theirs.includes(key) && [" ", make("span", { class: "only" }, t("answer.only_here"))];
  return make("th", { scope: "row" }, held, lone);
}

function spanTable(spans, other) {
  if (!spans.length) return make("p", {}, t("answer.nothing"));
  const theirs = other && (other.prediction.spans ?? []).map(spanKey);
  return table("spans", ["label", "text", "place", "probability"], spans.map((one) => make("tr", {},
    first(spanName(one.label), spanKey(one), theirs), cell(one.text),
    cell(`${number(one.start)}–${number(one.end)}`), probability(one.score))));
}

function opinionTable(opinions, other) {
  if (!opinions.length) return make("p", {}, t("answer.nothing"));
  const theirs = other && (other.prediction.opinions ?? []).map(opinionKey);
  const category = opinions.some((one) => one.category) && "category";
  const words = (span) => span?.text ?? make("i", { class: "soft" }, t("table.implied"));
  const titles = ["aspect", "expression", category, "polarity", "probability"].filter(Boolean);
  return table("opinions", titles, opinions.map((one) => make("tr", {},
    first(words(one.aspect), opinionKey(one), theirs), cell(words(one.expression)),
    category && cell(one.category), cell(one.polarity), probability(one.score))));
}

function hitList(hits) {
  const source = (hit) => (hit.file ? `${hit.file}:${hit.line ?? 1}` : `#${number(hit.place + 1)}`);
  return make("ol", { class: "hits" }, hits.map((hit) => make("li", {},
    make("p", { class: "passage" }, hit.text), bar(hit.score), soft(`${decimals(hit.score)} · ${source(hit)}`))));
}

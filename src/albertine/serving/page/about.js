// What a model is: its sizes, its labels, its card.

import { make, soft } from "./dom.js";
import { markdown } from "./markdown.js";
import { known, number, t } from "./texts.js";

const kindName = ({ kind }) => (/^(al)?bert$/.test(kind) ? kind.toUpperCase() : kind);

export const taskName = (model) => known(`task.${model.task}`, model.task);

/** What stands under the name of a model, in one line. */
export function inShort(detail) {
  const count = number(detail.parameters_unique, { notation: "compact", maximumSignificantDigits: 3 });
  return [kindName(detail), t("about.parameters", { count }), detail.precision].filter(Boolean).join(" · ");
}

/** A model as a panel: facts, labels, card. */
export function modelView(detail) {
  const facts = {
    task: taskName(detail),
    kind: kindName(detail),
    unique: number(detail.parameters_unique),
    executed: number(detail.parameters_executed),
    bytes: number(detail.bytes / 1e6, { style: "unit", unit: "megabyte", maximumSignificantDigits: 3 }),
    max_length: detail.max_length && t("about.tokens", { count: detail.max_length }),
    documents: detail.documents && number(detail.documents),
  };
  const rows = Object.entries(facts).filter(([, value]) => value);
  const prose = make("div", { class: "prose" });
  const open = () => {
    if (!prose.firstChild) prose.append(...markdown(detail.card, 4));
    // what scrolls can be reached by keyboard
    for (const one of prose.querySelectorAll(".scroll")) if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  };
  return make("article", { class: "panel about" }, make("h3", {}, detail.id),
    make("dl", {}, rows.map(([name, value]) =>
      make("div", {}, make("dt", {}, t(`about.${name}`)), make("dd", {}, value)))),
    detail.labels.length > 0 && [soft(t("about.labels")),
      make("ul", { class: "labels" }, detail.labels.map((label) => make("li", {}, label)))],
    detail.card && make("details", { ontoggle: open }, make("summary", {}, t("about.card")), prose));
}

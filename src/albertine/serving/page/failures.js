// What went wrong, and what to do next, in words.

import { make } from "./dom.js";
import { known, t } from "./texts.js";

/** The one line that says what kind of failure it is. */
export const headline = (failure) => known(`error.${failure.type}`, t("error.other"));

/** Show a failure under a heading; `again` tries again, `ready` is called when the server's pause is over. */
export function failureView(failure, heading, again, ready) {
  const { detail, type } = failure;
  const facts = ["where", "received", "allowed", "request_id"].filter((name) => detail[name]);
  const button = make("button", { type: "button", onclick: () => failure.again <= Date.now() && again() });
  countDown(button, failure, ready);
  // the server's messages are English, whatever the page speaks
  return make("div", { class: "error" }, make(heading, {}, headline(failure)),
    detail.what && make("p", { lang: "en" }, detail.what),
    facts.length > 0 && make("dl", {}, facts.map((name) =>
      [make("dt", {}, t(`error.${name}`)), make("dd", { lang: "en" }, detail[name])])),
    detail.next_step && make("p", { lang: "en" }, detail.next_step),
    known(`error.${type}.next`) && make("p", {}, t(`error.${type}.next`, detail)), button);
}

function countDown(button, failure, ready) {
  const left = Math.ceil((failure.again - Date.now()) / 1000);
  button.setAttribute("aria-disabled", String(left > 0));
  button.textContent = left > 0 ? t("again.in", { seconds: left }) : t("again");
  if (left > 0) setTimeout(() => button.isConnected && countDown(button, failure, ready), 250);
  else if (button.isConnected) ready();
}

// The server: requests, their key, and what can go wrong.

const ROOT = new URL("../", import.meta.url); // so that the page may stand below a prefix
const KEY = "albertine.key";

/** A request without an answer; `type` is the server's word for it, or offline, unreadable, no_models. */
export class Failure extends Error {
  constructor(type, detail = {}) {
    super(type);
    this.type = type;
    this.detail = detail;
    this.again = Date.now() + 1000 * (Number(detail.retry_after) || 0); // not before this time
  }
}

/** localStorage or sessionStorage, or one that forgets, where the browser forbids them. */
export function storage(kind) {
  try {
    return window[kind];
  } catch {
    return { getItem: () => null, setItem() {}, removeItem() {} };
  }
}

export const apiKey = () => storage("sessionStorage").getItem(KEY);

export function keepKey(key) {
  if (key) storage("sessionStorage").setItem(KEY, key);
  else storage("sessionStorage").removeItem(KEY);
}

/**
 * Ask the server; a body makes it a POST.
 * @returns What it says, and how long that took: its model alone (where it says so), and there and back.
 * @throws {Failure} There is no answer.
 */
export async function call(path, body, signal) {
  const headers = {};
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  if (body) headers["Content-Type"] = "application/json";
  const request = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  const began = performance.now();
  let response;
  let answer;
  try {
    response = await fetch(new URL(path, ROOT), request);
    answer = await response.json();
  } catch {
    throw response ? new Failure("unreadable", { status: response.status }) : new Failure("offline");
  }
  const [, computing] = /model;dur=([\d.]+)/.exec(response.headers.get("Server-Timing")) ?? [];
  if (response.ok) return { answer, computing, milliseconds: performance.now() - began };
  const error = answer?.error;
  throw error?.type ? new Failure(error.type, error) : new Failure("unreadable", { status: response.status });
}

export const callModel = (name, action, ...rest) => call(`v1/models/${encodeURIComponent(name)}${action}`, ...rest);

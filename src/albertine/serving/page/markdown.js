// Markdown to elements, as much as model cards have. Whatever else stands there, such as HTML, is shown as text.

import { make } from "./dom.js";

const INLINE =
  /(`+)([^`]+)\1|\*\*([^*]+)\*\*|!?\[([^\]]*)\]\(([^()\s]*)\)|<(https?:\/\/[^<>\s]+)>|\\([\\`*|[\]_#<>-])/g;
const FENCE = /^\s*(```|~~~)/;
const HEADING = /^(#{1,6})\s+(.*?)[\s#]*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^[\s|:-]*-[\s|:-]*$/; // below the head of a table
const LONGEST = 20000; // a longer line is shown as it is

/** Turn Markdown into elements; a heading of the first level becomes one of `level`, 3 for h3. */
export function markdown(text, level) {
  const lines = text.split(/\r\n?|\n/);
  const front = lines[0] === "---" ? lines.indexOf("---", 1) + 1 : 0;
  const reader = { lines, at: front, level, deepest: level - 1, heading: "" };
  const made = [];
  while (reader.at < lines.length) {
    if (lines[reader.at].trim()) made.push(block(reader));
    else reader.at += 1;
  }
  return made;
}

function block(reader) {
  const line = reader.lines[reader.at];
  if (FENCE.test(line)) return code(reader);
  if (HEADING.test(line)) return heading(reader);
  if (ITEM.test(line)) return list(reader);
  if (startsTable(reader)) return table(reader);
  return make("p", {}, inline(paragraph(reader, line)));
}

function heading(reader) {
  const [, marks, words] = reader.lines[reader.at].match(HEADING);
  reader.at += 1;
  // no level is skipped, whatever the card does
  reader.deepest = Math.min(reader.level + marks.length - 1, reader.deepest + 1, 6);
  const made = make(`h${reader.deepest}`, {}, inline(words));
  reader.heading = made.textContent;
  return made;
}

/** The words of a paragraph that begins with `first`, to the line where something else begins. */
function paragraph(reader, first) {
  const said = [first];
  for (reader.at += 1; reader.at < reader.lines.length; reader.at += 1) {
    const line = reader.lines[reader.at];
    if (!line.trim() || [FENCE, HEADING, ITEM].some((kind) => kind.test(line)) || startsTable(reader)) break;
    said.push(line);
  }
  return said.map((line) => line.trim()).join(" ");
}

function code(reader) {
  const mark = reader.lines[reader.at].match(FENCE)[1];
  const begin = reader.at + 1;
  const end = reader.lines.findIndex((line, place) => place >= begin && line.trim().startsWith(mark));
  reader.at = end < 0 ? reader.lines.length : end + 1;
  return make("pre", {}, make("code", {}, reader.lines.slice(begin, reader.at - (end >= 0)).join("\n")));
}

function list(reader) {
  const [, indent, mark] = reader.lines[reader.at].match(ITEM);
  const made = make(/\d/.test(mark) ? "ol" : "ul");
  for (let found; (found = reader.lines[reader.at]?.match(ITEM)) && found[1].length >= indent.length; ) {
    if (found[1].length > indent.length) made.lastChild.append(list(reader));
    else made.append(make("li", {}, inline(paragraph(reader, found[3]))));
  }
  return made;
}

function startsTable({ lines, at }) {
  return lines[at].includes("|") && lines[at + 1]?.includes("|") && RULE.test(lines[at + 1]);
}

function table(reader) {
  const rows = [];
  for (; reader.lines[reader.at]?.includes("|"); reader.at += 1) rows.push(cells(reader.lines[reader.at]));
  const [head, , ...body] = rows;
  const titles = make("thead", {}, make("tr", {}, head.map((one) => make("th", { scope: "col" }, inline(one)))));
  const row = (held) => head.map((_, place) => {
    const words = inline(held[place] ?? "");
    return place ? make("td", {}, words) : make("th", { scope: "row" }, words);
  });
  return make("div", { class: "scroll", role: "group", "aria-label": reader.heading }, make("table", {},
    make("caption", { class: "unseen" }, reader.heading), head.some(Boolean) && titles,
    make("tbody", {}, body.map((held) => make("tr", {}, row(held))))));
}

function cells(line) {
  const held = line.trim().replace(/^\||(?<!\\)\|$/g, "");
  return held.split(/(?<!\\)\|/).map((one) => one.trim());
}

function inline(text) {
  if (text.length > LONGEST) return [text];
  const made = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    made.push(text.slice(end, found.index));
    end = found.index + found[0].length;
    const [, , quoted, bold, words, address, bare, escaped] = found;
    if (quoted) made.push(make("code", {}, quoted.trim()));
    else if (bold) made.push(make("strong", {}, inline(bold)));
    else if (address !== undefined) made.push(link(inline(words), address));
    else made.push(bare ? link(bare, bare) : escaped);
  }
  return [...made, text.slice(end)];
}

/** A link where it leads to a web address; else its words alone. */
const link = (words, address) =>
  /^https?:\/\//i.test(address) ? make("a", { href: address, rel: "noopener noreferrer" }, words) : words;

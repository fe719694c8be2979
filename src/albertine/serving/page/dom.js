// Elements. Nothing is ever parsed as markup: what a model, a file or a user writes stays text.

/** Make an element: attributes by name (`on…` listens; false, null and undefined are left out), then its children. */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== false && child != null));
  return made;
}

/** A paragraph of less weight. */
export const soft = (...words) => make("p", { class: "soft" }, words);

export const at = (id) => document.getElementById(id);

export function show(visible, ...ids) {
  for (const id of ids) at(id).hidden = !visible;
}

// Places in a text, counted in code points as the server does: an emoji has two of JavaScript's own units.

export const size = (text) => Array.from(text).length;

/**
 * Cut a text wherever a span begins or ends; spans may overlap, touch, nest, or be equal, in any order.
 * @returns The pieces, with the indices of the spans that each lies `within`, and of those that it `ends`.
 */
export function pieces(text, spans) {
  const points = Array.from(text);
  const clipped = spans.map(({ start, end }) => [Math.max(0, start), Math.min(points.length, end)]);
  const real = clipped.filter(([start, end]) => start < end);
  const cuts = [...new Set([0, points.length, ...real.flat()])].sort((a, b) => a - b);
  return cuts.slice(1).map((to, place) => {
    const from = cuts[place];
    const within = [...spans.keys()].filter((index) => clipped[index][0] <= from && to <= clipped[index][1]);
    const ends = within.filter((index) => clipped[index][1] === to);
    return { text: points.slice(from, to).join(""), within, ends };
  });
}

/** Give every span a line, from 0, so that those that overlap have different ones. */
export function lines(spans) {
  const order = [...spans.keys()].sort((a, b) => spans[a].start - spans[b].start || spans[b].end - spans[a].end);
  const taken = []; // where each line is free again
  const given = [];
  for (const index of order) {
    const free = taken.findIndex((end) => end <= spans[index].start);
    given[index] = free < 0 ? taken.length : free;
    taken[given[index]] = spans[index].end;
  }
  return given;
}

// What the network says: its best classes with bars, how much each has changed, and the true class.

import { element, percent } from "./drawing.js";

// before: all classes' probabilities of the unchanged picture and network, to compare with; null where nothing is
// changed.
export function showGuesses(list, told, before) {
  const items = told.guesses.map((guess) => {
    const bar = element("span", { class: "bar-of" });
    bar.style.width = `${100 * guess.probability}%`;
    const right = told.truth?.label === guess.label;
    const item = element("li", { "data-label": guess.label, class: right ? "right" : "" },
      element("span", { class: "name" }, guess.name),
      element("span", { class: "probability" }, percent(guess.probability)),
      element("span", { class: "change" }, change(guess, before)),
      element("span", { class: "track" }, bar));
    if (right) item.append(element("span", { class: "mark" }, "✓ the true class"));
    return item;
  });
  list.replaceChildren(...items);
}

function change(guess, before) {
  if (!before) return "";
  const points = 100 * (guess.probability - before[guess.label]);
  const size = Math.abs(points).toFixed(1);
  return `${size === "0.0" ? "±" : points < 0 ? "−" : "+"}${size} points`;
}

export function truthText({ truth }) {
  if (!truth) return "";
  const place = truth.rank === 1 ? "the best guess" : `guess ${truth.rank}`;
  return `The true class: ${truth.name}, ${percent(truth.probability)}, ${place}`;
}

// The nearest training pictures, or how far the search is.
export function showNearest(root, told) {
  if (!told.total || told.nearest?.length === 0) {
    root.replaceChildren(element("p", { class: "note" }, "There are no training pictures that can be read."));
    return;
  }
  if (!told.nearest) {
    const bar = element("progress", { max: told.total, value: told.done });
    const words = `comparing ${told.done} of ${told.total} training pictures `;
    root.replaceChildren(element("p", { class: "note" }, words, bar));
    return;
  }
  const pictures = told.nearest.map((one) => figure(`/api/image/training/${one.index}`, one.name,
    `distance ${one.distance.toFixed(1)}`));
  root.replaceChildren(element("h3", {}, `Nearest training pictures, by ${told.layer}`),
    element("div", { class: "pictures" }, ...pictures));
}

export function figure(source, name, ...lines) {
  const words = lines.map((line) => element("span", { class: "note" }, line));
  return element("figure", {}, element("img", { src: source, alt: name, width: 72, height: 72 }),
    element("figcaption", {}, element("b", {}, name), ...words));
}

// A run under way: its curves from the log, and what the network guesses about some validation pictures.

import { element, percent, svg } from "./drawing.js";
import { get, sleep } from "./api.js";
import { figure } from "./guesses.js";

const PAUSE = 5000;  // milliseconds between two looks
const WIDTH = 420;
const HEIGHT = 190;
const EDGE = { left: 44, right: 12, top: 12, bottom: 34 };

// Round numbers from 0 to most, five or so.
function ticks(most) {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  return [...Array(Math.floor(most / step) + 1).keys()].map((index) => Number((index * step).toPrecision(12)));
}

function label(words, x, y, anchor) {
  const made = svg("text", { x, y, "text-anchor": anchor });
  made.textContent = words;
  return made;
}

// Two lines by epoch: of training, dashed, and of validation.
function chart(title, epochs, value) {
  const last = Math.max(2, epochs.length);
  const most = Math.max(...epochs.flatMap((epoch) => [value(epoch.train), value(epoch.validation)])) * 1.05 || 1;
  const x = (index) => EDGE.left + (WIDTH - EDGE.left - EDGE.right) * index / (last - 1);
  const y = (of) => HEIGHT - EDGE.bottom - (HEIGHT - EDGE.top - EDGE.bottom) * of / most;
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": `${title} by epoch` });
  for (const tick of ticks(most)) {
    drawn.append(svg("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(tick), y2: y(tick), class: "grid" }));
    drawn.append(label(tick, EDGE.left - 6, y(tick) + 4, "end"));
  }
  const every = Math.ceil(last / 8);
  epochs.forEach(({ epoch }, index) => {
    if (index % every === 0) drawn.append(label(epoch, x(index), HEIGHT - EDGE.bottom + 15, "middle"));
  });
  drawn.append(label("epoch", WIDTH - EDGE.right, HEIGHT - 4, "end"));
  for (const part of ["train", "validation"]) {
    const points = epochs.map((epoch, index) => `${x(index)},${y(value(epoch[part]))}`).join(" ");
    drawn.append(svg("polyline", { points, class: part }));
    const [cx, cy] = points.split(" ").at(-1).split(",");
    drawn.append(svg("circle", { cx, cy, r: 3, class: part }));
  }
  return element("figure", { class: "curve" }, element("figcaption", {}, title), drawn);
}

const LEGEND = [["train", "training"], ["validation", "validation"]];

export class RunView {
  // renewed(version): the server shows newer weights.
  constructor(root, renewed, failed) {
    Object.assign(this, { root, renewed, failed, shown: "" });
  }

  async watch() {
    this.root.hidden = false;
    for (;;) {
      if (!document.hidden) {
        try {
          await this.#look();
        } catch (error) {
          this.failed(error);
        }
      }
      await sleep(PAUSE);
    }
  }

  async #look() {
    const told = await get("/api/run");
    const epochs = told.epochs.length;
    const ended = told.ended ? told.reason || "ended" : "under way";
    this.root.querySelector("#run-state").textContent =
      `Weights shown: ${told.state}. ${epochs} epoch${epochs === 1 ? "" : "s"} in the log; the run: ${ended}.`;
    if (epochs && JSON.stringify(told.epochs) !== this.shown) {
      this.shown = JSON.stringify(told.epochs);
      const legend = LEGEND.map(([name, words]) => element("span", { class: `key ${name}` }, words));
      this.root.querySelector("#curves").replaceChildren(element("p", { class: "legend" }, ...legend),
        chart("top-1 error, %", told.epochs, (part) => part.top1_error), chart("loss", told.epochs, (part) => part.loss));
    }
    if (told.version !== this.version) {
      const first = this.version === undefined;
      this.version = told.version;
      if (!first) this.renewed(told.version);
      await this.#guesses();
    }
  }

  async #guesses() {
    const { images } = await get("/api/guesses");
    const figures = images.map((image) => figure(`/api/image/validation/${image.index}`, image.name,
      ...image.guesses.map((guess) => `${guess.label === image.label ? "✓ " : ""}${guess.name} ${percent(guess.probability)}`)));
    this.root.querySelector("#run-guesses").replaceChildren(
      ...figures.length ? [element("h3", {}, "Guesses about some validation pictures"),
        element("div", { class: "pictures" }, ...figures)] : []);
  }
}

// A run under way: its curves from the log, its kernels, and what it guesses about some validation pictures.

import { element, percent, svg } from "./drawing.js";
import { get, sleep } from "./api.js";
import { figure } from "./guesses.js";
import { kernelsOf } from "./layers.js";

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

// Two lines by epoch: of training, dashed, and of validation. What is not finite, after the run diverged, is left out.
function chart(title, epochs, value) {
  const lines = Object.fromEntries(["train", "validation"].map((part) => [part, epochs
    .map((epoch, index) => [index, epoch[part] && value(epoch[part])]).filter(([, of]) => Number.isFinite(of))]));
  const last = Math.max(2, epochs.length);
  const most = 1.05 * Math.max(...Object.values(lines).flat().map(([, of]) => of), 0) || 1;
  const x = (index) => EDGE.left + (WIDTH - EDGE.left - EDGE.right) * index / (last - 1);
  const y = (of) => HEIGHT - EDGE.bottom - (HEIGHT - EDGE.top - EDGE.bottom) * of / most;
  const words = { role: "img", "aria-label": `${title} by epoch` };
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", ...words });
  for (const tick of ticks(most)) {
    drawn.append(svg("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(tick), y2: y(tick), class: "grid" }));
    drawn.append(label(tick, EDGE.left - 6, y(tick) + 4, "end"));
  }
  const every = Math.ceil(last / 8);
  epochs.forEach(({ epoch }, index) => {
    if (index % every === 0) drawn.append(label(epoch, x(index), HEIGHT - EDGE.bottom + 15, "middle"));
  });
  drawn.append(label("epoch", WIDTH - EDGE.right, HEIGHT - 4, "end"));
  for (const [part, line] of Object.entries(lines)) {
    const points = line.map(([index, of]) => [x(index), y(of)]);
    drawn.append(svg("polyline", { points: points.join(" "), class: part }));
    if (points.length) drawn.append(svg("circle", { cx: points.at(-1)[0], cy: points.at(-1)[1], r: 3, class: part }));
  }
  return element("figure", { class: "curve" }, element("figcaption", {}, title), drawn);
}

const LEGEND = [["train", "training"], ["validation", "validation"]];

export class RunView {
  // network: as the server tells of it. renewed(): the server shows newer weights.
  constructor(root, network, renewed, failed) {
    Object.assign(this, { root, network, renewed, failed, shown: "" });
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
    const ended = told.ended ? `the run: ${told.reason || "ended"}` : `last word of the run: ${told.last || "none"}`;
    this.root.querySelector("#run-state").textContent =
      `Weights shown: ${told.state}. ${epochs} epoch${epochs === 1 ? "" : "s"} in the log; ${ended}.`;
    if (epochs && JSON.stringify(told.epochs) !== this.shown) {
      this.shown = JSON.stringify(told.epochs);
      const legend = LEGEND.map(([name, words]) => element("span", { class: `key ${name}` }, words));
      this.root.querySelector("#curves").replaceChildren(element("p", { class: "legend" }, ...legend),
        chart("top-1 error, %", told.epochs, (part) => part.top1_error),
        chart("loss", told.epochs, (part) => part.loss));
    }
    if (told.version !== this.version) {
      if (told.version !== (this.version ?? this.network.version)) this.renewed();
      await this.#kernels();
      this.version = told.version;
    }
    if (told.version !== this.guessed) await this.#guesses();
  }

  async #kernels() {
    const { kernels, layers, devices } = this.network;
    if (!kernels) return;
    const towers = layers.find(({ name }) => name === kernels).split ? devices : 1;
    this.root.querySelector("#run-kernels").replaceChildren(...kernelsOf(await get("/api/kernels"), towers));
  }

  // None as long as the data set is being opened: asked for again the next time.
  async #guesses() {
    const { version, images } = await get("/api/guesses");
    if (!images.length) return;
    this.guessed = version;
    const line = ({ label }, guess) =>
      `${guess.label === label ? "✓ " : ""}${guess.name} ${percent(guess.probability)}`;
    const figures = images.map((image) => figure(`/api/image/validation/${image.index}`, image.name,
      ...image.guesses.map((guess) => line(image, guess))));
    this.root.querySelector("#run-guesses").replaceChildren(element("h3", {}, "Guesses about some validation pictures"),
      element("div", { class: "pictures" }, ...figures));
  }
}

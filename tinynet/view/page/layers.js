// One layer, open: its channels as small pictures, strongest first, each tower's apart; and the first kernels.

import { element, heat, picture } from "./drawing.js";
import { signed, unsigned } from "./api.js";

const MAP = { side: 52, gap: 3 };    // pixels of a channel's small picture
const UNIT = { side: 9, gap: 1 };    // of a number, in a vector of many

// The channels of one tower on one canvas: thousands of elements would be slow. One tile at a time has the cursor.
class Grid {
  constructor(canvas, channels, tile, actions) {
    Object.assign(this, { canvas, channels, tile, actions, cursor: 0 });
    this.look = tile[0] * tile[1] > 1 ? MAP : UNIT;
    canvas.addEventListener("click", (event) => this.#act(this.#at(event), "open", event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#move(this.cursor));
    canvas.addEventListener("blur", () => this.draw(this.shown));
  }

  get #step() { return this.look.side + this.look.gap; }

  #fit() {
    const width = this.canvas.parentElement.clientWidth || 600;
    this.columns = Math.max(1, Math.min(this.channels.length, Math.floor(width / this.#step)));
    this.canvas.width = this.columns * this.#step;
    this.canvas.height = Math.ceil(this.channels.length / this.columns) * this.#step;
  }

  #place(index) { return [(index % this.columns) * this.#step, Math.floor(index / this.columns) * this.#step]; }

  // shown: { values, off, open } with the layer's values by channel, and the channels that are off.
  draw(shown) {
    this.shown = shown;
    this.#fit();
    const context = this.canvas.getContext("2d");
    const [height, width] = this.tile;
    const size = height * width;
    context.imageSmoothingEnabled = false;
    this.channels.forEach((channel, index) => {
      const [x, y] = this.#place(index);
      const image = heat(shown.values.subarray(channel * size, (channel + 1) * size), height, width, 127);
      context.drawImage(image, x, y, this.look.side, this.look.side);
      if (shown.off.has(channel)) this.#cross(context, x, y);
      if (channel === shown.open) this.#frame(context, x, y, "--positive");
    });
    if (document.activeElement === this.canvas) this.#frame(context, ...this.#place(this.cursor), "--text");
  }

  #cross(context, x, y) {
    const { side } = this.look;
    context.beginPath();
    for (const [from, to] of [[0, side], [side, 0]]) {
      context.moveTo(x, y + from);
      context.lineTo(x + side, y + to);
    }
    Object.assign(context, { strokeStyle: "gray", lineWidth: Math.max(1, side / 12) });
    context.stroke();
  }

  #frame(context, x, y, name) {
    const colour = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    Object.assign(context, { strokeStyle: colour.includes(" ") ? `rgb(${colour})` : colour, lineWidth: 2 });
    context.strokeRect(x + 1, y + 1, this.look.side - 2, this.look.side - 2);
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    const [column, row] = [event.clientX - box.left, event.clientY - box.top]
      .map((at) => Math.floor(at * scale / this.#step));
    return Math.min(this.channels.length - 1, row * this.columns + column);
  }

  #move(index) {
    this.cursor = Math.min(this.channels.length - 1, Math.max(0, index));
    this.draw(this.shown);
    this.actions.point(this.channels[this.cursor]);
  }

  #act(index, what, event) {
    this.#move(index);
    this.actions[what](this.channels[this.cursor], event);
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
    const what = { Enter: "open", " ": "open", x: "toggle", X: "toggle" }[event.key];
    if (step) this.#move(this.cursor + step);
    else if (event.key === "Home" || event.key === "End") this.#move(event.key === "Home" ? 0 : this.channels.length);
    else if (what) this.#act(this.cursor, what, event);
    else return;
    event.preventDefault();
  }
}

export class LayerPanel {
  // actions: open(channel), toggle(channel, event), point(channel), as the grids call them.
  constructor(root, actions) {
    Object.assign(this, { root, actions, grids: [] });
    this.channels = root.querySelector("#channels");
    this.kernels = root.querySelector("#kernels");
    new ResizeObserver(() => this.redraw()).observe(this.channels);
  }

  // Another layer, or another picture: the channels in their order from here on.
  open(layer, told) {
    this.root.hidden = false;
    this.root.querySelector("#layer-title").textContent = `${layer.name}: ${told.shape.join(" × ")}`;
    const number = this.root.querySelector("#channel-number");
    number.max = told.shape[0] - 1;
    number.value = Math.min(number.value, number.max);
    const towers = layer.split ? layer.towers.length : 1;
    const each = told.shape[0] / towers;
    this.grids = [];
    const parts = [...Array(towers).keys()].flatMap((tower) => {
      const [first, last] = [tower * each, (tower + 1) * each - 1];
      const mine = told.order.filter((channel) => channel >= first && channel <= last);
      const words = `${towers > 1 ? `Tower ${tower}, ` : ""}channels ${first} to ${last}, strongest first`;
      const about = "Arrows move, Enter opens a channel, x switches it off";
      const canvas = element("canvas", { class: "channels", tabindex: 0, role: "img", "aria-label": `${words}. ${about}` });
      this.grids.push(new Grid(canvas, mine, told.tile, this.actions));
      return [element("h3", {}, words), element("div", {}, canvas)];
    });
    this.channels.replaceChildren(...parts);
  }

  // New values of the same layer.
  update(told, off, open) {
    this.shown = { values: signed(told.pixels), off, open };
    this.redraw();
  }

  redraw() {
    if (this.shown) for (const grid of this.grids) grid.draw(this.shown);
  }

  showKernels(told, towers) {
    if (!told) {
      this.kernels.replaceChildren();
      return;
    }
    const [count, channels, height, width] = told.shape;
    const pixels = unsigned(told.pixels);
    const size = height * width * channels;
    const each = count / towers;
    const parts = [...Array(towers).keys()].flatMap((tower) => {
      const tiles = [...Array(each).keys()].map((index) => {
        const at = (tower * each + index) * size;
        const canvas = picture(pixels.subarray(at, at + size), height, width, channels);
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `kernel ${tower * each + index}`);
        canvas.title = `kernel ${tower * each + index}`;
        return canvas;
      });
      const words = `Kernels of ${told.layer}${towers > 1 ? `, tower ${tower}` : ""}`;
      return [element("h3", {}, words), element("div", { class: "kernels" }, ...tiles)];
    });
    this.kernels.replaceChildren(...parts);
  }
}

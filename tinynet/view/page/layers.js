// One layer, open: its channels as small pictures, strongest first, each tower's apart; and the first kernels.

import { element, heat, picture, shortcut } from "./drawing.js";
import { signed, unsigned } from "./api.js";

const MAP = { side: 52, gap: 3 };    // pixels of a channel's small picture
const UNIT = { side: 9, gap: 1 };    // of a number, in a vector of many

// The channels of one tower on one canvas: thousands of elements would be slow. One tile at a time has the cursor.
// channels: their numbers in the order of the tiles; first: the smallest of them.
class Grid {
  constructor(canvas, channels, tile, actions) {
    Object.assign(this, { canvas, channels, tile, actions, cursor: 0, first: Math.min(...channels) });
    this.look = tile[0] * tile[1] > 1 ? MAP : UNIT;
    canvas.addEventListener("click", (event) => this.#act(this.#at(event), "open", event));
    canvas.addEventListener("pointermove", (event) => this.#over(this.#at(event)));
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
    const [from, to] = [this.first, this.first + this.channels.length].map((channel) => channel * height * width);
    // All of the tower as one image, a channel below the other, from which the tiles are cut.
    const column = heat(shown.values.subarray(from, to), this.channels.length * height, width, 127);
    const { side } = this.look;
    context.imageSmoothingEnabled = false;
    this.channels.forEach((channel, index) => {
      const [x, y] = this.#place(index);
      context.drawImage(column, 0, (channel - this.first) * height, width, height, x, y, side, side);
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
      .map((at) => Math.max(0, Math.floor(at * scale / this.#step)));
    return Math.min(this.channels.length - 1, row * this.columns + Math.min(column, this.columns - 1));
  }

  #move(index) {
    this.cursor = Math.min(this.channels.length - 1, Math.max(0, index));
    this.draw(this.shown);
    this.actions.point(this.channels[this.cursor]);
  }

  // The pointer is over a tile: it is told of, once.
  #over(index) {
    if (index === this.under) return;
    this.under = index;
    this.actions.tell(this.channels[index]);
  }

  #act(index, what, event) {
    this.#move(index);
    this.actions[what](this.channels[this.cursor], event);
  }

  #key(event) {
    if (shortcut(event)) return;
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
  // actions: open(channel, event), toggle(channel, event); point(channel): the cursor is on it.
  constructor(root, actions) {
    Object.assign(this, { root, actions: { ...actions, tell: (channel) => this.tell(channel) }, grids: [] });
    this.channels = root.querySelector("#channels");
    this.kernels = root.querySelector("#kernels");
    new ResizeObserver(() => this.redraw()).observe(this.channels);
  }

  // Another layer: its values come later, and none as long as there is no picture.
  choose(layer) {
    this.root.hidden = false;
    this.root.querySelector("#layer-title").textContent = `${layer.name}: ${layer.shape.join(" × ")}`;
    const number = this.root.querySelector("#channel-number");
    number.max = layer.shape[0] - 1;
    number.value = Math.min(number.value, number.max);
    this.shown = null;
    this.grids = [];
    for (const id of ["channels", "scale", "channel-told", "kernels"]) {
      this.root.querySelector(`#${id}`).replaceChildren();
    }
  }

  // The layer's values have come, or those of another picture: the channels in their order from here on.
  open(layer, told) {
    const towers = layer.split ? layer.towers.length : 1;
    const each = told.shape[0] / towers;
    this.one = told.shape.length > 1 ? "channel" : "unit";
    this.grids = [];
    const parts = [...Array(towers).keys()].flatMap((tower) => {
      const [first, last] = [tower * each, (tower + 1) * each - 1];
      const mine = told.order.filter((channel) => channel >= first && channel <= last);
      const words = `${towers > 1 ? `Tower ${tower}, ` : ""}${this.one}s ${first} to ${last}, strongest first`;
      const about = `Arrows move, Enter opens a ${this.one}, x switches it off`;
      const label = { role: "application", "aria-label": `${words}. ${about}` };
      const canvas = element("canvas", { class: "channels", tabindex: 0, ...label });
      this.grids.push(new Grid(canvas, mine, told.tile, this.actions));
      return [element("h3", {}, words), element("div", {}, canvas)];
    });
    this.channels.replaceChildren(...parts);
  }

  // New values of the same layer. open: the channel that is shown large, or null.
  update(told, off, open) {
    this.shown = { values: signed(told.pixels), off, open, strength: told.strength, scale: told.scale };
    this.#legend(told.scale);
    this.redraw();
  }

  redraw() {
    if (this.shown) for (const grid of this.grids) grid.draw(this.shown);
  }

  // Which channel the cursor or the pointer is on.
  tell(channel) {
    const off = this.shown.off.has(channel) ? ", off" : "";
    this.root.querySelector("#channel-told").textContent =
      `${this.one} ${channel}: mean absolute value ${this.shown.strength[channel].toPrecision(3)}${off}`;
  }

  // Other colours: all that has some is drawn anew.
  recolour() {
    if (!this.shown) return;
    this.#legend(this.shown.scale);
    this.redraw();
  }

  #legend(scale) {
    const most = scale.toPrecision(3);
    const ramp = heat([...Array(81).keys()].map((value) => value - 40), 1, 81, 40);
    this.root.querySelector("#scale").replaceChildren(`−${most} `, ramp, ` +${most}`);
  }

  showKernels(told, towers) {
    this.kernels.replaceChildren(...kernelsOf(told, towers));
  }
}

// The kernels of the first convolution, each tower's apart, as in the paper's figure 3.
export function kernelsOf(told, towers) {
  const [count, channels, height, width] = told.shape;
  const pixels = unsigned(told.pixels);
  const size = height * width * channels;
  const each = count / towers;
  return [...Array(towers).keys()].flatMap((tower) => {
    const tiles = [...Array(each).keys()].map((index) => {
      const number = tower * each + index;
      const canvas = picture(pixels.subarray(number * size, (number + 1) * size), height, width, channels);
      canvas.title = `kernel ${number}`;
      return canvas;
    });
    const words = `Kernels of ${told.layer}${towers > 1 ? `, tower ${tower}` : ""}`;
    const label = { class: "kernels", role: "img", "aria-label": `${words}: ${each} small pictures` };
    return [element("h3", {}, words), element("div", label, ...tiles)];
  });
}

// One channel, large: over the picture, with the value of a unit and the rectangle of its receptive field.

import { heat, shortcut } from "./drawing.js";
import { drawOver, pixelAt } from "./overlay.js";
import { floats } from "./api.js";

const within = (value, length) => Math.min(length - 1, Math.max(0, Math.round(value) || 0));

export class ChannelView {
  constructor(page) {
    const find = (id) => page.querySelector(`#${id}`);
    Object.assign(this, { whole: find("channel"), canvas: find("channel-picture"), words: find("unit") });
    Object.assign(this, { opacity: find("channel-opacity"), inputs: [find("unit-row"), find("unit-column")] });
    this.unit = [0, 0];
    this.opacity.addEventListener("input", () => this.draw());
    for (const input of this.inputs) {
      input.addEventListener("input", () => this.#point(this.inputs.map((one) => Number(one.value))));
    }
    this.canvas.addEventListener("pointermove", (event) => this.#pointAt(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#pointAt(event));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  close() {
    this.told = null;
    this.whole.hidden = true;
  }

  // crop: a canvas. told: the channel's values, of this layer, whose largest absolute value is `most`.
  show(crop, layer, told, most) {
    if (told.channel !== this.told?.channel) this.unit = told.shape.map((length) => Math.floor(length / 2));
    Object.assign(this, { crop, layer, told, most, values: floats(told.values) });
    this.whole.hidden = false;
    this.canvas.hidden = this.whole.querySelector("#unit-controls").hidden = !layer.field;
    this.inputs.forEach((input, axis) => { input.max = told.shape[axis] - 1; });
    this.#paint();
    this.#point(this.unit);
  }

  // Another colour scheme: the channel's colours anew.
  redraw() {
    if (!this.told) return;
    this.#paint();
    this.draw();
  }

  #paint() {
    this.image = heat(this.values, ...this.told.shape, this.most);
  }

  draw() {
    if (!this.told || !this.layer.field) return;
    const { stride, size, start } = this.layer.field;
    // Each unit as large as a step of its layer, in the middle of what it sees.
    const first = [0, 1].map((axis) => start[axis] + (size[axis] - stride[axis]) / 2);
    const at = [...first, ...this.told.shape.map((length, axis) => length * stride[axis])];
    const overlay = { image: this.image, at, smooth: false, opacity: this.opacity.value / 100 };
    const [[top, bottom], [left, right]] = this.#sees();
    drawOver(this.canvas, this.crop, overlay, [{ at: [top, left, bottom - top, right - left], dashed: false }]);
  }

  // The rows and the columns that the unit sees, each from the first to behind the last, cut off at the edges.
  #sees() {
    const { stride, size, start } = this.layer.field;
    return this.unit.map((at, axis) => {
      const first = start[axis] + at * stride[axis];
      return [Math.max(0, first), Math.min(this.crop.width, first + size[axis])];
    });
  }

  // Points at the unit (row, column) nearest to it.
  #point(unit) {
    if (!this.told) return;
    const { channel, shape } = this.told;
    this.unit = unit.map((at, axis) => within(at, shape[axis]));
    const [row, column] = this.unit;
    const value = this.values[row * shape[1] + column].toPrecision(4);
    if (this.layer.field) {
      const [rows, columns] = this.#sees().map(([first, end]) => `${first} to ${end - 1}`);
      this.words.textContent = `${this.layer.name}, channel ${channel}: unit (${row}, ${column}) is ${value}. Its `
        + `receptive field: rows ${rows}, columns ${columns} of the input.`;
    } else {
      this.words.textContent = `${this.layer.name}, unit ${channel} is ${value}. `
        + "Its receptive field: all of the input.";
    }
    this.inputs.forEach((input, axis) => { input.value = this.unit[axis]; });
    this.draw();
  }

  // The unit whose receptive field's middle is nearest to the pointer.
  #pointAt(event) {
    if (!this.told) return;
    const { stride, size, start } = this.layer.field;
    this.#point(pixelAt(event, this.crop.width)
      .map((at, axis) => (at - start[axis] - (size[axis] - 1) / 2) / stride[axis]));
  }

  #key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || shortcut(event)) return;
    this.#point(this.unit.map((at, axis) => at + step[axis]));
    event.preventDefault();
  }
}

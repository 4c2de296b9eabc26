// The picture as the network sees it, what it rests on laid over it, and parts of it covered by pointer or keys.

import { picture, shortcut } from "./drawing.js";
import { drawOver, pixelAt } from "./overlay.js";
import { unsigned } from "./api.js";

const MOST_COVERED = 16;  // rectangles, as the server has it: older ones are uncovered
const CLICK = 3;          // pixels of the crop; a smaller rectangle was a click

export class PictureView {
  // changed(event): the user has covered a part.
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed });
    this.covered = [];
    this.square = null;    // the rectangle that is being drawn, or moved by keys: [top, left, height, width]
    this.crop = null;      // a canvas of its pixels
    this.saliency = null;  // { image, smooth, opacity }
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#release());
    canvas.addEventListener("pointercancel", () => this.#release());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#release());
  }

  showCrop({ size, channels, pixels }) {
    this.crop = picture(unsigned(pixels), size, size, channels);
    this.draw();
  }

  // told: the server's answer, or null for none.
  showSaliency(told, opacity) {
    this.saliency = told && {
      image: picture(unsigned(told.pixels), ...told.shape, told.channels), smooth: told.kind === "grad-cam", opacity,
    };
    this.draw();
  }

  draw() {
    if (!this.crop) return;
    drawOver(this.canvas, this.crop, this.saliency, this.square ? [{ at: this.square, dashed: true }] : []);
  }

  // ---- the pointer ----

  #press(event) {
    if (!this.crop || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.begun = pixelAt(event, this.crop.width);
    this.drawn = false;
  }

  // What is under the rectangle is covered while it is drawn: the last of `covered` grows with it.
  #move(event) {
    if (!this.begun) return;
    const at = pixelAt(event, this.crop.width);
    const [top, left] = [0, 1].map((axis) => Math.min(at[axis], this.begun[axis]));
    const [height, width] = [0, 1].map((axis) => Math.abs(at[axis] - this.begun[axis]) + 1);
    if (!this.drawn && Math.max(height, width) < CLICK) return;
    if (this.drawn) this.covered.pop();
    this.drawn = true;
    this.square = [top, left, height, width];
    this.#cover(this.square, event);
  }

  #release() {
    this.begun = this.square = null;
    this.draw();
  }

  #cover(rectangle, event) {
    this.covered = [...this.covered, rectangle].slice(-MOST_COVERED);
    this.draw();
    this.changed(event);
  }

  // ---- the keyboard ----

  #key(event) {
    if (!this.crop || shortcut(event)) return;
    const side = this.crop.width;
    const step = Math.max(1, Math.round(side / 32));
    const [top, left, height, width] = this.square ?? [0.4, 0.4, 0.2, 0.2].map((share) => Math.round(share * side));
    const to = {
      ArrowUp: [top - step, left, height, width], ArrowDown: [top + step, left, height, width],
      ArrowLeft: [top, left - step, height, width], ArrowRight: [top, left + step, height, width],
      "+": [top, left, height + step, width + step], "-": [top, left, height - step, width - step],
    }[event.key];
    if (to) {
      const sides = to.slice(2).map((length) => Math.min(side, Math.max(1, length)));
      this.square = [...to.slice(0, 2).map((at, axis) => Math.min(side - sides[axis], Math.max(0, at))), ...sides];
      this.draw();
    } else if (event.key === " ") {
      this.square ??= [top, left, height, width];
      this.#cover([...this.square], event);
    } else if (event.key === "Escape") {
      this.#release();
    } else {
      return;
    }
    event.preventDefault();
  }
}

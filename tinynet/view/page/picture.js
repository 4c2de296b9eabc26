// The picture that the network sees, what is laid over it, and how it is changed: mirrored, turned, shifted, covered.

import { heat, picture } from "./drawing.js";
import { floats, unsigned } from "./api.js";

const MOST_COVERED = 16;

export class PictureView {
  // changed(event): the user has changed the picture. pointed(row, column): at a pixel of the crop.
  constructor(canvas, changed, pointed) {
    Object.assign(this, { canvas, changed, pointed });
    this.covered = [];
    this.square = null;    // the rectangle that is being drawn, or moved by keys: [top, left, height, width]
    this.crop = null;      // a canvas of its pixels
    this.channel = null;   // { image, field, shape, opacity }
    this.saliency = null;  // { image, smooth, opacity }
    this.field = null;     // the rectangle that a unit sees
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", () => { this.square = null; this.draw(); });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  showCrop({ size, channels, pixels }) {
    this.crop = picture(unsigned(pixels), size, size, channels);
    this.draw();
  }

  showChannel(told, field, most, opacity) {
    const [height, width] = told.shape;
    const image = heat(floats(told.values), height, width, most);
    this.channel = field && { image, field, shape: told.shape, opacity };
    this.draw();
  }

  showSaliency(told, opacity) {
    if (told) {
      const [height, width] = told.shape;
      const image = picture(unsigned(told.pixels), height, width, told.channels);
      this.saliency = { image, smooth: told.kind === "grad-cam", opacity };
    } else {
      this.saliency = null;
    }
    this.draw();
  }

  // The unit of the open channel whose field's middle is nearest to a pixel of the crop; null without one.
  unitAt(pixel) {
    if (!this.channel) return null;
    const { field, shape } = this.channel;
    return pixel.map((at, axis) => {
      const unit = Math.round((at - field.start[axis] - (field.size[axis] - 1) / 2) / field.stride[axis]);
      return Math.min(shape[axis] - 1, Math.max(0, unit));
    });
  }

  // Draws what unit (row, column) sees, cut off at the edges of the input.
  showField(unit) {
    const side = this.crop?.width;
    this.field = unit && this.channel && unit.map((at, axis) => {
      const { start, stride, size } = this.channel.field;
      const first = start[axis] + at * stride[axis];
      return [Math.max(0, first), Math.min(side, first + size[axis])];
    });
    this.draw();
  }

  draw() {
    if (!this.crop) return;
    const { canvas } = this;
    const context = canvas.getContext("2d");
    const scale = canvas.width / this.crop.width;
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    context.drawImage(this.crop, 0, 0, canvas.width, canvas.height);
    if (this.saliency) {
      context.globalAlpha = this.saliency.opacity;
      context.imageSmoothingEnabled = this.saliency.smooth;
      context.drawImage(this.saliency.image, 0, 0, canvas.width, canvas.height);
    }
    if (this.channel) this.#drawChannel(context, scale);
    context.globalAlpha = 1;
    if (this.field) this.#frame(context, scale, this.field[0][0], this.field[1][0],
      this.field[0][1] - this.field[0][0], this.field[1][1] - this.field[1][0], []);
    if (this.square) this.#frame(context, scale, ...this.square, [5, 4]);
  }

  // Each unit as large as a step of its layer, in the middle of what it sees.
  #drawChannel(context, scale) {
    const { image, field, shape, opacity } = this.channel;
    const first = [0, 1].map((axis) => field.start[axis] + (field.size[axis] - field.stride[axis]) / 2);
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(image, first[1] * scale, first[0] * scale,
      shape[1] * field.stride[1] * scale, shape[0] * field.stride[0] * scale);
  }

  // Black on white, so that it is seen on any picture.
  #frame(context, scale, top, left, height, width, dashes) {
    for (const [colour, lineWidth] of [["white", 3], ["black", 1.5]]) {
      Object.assign(context, { strokeStyle: colour, lineWidth });
      context.setLineDash(colour === "black" ? dashes : []);
      context.strokeRect(left * scale, top * scale, width * scale, height * scale);
    }
    context.setLineDash([]);
  }

  // ---- the pointer ----

  #pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const side = this.crop.width;
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]
      .map((share) => Math.min(side - 1, Math.max(0, Math.floor(share * side))));
  }

  #press(event) {
    if (!this.crop || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.begun = this.#pixel(event);
    this.moved = false;
  }

  // What is under the rectangle is covered while it is drawn: the last of `covered` grows with it.
  #move(event) {
    if (!this.crop) return;
    const at = this.#pixel(event);
    if (!this.begun || !this.canvas.hasPointerCapture(event.pointerId)) {
      this.pointed(at, event);
      return;
    }
    const [top, left] = [0, 1].map((axis) => Math.min(at[axis], this.begun[axis]));
    const [height, width] = [0, 1].map((axis) => Math.abs(at[axis] - this.begun[axis]) + 1);
    if (!this.moved && Math.max(height, width) < 3) return;  // a click, not a rectangle
    if (this.moved) this.covered.pop();
    this.moved = true;
    this.square = [top, left, height, width];
    this.#cover(this.square, event);
  }

  #release(event) {
    if (this.begun && !this.moved) this.pointed(this.begun, event);
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
    if (!this.crop) return;
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
    } else if (event.key === " " && this.square) {
      this.#cover([...this.square], event);
    } else if (event.key === "Escape") {
      this.square = null;
      this.draw();
    } else {
      return;
    }
    event.preventDefault();
  }
}

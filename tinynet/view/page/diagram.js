// The network as in the paper's figure 2, from its layers alone: blocks in proportion to their sizes, a row for each
// tower, and lines that cross where the towers talk.

import { count, element, shortcut, size, svg } from "./drawing.js";

const SIDE = 104;    // of the input's square, in units of the drawing
const SLANT = 0.28;  // how far a block leans back, of its side
const GAP = 20;      // between blocks, for the lines; more where they cross
const NARROWEST = 50;  // of a column
const LETTER = { name: 6.2, shape: 5.3 };  // how wide a letter is, at the most
const TAB = 17;      // the height of a layer's tab under its block
const SMALLEST = 0.85;  // scale of the drawing: what is still read
const BELOW = 30;    // for the name and the shape

// Of one tower's block: height by the rows, depth by the columns (both by the root, or small maps would vanish), and
// width by the root of the channels. A vector is a bar.
function extent(shape, channels, input) {
  if (shape.length === 1) return { width: 9, height: 22 + 1.7 * Math.sqrt(channels), slant: 5 };
  const side = SIDE * Math.sqrt(Math.max(shape[1], shape[2]) / input);
  return { width: 3 + 2.2 * Math.sqrt(channels), height: side, slant: SLANT * side };
}

const shapeText = (shape) => shape.join(" × ");

// What one block has: a tower's part of the channels.
const drawnShape = ({ layer, shape }) => layer ? [layer.towers[0].channels, ...shape.slice(1)] : shape;

// Columns of a block each, with the layers that leave its shape alone as tabs. A layer is drawn in as many rows as
// there are towers, unless all of them have all of it.
function columnsOf(network) {
  const { channels, crop } = network.input;
  const input = { name: "input", shape: [channels, crop, crop], split: false, tabs: [], isInput: true };
  const columns = [{ ...input, extent: extent(input.shape, channels, crop) }];
  for (const layer of network.layers) {
    if (layer.same) {
      columns.at(-1).tabs.push(layer);
    } else {
      const box = extent(layer.shape, layer.towers[0].channels, crop);
      columns.push({ ...layer, layer, tabs: [], extent: box });
    }
  }
  let x = 0;
  for (const column of columns) {
    const wide = column.extent.width + column.extent.slant;
    const names = [column, ...column.tabs].map(({ name }) => LETTER.name * name.length + 6);
    const room = Math.max(wide, NARROWEST, LETTER.shape * shapeText(drawnShape(column)).length + 6, ...names);
    x += column.crossing ? 3 * GAP : wide < room ? GAP / 2 : GAP;
    column.x = x + (room - wide) / 2;
    Object.assign(column, { middle: x + room / 2, room });
    x += room;
  }
  return { columns, width: x + GAP / 2 };
}

function box(at, y) {
  const { width, height, slant } = at.extent;
  const [left, right, top, bottom] = [at.x, at.x + width, y - height / 2, y + height / 2];
  const path = (points) => svg("polygon", { points: points.map((point) => point.join(",")).join(" ") });
  const front = path([[left, top], [right, top], [right, bottom], [left, bottom]]);
  const roof = path([[left, top], [right, top], [right + slant, top - slant], [left + slant, top - slant]]);
  const wall = path([[right, top], [right + slant, top - slant], [right + slant, bottom - slant], [right, bottom]]);
  roof.classList.add("roof");
  wall.classList.add("wall");
  return [front, roof, wall];
}

function text(words, x, y, name) {
  const made = svg("text", { x, y, class: name });
  made.textContent = words;
  return made;
}

export class Diagram {
  // about: where there is told of a layer. choose(name): a layer was chosen.
  constructor(root, about, choose) {
    Object.assign(this, { root, about, choose, open: null });
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("pointerleave", () => { if (this.open) this.show(this.open); });
  }

  draw(network) {
    this.network = network;
    this.names = network.layers.map((layer) => layer.name);
    const { columns, width } = columnsOf(network);
    const inRows = columns.filter((column) => column.split || network.devices === 1);
    const above = Math.max(...inRows.map(({ extent: { height, slant } }) => height / 2 + slant));
    const below = Math.max(...inRows.map(({ extent: { height }, tabs }) => height / 2 + BELOW + TAB * tabs.length));
    const row = above + below + 12;
    const rows = network.devices;
    const y = (tower) => row * tower + above + 6;
    const middle = (y(0) + y(rows - 1)) / 2;
    const places = (column) => column.split || rows === 1 ? [...Array(rows).keys()].map((tower) => [tower, y(tower)])
      : [[0, middle]];
    this.root.setAttribute("viewBox", `0 0 ${width} ${row * rows}`);
    this.root.style.width = `max(${SMALLEST * width}px, min(100%, ${width}px))`;
    const lines = columns.slice(1).flatMap((column, index) => this.#lines(columns[index], column, places));
    const blocks = columns.flatMap((column) => places(column).flatMap(([tower, at]) => this.#block(column, tower, at)));
    const words = lines.filter((line) => line.tagName === "text");  // above all else
    this.root.replaceChildren(...lines, ...blocks, ...words);
    this.#rove(this.root.querySelector("[data-layer]"));
    this.show(network.layers[0]);
  }

  #lines(before, after, places) {
    const drawn = [];
    const crossing = after.crossing?.kind === "sum" || after.crossing?.kind === "gather";
    for (const [from, startY] of places(before)) {
      for (const [to, endY] of places(after)) {
        const own = from === to || !before.split || !after.split;
        if (!own && !crossing) continue;
        const start = before.x + before.extent.width + before.extent.slant / 2;
        const line = svg("line", { x1: start, y1: startY, x2: after.x, y2: endY });
        line.classList.add(own && !(crossing && before.split && !after.split) ? "within" : "crosses");
        const ends = [[before, from], [after, to]].filter(([column]) => column.split);
        line.dataset.towers = JSON.stringify(ends.map(([, tower]) => tower));
        if (!own) line.dataset.crossing = after.name;
        drawn.push(line);
      }
    }
    if (crossing) {
      const ys = [...places(before), ...places(after)].map(([, at]) => at);
      const words = size(after.crossing.bytes);
      const x = (before.x + before.extent.width + before.extent.slant / 2 + after.x) / 2;
      drawn.push(text(words, x, (Math.min(...ys) + Math.max(...ys)) / 2 + 4, "bytes"));
    }
    return drawn;
  }

  #block(column, tower, y) {
    const { height, slant } = column.extent;
    const drawn = [];
    const below = y + height / 2;
    const top = y - height / 2 - slant;
    const around = { x: column.middle - column.room / 2, y: top, width: column.room, height: below + BELOW - 2 - top };
    const group = svg("g", { class: "block" }, svg("rect", { class: "around", ...around }), ...box(column, y));
    group.append(text(column.name, column.middle, below + 13, "name"));
    group.append(text(shapeText(drawnShape(column)), column.middle, below + 26, "shape"));
    if (!column.isInput) this.#button(group, column.layer, tower, column.split);
    drawn.push(group);
    column.tabs.forEach((layer, index) => {
      const at = below + BELOW + TAB * index;
      const frame = { x: around.x, y: at, width: column.room, height: TAB - 3, rx: 3 };
      const tab = svg("g", { class: "block tab" }, svg("rect", frame));
      tab.append(text(layer.name, column.middle, at + 11, "name"));
      this.#button(tab, layer, tower, layer.split);
      drawn.push(tab);
    });
    return drawn;
  }

  #button(group, layer, tower, split) {
    const where = split && this.network.devices > 1 ? `, tower ${tower}` : "";
    const words = `${layer.name}${where}: ${layer.kind}, output ${shapeText(layer.shape)}`;
    for (const [key, value] of Object.entries({
      "data-layer": layer.name, "data-tower": tower, role: "button", tabindex: -1, "aria-label": words,
    })) group.setAttribute(key, value);
    group.addEventListener("click", () => this.#choose(group));
    group.addEventListener("focus", () => this.show(layer));
    group.addEventListener("pointerenter", () => this.show(layer));
  }

  #choose(group) {
    this.#rove(group);
    this.show(this.network.layers[this.names.indexOf(group.dataset.layer)]);
    this.choose(group.dataset.layer);
  }

  // Tab leads to one block alone, arrows from there to the others.
  #rove(group) {
    this.root.querySelector("[tabindex='0']")?.setAttribute("tabindex", -1);
    group?.setAttribute("tabindex", 0);
  }

  #key(event) {
    const group = event.target.closest("[data-layer]");
    if (!group || shortcut(event)) return;
    const index = this.names.indexOf(group.dataset.layer);
    const tower = Number(group.dataset.tower);
    const to = {
      ArrowRight: [index + 1, tower], ArrowLeft: [index - 1, tower], ArrowDown: [index, tower + 1],
      ArrowUp: [index, tower - 1], Home: [0, tower], End: [this.names.length - 1, tower],
    }[event.key];
    if (to) {
      const next = this.#find(...to);
      this.#rove(next ?? group);
      next?.focus();
      event.preventDefault();
    } else if (event.key === "Enter" || event.key === " ") {
      this.#choose(group);
      event.preventDefault();
    }
  }

  #find(index, tower) {
    const of = `[data-layer="${CSS.escape(this.names[index] ?? "")}"]`;
    return this.root.querySelector(`${of}[data-tower="${tower}"]`) ?? this.root.querySelector(of);
  }

  // What there is to say of a layer.
  show(layer) {
    const entries = Object.entries(this.#facts(layer)).filter(([, words]) => words)
      .map(([name, words]) => element("div", {}, element("dt", {}, name), element("dd", {}, words)));
    if (layer.file) {
      const link = element("a", { href: layer.source, target: "_blank", rel: "noopener" }, layer.file);
      entries.push(element("div", {}, element("dt", {}, "source"), element("dd", {}, link)));
    }
    this.about.replaceChildren(...entries);
  }

  #facts(layer) {
    const index = this.names.indexOf(layer.name);
    const { channels, crop } = this.network.input;
    const input = index ? this.network.layers[index - 1].shape : [channels, crop, crop];
    const several = layer.towers.length > 1 && layer.parameters;
    const towers = layer.towers.map(({ parameters }, tower) => `${count(parameters)} in tower ${tower}`);
    const { crossing, field } = layer;
    const how = crossing?.kind === "gather" ? "before it: each tower sees all channels"
      : "after it: the towers' sums are added";
    return {
      [layer.name]: layer.text,
      "input size": shapeText(input),
      "output shape": shapeText(layer.shape),
      parameters: count(layer.parameters) + (several ? ` (${towers.join(", ")})` : ""),
      "multiply-adds": count(layer.multiply_adds),
      "bytes of its output": size(layer.bytes),
      formula: layer.formula,
      "crosses between the towers": crossing && `${size(crossing.bytes)} to each, for each picture, ${how}`,
      "receptive field": field && `${shapeText(field.size)} pixels, stride ${shapeText(field.stride)}`,
    };
  }

  // Marks the layer that is open, by its name, and what is off.
  mark(open, changes) {
    this.open = this.network.layers.find(({ name }) => name === open);
    for (const group of this.root.querySelectorAll("[data-layer]")) {
      const { layer, tower } = group.dataset;
      const split = this.network.layers.find(({ name }) => name === layer).split;
      group.classList.toggle("open", layer === open);
      group.classList.toggle("off", split && changes.towers_off.includes(Number(tower)));
      group.classList.toggle("changed", Boolean(changes.off[layer]?.length));
      group.setAttribute("aria-pressed", layer === open);
    }
    for (const line of this.root.querySelectorAll("line")) {
      const towers = JSON.parse(line.dataset.towers);
      line.classList.toggle("off", changes.exchange_off.includes(line.dataset.crossing)
        || towers.some((tower) => changes.towers_off.includes(tower)));
    }
  }
}

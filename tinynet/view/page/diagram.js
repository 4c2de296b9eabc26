// The network as in the paper's figure 2, from its layers alone: blocks in proportion to their sizes, a row for each
// tower, and lines that cross where the towers talk.

import { count, element, size, svg } from "./drawing.js";

const SIDE = 104;    // of the input's square, in units of the drawing
const SLANT = 0.28;  // how far a block leans back, of its side
const GAP = 20;      // between blocks, for the lines; more where they cross
const NARROWEST = 55;  // of a column: tabs must fit, and
const LETTER = 4.9;    // the letters of a shape
const TAB = 16;      // the height of a layer's tab under its block

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
    const room = Math.max(wide, NARROWEST, LETTER * shapeText(drawnShape(column)).length);
    x += column.crossing ? 2.5 * GAP : wide < room ? GAP / 2 : GAP;
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
  // choose(name): a layer was chosen. point(name): one is pointed at, or null.
  constructor(root, about, choose, point) {
    Object.assign(this, { root, about, choose, point });
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  draw(network) {
    this.network = network;
    this.names = network.layers.map((layer) => layer.name);
    const { columns, width } = columnsOf(network);
    const tabs = Math.max(...columns.map((column) => column.tabs.length));
    const inRows = columns.filter((column) => column.split || network.devices === 1);
    const tallest = Math.max(...inRows.map(({ extent: { height, slant } }) => height + 2 * slant));
    const row = tallest + 34 + TAB * tabs;
    const rows = network.devices;
    const y = (tower) => row * tower + tallest / 2 + 12;
    const middle = (y(0) + y(rows - 1)) / 2;
    const places = (column) => column.split || rows === 1 ? [...Array(rows).keys()].map((tower) => [tower, y(tower)])
      : [[0, middle]];
    this.root.setAttribute("viewBox", `0 0 ${width} ${row * rows + 8}`);
    this.root.style.width = `max(${0.8 * width}px, min(100%, ${width}px))`;  // what is still read; else it scrolls
    const lines = columns.slice(1).flatMap((column, index) => this.#lines(columns[index], column, places));
    const blocks = columns.flatMap((column) => places(column).flatMap(([tower, at]) => this.#block(column, tower, at)));
    const words = lines.filter((line) => line.tagName === "text");  // above all else
    this.root.replaceChildren(...lines, ...blocks, ...words);
    this.#rove(this.root.querySelector("[data-layer]"));
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
        line.dataset.towers = JSON.stringify([[before, from], [after, to]].flatMap(([at, tower]) => at.split ? [tower] : []));
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
    const around = { x: column.middle - column.room / 2, y: top, width: column.room, height: below + 28 - top };
    const group = svg("g", { class: "block" }, svg("rect", { class: "around", ...around }), ...box(column, y));
    group.append(text(column.name, column.middle, below + 13, "name"));
    group.append(text(shapeText(drawnShape(column)), column.middle, below + 25, "shape"));
    if (!column.isInput) this.#button(group, column.layer, tower, column.split);
    drawn.push(group);
    column.tabs.forEach((layer, index) => {
      const at = below + 30 + TAB * index;
      const frame = { x: column.middle - 27, y: at, width: 54, height: TAB - 3, rx: 3 };
      const tab = svg("g", { class: "block tab" }, svg("rect", frame));
      tab.append(text(layer.name, column.middle, at + 10, "name"));
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
    this.choose(group.dataset.layer);
  }

  // Tab leads to one block alone, arrows from there to the others.
  #rove(group) {
    this.root.querySelector("[tabindex='0']")?.setAttribute("tabindex", -1);
    group?.setAttribute("tabindex", 0);
  }

  #key(event) {
    const group = event.target.closest("[data-layer]");
    if (!group) return;
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
    const index = this.names.indexOf(layer.name);
    const { channels, crop } = this.network.input;
    const input = index ? this.network.layers[index - 1].shape : [channels, crop, crop];
    const towers = layer.towers.length > 1 && layer.parameters
      ? ` (${layer.towers.map((tower) => count(tower.parameters)).join(" and ")} in the towers)` : "";
    const facts = {
      [layer.name]: layer.text, input: shapeText(input), output: shapeText(layer.shape),
      parameters: count(layer.parameters) + towers, "multiply-adds": count(layer.multiply_adds),
      "bytes of output": size(layer.bytes), formula: layer.formula,
    };
    if (layer.crossing) {
      const how = layer.crossing.kind === "gather" ? "before it, so that each tower sees all channels" : "to be added up";
      facts["comes from the other tower"] = `${count(layer.crossing.bytes)} bytes for each image, ${how}`;
    }
    if (layer.field) facts["receptive field"] = `${shapeText(layer.field.size)} pixels, stride ${layer.field.stride[0]}`;
    const entries = Object.entries(facts).filter(([, words]) => words)
      .map(([name, words]) => element("div", {}, element("dt", {}, name), element("dd", {}, words)));
    if (layer.file) {
      const link = element("a", { href: layer.source, target: "_blank", rel: "noopener" }, layer.file);
      entries.push(element("div", {}, element("dt", {}, "source"), element("dd", {}, link)));
    }
    this.about.replaceChildren(...entries);
    this.point(layer.name);
  }

  // Marks the layer that is open, and what is off.
  mark(open, changes) {
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

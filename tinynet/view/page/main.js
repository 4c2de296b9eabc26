// The page: what is shown and changed, what is asked when it changes, and where the answers go.

import { Gone, Latest, floats, get, post, sleep } from "./api.js";
import { Diagram } from "./diagram.js";
import { count, element } from "./drawing.js";
import { showGuesses, showNearest, truthText } from "./guesses.js";
import { LayerPanel } from "./layers.js";
import { PictureView } from "./picture.js";
import { RunView } from "./run.js";
import { Sources } from "./sources.js";

const find = (id) => document.getElementById(id);
const SALIENCY = { gradient: "gradient", guided: "guided backpropagation", "grad-cam": "Grad-CAM" };

let network;
let asked = null;      // the picture, by the server's name for it
let shownCrop = "";    // of which picture, changed how, the crop is on the page
let shownLayer = "";   // of which picture and layer the channels are in their order
let before = null;     // probabilities by label of the picture and the network without changes
let openLayer = null;  // a layer's name
let openChannel = null;
let told = null;       // the last answer
const switches = { off: {}, towers_off: [], exchange_off: [] };
const [answers, saliencies] = [new Latest(), new Latest()];

const view = new PictureView(find("picture"), (event) => ask(event), (pixel) => showUnit(view.unitAt(pixel)));
const diagram = new Diagram(find("diagram"), find("about-layer"), chooseLayer, () => {});
const panel = new LayerPanel(find("layer-panel"), {
  open: (channel, event) => chooseChannel(channel, event),
  toggle: (channel, event) => toggleChannel(openLayer, channel, event),
  point: (channel) => { find("channel-number").value = channel; nameSwitch(); },
});
const sources = new Sources(document, arrive, say, failed);

// ---- the status line ----

function say(words) { find("status").textContent = words; }

async function failed(error) {
  say(error.message);
  if (!(error instanceof Gone)) return;
  for (;;) {  // until it is back
    await sleep(2000);
    try {
      await get("/api/network");
      say("The server is there again.");
      return;
    } catch (again) {
      if (!(again instanceof Gone)) return;
    }
  }
}

// ---- what is changed ----

const slider = (id) => Number(find(id).value);

function moved() {
  return { mirror: find("mirror").checked, turn: slider("turn"), shift: [slider("shift-down"), slider("shift-right")],
    covered: view.covered };
}

function unchanged() {
  const { mirror, turn, shift, covered } = moved();
  return !(mirror || turn || shift[0] || shift[1] || covered.length || switches.towers_off.length
    || switches.exchange_off.length || Object.keys(switches.off).length);
}

function reset(event) {
  find("mirror").checked = false;
  for (const id of ["turn", "shift-down", "shift-right"]) find(id).value = 0;
  view.covered = [];
  Object.assign(switches, { off: {}, towers_off: [], exchange_off: [] });
  for (const box of find("switches").querySelectorAll("input")) box.checked = false;
  showOff();
  ask(event);
}

function toggleChannel(layer, channel, event) {
  if (!layer) return;
  const off = new Set(switches.off[layer]);
  if (!off.delete(channel)) off.add(channel);
  if (off.size) switches.off[layer] = [...off];
  else delete switches.off[layer];
  showOff();
  ask(event);
}

function showOff() {
  const items = Object.entries(switches.off).flatMap(([layer, channels]) => channels.map((channel) => {
    const button = element("button", { "aria-label": `switch ${layer} ${channel} on again` }, `${layer} ${channel} off ×`);
    button.addEventListener("click", (event) => toggleChannel(layer, channel, event));
    return element("li", {}, button);
  }));
  find("off-list").replaceChildren(...items);
  diagram.mark(openLayer, switches);
  for (const id of ["turn", "shift-down", "shift-right"]) {
    find(id).parentElement.querySelector("output").textContent = `${find(id).value}${id === "turn" ? "°" : ""}`;
  }
  nameSwitch();
}

function nameSwitch() {
  const off = switches.off[openLayer]?.includes(Number(find("channel-number").value));
  find("channel-off").textContent = off ? "Switch on" : "Switch off";
}

// A box for each tower and each exchange, as the network has them.
function offerSwitches() {
  const box = (id, words, list, value) => {
    const input = element("input", { type: "checkbox", id });
    input.addEventListener("change", (event) => {
      switches[list] = input.checked ? [...switches[list], value] : switches[list].filter((one) => one !== value);
      showOff();
      ask(event);
    });
    return element("label", {}, input, ` ${words}`);
  };
  const towers = network.devices > 1 ? [...Array(network.devices).keys()] : [];
  const exchanges = network.layers.filter((layer) => layer.crossing?.kind === "gather");
  find("switches").replaceChildren(
    ...towers.map((tower) => box(`tower-off-${tower}`, `tower ${tower} off`, "towers_off", tower)),
    ...exchanges.map(({ name }) => box(`exchange-off-${name}`, `no exchange at ${name}`, "exchange_off", name)),
  );
}

// ---- what is asked, and shown ----

// event: what the user pressed, from which the time to the answer counts.
function ask(event) {
  if (!asked) return;
  const pressed = event?.timeStamp ?? performance.now();
  const views = find("ten-views").checked ? "ten" : "middle";
  answers.ask((signal) => {
    const crop = JSON.stringify([asked.picture, moved()]);
    const question = { picture: asked.picture, changes: { ...moved(), ...switches }, views };
    if (crop !== shownCrop) question.crop = true;
    if (openLayer) question.layer = openLayer;
    if (openLayer && openChannel !== null) question.channel = openChannel;
    const about = { picture: asked, crop, whole: unchanged(), views };
    return post("/api/answer", question, signal).then((answer) => ({ answer, about }));
  }, ({ answer, about }) => show(answer, about, pressed), failed);
}

function show(answer, { picture, crop, whole, views }, pressed) {
  if (picture !== asked) return;  // another one has arrived meanwhile, about which the next answer is
  told = answer;
  const key = `${asked.picture} ${views} ${answer.version}`;
  if (whole) before = { key, of: new Map(answer.guesses.map(({ label, probability }) => [label, probability])) };
  showGuesses(find("guesses"), answer, whole || before?.key !== key ? null : before.of);
  find("truth").textContent = truthText(answer);
  find("press-to-answer").textContent = `${(performance.now() - pressed).toFixed(0)} ms from press to answer, `
    + `${answer.milliseconds} ms of them in the network`;
  if (answer.crop) {
    view.showCrop(answer.crop);
    shownCrop = crop;
  }
  if (answer.layer && answer.layer.name === openLayer) showLayer(answer);
  offerClasses(answer.guesses);
  askSaliency();
}

function showLayer(answer) {
  const layer = network.layers.find(({ name }) => name === answer.layer.name);
  const key = `${asked.picture} ${layer.name}`;
  if (key !== shownLayer) panel.open(layer, answer.layer);
  shownLayer = key;
  panel.update(answer.layer, new Set(switches.off[layer.name]), openChannel);
  if (answer.channel) view.showChannel(answer.channel, layer.field, answer.layer.scale, slider("channel-opacity") / 100);
  find("unit-controls").hidden = !answer.channel || !layer.field;
  if (answer.channel) showUnit(currentUnit());
  nameSwitch();
}

// ---- a layer, a channel, a unit ----

async function chooseLayer(name) {
  openLayer = name;
  openChannel = null;
  view.channel = view.field = null;
  view.draw();
  find("unit").textContent = "";
  diagram.mark(openLayer, switches);
  ask();
  try {
    panel.showKernels(name === network.kernels ? await get("/api/kernels") : null,
      network.layers.find((layer) => layer.name === name).split ? network.devices : 1);
  } catch (error) {
    failed(error);
  }
}

function chooseChannel(channel, event) {
  openChannel = channel;
  find("channel-number").value = channel;
  ask(event);
}

const currentUnit = () => [slider("unit-row"), slider("unit-column")];

// The value of the unit (row, column) of the open channel, and what it sees.
function showUnit(unit) {
  const channel = told?.channel;
  if (!channel || !unit) return;
  const [row, column] = unit.map((at, axis) => Math.min(channel.shape[axis] - 1, Math.max(0, Math.round(at))));
  [find("unit-row").value, find("unit-column").value] = [row, column];
  const value = floats(channel.values)[row * channel.shape[1] + column].toPrecision(4);
  const { field } = network.layers.find(({ name }) => name === told.layer.name);
  const where = field ? `unit (${row}, ${column})` : "this unit";
  view.showField(field && [row, column]);
  const sees = view.field ? `sees rows ${view.field[0][0]} to ${view.field[0][1] - 1} and columns ${view.field[1][0]} to `
    + `${view.field[1][1] - 1} of the input` : "sees all of the input";
  find("unit").textContent = `${told.layer.name}, channel ${channel.channel}: ${where} is ${value} and ${sees}.`;
}

// ---- what it rests on ----

function offerClasses(guesses) {
  const select = find("saliency-class");
  const chosen = select.value;
  const options = [["", "the best guess"], ...guesses.map(({ label, name }) => [label, name])];
  select.replaceChildren(...options.map(([value, words]) => element("option", { value }, words)));
  select.value = options.some(([value]) => String(value) === chosen) ? chosen : "";
}

function askSaliency() {
  const kind = find("saliency").value;
  find("saliency-slider").hidden = find("saliency-note").hidden = !kind;
  if (!kind || !asked) {
    view.showSaliency(null);
    return;
  }
  const label = find("saliency-class").value;
  const question = { picture: asked.picture, changes: moved(), kind, label: label === "" ? null : Number(label) };
  const picture = asked;
  saliencies.ask((signal) => post("/api/saliency", question, signal), (answer) => {
    if (picture === asked && find("saliency").value) view.showSaliency(answer, slider("saliency-opacity") / 100);
  }, failed);
}

async function askNeighbours() {
  const mine = asked;
  try {
    let found = { nearest: null };
    while (!found.nearest && mine === asked) {
      found = await post("/api/neighbours", { picture: mine.picture, changes: { ...moved(), ...switches } });
      if (mine === asked) showNearest(find("nearest"), found);
      if (!found.total) break;
    }
  } catch (error) {
    failed(error);
  }
}

// ---- pictures and weights that arrive ----

function arrive(picture) {
  asked = picture;
  before = null;
  view.covered = [];
  find("nearest").replaceChildren();
  const place = picture.count ? `validation picture ${picture.index + 1} of ${count(picture.count)}: ` : "";
  find("picture-name").textContent = place + picture.name;
  ask();
}

function about() {
  const parameters = network.layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const towers = network.devices > 1 ? ` in ${network.devices} towers` : "";
  find("title").textContent = document.title = network.title;
  find("about").textContent = `${network.model}${towers}, ${count(parameters)} parameters, ${count(network.classes)} `
    + `classes; ${network.state}`;
}

async function renew() {
  try {
    network = await get("/api/network");
    about();
    sources.forgetMistakes();
    before = null;
    shownLayer = "";
    if (openLayer === network.kernels) panel.showKernels(await get("/api/kernels"), network.devices);
    ask();
  } catch (error) {
    failed(error);
  }
}

// ---- the start ----

function listen() {
  for (const id of ["mirror", "turn", "shift-down", "shift-right"]) {
    find(id).addEventListener("input", (event) => { showOff(); ask(event); });
  }
  find("reset").addEventListener("click", reset);
  find("ten-views").addEventListener("change", ask);
  find("saliency").addEventListener("change", askSaliency);
  find("saliency-class").addEventListener("change", askSaliency);
  find("saliency-opacity").addEventListener("input", () => {
    if (view.saliency) view.saliency.opacity = slider("saliency-opacity") / 100;
    view.draw();
  });
  find("channel-opacity").addEventListener("input", () => {
    if (view.channel) view.channel.opacity = slider("channel-opacity") / 100;
    view.draw();
  });
  const number = () => Math.max(0, Math.min(Number(find("channel-number").max), slider("channel-number")));
  find("channel-number").addEventListener("input", nameSwitch);
  find("channel-open").addEventListener("click", (event) => chooseChannel(number(), event));
  find("channel-off").addEventListener("click", (event) => toggleChannel(openLayer, number(), event));
  for (const id of ["unit-row", "unit-column"]) find(id).addEventListener("input", () => showUnit(currentUnit()));
  find("neighbours").addEventListener("click", askNeighbours);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { panel.redraw(); ask(); });
}

async function start() {
  network = await get("/api/network");
  about();
  sources.limit = network.upload;  // bytes
  diagram.draw(network);
  offerSwitches();
  for (const id of ["shift-down", "shift-right"]) {
    Object.assign(find(id), { min: -Math.round(network.input.crop / 2), max: Math.round(network.input.crop / 2), value: 0 });
  }
  find("saliency").append(...network.saliency.map((kind) => element("option", { value: kind }, SALIENCY[kind])));
  listen();
  showOff();
  if (network.run) new RunView(find("run"), renew, failed).watch();
  let { data } = network;
  while (data.validation === null) {
    say("opening the data set");
    await sleep(500);
    ({ data } = await get("/api/network"));
  }
  find("neighbours").hidden = !data.training;
  sources.offer(data.validation);
  say(data.problem && network.trained ? `No validation pictures: ${data.problem}` : "");
  if (data.validation && !asked) await sources.sample(0);
}

start().catch(failed);

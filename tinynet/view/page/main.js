// The page: what is shown and changed, what is asked when it changes, and where the answers go.

import { Changes } from "./changes.js";
import { ChannelView } from "./channel.js";
import { Diagram } from "./diagram.js";
import { Gone, Latest, floats, get, post, sleep } from "./api.js";
import { LayerPanel } from "./layers.js";
import { PictureView } from "./picture.js";
import { RunView } from "./run.js";
import { Sources } from "./sources.js";
import { count, element } from "./drawing.js";
import { showGuesses, showNearest, truthText } from "./guesses.js";

const find = (id) => document.getElementById(id);
const SALIENCY = { gradient: "gradient", guided: "guided backpropagation", "grad-cam": "Grad-CAM" };

let network;
let asked = null;         // the picture, by the server's name for it
let told = null;          // the last answer
let shownCrop = "";       // of which picture, changed how, the crop is on the page
let shownLayer = "";      // of which picture and layer the channels are in their order
let shownSaliency = "";   // of which picture, changed how, for what the saliency is on the page
let before = null;        // { key, of }: probabilities by label of the picture and the network without changes
let openLayer = null;     // a layer's name
let openChannel = null;
const [answers, unchanged, saliencies] = [new Latest(), new Latest(), new Latest()];

const view = new PictureView(find("picture"), ask);
const changes = new Changes(document, view, changed);
const channelView = new ChannelView(document);
const diagram = new Diagram(find("diagram"), find("about-layer"), chooseLayer);
const panel = new LayerPanel(find("layer-panel"), {
  open: chooseChannel,
  toggle: (channel, event) => changes.toggle(openLayer, channel, event),
  point: (channel) => {
    find("channel-number").value = channel;
    nameSwitch();
    panel.tell(channel);
  },
});
const sources = new Sources(document, arrive, say, failed);

// ---- the status line ----

function say(words) { find("status").textContent = words; }

let waiting = false;  // for the server

async function failed(error) {
  if (error.status === 404 && asked) {  // the server has forgotten the picture
    asked = null;
    await sources.again();
    return;
  }
  say(error.message);
  if (!(error instanceof Gone) || waiting) return;
  waiting = true;
  while (!await get("/api/network").catch(() => null)) await sleep(2000);
  waiting = false;
  asked = null;  // another server does not know the picture
  await renew();
  await opened();
  await sources.again();
  say("The server is there again.");
}

// ---- what is asked, and shown ----

const views = () => find("ten-views").checked ? "ten" : "middle";

// event: what the user pressed, from which the time to the answer counts.
function ask(event) {
  if (!asked) return;
  const pressed = event?.timeStamp ?? performance.now();
  answers.ask(`${asked.picture} ${views()}`, async (signal) => {
    const about = { picture: asked.picture, views: views(), crop: JSON.stringify([asked.picture, changes.picture]),
      whole: changes.none };
    const question = { picture: about.picture, changes: changes.all, views: about.views };
    if (about.crop !== shownCrop) question.crop = true;
    if (about.whole) question.all = true;  // to be compared with
    if (openLayer) question.layer = openLayer;
    if (openLayer && openChannel !== null) question.channel = openChannel;
    return { answer: await post("/api/answer", question, signal), about };
  }, ({ answer, about }) => show(answer, about, pressed), failed);
}

function show(answer, about, pressed) {
  if (about.picture !== asked?.picture) return;  // the server has forgotten it meanwhile
  told = answer;
  compare(answer, about);
  find("truth").textContent = truthText(answer);
  find("press-to-answer").textContent = `${(performance.now() - pressed).toFixed(0)} ms from press to answer, `
    + `${answer.milliseconds} ms of them in the network`;
  if (answer.crop) {
    view.showCrop(answer.crop);
    shownCrop = about.crop;
  }
  if (answer.layer && answer.layer.name === openLayer) showLayer(answer);
  offerClasses(answer.guesses);
  askSaliency();
}

// Shows the guesses, beside those about the unchanged picture, which are asked for where they are not known.
function compare(answer, { picture, views, whole }) {
  const key = `${picture} ${views} ${answer.version}`;
  const remember = ({ all }) => { before = { key, of: floats(all) }; };
  if (whole) remember(answer);
  const known = before?.key === key;
  showGuesses(find("guesses"), answer, whole || !known ? null : before.of);
  if (known) return;
  unchanged.ask(key, (signal) => post("/api/answer", { picture, views, all: true }, signal), (first) => {
    remember(first);
    if (told === answer) showGuesses(find("guesses"), answer, before.of);
  }, failed);
}

function showLayer(answer) {
  const layer = layerOf(answer.layer.name);
  const key = `${asked.picture} ${layer.name}`;
  if (key !== shownLayer) panel.open(layer, answer.layer);
  shownLayer = key;
  panel.update(answer.layer, new Set(changes.network.off[layer.name]), openChannel);
  const { channel } = answer;
  if (channel && channel.channel === openChannel) channelView.show(view.crop, layer, channel, answer.layer.scale);
  nameSwitch();
}

// ---- a layer, a channel, what is off ----

const layerOf = (name) => network.layers.find((layer) => layer.name === name);

async function chooseLayer(name) {
  openLayer = name;
  openChannel = null;
  shownLayer = "";
  channelView.close();
  panel.choose(layerOf(name));
  nameSwitch();
  diagram.mark(openLayer, changes.network);
  if (!asked) say("Bring a picture first: then this layer's channels are shown.");
  ask();
  try {
    if (name === network.kernels) await showKernels();
  } catch (error) {
    failed(error);
  }
}

async function showKernels() {
  const kernels = await get("/api/kernels");
  if (openLayer === kernels.layer) panel.showKernels(kernels, layerOf(openLayer).split ? network.devices : 1);
}

function chooseChannel(channel, event) {
  openChannel = channel;
  find("channel-number").value = channel;
  ask(event);
}

function changed(event) {
  diagram.mark(openLayer, changes.network);
  nameSwitch();
  ask(event);
}

const channelNumber = () => {
  const { value, max } = find("channel-number");
  return Math.max(0, Math.min(Number(max), Math.round(Number(value))));
};

function nameSwitch() {
  find("channel-off").textContent = changes.isOff(openLayer, channelNumber()) ? "Switch on" : "Switch off";
}

// ---- what it rests on ----

function offerClasses(guesses) {
  const select = find("saliency-class");
  const chosen = select.value;
  const options = new Map([["", "the best guess"], ...guesses.map(({ label, name }) => [String(label), name])]);
  if (chosen) options.set(chosen, network.names[chosen]);  // stays, though it may be no longer among the best
  select.replaceChildren(...[...options].map(([value, words]) => element("option", { value }, words)));
  select.value = chosen;
}

function askSaliency() {
  const kind = find("saliency").value;
  find("saliency-shown").hidden = !kind;
  if (!kind || !asked) {
    shownSaliency = "";
    view.showSaliency(null);
    return;
  }
  const label = find("saliency-class").value;
  const chosen = label === "" ? null : Number(label);
  const question = { picture: asked.picture, changes: changes.picture, kind, label: chosen };
  const key = JSON.stringify([question, told?.version]);
  if (key === shownSaliency) return;
  saliencies.ask(`${asked.picture} ${kind} ${label}`, (signal) => post("/api/saliency", question, signal), (answer) => {
    if (find("saliency").value !== kind || question.picture !== asked?.picture) return;
    shownSaliency = key;
    view.showSaliency(answer, find("saliency-opacity").value / 100);
    find("saliency-of").textContent = `${SALIENCY[kind]} of ${answer.name}`;
  }, failed);
}

let search = 0;  // the one that is under way

async function askNeighbours() {
  const mine = ++search;
  try {
    let found;
    do {
      found = await post("/api/neighbours", { picture: asked.picture, changes: changes.all });
      if (mine !== search) return;
      showNearest(find("nearest"), found);
    } while (!found.nearest && found.total);
  } catch (error) {
    failed(error);
  }
}

// ---- pictures and weights that arrive ----

// again: it is the one that is shown, by another name.
function arrive(picture, again) {
  asked = picture;
  say("");
  if (!again) view.covered = [];
  search += 1;
  find("nearest").replaceChildren();
  find("neighbours").hidden = !network.neighbours || !network.data.training;
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

// The server has newer weights.
async function renew() {
  try {
    network = await get("/api/network");
    about();
    sources.forgetMistakes();
    shownLayer = shownSaliency = "";
    ask();
    if (openLayer && openLayer === network.kernels) await showKernels();
  } catch (error) {
    failed(error);
  }
}

// ---- the start ----

function listen() {
  find("ten-views").addEventListener("change", ask);
  find("saliency").addEventListener("change", askSaliency);
  find("saliency-class").addEventListener("change", askSaliency);
  find("saliency-opacity").addEventListener("input", ({ target }) => {
    if (view.saliency) view.saliency.opacity = target.value / 100;
    view.draw();
  });
  find("channel-number").addEventListener("input", nameSwitch);
  find("channel-open").addEventListener("click", (event) => chooseChannel(channelNumber(), event));
  find("channel-off").addEventListener("click", (event) => changes.toggle(openLayer, channelNumber(), event));
  find("neighbours").addEventListener("click", askNeighbours);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {  // other colours
    matchMedia(query).addEventListener("change", () => { panel.recolour(); channelView.redraw(); });
  }
}

// Once the data set is open: how many pictures it has.
async function opened() {
  while (network.data.validation === null) {
    say("Opening the data set");
    await sleep(1000);
    network = await get("/api/network");
  }
  return network.data;
}

async function start() {
  network = await get("/api/network");
  about();
  sources.limit = network.upload;  // bytes
  diagram.draw(network);
  changes.offer(network);
  find("saliency").append(...network.saliency.map((kind) => element("option", { value: kind }, SALIENCY[kind])));
  listen();
  if (network.run) new RunView(find("run"), network, renew, failed).watch();
  const { validation, problem } = await opened();
  sources.offer(validation);
  say(problem && network.trained ? `No validation pictures: ${problem}` : "");
  if (validation && !asked) await sources.sample(0);
}

start().catch(failed);

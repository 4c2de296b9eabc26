// What if: the controls that change the picture, the switches of the network, and the list of what is off.

import { element } from "./drawing.js";

const SLIDERS = ["turn", "shift-down", "shift-right"];

export class Changes {
  // view: the picture, of which parts are covered. changed(event): the user has changed something.
  constructor(page, view, changed) {
    this.find = (id) => page.getElementById(id);
    Object.assign(this, { view, changed, network: { off: {}, towers_off: [], exchange_off: [] } });
    for (const id of ["mirror", ...SLIDERS]) {
      this.find(id).addEventListener("input", (event) => { this.#show(); changed(event); });
    }
    this.find("reset").addEventListener("click", (event) => this.#reset(event));
  }

  // The shifts that the crop allows, and a box for each tower and each exchange that the network has.
  offer({ input, devices, layers }) {
    const most = Math.round(input.crop / 2);
    for (const id of ["shift-down", "shift-right"]) Object.assign(this.find(id), { min: -most, max: most, value: 0 });
    const towers = devices > 1 ? [...Array(devices).keys()] : [];
    const exchanges = layers.filter(({ crossing }) => crossing?.kind === "gather");
    this.find("switches").replaceChildren(
      ...towers.map((tower) => this.#box(`tower-off-${tower}`, `tower ${tower} off`, "towers_off", tower)),
      ...exchanges.map(({ name }) => this.#box(`exchange-off-${name}`, `no exchange at ${name}`, "exchange_off", name)),
    );
    this.#show();
  }

  #box(id, words, list, value) {
    const input = element("input", { type: "checkbox", id });
    input.addEventListener("change", (event) => {
      const others = this.network[list].filter((one) => one !== value);
      this.network[list] = input.checked ? [...others, value] : others;
      this.#show();
      this.changed(event);
    });
    return element("label", {}, input, ` ${words}`);
  }

  // What of the picture is changed, as the server takes it.
  get picture() {
    const [turn, ...shift] = SLIDERS.map((id) => Number(this.find(id).value));
    return { mirror: this.find("mirror").checked, turn, shift, covered: this.view.covered };
  }

  get all() { return { ...this.picture, ...this.network }; }

  get none() {
    const { mirror, turn, shift, covered } = this.picture;
    const { off, towers_off: towers, exchange_off: exchanges } = this.network;
    return !mirror && !turn && !shift.some(Boolean) && !covered.length && !towers.length && !exchanges.length
      && !Object.keys(off).length;
  }

  isOff(layer, channel) { return Boolean(this.network.off[layer]?.includes(channel)); }

  toggle(layer, channel, event) {
    const channels = new Set(this.network.off[layer]);
    if (!channels.delete(channel)) channels.add(channel);
    if (channels.size) this.network.off[layer] = [...channels];
    else delete this.network.off[layer];
    this.#show();
    this.changed(event);
  }

  #reset(event) {
    for (const box of [this.find("mirror"), ...this.find("switches").querySelectorAll("input")]) box.checked = false;
    for (const id of SLIDERS) this.find(id).value = 0;
    this.view.covered = [];
    Object.assign(this.network, { off: {}, towers_off: [], exchange_off: [] });
    this.#show();
    this.changed(event);
  }

  #show() {
    for (const id of SLIDERS) {
      const unit = id === "turn" ? "°" : " px";
      this.find(id).parentElement.querySelector("output").textContent = `${this.find(id).value}${unit}`;
    }
    const off = Object.entries(this.network.off).flatMap(([layer, channels]) => channels.map((one) => [layer, one]));
    const list = this.find("off-list");
    const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
    list.replaceChildren(...off.map(([layer, channel]) => this.#chip(layer, channel)));
    // The chip that was pressed is gone: the focus goes to the next one, or it would be lost.
    if (focused >= 0) (list.children[Math.min(focused, off.length - 1)]?.firstChild ?? this.find("reset")).focus();
  }

  #chip(layer, channel) {
    const words = `${layer} ${channel} off`;
    const button = element("button", { "aria-label": `${words}: switch it on again` }, `${words} ×`);
    button.addEventListener("click", (event) => this.toggle(layer, channel, event));
    return element("li", {}, button);
  }
}

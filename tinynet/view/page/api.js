// What the server is asked, and what its answers hold.

export class Refused extends Error {}  // the server's own words
export class Gone extends Error {}     // no server answers

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("The server does not answer; it may have ended.");
  }
  const told = await response.json();
  if (!response.ok) throw new Refused(told.error);
  return told;
}

export const get = (path, signal) => ask(path, { signal });

export const post = (path, question, signal) => ask(path, { method: "POST", body: JSON.stringify(question), signal });

export const upload = (file) => ask("/api/picture", { method: "POST", body: file });

const PATIENCE = 300;  // milliseconds after which an answer that is no longer wanted is given up

// One question at a time, and after it the newest of those that came meanwhile: the page follows a slider without
// asking for what nobody will see. run(signal) asks, done(answer) shows.
export class Latest {
  #next = null;
  #controller = null;
  #began = 0;

  ask(run, done, failed) {
    this.#next = { run, done, failed };
    if (!this.#controller) this.#work();
    else if (performance.now() - this.#began > PATIENCE) this.#controller.abort();
  }

  async #work() {
    while (this.#next) {
      const { run, done, failed } = this.#next;
      this.#next = null;
      this.#controller = new AbortController();
      this.#began = performance.now();
      try {
        done(await run(this.#controller.signal));
      } catch (error) {
        if (error.name !== "AbortError") failed(error);
      }
    }
    this.#controller = null;
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// Of base64: numbers from 0 to 255, from -128 to 127, and floats.
export const unsigned = (text) => bytes(text);
export const signed = (text) => new Int8Array(bytes(text).buffer);
export const floats = (text) => new Float32Array(bytes(text).buffer);

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

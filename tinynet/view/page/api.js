// What the server is asked, and what its answers hold.

export class Gone extends Error {}     // no server answers
export class Refused extends Error {   // the server's own words
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  let told;
  try {
    response = await fetch(path, options);
    told = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("The server does not answer; it may have ended. Trying again.");
  }
  if (!response.ok) throw new Refused(told.error, response.status);
  return told;
}

export const get = (path, signal) => ask(path, { signal });

export const post = (path, question, signal) => ask(path, { method: "POST", body: JSON.stringify(question), signal });

export const upload = (file) => ask("/api/picture", { method: "POST", body: file });

// One question at a time, and after it the newest of those that came meanwhile: the page follows a slider without
// asking for what nobody will see. An answer about the same subject is waited for, or a slow network would never
// answer while a slider moves; about another subject it is given up. run(signal) asks, done(answer) shows.
export class Latest {
  #next = null;
  #now = null;  // { subject, controller }

  ask(subject, run, done, failed) {
    this.#next = { subject, run, done, failed };
    if (!this.#now) this.#work();
    else if (this.#now.subject !== subject) this.#now.controller.abort();
  }

  async #work() {
    while (this.#next) {
      const { subject, run, done, failed } = this.#next;
      const controller = new AbortController();
      this.#next = null;
      this.#now = { subject, controller };
      try {
        const answer = await run(controller.signal);
        if (!controller.signal.aborted) done(answer);
      } catch (error) {
        if (error.name !== "AbortError") failed(error);
      }
    }
    this.#now = null;
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// Of base64: numbers from 0 to 255, from -128 to 127, and floats.
export const unsigned = (text) => bytes(text);
export const signed = (text) => new Int8Array(bytes(text).buffer);
export const floats = (text) => new Float32Array(bytes(text).buffer);

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

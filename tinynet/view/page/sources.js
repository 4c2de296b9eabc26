// Where pictures come from: a file that is chosen, dropped or pasted, the camera, and the run's validation set.

import { get, post, upload } from "./api.js";
import { size } from "./drawing.js";

export class Sources {
  // arrived(told, again): the server has a picture; again: the one that is shown. say(words), failed(error): for the
  // status line.
  constructor(page, arrived, say, failed) {
    Object.assign(this, { page, arrived, say, failed, index: 0, count: 0, wrong: -1, file: null });
    const find = (id) => page.querySelector(`#${id}`);
    find("file").addEventListener("change", (event) => {
      this.bring(event.target.files[0]);
      event.target.value = "";  // so that the same file can be chosen again
    });
    page.addEventListener("dragover", (event) => event.preventDefault());
    page.addEventListener("drop", (event) => {
      event.preventDefault();
      this.bring(event.dataTransfer.files[0]);
    });
    page.addEventListener("paste", (event) => this.bring(event.clipboardData.files[0]));
    this.#camera(find("camera"), find("camera-stop"), find("camera-view"));
    find("next").addEventListener("click", () => this.sample(this.index + 1));
    find("previous").addEventListener("click", () => this.sample(this.index - 1));
    find("random").addEventListener("click", () => this.sample(Math.floor(this.count * Math.random())));
    find("most-wrong").addEventListener("click", () => this.#mostWrong());
  }

  async bring(file) {
    if (!file) return;
    if (file.size > this.limit) {
      this.say(`${file.name} is larger than ${size(this.limit)}`);
      return;
    }
    await this.#come(upload(file), file);
  }

  // The picture that is shown, once more: the server has forgotten it, or is another one.
  async again() {
    if (this.file) await this.#come(upload(this.file), this.file, true);
    else if (this.count) await this.#come(this.#sample(), null, true);
  }

  // Of several pictures on their way the last one asked for counts.
  async #come(promise, file, again = false) {
    this.coming = promise;
    try {
      const told = await promise;
      if (this.coming !== promise) return;
      this.file = file;
      this.arrived(file ? { ...told, name: file.name } : told, again);
    } catch (error) {
      if (this.coming === promise) this.failed(error);
    }
  }

  // ---- the validation set ----

  offer(count) {
    this.count = count;
    this.page.querySelector("#samples").hidden = !count;
  }

  async sample(index) {
    this.index = (index + this.count) % this.count;
    await this.#come(this.#sample(), null);
  }

  #sample() { return post("/api/sample", { split: "validation", index: this.index }); }

  // The mistake that the network is surest of, then the next one with each press.
  async #mostWrong() {
    if (this.searching) return;
    this.searching = true;
    try {
      let told = await get("/api/wrong");
      while (told.done < told.total) {
        this.say(`looking at validation pictures: ${told.done} of ${told.total}`);
        told = await get("/api/wrong");
      }
      if (!told.mistakes.length) {
        this.say("The network is wrong about none of them.");
        return;
      }
      this.wrong = (this.wrong + 1) % told.mistakes.length;
      const one = told.mistakes[this.wrong];
      await this.sample(one.index);
      this.say(`mistake ${this.wrong + 1} of ${told.mistakes.length}, the surest first: taken for ${one.answer}`);
    } catch (error) {
      this.failed(error);
    } finally {
      this.searching = false;
    }
  }

  forgetMistakes() { this.wrong = -1; }

  // ---- the camera ----

  async #camera(button, stop, view) {
    const devices = navigator.mediaDevices;  // only where the page's address is trusted
    const found = await devices?.enumerateDevices().catch(() => []) ?? [];
    button.hidden = !found.some(({ kind }) => kind === "videoinput");
    const show = (stream) => {
      for (const track of view.srcObject?.getTracks() ?? []) track.stop();
      view.srcObject = stream;
      view.hidden = stop.hidden = !stream;
      button.textContent = stream ? "Take the picture" : "Camera";
    };
    button.addEventListener("click", async () => {
      try {
        if (view.srcObject) {
          const blob = await frameOf(view);
          show(null);
          await this.bring(new File([blob], "camera"));
        } else {
          show(await devices.getUserMedia({ video: { facingMode: "environment" } }));
          await view.play();
        }
      } catch (error) {
        show(null);
        this.say(`The camera cannot be used: ${error.message}`);
      }
    });
    stop.addEventListener("click", () => { show(null); button.focus(); });
  }
}

// What a video shows now, as a PNG file.
function frameOf(view) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
  canvas.getContext("2d").drawImage(view, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

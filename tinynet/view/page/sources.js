// Where pictures come from: a file that is chosen, dropped or pasted, the camera, and the run's validation set.

import { get, post, upload } from "./api.js";
import { size } from "./drawing.js";

export class Sources {
  // arrived(told): the server has a picture. say(words), failed(error): for the status line.
  constructor(page, arrived, say, failed) {
    Object.assign(this, { page, arrived, say, failed, index: null, count: 0, wrong: -1 });
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
    this.#camera(find("camera"), find("camera-view"));
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
    try {
      const told = await upload(file);
      this.arrived({ ...told, name: file.name });
      this.say("");
    } catch (error) {
      this.failed(error);
    }
  }

  // ---- the validation set ----

  offer(count) {
    this.count = count;
    this.page.querySelector("#samples").hidden = !count;
  }

  async sample(index) {
    try {
      this.index = (index + this.count) % this.count;
      this.arrived(await post("/api/sample", { split: "validation", index: this.index }));
    } catch (error) {
      this.failed(error);
    }
  }

  // The mistake that the network is surest of, then the next one with each press.
  async #mostWrong() {
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
    }
  }

  forgetMistakes() { this.wrong = -1; }

  // ---- the camera ----

  #camera(button, view) {
    const devices = navigator.mediaDevices;  // only where the page's address is trusted
    button.hidden = !devices?.getUserMedia;
    button.addEventListener("click", async () => {
      try {
        if (view.srcObject) {
          await this.#take(view);
        } else {
          view.srcObject = await devices.getUserMedia({ video: { facingMode: "environment" } });
          view.hidden = false;
          await view.play();
        }
      } catch (error) {
        this.say(`The camera cannot be used: ${error.message}`);
      }
      button.textContent = view.srcObject ? "Take the picture" : "Camera";
    });
  }

  async #take(view) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
    canvas.getContext("2d").drawImage(view, 0, 0);
    for (const track of view.srcObject.getTracks()) track.stop();
    view.srcObject = null;
    view.hidden = true;
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    await this.bring(new File([blob], "camera"));
  }
}

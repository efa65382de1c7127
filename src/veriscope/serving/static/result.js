// One file on the page: from waiting to its verdict.

import { Problem, send } from "./api.js";
import { h, icon } from "./dom.js";
import { drawFaces, faceList, faceNote, trackList } from "./faces.js";
import { scale, timeline } from "./scale.js";
import { VERDICTS, looked, meaning, reasons, size } from "./words.js";

const STATES = {
  waiting: () => "Waiting for its turn",
  sending: (share) => `Sending, ${Math.round(share * 100)} %`,
  working: () => "The detector is looking",
  busy: (seconds) => `The server is busy. Trying again in ${Math.ceil(seconds)} s`,
};

// No answer, too slow an upload, busy, too slow: the same file may have a verdict a little later.
const MAY_PASS = new Set([0, 408, 500, 502, 503, 504]);

export class Entry {
  constructor(file, { model, onRemove, onAgain }) {
    this.file = file;
    this.id = `${Date.now()}-${Math.random()}`;
    this.model = model;
    this.onAgain = onAgain;
    this.result = null;
    this.failed = false;
    this.time = null;
    this.abort = new AbortController();
    this.url = URL.createObjectURL(file);
    this.state = h("p", { class: "quiet" }, STATES.waiting());
    this.bar = h("progress", { max: "1", value: "0", "aria-label": `Progress of ${file.name}` });
    this.said = h("div", { class: "said" });
    this.cancel = () => { this.abort.abort(); onRemove(this); };
    this.wait();
    this.frame = h("div", { class: "frame" }, this.preview());
    this.stage = h("div", { class: "stage" }, this.frame);
    this.element = h("li", { class: "result arriving" }, this.stage, this.said);
  }

  wait() {
    this.failed = false;
    this.element?.classList.remove("no-verdict");
    this.tell("waiting");
    this.said.replaceChildren(
      h("p", { class: "file" }, this.file.name),
      this.state,
      this.bar,
      h(
        "div",
        { class: "actions" },
        h("button", { class: "button small", type: "button", onclick: this.cancel },
          "Cancel", this.named()),
      ),
    );
  }

  // Read out after words that stand beside every file.
  named() {
    return h("span", { class: "visually-hidden" }, ` ${this.file.name}`);
  }

  preview() {
    const video = this.file.type.startsWith("video/");
    const shown = video
      ? h("video", { "aria-label": this.file.name, src: `${this.url}#t=0.1`, muted: true, preload: "metadata", controls: true })
      : h("img", { src: this.url, alt: "" });
    shown.addEventListener("error", () => shown.replaceWith(h("p", { class: "no-preview" }, "No preview")));
    return shown;
  }

  tell(state, figure) {
    this.state.textContent = STATES[state](figure);
    if (state === "sending") this.bar.value = figure;
    else if (state === "working") this.bar.removeAttribute("value");
    else this.bar.value = 0;
  }

  async run() {
    const { limits } = this.model;
    try {
      const video = this.model.capabilities.video && this.file.type.startsWith("video/");
      const most = video ? limits.max_video_bytes : limits.max_file_bytes;
      if (this.file.size > most) {
        throw new Problem(413, "too_large", `This file holds ${size(this.file.size)}; the server takes ${size(most)}.`);
      }
      const told = (state, figure) => this.tell(state, figure);
      const answer = await send("/v1/predict", this.file, { told, signal: this.abort.signal });
      this.result = answer.results[0];
      this.time = new Date();
      this.show();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.failed = true;
      this.showError(error instanceof Problem ? error.message : "Something went wrong on this page.", MAY_PASS.has(error.status));
      if (!(error instanceof Problem)) console.error(error);
    }
  }

  show() {
    const { result, model } = this;
    if (result.verdict === null) {
      this.showError(result.error.message);
      return;
    }
    this.element.classList.add(result.verdict);
    const why = reasons(result, model);
    const note = faceNote(result, model);
    if (result.faces) drawFaces(this.frame, result.faces, result.picture);
    this.said.replaceChildren(...[
      h("p", { class: "file" }, this.file.name),
      h("h3", { class: "verdict" }, icon(result.verdict), VERDICTS[result.verdict]),
      ...(why.length ? [h("div", { class: "why" }, why.map((text) => h("p", {}, text)))] : []),
      scale(result, model),
      note && h("p", { class: "face-note" }, note),
      result.faces ? faceList(result.faces) : "",
      // A score that means little is not explained as a probability.
      result.reasons.includes("unlike_training") ? "" : h("p", { class: "quiet small" }, meaning(result, model)),
      looked(result, model) ? h("p", { class: "small looked" }, looked(result, model)) : "",
      result.video ? timeline(result.video, model) : "",
      result.video ? trackList(this.frame, result.video) : "",
      h("div", { class: "actions" }, model.capabilities.explain && !result.video ? this.heatButton() : ""),
      this.details(),
    ].filter(Boolean));
  }

  showError(message, again = false) {
    this.element.classList.add("no-verdict");
    this.said.replaceChildren(
      h("p", { class: "file" }, this.file.name),
      h("h3", { class: "verdict" }, icon("error"), "No verdict"),
      h("div", { class: "why" }, h("p", {}, message)),
      again
        ? h("div", { class: "actions" }, h("button", { class: "button small", type: "button", onclick: () => this.retry() },
          "Try again", this.named()))
        : "",
    );
  }

  retry() {
    this.wait();
    this.said.querySelector("button").focus();
    this.onAgain(this);
  }

  details() {
    const { result, model } = this;
    const { picture } = result;
    const rows = [
      ["Score", `${result.score.toFixed(4)} (0 real, 1 fake)`],
      ["Fake from", `${model.threshold.value.toFixed(4)} on; ${model.threshold.rule}`],
      ["Unlike training", result.ood === null ? "it can’t tell" : `more than ${(100 * result.ood).toFixed(1)} % of the pictures it was checked on`],
      picture
        ? ["Picture", `${picture.format}, ${picture.width_px} × ${picture.height_px} px, ${size(picture.size_bytes)}`]
        : ["Video", `${result.video.frames.length} frames of ${result.video.end_s.toFixed(1)} s; its score is ${result.video.decides === null ? "their middle" : `that of face ${result.video.decides + 1}`}`],
      ...(result.video?.notes ?? []).map((note) => ["Note", note]),
      ["SHA-256", result.sha256, "mono"],
      ["Judged", this.time.toLocaleString()],
      ["Detector", `${model.name}, weights ${model.weights_sha256.slice(0, 12)}`],
    ];
    return h("details", {}, h("summary", {}, "Details", this.named()),
      h("dl", {}, rows.flatMap(([name, text, kind]) => [h("dt", {}, name), h("dd", { class: kind }, text)])));
  }

  heatButton() {
    const button = h("button", { class: "button small", type: "button" }, "Show where it looked", this.named());
    const problem = h("p", { class: "problem small", role: "alert" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.textContent = "Looking again …";
      problem.textContent = "";
      try {
        const answer = await send("/v1/explain", this.file, { told: () => {}, signal: this.abort.signal });
        if (answer.heat === null) throw new Problem(200, answer.error.code, answer.error.message);
        this.showHeat(answer.heat);
        button.remove();
      } catch (error) {
        if (error.name === "AbortError") return;
        problem.textContent = error.message;
        button.disabled = false;
        button.replaceChildren("Show where it looked", this.named());
      }
    });
    return [button, problem];
  }

  showHeat(heat) {
    const bytes = Uint8Array.from(atob(heat.png), (c) => c.charCodeAt(0));
    this.heatUrl = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    const layer = h("img", { class: "heat", src: this.heatUrl, alt: `Heat map: what speaks for ${heat.target}. ${heat.sentence}` });
    const slider = h("input", { type: "range", min: "0", max: "100", value: "85" });
    slider.addEventListener("input", () => layer.style.setProperty("--strength", slider.value / 100));
    this.frame.append(layer);
    this.stage.append(
      h("label", { class: "strength" }, "Strength of the heat map", slider),
      h("p", { class: "no-preview" }, `In colour: what speaks for ${heat.target}. ${heat.is_weak ? "It is little: take the colour for no finding. " : ""}${heat.saw_all ? "" : this.result.faces?.found.length ? "The dark part was not looked at: the map is of the face that decides. " : "The dark part was not looked at. "}${heat.caveat}`),
    );
    slider.focus();
  }

  close() {
    this.abort.abort();
    URL.revokeObjectURL(this.url);
    if (this.heatUrl) URL.revokeObjectURL(this.heatUrl);
    this.element.remove();
  }
}

// A score on a line from real to fake, with the threshold and the band in which the detector can't tell.

import { h, s } from "./dom.js";
import { clock, describeScale, ofHundred } from "./words.js";

const percent = (share) => `${(100 * share).toFixed(2)}%`;

// Labels nearer to an end than `near` lean inwards: at 0 to the right, at 1 to the left.
const lean = (share, near) =>
  percent(share < near ? share / near / 2 : share > 1 - near ? 1 - (1 - share) / near / 2 : 0.5);

export function scale(result, model) {
  const { score } = result;
  const cut = model.threshold.value;
  const band = model.unsure;
  const middle = band ? (band.low + band.high) / 2 : cut;
  return h(
    "div",
    { class: "scale", role: "img", "aria-label": describeScale(result, model) },
    h(
      "div",
      { class: "track" },
      band && h("div", { class: "band", "--from": percent(band.low), "--to": percent(band.high) }),
      h("div", { class: "cut", "--at": percent(cut) }),
      h("div", { class: "dot", "--at": percent(score) }),
      h("span", { class: "mark-up", "--at": percent(score), "--lean": lean(score, 0.05) }, ofHundred(score)),
      h(
        "span",
        { class: "mark-down", "--at": percent(middle), "--lean": lean(middle, 0.14) },
        band ? "can’t tell" : `fake from ${Math.round(cut * 1000) / 10}`,
      ),
    ),
    h("p", { class: "ends" }, h("span", {}, "0 · real"), h("span", {}, "fake · 100")),
  );
}

// Scores of a video's frames over time; frames that did not decode have none.
export function timeline(video, model) {
  const frames = video.frames.filter((frame) => frame.score !== null);
  const [width, height, left, bottom] = [640, 190, 52, 30];
  const end = Math.max(video.end_s, frames.at(-1).time_s, 0.001);
  const x = (time) => left + (time / end) * (width - left - 8);
  const y = (score) => 8 + (1 - score) * (height - bottom - 8);
  const cut = model.threshold.value;
  const line = frames.map((frame) => `${x(frame.time_s).toFixed(1)},${y(frame.score).toFixed(1)}`).join(" ");
  const label = `Scores over ${end.toFixed(1)} seconds, ${frames.length} frames; the highest is ` +
    `${ofHundred(Math.max(...frames.map((frame) => frame.score)))} of 100.`;
  const parts = video.suspicious.map((part) => ({ x: x(part.start_s), width: Math.max(x(part.end_s) - x(part.start_s), 2) }));
  const zone = model.unsure && { y: y(model.unsure.high), height: y(model.unsure.low) - y(model.unsure.high) };
  return s(
    "svg",
    { class: "timeline", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    zone && s("rect", { class: "zone", x: left, width: width - left - 8, ...zone }),
    parts.map((part) => s("rect", { class: "part", y: 8, height: height - bottom - 8, ...part })),
    s("line", { class: "edge", x1: left, x2: width - 8, y1: y(cut), y2: y(cut) }),
    s("polyline", { class: "line", points: line }),
    s("text", { x: 0, y: y(1) + 8 }, "fake"),
    s("text", { x: 0, y: y(0) }, "real"),
    s("text", { x: left, y: height - 4 }, clock(0)),
    s("text", { x: width - 8, y: height - 4, "text-anchor": "end" }, clock(end)),
  );
}

// The faces that a verdict was made of: boxes over the preview, and a list with the same numbers.

import { h, icon } from "./dom.js";
import { VERDICTS, clock, ofHundred } from "./words.js";

const percent = (share) => `${(100 * share).toFixed(3)}%`;

// Calls `then` once the width and height of a picture or video are known; never of one that the browser can't show.
function onceSized(media, then) {
  if (media.videoWidth || media.naturalWidth) then();
  else media.addEventListener(media.tagName === "VIDEO" ? "loadedmetadata" : "load", then, { once: true });
}

function box(face, number, { width, height, decides }) {
  return h(
    "span",
    {
      class: `face ${face.verdict ?? ""} ${decides ? "decides" : ""}`,
      "--left": percent(face.left / width),
      "--top": percent(face.top / height),
      "--width": percent(face.width / width),
      "--height": percent(face.height / height),
    },
    h("b", {}, String(number)),
  );
}

// Draws the faces over a picture's preview. The list says all that they say: nothing is read out twice.
export function drawFaces(frame, { found, decides }, { width_px, height_px }) {
  const image = frame.querySelector("img");
  if (image === null || found.length === 0) return;
  onceSized(image, () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    // As stored, or turned upright: else the browser shows something other than what was judged.
    const sides = [[width_px, height_px], [height_px, width_px]];
    if (!sides.some(([across, down]) => across === width && down === height)) return;
    const chosen = found.length > 1 ? decides : null; // one alone is not picked out
    const boxes = found.map((face, place) => box(face, place + 1, { width, height, decides: place === chosen }));
    frame.append(h("div", { class: "faces-over", "aria-hidden": "true" }, boxes));
  });
}

function row(face, place, decides, more) {
  return h(
    "li",
    { class: `${face.verdict ?? ""} ${place === decides ? "decides" : ""}` },
    h("b", { class: "number", "aria-hidden": "true" }, String(place + 1)),
    h("span", { class: "word" },
      h("span", { class: "visually-hidden" }, `Face ${place + 1}: `),
      icon(face.verdict ?? "error"),
      face.verdict === null ? "No verdict" : `${VERDICTS[face.verdict]}, ${ofHundred(face.score)}`),
    place === decides && h("span", { class: "quiet" }, "decides"),
    more,
  );
}

// The faces of a picture, in words; null where there is none.
export function faceList({ found, decides }) {
  if (found.length === 0) return null;
  const chosen = found.length > 1 ? decides : null;
  return h("ol", { class: "faces", "aria-label": "Faces" }, found.map((face, place) => row(face, place, chosen)));
}

// The followed faces of a video with their times. A button shows where one was first seen.
export function trackList(frame, { faces, decides }) {
  if (faces.length === 0) return null;
  const video = frame.querySelector("video");
  const chosen = faces.length > 1 ? decides : null;
  const rows = faces.map((face, place) => {
    const words = `${clock(face.start_s)} to ${clock(face.last_s)}`;
    const times = h("span", { class: "quiet" }, words);
    if (video) {
      onceSized(video, () => times.replaceChildren(
        h("button", { class: "link", type: "button", onclick: () => show(frame, video, face, place, chosen) },
          h("span", { class: "visually-hidden" }, `Show face ${place + 1}, `), words),
      ));
    }
    return row(face, place, chosen, times);
  });
  return h("ol", { class: "faces tracks", "aria-label": "Faces that were followed" }, rows);
}

function show(frame, video, face, place, decides) {
  video.pause();
  video.currentTime = face.start_s;
  frame.querySelector(".faces-over")?.remove();
  const { videoWidth: width, videoHeight: height } = video;
  const over = h("div", { class: "faces-over", "aria-hidden": "true" },
    box(face, place + 1, { width, height, decides: place === decides }));
  frame.append(over);
  video.addEventListener("play", () => over.remove(), { once: true }); // it was there at this moment
}

// What was judged where there was no face, and what was left out; "" where there is nothing to say.
export function faceNote(result, model) {
  if (result.faces?.note) return sentence(result.faces.note);
  if (result.video && model.capabilities.faces && result.video.faces.length === 0) {
    return "No face found in its frames: whole frames were judged.";
  }
  return "";
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

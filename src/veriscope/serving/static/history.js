// What was judged earlier: in this browser's storage, and nowhere else.

import { byId, h } from "./dom.js";
import { VERDICTS, ofHundred } from "./words.js";

const KEY = "veriscope.history";
const MOST = 60;
const SIDE = 112;

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

function write(items) {
  try {
    localStorage.setItem(KEY, JSON.stringify(items));
  } catch {
    // Full, or storage is switched off: the page works without.
  }
}

async function thumbnail(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const share = SIDE / Math.min(bitmap.width, bitmap.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    const [width, height] = [bitmap.width * share, bitmap.height * share];
    canvas.getContext("2d").drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    bitmap.close();
    return canvas.toDataURL("image/jpeg", 0.7);
  } catch {
    return null; // of a kind that the browser doesn't show
  }
}

export async function remember(entry) {
  const { result, file, time } = entry;
  if (result === null || result.verdict === null) return;
  const item = {
    id: entry.id,
    name: file.name,
    verdict: result.verdict,
    score: result.score,
    time: time.toISOString(),
    thumb: await thumbnail(file),
  };
  write([item, ...read()].slice(0, MOST));
}

export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Switched off, as above.
  }
}

// The policy of this page lets no data: address become a picture.
function toUrl(data) {
  if (typeof data !== "string" || !data.startsWith("data:image/jpeg;base64,")) return null;
  try {
    const bytes = Uint8Array.from(atob(data.slice(data.indexOf(",") + 1)), (c) => c.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  } catch {
    return null;
  }
}

// Shows what is remembered, but for what the page shows above (`shown`, ids).
export function showHistory(shown) {
  const sound = (item) => item && Object.hasOwn(VERDICTS, item.verdict) && typeof item.score === "number";
  const items = read().filter((item) => sound(item) && !shown.has(item.id));
  byId("history").hidden = items.length === 0;
  byId("past").replaceChildren(
    ...items.map((item) => {
      const url = toUrl(item.thumb);
      return h(
        "li",
        { class: item.verdict },
        url ? h("img", { src: url, alt: "", onload: () => URL.revokeObjectURL(url) }) : h("div", { class: "blank" }),
        h(
          "div",
          {},
          h("strong", {}, `${VERDICTS[item.verdict]}, ${ofHundred(item.score)}`),
          h("span", { title: item.name }, item.name),
          h("span", {}, new Date(item.time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })),
        ),
      );
    }),
  );
}

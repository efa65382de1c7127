// The page: files come in by drop, paste, choice or camera; a few at a time go to the server; verdicts come back.

import { Problem, getModel, hasToken, setToken } from "./api.js";
import { setUpCamera } from "./camera.js";
import { byId } from "./dom.js";
import { forget, remember, showHistory } from "./history.js";
import { Entry } from "./result.js";
import { VERDICTS, asText, count, counted, ofHundred, size } from "./words.js";

const AT_A_TIME = 4;
const MOST = 200;

let model = null;
let entries = [];
const waiting = [];
let running = 0;

const shown = () => new Set(entries.map((entry) => entry.id));

function announce(text) {
  byId("status").textContent = text;
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = text === "";
}

function add(files) {
  if (model === null || files.length === 0) return;
  trouble("");
  const taken = files.slice(0, Math.max(MOST - entries.length, 0));
  if (taken.length < files.length) {
    trouble(`The page holds ${MOST} files at a time. Clear it, or use the command veriscope predict for more.`);
  }
  const added = taken.map((file) => new Entry(file, { model, onRemove: remove, onAgain: again }));
  entries = [...added, ...entries];
  byId("list").prepend(...added.map((entry) => entry.element));
  waiting.push(...added);
  byId("drop").classList.add("compact");
  byId("results").hidden = entries.length === 0;
  announce(`${count(added.length, "file", "files")} added.`);
  summarize();
  next();
}

function again(entry) {
  waiting.push(entry);
  summarize();
  next();
}

function next() {
  while (running < AT_A_TIME && waiting.length > 0) {
    running += 1;
    judge(waiting.shift());
  }
}

async function judge(entry) {
  try {
    await entry.run();
    announce(spoken(entry));
    await remember(entry);
    showHistory(shown());
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    running -= 1;
    summarize();
    next();
  }
}

function spoken(entry) {
  const { result, file } = entry;
  if (result === null || result.verdict === null) return `${file.name}: no verdict.`;
  const faces = result.faces?.found.length ?? 0;
  const which = faces > 1 ? `, of face ${result.faces.decides + 1} of ${faces}` : "";
  return `${file.name}: ${VERDICTS[result.verdict]}. Score ${ofHundred(result.score)} of 100${which}.`;
}

function remove(entry) {
  drop(entry);
  showHistory(shown());
}

function drop(entry) {
  const place = waiting.indexOf(entry);
  if (place >= 0) waiting.splice(place, 1);
  entries = entries.filter((other) => other !== entry);
  entry.close();
  byId("results").hidden = entries.length === 0;
  byId("drop").classList.toggle("compact", entries.length > 0);
  summarize();
}

function summarize() {
  const done = entries.filter((entry) => entry.result !== null || entry.failed);
  const counts = Object.keys(VERDICTS)
    .map((verdict) => [verdict, done.filter((entry) => entry.result?.verdict === verdict).length])
    .filter(([, number]) => number > 0)
    .map(([verdict, number]) => counted(verdict, number));
  const without = done.filter((entry) => !entry.result?.verdict).length;
  if (without > 0) counts.push(`${without} without a verdict`);
  const left = entries.length - done.length;
  if (left > 0) counts.push(`${left} to come`);
  byId("summary").textContent = counts.join(" · ");
  byId("copy").disabled = !entries.some((entry) => entry.result);
}

async function copy() {
  const text = [
    ...entries.filter((entry) => entry.result).map((entry) => asText(entry, model)),
    "A verdict of a detector is a reason to look closer, no proof.",
    ...model.notices,
  ].join("\n");
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied.");
    byId("copy").textContent = "Copied";
  } catch {
    trouble("The browser did not let this page use the clipboard.");
  }
  setTimeout(() => { byId("copy").textContent = "Copy as text"; }, 2000);
}

function setUpInputs() {
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length > 0) {
      event.preventDefault();
      add(files);
    } else if (event.target.id !== "token") {
      trouble("There is no picture on the clipboard.");
    }
  });
  let depth = 0;
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const drag = (change) => (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = Math.max(depth + change, 0);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", drag(1));
  document.addEventListener("dragleave", drag(-1));
  document.addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    depth = 0;
    document.body.classList.remove("dragging");
    if (!holdsFiles(event)) return;
    event.preventDefault();
    add([...event.dataTransfer.files]);
  });
  byId("copy").addEventListener("click", copy);
  byId("clear").addEventListener("click", () => {
    [...entries].forEach(drop);
    showHistory(shown());
    trouble("");
    announce("Cleared.");
    byId("choose").focus();
  });
  byId("forget").addEventListener("click", () => {
    forget();
    showHistory(shown());
    announce("Forgotten.");
    byId("choose").focus();
  });
  setUpCamera(add);
}

function describe() {
  const { limits, capabilities } = model;
  const types = limits.formats.map((name) => `image/${name.toLowerCase()}`);
  byId("files").accept = [...types, ...(capabilities.video ? ["video/*"] : [])].join(",");
  byId("accepts").textContent =
    `${limits.formats.join(", ").replace("WEBP", "WebP")}, up to ${size(limits.max_file_bytes)} each` +
    `${capabilities.video ? `; videos up to ${size(limits.max_video_bytes)}` : ""}. ` +
    "The server keeps nothing. The original file says more than a screenshot or a copy from a messenger.";
  if (capabilities.video) {
    byId("drop-title").textContent = "Drop pictures or videos here";
    byId("choose").textContent = "Choose files";
  }
  byId("seen").textContent =
    `It was trained on ${count(model.num_train, "picture", "pictures")} (${model.trained_on}). Generators and cameras ` +
    "that are not among them can pass as real, and unusual photographs can look fake to it." +
    (capabilities.faces ? " This server judges pictures by the faces in them, each cut out with a little around it." : "");
  byId("colophon").textContent =
    `${model.name}, weights ${model.weights_sha256.slice(0, 12)} · veriscope ${model.veriscope_version}`;
  for (const notice of model.notices) {
    const line = document.createElement("p");
    line.className = "note";
    line.textContent = notice;
    byId("drop").before(line);
  }
}

async function begin() {
  for (const id of ["choose", "camera"]) byId(id).disabled = true;
  byId("token-error").textContent = "";
  try {
    model = await getModel();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status !== 401) {
      trouble(error.message);
      return;
    }
    byId("token-form").hidden = false;
    byId("drop").hidden = true;
    if (hasToken()) byId("token-error").textContent = "The server doesn’t take this token.";
    byId("token").focus();
    return;
  }
  byId("token-form").hidden = true;
  byId("drop").hidden = false;
  for (const id of ["choose", "camera"]) byId(id).disabled = false;
  describe();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
  begin();
});
setUpInputs();
showHistory(shown());
begin();

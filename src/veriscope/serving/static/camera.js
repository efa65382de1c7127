// A picture from the camera. Where the browser gives no stream (no HTTPS, no camera), the phone's own camera app.

import { byId } from "./dom.js";

let stream = null;
let facing = "environment";

function stop() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("viewfinder").srcObject = null;
}

async function start() {
  stop();
  byId("camera-problem").textContent = "";
  byId("shoot").disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1080 } },
      audio: false,
    });
  } catch (error) {
    byId("camera-problem").textContent = error.name === "NotAllowedError"
      ? "The browser was not allowed to use the camera. You can allow it beside the address."
      : "There is no camera that this page can use.";
    return;
  }
  if (!byId("camera-dialog").open) {
    stop(); // closed while the browser asked
    return;
  }
  const finder = byId("viewfinder");
  finder.srcObject = stream;
  await finder.play();
  byId("shoot").disabled = false;
}

function take(add) {
  const finder = byId("viewfinder");
  const canvas = document.createElement("canvas");
  canvas.width = finder.videoWidth;
  canvas.height = finder.videoHeight;
  canvas.getContext("2d").drawImage(finder, 0, 0);
  canvas.toBlob((blob) => {
    const clock = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
    add([new File([blob], `camera ${clock}.jpg`, { type: "image/jpeg" })]);
  }, "image/jpeg", 0.95);
  byId("camera-dialog").close();
}

export function setUpCamera(add) {
  const dialog = byId("camera-dialog");
  byId("camera").addEventListener("click", () => {
    if (!navigator.mediaDevices || !window.isSecureContext) {
      byId("snapshot").click();
      return;
    }
    dialog.showModal();
    start();
  });
  byId("snapshot").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
  byId("shoot").addEventListener("click", () => take(add));
  byId("turn").addEventListener("click", () => {
    facing = facing === "environment" ? "user" : "environment";
    start();
  });
  byId("leave").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}

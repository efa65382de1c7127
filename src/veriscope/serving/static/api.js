// The server's API. Everything that goes wrong becomes a Problem with a sentence for people.

const TOKEN = "veriscope.token";
const TRIES_WHEN_BUSY = 20;

export class Problem extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

let token = storedToken();

function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null; // storage is switched off: the token lasts until the page is loaded again
  }
}

export function setToken(given) {
  token = given;
  try {
    sessionStorage.setItem(TOKEN, given);
  } catch {
    // as above
  }
}

export const hasToken = () => token !== null;
const authorization = () => (token === null ? {} : { Authorization: `Bearer ${token}` });

export async function getModel() {
  let answer;
  try {
    answer = await fetch("/v1/model", { headers: authorization(), cache: "no-store" });
  } catch {
    throw unreachable();
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw problem(answer.status, body, answer.headers.get("Retry-After"));
  return body;
}

// Resolves with the answer to one file. `told(state, share)`: sending (share from 0 to 1), working, busy (seconds).
export async function send(path, file, { told, signal }) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await sendOnce(path, file, { told, signal });
    } catch (error) {
      const worthIt = error instanceof Problem && error.status === 503 && attempt < TRIES_WHEN_BUSY;
      if (!worthIt || signal.aborted) throw error;
      // Not all at the same moment: a little later for each.
      const seconds = (error.retryAfter ?? 2) * (1 + Math.random() / 2);
      told("busy", seconds);
      await pause(seconds, signal);
    }
  }
}

// fetch can't tell how much of a body has been sent.
function sendOnce(path, file, { told, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("files", file, file.name || "picture");
    request.open("POST", path);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => told("sending", event.total ? event.loaded / event.total : 0);
    request.upload.onload = () => told("working");
    request.onload = () => {
      if (request.status === 200 && request.response !== null) resolve(request.response);
      else reject(problem(request.status, request.response, request.getResponseHeader("Retry-After")));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("Cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    if (signal.aborted) reject(new DOMException("Cancelled", "AbortError"));
    else request.send(form);
  });
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("Cancelled", "AbortError"));
    }, { once: true });
  });
}

function problem(status, body, retryAfter) {
  const said = body && body.error ? body.error : { code: "unknown", message: `The server answered ${status}.` };
  return new Problem(status, said.code, said.message, retryAfter === null ? null : Number(retryAfter));
}

function unreachable() {
  return new Problem(0, "unreachable", "The server can’t be reached. Is it still running?", null);
}

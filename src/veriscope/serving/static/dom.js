// Elements without markup: whatever a server or a file name says becomes text, never HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

// Each kind of verdict has a shape of its own: colour alone tells some people nothing.
const SHAPES = {
  fake: ["M12 3l9.5 17h-19z", "M12 10v4.5", "M12 17.2v.1"],
  real: ["M3.5 8h4l1.6-2.6h5.8L16.5 8h4v11.2h-17z", "M12 10a3.3 3.3 0 1 0 .01 0z"],
  unsure: ["M12 2.8a9.2 9.2 0 1 0 .01 0z", "M9.4 9.4a2.7 2.7 0 1 1 3.9 2.7c-.9.5-1.3 1-1.3 2", "M12 17.1v.1"],
  error: ["M12 2.8a9.2 9.2 0 1 0 .01 0z", "M7 7l10 10"],
};

export const icon = (kind) =>
  s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, SHAPES[kind].map((path) => s("path", { d: path })));

// The model card: its Markdown as elements. Only what the card uses: headings, lists, tables, code, bold, quotes.

import { getModel } from "./api.js";
import { byId, h } from "./dom.js";

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**") && part.length > 4) return h("strong", {}, part.slice(2, -2));
    if (part.startsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    return part;
  });
}

const cells = (line) => line.replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

function table(lines) {
  const [head, , ...rows] = lines.map(cells);
  const named = head.some((cell) => cell !== "");
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      {},
      named && h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, inline(cell))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, inline(cell)))))),
    ),
  );
}

function block(lines) {
  const [first] = lines;
  const heading = /^(#{1,3}) (.*)$/.exec(first);
  if (heading) return [h(`h${heading[1].length}`, {}, inline(heading[2])), ...(lines.length > 1 ? [block(lines.slice(1))].flat() : [])];
  if (first.startsWith("|")) return table(lines);
  if (first.startsWith("    ")) return h("pre", {}, lines.map((line) => line.slice(4)).join("\n"));
  if (first.startsWith("> ")) return h("p", { class: "note" }, inline(lines.map((line) => line.slice(2)).join(" ")));
  if (first.startsWith("- ")) {
    const items = lines.join("\n").split(/^- /m).slice(1);
    return h("ul", {}, items.map((item) => h("li", {}, inline(item.replace(/\s+/g, " ").trim()))));
  }
  return h("p", {}, inline(lines.join(" ")));
}

function render(markdown) {
  const text = markdown.replace(/^---\n[\s\S]*?\n---\n/, "");
  return text.split(/\n\s*\n/).map((part) => part.split("\n").filter((line) => line.trim() !== "")).filter((lines) => lines.length > 0).flatMap(block);
}

try {
  const model = await getModel();
  byId("card").replaceChildren(...render(model.card));
} catch (error) {
  const text = error.status === 401 ? "This server asks for a token: give it on the first page, in this tab." : error.message;
  byId("card").replaceChildren(h("p", { class: "problem" }, text));
}

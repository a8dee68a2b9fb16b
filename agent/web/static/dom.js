// Making elements. Text only ever becomes text nodes and attributes: what a device says is never read as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Make an element: `on…` properties are listeners, all others attributes (false and null: left out). */
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Make an element of a drawing. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Return the element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Set a text only where it differs, so that nothing is announced or laid out again for nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Make a list of terms and what they are: pairs of texts or elements; those without a value are left out. */
export function facts(pairs, properties = {}) {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", properties, ...told.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))));
}

/** Show other children in place of those there, with what was unfolded still unfolded and the focus where it was. */
export function renew(node, ...children) {
  const open = new Set([...node.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  const focused = node.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  node.replaceChildren(...children);
  for (const one of node.querySelectorAll("details[data-key]")) one.open = open.has(one.dataset.key);
  if (focused)
    [...node.querySelectorAll("[data-key]")]
      .map(target)
      .find((one) => keyOf(one) === focused)
      ?.focus();
}

function target(node) {
  return node.tagName === "DETAILS" ? node.querySelector("summary") : node;
}

function keyOf(node) {
  return node.closest("[data-key]")?.dataset.key ?? null;
}

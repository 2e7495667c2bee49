// Draws scenes that Python computed.  Nothing is decided here.  A widget's own file adds its renderer.

const NS = "http://www.w3.org/2000/svg";
let drawn = 0; // makes the ids on a page differ

function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function svgElement(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

function addTip(node, tip) {
  if (tip) node.append(svgElement("title", {}, tip));
  return node;
}

// One shape, as efimm/show/drawing/shapes.py writes it: a letter, numbers, a role, a tip.
function drawShape(shape, id, onMoment) {
  const paint = (role) => (role.startsWith("hatch ") ? { fill: `url(#${id}-${role.split(" ")[1]})` } : {});
  const [kind, a, b, c, d, e, f] = shape;
  if (kind === "r") {
    return addTip(svgElement("rect", { x: a, y: b, width: c, height: d, class: e, ...paint(e) }), f);
  }
  if (kind === "p") return addTip(svgElement("path", { d: a, class: b, ...paint(b) }), c);
  if (kind === "t") return svgElement("text", { x: a, y: b, class: d }, c);
  const circle = addTip(svgElement("circle", { cx: a, cy: b, r: c, class: d }), e);
  if (f < 0 || !onMoment) return circle;
  const button = svgElement("g", { role: "button", tabindex: 0, "aria-label": `rewind to: ${e}`, "data-moment": f });
  button.append(svgElement("circle", { cx: a, cy: b, r: 15, class: "reach" }), circle);
  button.addEventListener("click", () => onMoment(f));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation(); // Enter in a notebook would begin to edit a cell
    onMoment(f);
  });
  return button;
}

// The SVG of a packed scene (efimm/show/ram/slider.py); `pools` holds its shapes.
export function drawScene(scene, pools, onMoment) {
  const [height, title, description, shapes] = scene;
  const id = `efimm-live-${++drawn}`;
  const svg = svgElement("svg", {
    class: "picture",
    viewBox: `0 0 ${pools.width} ${height}`,
    role: onMoment ? "group" : "img",
    "aria-labelledby": `${id}-t ${id}-d`,
  });
  svg.append(svgElement("title", { id: `${id}-t` }, title), svgElement("desc", { id: `${id}-d` }, description));
  const defs = svgElement("defs", {});
  for (const [role, [side, d]] of Object.entries(pools.patterns)) {
    const pattern = svgElement("pattern", {
      id: `${id}-${role}`, width: side, height: side, patternUnits: "userSpaceOnUse",
    });
    pattern.append(svgElement("path", { d, class: `hatch-${role}` }));
    defs.append(pattern);
  }
  svg.append(defs);
  for (const place of shapes) svg.append(drawShape(pools.shapes[place], id, onMoment));
  return svg;
}

function option(value, label, chosen) {
  const node = element("option", { value }, label);
  node.selected = value === chosen;
  return node;
}

function labelled(words, control, looks) {
  return element("label", { class: looks }, words, control);
}

// JupyterLab must not take the keys that are typed here for its own: "d d" would delete a cell.  It looks for the
// attribute from the focused node upwards, and for a shortcut at each step first: so that node has to have it, too.
const KEYS_ARE_OURS = "data-lm-suppress-shortcuts";
const OURS = { class: "efimm", [KEYS_ARE_OURS]: "true" };

// What Python packed: compressed JSON in the bytes of a DataView.
export async function unpacked(view) {
  const bytes = new Blob([view]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(bytes).json();
}

const renderers = {};

export default {
  render({ model, el }) {
    el.addEventListener("focusin", ({ target }) => target.setAttribute(KEYS_ARE_OURS, "true"));
    return renderers[model.get("kind")](model, el);
  },
};

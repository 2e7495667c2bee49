// Draws scenes that Python computed, and moves between them.  Nothing is decided here: a control looks up a scene.

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

// One shape, as efimm/show/shapes.py writes it: a letter, numbers, a role, a tip.
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

// The SVG of a packed scene (efimm/show/table.py); `pools` holds its shapes.
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

// JupyterLab must not take the keys that are typed here for its own: "d d" would delete a cell.
const OURS = { class: "efimm", "data-lm-suppress-shortcuts": "true" };

function renderSlider(model, el) {
  const range = element("input", { type: "range", min: 0, step: 1 });
  const size = element("output", {});
  const kernel = element("select", {});
  const placement = element("select", {});
  const pageSize = element("select", {});
  const controls = element("div", { class: "controls" });
  if (!model.get("fixed")) {
    const row = labelled("RAM", range, "wide");
    row.append(size);
    controls.append(row);
  }
  controls.append(labelled("Kernel", kernel), labelled("Array", placement), labelled("Largest page", pageSize));
  const verdict = element("p", { class: "verdict", "aria-live": "polite" });
  const note = element("p", { class: "note" });
  const picture = element("div", { class: "scroll" });
  const twin = element("pre", {});
  const details = element("details", {}, element("summary", {}, "The same as text"), twin);
  const root = element("div", OURS, controls, verdict, picture, note, details);
  el.append(root);

  const table = () => model.get("table");
  const stop = () => table().stops.findIndex(([ram]) => ram === model.get("ram"));

  function show(scene, pools, focus) {
    const [, , , , lines, words, good, remark] = scene;
    if (verdict.textContent !== words) verdict.textContent = words; // or a screen reader says it again
    verdict.className = good ? "verdict" : "verdict bad";
    note.textContent = remark;
    note.hidden = !remark;
    twin.textContent = lines.map((place) => pools.lines[place]).join("\n");
    picture.replaceChildren(drawScene(scene, pools, rewind));
    if (focus >= 0) picture.querySelector(`[data-moment="${focus}"]`)?.focus();
  }

  function fillPlacements() {
    placement.replaceChildren(
      ...table().placements.map(([key, label, reasons]) => {
        const reason = reasons[stop()];
        const node = option(key, reason ? `${label} (${reason})` : label, model.get("placement"));
        node.disabled = Boolean(reason);
        return node;
      }),
    );
  }

  function update() {
    root.removeAttribute("aria-busy");
    range.max = table().stops.length - 1;
    range.value = stop();
    const words = table().stops[stop()][1];
    size.textContent = words;
    range.setAttribute("aria-valuetext", words);
    kernel.value = model.get("kernel");
    pageSize.value = model.get("page_size");
    fillPlacements();
    show(table().scenes[model.get("kernel")][stop()], table(), -1);
  }

  let saving = 0;
  function later() {
    clearTimeout(saving); // while the mouse drags, Python need not hear of every stop
    saving = setTimeout(() => model.save_changes(), 150);
  }

  function rewind(number) {
    clearTimeout(saving);
    model.set("moment", number);
    model.save_changes();
  }

  function replayed() {
    const replay = model.get("replay");
    const current = ["ram", "kernel", "moment"].every((key) => replay[key] === model.get(key));
    if (current && replay.scene) show(replay.scene, replay, model.get("moment"));
  }

  function choose(key, value) {
    model.set("moment", -1);
    model.set(key, value);
  }

  kernel.append(...Object.keys(table().scenes).map((name) => option(name, name, model.get("kernel"))));
  pageSize.append(...model.get("page_sizes").map((name) => option(name, name, model.get("page_size"))));
  range.addEventListener("input", () => {
    choose("ram", table().stops[Number(range.value)][0]);
    later();
  });
  kernel.addEventListener("change", () => {
    choose("kernel", kernel.value);
    later();
  });
  for (const [key, control] of [["placement", placement], ["page_size", pageSize]]) {
    control.addEventListener("change", () => {
      root.setAttribute("aria-busy", "true");
      choose(key, control.value);
      model.save_changes();
    });
  }
  const moved = () => (model.get("moment") < 0 ? update() : null);
  model.on("change:ram change:kernel change:moment change:table", moved);
  model.on("change:replay", replayed);
  update();
  return () => {
    clearTimeout(saving);
    model.off("change:ram change:kernel change:moment change:table", moved);
    model.off("change:replay", replayed);
  };
}

function renderPredict(model, el) {
  const id = `efimm-answer-${++drawn}`;
  const field = element("input", { type: "text", id, size: 16, autocomplete: "off", spellcheck: "false" });
  const form = element(
    "form", { class: "predict" },
    element("label", { for: id }, model.get("question")), field, element("button", { type: "submit" }, "Check"),
  );
  const feedback = element("p", { class: "feedback", "aria-live": "polite" });
  el.append(element("div", OURS, form, feedback));
  const check = (event) => {
    event.preventDefault();
    model.set("guess", { text: field.value, number: (model.get("guess").number ?? 0) + 1 });
    model.save_changes();
  };
  form.addEventListener("submit", check);
  // Inside JupyterLab, Enter does not submit a form by itself.
  field.addEventListener("keydown", (event) => (event.key === "Enter" && !event.isComposing ? check(event) : null));
  const answered = () => {
    const { text = "", right } = model.get("feedback");
    feedback.textContent = text;
    feedback.className = `feedback ${right ? "right" : "wrong"}`;
  };
  model.on("change:feedback", answered);
  answered();
  return () => model.off("change:feedback", answered);
}

const renderers = { ram: renderSlider, predict: renderPredict };

export default {
  render({ model, el }) {
    return renderers[model.get("kind")](model, el);
  },
};

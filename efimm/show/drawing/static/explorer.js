// The page-walk explorer.  Python says what is shown; here it is drawn, and every bit can be pointed at.

const INVITATION = "Point at a bit, or go to the picture with Tab and move with the arrow keys: its meaning stands here.";
const ACCESSES = ["read", "write", "fetch"];
const SWITCHES = [
  ["wp", "CR0.WP"],
  ["nxe", "EFER.NXE"],
  ["smep", "CR4.SMEP"],
  ["smap", "CR4.SMAP"],
];

// The cells over the picture: one stop for Tab, arrow keys within.  `tell` gets the meaning of the cell.
function cellGrid(rows, title, start, tell) {
  const grid = svgElement("g", { role: "grid", "aria-label": title });
  const cells = rows.map(([name, boxes], row) => {
    const line = svgElement("g", { role: "row", "aria-label": name });
    grid.append(line);
    return boxes.map(([x, y, width, height, meaning], column) => {
      const cell = svgElement("g", { role: "gridcell", tabindex: -1, "aria-label": meaning, "data-cell": `${row} ${column}` });
      cell.append(svgElement("rect", { x, y, width, height, class: "reach" }));
      addTip(cell, meaning);
      for (const happening of ["pointerenter", "focus"]) {
        cell.addEventListener(happening, () => tell(`${name}: ${meaning}`, `${row} ${column}`, happening === "focus" && cell));
      }
      line.append(cell);
      return cell;
    });
  });
  const all = cells.flat();
  const here = all.find((cell) => cell.dataset.cell === start) ?? all[0];
  here?.setAttribute("tabindex", 0);
  const go = (cell) => {
    for (const other of all) other.setAttribute("tabindex", other === cell ? 0 : -1);
    cell.focus();
  };
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (cell) go(cell);
  });
  grid.addEventListener("keydown", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (!cell) return;
    const [row, column] = cell.dataset.cell.split(" ").map(Number);
    const next = moved(cells, row, column, event.key);
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    go(next);
  });
  return grid;
}

// The cell that an arrow key, Home or End leads to; up and down lead to the cell that lies above or below.
function moved(cells, row, column, key) {
  const line = cells[row];
  if (key === "ArrowLeft") return line[Math.max(column - 1, 0)];
  if (key === "ArrowRight") return line[Math.min(column + 1, line.length - 1)];
  if (key === "Home") return line[0];
  if (key === "End") return line[line.length - 1];
  const other = { ArrowUp: cells[row - 1], ArrowDown: cells[row + 1] }[key];
  if (!other) return null;
  const middle = (cell) => {
    const box = cell.firstChild;
    return Number(box.getAttribute("x")) + Number(box.getAttribute("width")) / 2;
  };
  const wanted = middle(line[column]);
  return other.reduce((best, cell) => (Math.abs(middle(cell) - wanted) < Math.abs(middle(best) - wanted) ? cell : best));
}

function renderExplorer(model, el) {
  const { tables, modes, maxphyaddr } = model.get("choices");
  const id = `efimm-address-${++drawn}`;
  const address = element("input", { type: "text", id, size: 20, autocomplete: "off", spellcheck: "false" });
  const ask = element("button", { type: "submit" }, "Walk");
  const form = element("form", { class: "predict" }, element("label", { for: id }, "Address"), address, ask);
  const table = element("select", {}, ...tables.map((name) => option(name, name)));
  const mode = element("select", {}, ...modes.map((name) => option(name, name)));
  const width = element("select", {}, ...maxphyaddr.map((bits) => option(bits, `${bits} bits`)));
  const who = element("select", {}, option("kernel", "kernel"), option("user", "user"));
  const access = element("select", {}, ...ACCESSES.map((name) => option(name, name)));
  const boxes = SWITCHES.map(([key, words]) => [key, words, element("input", { type: "checkbox" })]);
  const controls = element(
    "div", { class: "controls" }, form, labelled("Mode", mode), labelled("Table", table),
    element("span", { class: "group" }, labelled("Access", who), access), labelled("MAXPHYADDR", width),
    element("span", { class: "group switches" }, ...boxes.map(([, words, box]) => element("label", {}, box, words))),
  );
  access.setAttribute("aria-label", "Kind of access");
  const problem = element("p", { class: "feedback wrong", "aria-live": "polite" });
  const verdict = element("p", { class: "verdict", "aria-live": "polite" });
  const about = element("p", { class: "about" }, INVITATION);
  const picture = element("div", { class: "scroll" });
  const twin = element("pre", {});
  const details = element("details", {}, element("summary", {}, "The same as text"), twin);
  const root = element("div", OURS, controls, problem, verdict, element("div", { class: "about" }, about), picture, details);
  el.append(root);

  let pointed = "";
  const tell = (words, place, cell) => {
    about.textContent = words;
    pointed = place;
    if (!cell) return; // what only lies under the mouse must not move
    for (const node of [about, cell]) node.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  function show() {
    const shown = model.get("shown");
    problem.textContent = shown.problem ?? "";
    problem.hidden = !shown.problem;
    root.removeAttribute("aria-busy");
    if (!shown.scene) return;
    if (verdict.textContent !== shown.verdict) verdict.textContent = shown.verdict;
    verdict.className = shown.good ? "verdict" : "verdict bad";
    twin.textContent = shown.twin;
    const inside = picture.contains(document.activeElement);
    const svg = drawScene(shown.scene, shown);
    svg.setAttribute("role", "group");
    svg.classList.add("walk");
    about.textContent = INVITATION;
    svg.append(cellGrid(shown.rows, shown.scene[1], pointed, tell));
    picture.replaceChildren(svg);
    if (inside) picture.querySelector("[tabindex='0']")?.focus();
  }

  function settings() {
    address.value = model.get("address");
    table.value = model.get("table");
    mode.value = model.get("mode");
    width.value = model.get("maxphyaddr");
    who.value = model.get("user") ? "user" : "kernel";
    access.value = model.get("access");
    for (const [key, , box] of boxes) box.checked = model.get(key);
  }

  function send(changes) {
    root.setAttribute("aria-busy", "true");
    for (const [key, value] of Object.entries(changes)) model.set(key, value);
    model.save_changes();
  }

  const walk = (event) => {
    event.preventDefault();
    send({ address: address.value, again: model.get("again") + 1 });
  };
  form.addEventListener("submit", walk);
  // Inside JupyterLab, Enter does not submit a form by itself.
  address.addEventListener("keydown", (event) => (event.key === "Enter" && !event.isComposing ? walk(event) : null));
  table.addEventListener("change", () => send({ table: table.value }));
  mode.addEventListener("change", () => send({ mode: mode.value }));
  width.addEventListener("change", () => send({ maxphyaddr: Number(width.value) }));
  who.addEventListener("change", () => send({ user: who.value === "user" }));
  access.addEventListener("change", () => send({ access: access.value }));
  for (const [key, , box] of boxes) box.addEventListener("change", () => send({ [key]: box.checked }));

  const names = ["address", "table", "mode", "maxphyaddr", "user", "access", ...boxes.map(([key]) => key)];
  const changed = names.map((name) => `change:${name}`).join(" ");
  model.on(changed, settings);
  model.on("change:shown", show);
  settings();
  show();
  return () => {
    model.off(changed, settings);
    model.off("change:shown", show);
  };
}

renderers.explorer = renderExplorer;

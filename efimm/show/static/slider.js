// The main picture with its controls.  A control looks up a scene; only a scene that is not here is asked for.

const PATIENCE = 3000; // milliseconds until a reader is told that nobody answers

// The strips that have arrived: for each kernel, placement and page size the scenes by the number of their stop.
function sceneStore() {
  const strips = new Map();
  return {
    async add(view) {
      if (!view.byteLength) return;
      const { key, scenes, ...pools } = await unpacked(view);
      if (!strips.has(key)) strips.set(key, new Map());
      for (const [stop, scene] of Object.entries(scenes)) strips.get(key).set(Number(stop), [scene, pools]);
    },
    get: (key, stop) => strips.get(key)?.get(stop),
  };
}

function renderSlider(model, el) {
  const { stops, kernels, placements, page_sizes } = model.get("choices");
  const range = element("input", { type: "range", min: 0, max: stops.length - 1, step: 1 });
  const size = element("output", {});
  const kernel = element("select", {}, ...kernels.map((name) => option(name, name)));
  const placement = element("select", {});
  const pageSize = element("select", {}, ...page_sizes.map((name) => option(name, name)));
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

  const store = sceneStore();
  const stop = () => stops.findIndex(([ram]) => ram === model.get("ram"));
  const key = () => ["kernel", "placement", "page_size"].map((name) => model.get(name)).join("|");

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
      ...placements.map(([name, label, reasons]) => {
        const reason = reasons[stop()];
        const node = option(name, reason ? `${label} (${reason})` : label, model.get("placement"));
        node.disabled = Boolean(reason);
        return node;
      }),
    );
  }

  function update() {
    const words = stops[stop()][1];
    range.value = stop();
    size.textContent = words;
    range.setAttribute("aria-valuetext", words);
    kernel.value = model.get("kernel");
    pageSize.value = model.get("page_size");
    fillPlacements();
    const found = store.get(key(), stop());
    if (!found) return ask();
    asked = "";
    clearTimeout(waiting);
    root.removeAttribute("aria-busy");
    show(...found, -1);
  }

  let asked = "";
  let waiting = 0;
  function ask() {
    const question = `${key()} ${stop()}`;
    if (asked === question) return;
    asked = question;
    clearTimeout(saving);
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      note.hidden = false;
      note.textContent = "No answer yet. This view is computed by Python: is the notebook's kernel running?";
    }, PATIENCE);
    root.setAttribute("aria-busy", "true");
    model.set("wanted", model.get("wanted") + 1);
    model.save_changes();
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
    const current = ["ram", "kernel", "moment"].every((name) => replay[name] === model.get(name));
    if (current && replay.scene) show(replay.scene, replay, model.get("moment"));
  }

  function choose(name, value) {
    model.set("moment", -1);
    model.set(name, value);
    later();
  }

  range.addEventListener("input", () => choose("ram", stops[Number(range.value)][0]));
  kernel.addEventListener("change", () => choose("kernel", kernel.value));
  placement.addEventListener("change", () => choose("placement", placement.value));
  pageSize.addEventListener("change", () => choose("page_size", pageSize.value));
  const moved = () => (model.get("moment") < 0 ? update() : null);
  const answered = () => store.add(model.get("answer")).then(moved);
  const steering = ["ram", "kernel", "placement", "page_size", "moment"].map((name) => `change:${name}`).join(" ");
  Promise.all(model.get("strips").map(store.add)).then(() => {
    update();
    if (model.get("moment") >= 0) replayed();
    model.on(steering, moved);
    model.on("change:answer", answered);
    model.on("change:replay", replayed);
  });
  return () => {
    clearTimeout(saving);
    clearTimeout(waiting);
    model.off(steering, moved);
    model.off("change:answer", answered);
    model.off("change:replay", replayed);
  };
}

renderers.ram = renderSlider;

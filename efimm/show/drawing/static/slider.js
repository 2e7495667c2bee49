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

// A view as the command that shows the same (efimm/show/ram/slider.py), and back; undefined where it is another machine.
function viewLines(model) {
  const { stops, kernels, placements, page_sizes, map } = model.get("choices");
  const size = (ram) => (ram % 2 ** 40 ? `${ram / 2 ** 30}G` : `${ram / 2 ** 40}T`);
  const options = {
    "--kernel": ["kernel", () => model.get("kernel"), kernels.map((name) => [name, name])],
    "--ram": ["ram", () => (map ? "" : size(model.get("ram"))), stops.map(([ram]) => [size(ram), ram])],
    "--map": ["map", () => map, [[map, map]]],
    "--buffer": [
      "placement",
      () => placements.find(([name]) => name === model.get("placement"))?.[3]?.toString(16).replace(/^/, "0x") ?? "",
      placements.map(([name, , , address]) => [address === null ? "" : `0x${address.toString(16)}`, name]),
    ],
    "--page-size": ["page_size", () => (model.get("page_size") === "1G" ? "" : model.get("page_size")), page_sizes.map((name) => [name, name])],
  };
  const line = () => {
    const words = Object.entries(options).map(([name, [, value]]) => (value() ? `${name} ${value()}` : ""));
    return ["efimm run", ...words.filter(Boolean)].join(" ");
  };
  const read = (text) => {
    const words = text.trim().replace(/^\$ /, "").split(/\s+/);
    if (words.slice(0, 2).join(" ") !== "efimm run" || words.length % 2) return undefined;
    const view = { kernel: "3.5", placement: "auto", page_size: "1G" };
    for (let place = 2; place < words.length; place += 2) {
      const [trait, , known] = options[words[place]] ?? [];
      const found = known?.find(([word]) => word === words[place + 1]);
      if (!found) return undefined;
      view[trait] = found[1];
    }
    delete view.map;
    return view;
  };
  return { line, read };
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
  const view = element("input", { type: "text", class: "line", autocomplete: "off", spellcheck: "false" });
  const copy = element("button", { type: "button" }, "Copy");
  const projector = element("button", { type: "button", "aria-pressed": "false" }, "Projector");
  const share = element("div", { class: "controls share" }, labelled("This view as a line", view, "wide"), copy, projector);
  const root = element("div", OURS, controls, verdict, picture, note, details, share);

  const store = sceneStore();
  const lines = viewLines(model);
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
    view.value = lines.line();
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

  function restore(text) {
    const wanted = lines.read(text);
    if (!wanted) {
      note.hidden = false;
      note.textContent = `This is no line of this view: ${text}`;
      return;
    }
    for (const [name, value] of Object.entries({ moment: -1, ...wanted })) model.set(name, value);
    later();
  }

  view.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    restore(view.value);
  });
  copy.addEventListener("click", async () => {
    view.select();
    await navigator.clipboard?.writeText(view.value);
  });
  projector.addEventListener("click", () => {
    const on = root.classList.toggle("projector");
    projector.setAttribute("aria-pressed", on);
    if (on) root.requestFullscreen?.().catch(() => {}); // a frame may not be allowed to: the class alone fills it
    else if (document.fullscreenElement) document.exitFullscreen();
  });
  range.addEventListener("input", () => choose("ram", stops[Number(range.value)][0]));
  kernel.addEventListener("change", () => choose("kernel", kernel.value));
  placement.addEventListener("change", () => choose("placement", placement.value));
  pageSize.addEventListener("change", () => choose("page_size", pageSize.value));
  const moved = () => (model.get("moment") < 0 ? update() : null);
  const answered = () => store.add(model.get("answer")).then(moved);
  const steering = ["ram", "kernel", "placement", "page_size", "moment"].map((name) => `change:${name}`).join(" ");
  Promise.all(model.get("strips").map(store.add)).then(() => {
    const shared = decodeURIComponent(location.hash.slice(1)).replaceAll("+", " ");
    if (shared.startsWith("efimm run") && lines.read(shared)) restore(shared);
    update();
    el.append(root); // not before: a slider that can be moved has its verdict
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

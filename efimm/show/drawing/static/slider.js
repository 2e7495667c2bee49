// The main picture with its controls.  A control looks up a scene; only a scene that is not here is asked for.

const PATIENCE = 3000; // milliseconds until a reader is told that nobody answers
const NEEDS = "needs Python";

// One picture with its headline, in parts where `narrow` says so; `rewind` is called with the number of a bead.
function pictureFrame(rewind, narrow) {
  const verdict = element("p", { class: "verdict", "aria-live": "polite" });
  const note = element("p", { class: "note" });
  const picture = element("div", { class: "scroll" });
  const node = element("div", { class: "frame" }, verdict, picture, note);
  const tell = (words) => {
    note.textContent = words;
    note.hidden = !words;
  };
  let twin = "";
  let last = null;
  function show(found) {
    const { trouble, scene, pools } = found;
    last = found;
    const [, , , , lines, words, good, remark] = scene ?? [0, "", "", [], [], trouble, false, ""];
    if (verdict.textContent !== words) verdict.textContent = words; // or a screen reader says it again
    verdict.className = good ? "verdict" : "verdict bad";
    tell(remark);
    twin = scene ? lines.map((place) => pools.lines[place]).join("\n") : trouble;
    const bead = picture.contains(document.activeElement) && document.activeElement.getAttribute("data-moment");
    const draw = narrow() ? drawInParts : (...what) => [drawScene(...what)];
    picture.replaceChildren(...(scene ? draw(scene, pools, rewind) : []));
    if (bead) picture.querySelector(`[data-moment="${bead}"]`)?.focus();
  }
  return { node, show, tell, twin: () => twin, again: () => (last ? show(last) : null) };
}

// A menu whose choices say what is still on its way; `status` gives the words for one of them.
function menu(model, name, words, choose) {
  const select = element("select", { "aria-label": words });
  select.addEventListener("change", () => choose(name, select.value));
  const fill = (entries, status) => {
    const options = entries.map(([value, label]) => {
      const [remark, off] = status(value);
      const node = option(value, remark ? `${label} (${remark})` : label, model.get(name));
      node.disabled = off;
      return node;
    });
    const same = options.length === select.options.length && options.every((node, place) => node.isEqualNode(select.options[place]));
    if (!same) select.replaceChildren(...options);
    select.value = model.get(name);
  };
  return { node: labelled(words, select), fill };
}

function renderSlider(model, el) {
  const range = element("input", { type: "range", min: 0, step: 1 });
  const size = element("output", {});
  const controls = element("div", { class: "controls" });
  const menus = {
    kernel: menu(model, "kernel", "Kernel", choose),
    beside: menu(model, "beside", "beside", choose),
    firmware: menu(model, "firmware", "Firmware", choose),
    placement: menu(model, "placement", "Array", choose),
    page_size: menu(model, "page_size", "Largest page", choose),
  };
  if (!model.get("fixed")) {
    const row = labelled("RAM", range, "wide");
    row.append(size);
    controls.append(row);
  }
  controls.append(...Object.values(menus).map(({ node }) => node));
  const narrow = () => root.classList.contains("narrow");
  const main = pictureFrame((number) => rewind(number), narrow);
  const second = pictureFrame((number) => {
    besideMoment = number;
    update();
  }, narrow);
  const frames = element("div", { class: "frames" }, main.node);
  const twin = element("pre", {});
  const details = element("details", {}, element("summary", {}, "The same as text"), twin);
  const view = element("input", { type: "text", class: "line", autocomplete: "off", spellcheck: "false" });
  const copy = element("button", { type: "button" }, "Copy");
  const projector = element("button", { type: "button", "aria-pressed": "false" }, "Projector");
  const share = element("div", { class: "controls share" }, labelled("This view as a line", view, "wide"), copy, projector);
  const legend = element("div", { class: "scroll legend" });
  const root = element("div", { ...OURS, class: "efimm slider" }, controls, frames, legend, details, share);

  const store = sceneStore();
  const lines = viewLines(model);
  const heard = hearingOf(model);
  const stops = () => model.get("choices").stops;
  const key = (other = {}) => ["kernel", "firmware", "placement", "page_size"].map((name) => other[name] ?? model.get(name)).join("|");
  const usual = () => model.get("placement") === "auto" && model.get("page_size") === "1G";
  let screen = null;
  let besideMoment = -1;
  let seen = 0; // how many of the films were added

  // What a menu says of a choice: nothing where its scene is here.
  function status(other) {
    if (store.has(key(other), model.get("ram"))) return ["", false];
    if (!heard()) return [NEEDS, true];
    return [usual() && !("placement" in other || "page_size" in other) ? "on its way" : "", false];
  }

  function fillMenus() {
    const { kernels, firmwares, placements, page_sizes } = model.get("choices");
    const plain = (names) => names.map((name) => [name, name]);
    const place = stops().findIndex(([ram]) => ram === model.get("ram"));
    const reasons = Object.fromEntries(placements.map(([name, , found]) => [name, found[place]]));
    menus.kernel.fill(plain(kernels), (name) => status({ kernel: name }));
    menus.beside.fill([["", "no other"], ...plain(kernels)], (name) => (name ? status({ kernel: name }) : ["", false]));
    menus.firmware.fill(plain(firmwares), (name) => status({ firmware: name }));
    menus.placement.fill(placements, (name) => (reasons[name] ? [reasons[name], true] : status({ placement: name })));
    menus.page_size.fill(plain(page_sizes), (name) => status({ page_size: name }));
  }

  function update() {
    const ram = model.get("ram");
    const place = stops().findIndex((stop) => stop[0] === ram);
    const words = stops()[place]?.[1] ?? shortSize(ram);
    range.max = stops().length - 1;
    if (place >= 0) range.value = place;
    size.textContent = words;
    range.setAttribute("aria-valuetext", words);
    fillMenus();
    view.value = lines.line();
    address.follow();
    const beside = model.get("beside");
    if (!beside) second.node.remove();
    else if (!second.node.parentNode) frames.append(second.node);
    frames.classList.toggle("two", Boolean(beside));
    const wanted = [[main, key(), model.get("moment")]];
    if (beside) wanted.push([second, key({ kernel: beside }), besideMoment]);
    const found = wanted.map(([frame, name, moment]) => [frame, store.get(name, ram, moment)]);
    for (const [frame, scene] of found) if (scene) frame.show(scene);
    twin.textContent = found.map(([frame]) => frame.twin()).join("\n\n");
    if (found.some(([, scene]) => !scene)) return ask();
    asked = "";
    clearTimeout(waiting);
    root.removeAttribute("aria-busy");
  }

  let asked = "";
  let waiting = 0;
  function ask() {
    if (!heard()) {
      main.tell(`This needs Python, and none is running here. What works without it: ${offers()}.`);
      return;
    }
    const question = `${key()} ${model.get("beside")} ${model.get("ram")} ${model.get("moment")} ${besideMoment}`;
    if (asked === question) return;
    asked = question;
    clearTimeout(saving);
    clearTimeout(waiting);
    main.tell("On its way: Python computes this picture.");
    waiting = setTimeout(() => {
      main.tell(`No answer yet. Is the notebook's kernel running? What works without it: ${offers()}.`);
    }, PATIENCE);
    root.setAttribute("aria-busy", "true");
    model.set("wanted", model.get("wanted") + 1);
    model.save_changes();
  }

  function offers() {
    const firmwares = model.get("choices").firmwares.filter((name) => store.has(key({ firmware: name, placement: "auto", page_size: "1G" }), stops()[0][0]));
    return `all sizes on the slider, with firmware ${firmwares.join(", ")}, the array placed by the allocator`;
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

  function choose(name, value) {
    besideMoment = -1;
    model.set("moment", -1);
    model.set(name, value);
    later();
  }

  function restore(text) {
    const { no, ...wanted } = lines.read(text);
    const there = no || !("ram" in wanted) || stops().some(([ram]) => ram === wanted.ram);
    if (no || (!there && !heard())) {
      const none = `This page has no picture of ${shortSize(wanted.ram ?? 0)}, and no Python to make one. It has ${stops().map(([, words]) => words).join(", ")}.`;
      main.tell(no ?? none);
      return;
    }
    besideMoment = -1;
    for (const [name, value] of Object.entries({ moment: -1, ...wanted })) model.set(name, value);
    later();
  }

  // The view that an address asks for, if it asks this slider of the page.
  function restoreShared() {
    const shared = viewInAddress(location.hash);
    if (!shared.line || shared.number !== (model.number ?? 1)) return;
    restore(shared.line);
    const bead = keysHere().indexOf(shared.moment);
    if (bead >= 0) rewind(bead);
    else if (shared.moment) main.tell(`There is no moment ${shared.moment} here; there are ${keysHere().join(", ")}.`);
    root.scrollIntoView({ block: "start" });
  }

  const keysHere = () => store.moments(key(), model.get("ram"));
  const link = () => addressOf({ line: lines.line(), moment: keysHere()[model.get("moment")], number: model.number });
  const address = addressThatFollows(model, link);
  const copyLink = element("button", { type: "button" }, "Copy link");
  copyLink.addEventListener("click", () => copyWords(new URL(link(), location).href));
  if (model.alone) {
    share.append(copyLink);
    addEventListener("hashchange", restoreShared);
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
  range.addEventListener("input", () => choose("ram", stops()[Number(range.value)][0]));

  const answered = () => store.add(model.get("answer"), { answer: true }).then(update);
  const developed = async () => {
    const films = model.get("films");
    const added = films.slice(seen);
    seen = films.length;
    await Promise.all(added.map((film) => store.add(film)));
    update();
  };
  const steering = ["ram", "kernel", "beside", "firmware", "placement", "page_size", "moment", "choices"];
  const happenings = [
    [steering.map((name) => `change:${name}`).join(" "), update],
    ["comm_live_update", update],
    ["change:answer", answered],
    ["change:films", developed],
  ];
  let gone = false;
  const begin = async () => {
    await store.add(model.get("first"));
    await store.add(model.get("answer"), { answer: true });
    if (gone) return;
    update();
    el.append(root); // not before: a slider that can be moved has its verdict
    const arrange = () => {
      legend.replaceChildren(...store.legend(narrow()));
      for (const frame of [main, second]) frame.again();
    };
    arrange();
    screen = fitToScreen(root, controls, frames, arrange);
    showAfterRun(root, frames);
    for (const [names, call] of happenings) model.on(names, call);
    const kernel = model.widget_manager?.kernel; // JupyterLab's; when it ends, the menus say what needs it
    for (const signal of [kernel?.statusChanged, kernel?.disposed]) signal?.connect?.(() => gone || update());
    await developed();
    restoreShared();
    address.begin();
  };
  begin();
  return () => {
    gone = true;
    screen?.();
    clearTimeout(saving);
    clearTimeout(waiting);
    for (const [names, call] of happenings) model.off(names, call);
  };
}

renderers.ram = renderSlider;

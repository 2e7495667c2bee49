// Scenes that Python computed once: beads choose one, and what has a tip can be reached by keyboard.

const FRAME_HINT = "Arrow keys lead from part to part; each says here what it is.";

// The items in rows as they stand in the picture: downwards, and in a row from left to right.
function inRows(items) {
  const placed = items.map((node) => {
    const { x, y, width, height } = node.getBBox();
    return { node, left: x, right: x + width, middle: y + height / 2 };
  });
  placed.sort((one, other) => one.middle - other.middle);
  const rows = [];
  for (const item of placed) {
    if (!rows.length || item.middle - rows.at(-1)[0].middle > 3) rows.push([]);
    rows.at(-1).push(item);
  }
  for (const row of rows) row.sort((one, other) => one.left - other.left || other.right - one.right);
  return rows;
}

// The item that an arrow key leads to: the next one in its row, or the nearest one in the row above or below.
function neighbour(rows, from, key) {
  const number = rows.findIndex((row) => row.some(({ node }) => node === from));
  const row = rows[number];
  const place = row.findIndex(({ node }) => node === from);
  if (key === "ArrowLeft") return row[place - 1]?.node;
  if (key === "ArrowRight") return row[place + 1]?.node;
  const other = rows[number + (key === "ArrowUp" ? -1 : 1)];
  const distance = ({ left }) => Math.abs(left - row[place].left);
  return other?.reduce((best, item) => (distance(item) < distance(best) ? item : best)).node;
}

function reachable(svg, tell) {
  const items = [...svg.querySelectorAll(".item")];
  const rows = inRows(items);
  items.forEach((node, number) => {
    const words = node.querySelector("title")?.textContent ?? "";
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", words);
    node.setAttribute("tabindex", number ? -1 : 0);
    node.addEventListener("pointerenter", () => tell(words));
    node.addEventListener("focus", () => tell(words, node));
    node.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      event.stopPropagation();
      const next = neighbour(rows, node, event.key);
      if (!next) return;
      node.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
    });
  });
}

// The words of a scene between `from` and `to`, again: a strip that can stand where the picture has scrolled away.
function strip([height, title, description, places], pools, from, to) {
  const words = places.filter((place) => pools.shapes[place][0] === "t" && pools.shapes[place][2] < to);
  const svg = drawScene([height, title, description, words], pools, null);
  svg.setAttribute("viewBox", `0 ${from} ${pools.width} ${to - from}`);
  svg.classList.replace("picture", "strip"); // it is no picture of its own
  return svg;
}

const PAUSE = 1100; // milliseconds between two scenes that are played

// Play, step and rewind; `show` is called by the model's change.
function playControls(model, last, choose) {
  const button = (words, label, act) => {
    const node = element("button", { type: "button", "aria-label": label }, words);
    node.addEventListener("click", act);
    return node;
  };
  let playing = null;
  const stop = () => {
    clearInterval(playing);
    playing = null;
    play.textContent = "Play";
    play.setAttribute("aria-label", "play");
  };
  const go = (number) => {
    stop();
    choose(Math.max(0, Math.min(last, number)));
  };
  const play = button("Play", "play", () => {
    if (playing) return stop();
    if (model.get("moment") === last) choose(0);
    play.textContent = "Pause";
    play.setAttribute("aria-label", "pause");
    playing = setInterval(() => {
      choose(model.get("moment") + 1);
      if (model.get("moment") >= last) stop();
    }, PAUSE);
  });
  const range = element("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "step" });
  range.addEventListener("input", () => go(Number(range.value)));
  const rewind = button("Rewind", "rewind to the first step", () => go(0));
  const back = button("Back", "one step back", () => go(model.get("moment") - 1));
  const on = button("Step", "one step on", () => go(model.get("moment") + 1));
  const bar = element("div", { class: "controls play" }, rewind, back, play, on, range);
  const moved = () => {
    range.value = model.get("moment");
  };
  moved();
  return { bar, moved, stop };
}

function renderFrames(model, el) {
  const verdict = element("p", { class: "verdict", "aria-live": "polite" });
  const about = element("p", { class: "about" }, FRAME_HINT);
  const picture = element("div", { class: "scroll" });
  const twin = element("pre", {});
  const details = element("details", {}, element("summary", {}, "The same as text"), twin);
  const above = ["above", "heads"].map((name) => element("div", { class: name, "aria-hidden": "true" }));
  el.append(element("div", OURS, ...above, picture, verdict, element("div", { class: "about" }, about), details));
  picture.addEventListener("scroll", () => above.forEach((part) => { part.scrollLeft = picture.scrollLeft; }));
  let pools = null;

  const tell = (words, node) => {
    about.textContent = words;
    if (node) node.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  function choose(number) {
    if (number < 0 || number >= pools.scenes.length || number === model.get("moment")) return;
    model.set("moment", number);
    model.save_changes();
  }

  function show() {
    const scene = pools.scenes[model.get("moment")];
    const [, , , , lines, words, good] = scene;
    const before = document.activeElement;
    const bead = picture.contains(before) && before.hasAttribute("data-moment");
    if (verdict.textContent !== words) verdict.textContent = words;
    verdict.className = good ? "verdict" : "verdict bad";
    twin.textContent = lines.map((place) => pools.lines[place]).join("\n");
    about.textContent = FRAME_HINT;
    const scrolled = picture.scrollLeft;
    const svg = drawScene(scene, pools, pools.scenes.length > 1 ? choose : null);
    svg.setAttribute("role", "group");
    picture.replaceChildren(svg);
    const [from, to] = model.get("heads") ?? [];
    if (to) {
      svg.setAttribute("viewBox", `0 ${to} ${pools.width} ${scene[0] - to}`);
      above[0].replaceChildren(strip(scene, pools, 0, from));
      above[1].replaceChildren(strip(scene, pools, from, to));
    }
    picture.scrollLeft = scrolled;
    reachable(svg, tell);
    const beads = [...svg.querySelectorAll("[data-moment]")];
    beads.forEach((node, number) => {
      node.setAttribute("aria-current", number === model.get("moment") ? "step" : "false");
      node.setAttribute("tabindex", number === model.get("moment") ? 0 : -1);
      node.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -number, End: beads.length - 1 - number };
        if (!(event.key in step)) return;
        event.preventDefault();
        event.stopPropagation();
        choose(number + step[event.key]);
      });
    });
    if (bead) beads[model.get("moment")].focus();
  }

  let controls = null;
  const changed = () => {
    show();
    controls?.moved();
  };
  unpacked(model.get("frames")).then((found) => {
    pools = found;
    if (model.get("playable")) {
      controls = playControls(model, pools.scenes.length - 1, choose);
      picture.before(controls.bar);
    }
    show();
    model.on("change:moment", changed);
  });
  return () => {
    controls?.stop();
    model.off("change:moment", changed);
  };
}

renderers.frames = renderFrames;

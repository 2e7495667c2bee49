// How a picture and its controls fit a screen: as high as there is room, in parts on a phone, in sight after a run.

const NARROW = 480; // a picture narrower than this is shown in parts, one below the other
const LOWEST = 240; // with less room than this, the controls stay and the picture scrolls under them
const AMPLE = 420; // with as much room as this below what a page begins with, both are in sight together

// What scrolls around a node: JupyterLab's notebook; null for a page.
function scrollerOf(node) {
  return node.closest(".jp-WindowedPanel-outer, .jp-NotebookPanel-notebook");
}

// How much of a page's `room` stays for a picture: what stands above `root` is in sight as well where that leaves enough.
function belowHeading(root, room) {
  const left = room - root.getBoundingClientRect().top - window.scrollY;
  return left < AMPLE ? room : left;
}

// Keeps `root` within what can be seen: its head (controls and verdicts), and below it the pictures in `frames`.
function fitToScreen(root, controls, frames, rearrange) {
  const fit = () => {
    if (!root.isConnected) return;
    const scroller = scrollerOf(root);
    const verdicts = Math.max(...[...frames.querySelectorAll("p.verdict")].map((node) => node.offsetHeight));
    const whole = (scroller?.clientHeight ?? window.innerHeight) - controls.offsetHeight - verdicts - 30;
    const room = scroller ? whole : belowHeading(root, whole);
    const narrow = frames.clientWidth < NARROW;
    const low = !narrow && room < LOWEST;
    root.style.setProperty("--room", narrow || low ? "none" : `${room}px`);
    root.style.setProperty("--head", `${controls.offsetHeight}px`);
    root.classList.toggle("scrolls", narrow || low);
    const before = root.classList.contains("narrow");
    if (root.classList.toggle("narrow", narrow) !== before) rearrange();
  };
  const observer = new ResizeObserver(fit);
  for (const node of [root, controls, scrollerOf(root) ?? document.documentElement]) observer.observe(node);
  for (const node of frames.querySelectorAll("p.verdict")) observer.observe(node);
  window.addEventListener("resize", fit);
  fit();
  return () => {
    observer.disconnect();
    window.removeEventListener("resize", fit);
  };
}

// After Shift+Enter the whole of it is in sight: the cell that was run, or the next one, is the active one.
function showAfterRun(root, frames) {
  const scroller = scrollerOf(root);
  const cell = root.closest(".jp-Cell");
  const active = scroller?.querySelector(".jp-Cell.jp-mod-active");
  if (!cell || !active || (active !== cell && active.previousElementSibling !== cell)) return;
  const move = () => {
    const all = scroller.getBoundingClientRect();
    const top = root.getBoundingClientRect().top;
    if (top < all.top || frames.getBoundingClientRect().bottom > all.bottom) scroller.scrollTop += top - all.top - 2;
  };
  for (const delay of [0, 120, 400]) setTimeout(move, delay); // JupyterLab still moves to the next cell
}

// The scene in parts: memory, slots, who asks, and three moments at a time.
function drawInParts(scene, pools, onMoment) {
  const [height, , , places] = scene;
  const { parts, lanes } = pools.parts;
  const shapes = places.map((place) => pools.shapes[place]);
  const stand = [...new Set(shapes.filter(([kind, , , , role]) => kind === "c" && role.startsWith("bead")).map(([, x]) => x))];
  const cuts = stand.filter((_, place) => place % 3 === 0).map((x, place) => (place ? (x + stand[place * 3 - 1]) / 2 : 13));
  const outlines = shapes.filter(([, , , , , role]) => role === "outline").map(([, , y]) => y);
  const blocks = Math.min(...outlines) - 8; // above the blocks there is nothing but the heads
  const [memory, ...others] = parts;
  const boxes = [[memory[0], memory[1], 0, memory[2], 50], [memory[0], memory[1], blocks, memory[2], height - lanes - blocks]];
  boxes.push(...others.map(([name, x, width]) => [name, x, 0, width, height - lanes]));
  cuts.forEach((x, place) => {
    const end = cuts[place + 1] ?? Math.min(stand.at(-1) + 60, pools.width);
    boxes.push(["moments", x, height - lanes, Math.max(end - x, memory[2]), lanes]);
  });
  return boxes.map((box) => partOf(scene, pools, box, onMoment));
}

function legendInParts(scene, pools) {
  return [0, 300, 600].map((x) => partOf(scene, pools, ["Legend", x, 0, 300, scene[0]], null));
}

function partOf([height, title, about, places], pools, [name, x, y, width, tall], onMoment) {
  const inside = (left, top) => left >= x - 1 && left <= x + width && top >= y - 2 && top <= y + tall + 2;
  const kept = places.filter((place) => {
    const [kind, a, b, c] = pools.shapes[place];
    if (kind === "p") return true;
    return kind === "r" ? a + c > x && a < x + width && b >= y - 2 && b <= y + tall : inside(a, b);
  });
  const svg = drawScene([height, title, about, kept], pools, onMoment);
  svg.setAttribute("viewBox", `${x} ${y} ${width} ${tall}`);
  svg.removeAttribute("aria-labelledby");
  svg.setAttribute("aria-label", name);
  return svg;
}

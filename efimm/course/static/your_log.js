// The page that reads a log.  Python runs in a worker of this page: it can be stopped, and obeys the page's policy.

const WORKER = `
const ready = import("PYODIDEpyodide.mjs").then(({ loadPyodide }) => loadPyodide({ packages: ["efimm"] }));
onmessage = async ({ data: { log, name, boot } }) => {
  try {
    const python = await ready;
    postMessage({ said: "Every kernel is booted on this memory ..." });
    postMessage({ answer: python.pyimport("efimm.check").answer(python.toPy(log), name, boot) });
  } catch (error) {
    postMessage({ lost: "Python did not answer: " + error });
  }
};`;
const PASTED = "your-log.txt";

const [pasted, file, boot, ask, said, answer] = ["pasted", "file", "boot", "ask", "said", "answer"].map((id) => document.getElementById(id));
let worker = null; // kept between questions: Python is loaded once
let busy = false;

function started() {
  const code = WORKER.replace("PYODIDE", new URL("lite/static/pyodide/", location));
  const made = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
  made.onmessage = ({ data }) => {
    if (data.said) said.textContent = data.said;
    else if (data.lost) stop(data.lost);
    else show(data.answer);
  };
  made.onerror = () => stop("This browser runs no worker, and without one no Python.");
  return made;
}

function show(words) {
  busy = false;
  ask.textContent = "Check";
  said.textContent = "";
  answer.textContent = words;
  answer.hidden = !words;
}

function stop(why) {
  worker?.terminate();
  worker = null;
  show("");
  said.textContent = why;
}

// What was pasted, or else the file.
async function check() {
  const [chosen] = file.files;
  const text = pasted.value.trim() ? pasted.value : "";
  if (!text && !chosen) {
    said.textContent = "There is no log yet: paste one above, or choose a file.";
    return;
  }
  const log = text ? new TextEncoder().encode(text) : new Uint8Array(await chosen.arrayBuffer());
  if (busy) stop("");
  show("");
  busy = true;
  ask.textContent = "Stop";
  said.textContent = worker ? "The log is read ..." : "Python is loaded, once: some 10 MB from where this page came from ...";
  worker ??= started();
  worker.postMessage({ log, name: text ? PASTED : chosen.name, boot: boot.value ? Number(boot.value) : undefined });
}

function take(files) {
  if (!files.length) return;
  file.files = files;
  pasted.value = "";
  check();
}

ask.addEventListener("click", () => (busy ? stop("Stopped.") : check()));
file.addEventListener("change", () => take(file.files));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (!ask.disabled) take(event.dataTransfer.files);
});
if (location.protocol === "file:") {
  ask.disabled = file.disabled = true;
  said.textContent = "Opened from a disk, this page has no Python: serve the folder with efimm room, or any web server.";
}

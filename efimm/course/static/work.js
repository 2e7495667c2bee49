// "Download my work" on every page of Lite: what the reader changed, as one archive.
//
// JupyterLite keeps changed files in the browser (IndexedDB), and a browser may forget them.

const STORAGE = "JupyterLite Storage - ";

async function downloadWork() {
  await window.jupyterapp?.commands.execute("docmanager:save-all").catch(() => null);
  const files = await changedFiles();
  if (!files.length) return say("Nothing was changed yet.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(archive(files), { type: "application/zip" }));
  link.download = "efimm-work.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`${files.length} ${files.length === 1 ? "file" : "files"} saved in ${link.download}.`);
}

// Path and bytes of everything that this Lite keeps.
async function changedFiles() {
  const base = new URL("..", window.location).pathname;
  const kept = (await indexedDB.databases()).find(({ name }) => name === STORAGE + base);
  if (!kept) return [];
  const database = await answered(indexedDB.open(kept.name));
  try {
    if (!database.objectStoreNames.contains("files")) return [];
    const models = await answered(database.transaction("files").objectStore("files").getAll());
    return models.filter(({ type }) => type !== "directory").map((model) => ({ name: model.path, data: bytes(model) }));
  } finally {
    database.close();
  }
}

const answered = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

function bytes({ content, format }) {
  if (format === "base64") return Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  return new TextEncoder().encode(typeof content === "string" ? content : JSON.stringify(content, null, 1));
}

// A zip archive whose files are stored as they are (PKWARE's APPNOTE.TXT 4.3; names in UTF-8, which is flag 0x800).
function archive(files) {
  const parts = [], directory = [];
  let place = 0, size = 0;
  for (const { name, data } of files) {
    const words = new TextEncoder().encode(name), sum = crc32(data);
    const common = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, sum], [4, data.length], [4, data.length], [2, words.length], [2, 0]];
    const local = packed([[4, 0x04034b50], ...common]);
    const central = packed([[4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, place]]);
    parts.push(local, words, data);
    directory.push(central, words);
    place += local.length + words.length + data.length;
    size += central.length + words.length;
  }
  const end = packed([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, place], [2, 0]]);
  return [...parts, ...directory, end];
}

function packed(fields) {
  const out = [];
  for (const [width, value] of fields) for (let at = 0; at < width; at += 1) out.push((value >>> (8 * at)) & 255);
  return Uint8Array.from(out);
}

function crc32(data) {
  let sum = ~0;
  for (const byte of data) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  return ~sum >>> 0;
}

function say(words) {
  const line = document.querySelector("#efimm-work output");
  line.textContent = words;
  setTimeout(() => line.textContent === words && line.replaceChildren(), 8000);
}

addEventListener("DOMContentLoaded", () => {
  const place = document.createElement("div");
  place.id = "efimm-work";
  place.style = "position: fixed; top: 3px; right: 130px; z-index: 1000; font: 13px sans-serif; display: flex; gap: 8px";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Download my work";
  button.addEventListener("click", () => downloadWork().catch((error) => say(`Not saved: ${error}`)));
  const line = document.createElement("output");
  line.style = "background: #fffbe6; color: #222; padding: 0 6px";
  place.append(line, button);
  document.body.append(place);
});

// A view as the command that shows the same (efimm/show/ram/slider.py), and back.

const UNITS = { "": 0, k: 10, m: 20, g: 30, t: 40 };

function sizeOf(text) {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  return digits ? Number(digits) * 2 ** UNITS[unit.toLowerCase()] : undefined;
}

function shortSize(ram) {
  return ram % 2 ** 40 ? `${ram / 2 ** 30}G` : `${ram / 2 ** 40}T`;
}

const IN_ADDRESS = ["kernel", "firmware", "ram", "map", "buffer", "page-size"];

// What an address such as page.html#kernel=3.5&ram=1T&moment=read or page.html#efimm run ... asks for: a line, "" in any
// other address; the key of a moment, "" for the decisive one; and which slider of the page is meant.
function viewInAddress(hash) {
  const said = new URLSearchParams(hash.slice(1));
  const [text = ""] = said.keys();
  const words = IN_ADDRESS.filter((name) => said.get(name)).map((name) => `--${name} ${said.get(name)}`);
  const line = words.length ? `efimm run ${words.join(" ")}` : "";
  return { line: text.startsWith("efimm run") ? text : line, moment: said.get("moment") ?? "", number: Number(said.get("view") ?? 1) };
}

function addressOf({ line, moment, number }) {
  const words = line.split(" ").slice(2);
  const said = new URLSearchParams();
  for (let place = 0; place < words.length; place += 2) said.set(words[place].slice(2), words[place + 1]);
  if (moment) said.set("moment", moment);
  if (number > 1) said.set("view", number);
  return `#${said}`;
}

// On a page without Python the address follows the slider; in JupyterLab it does not, whose addresses are its own.
// `link` gives the part behind "#".  Until `begin` is called the address is still to be read.
function addressThatFollows(model, link) {
  let written = null;
  let waiting = 0;
  const write = () => {
    if (link() === written) return;
    written = link();
    history.replaceState(null, "", written);
  };
  return {
    begin() {
      written = link();
    },
    follow() {
      if (!model.alone || written === null) return;
      clearTimeout(waiting);
      waiting = setTimeout(write, 150); // browsers take only so many changes of an address
    },
  };
}

// A room's address is plain http, where a browser gives no page its clipboard.
async function copyWords(words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    const field = element("textarea", {}, words);
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

function viewLines(model) {
  const known = (names) => (word) => names.find((name) => name === word);
  const hex = (address) => (address === null || address === undefined ? "" : `0x${address.toString(16)}`);
  const of = (name) => model.get("choices")[name];
  const placed = () => of("placements").find(([name]) => name === model.get("placement"))?.[3];
  const unless = (usual, name) => (model.get(name) === usual ? "" : model.get(name));
  const options = {
    "--kernel": ["kernel", () => model.get("kernel"), (word) => known(of("kernels"))(word)],
    "--firmware": ["firmware", () => unless("edk2", "firmware"), (word) => known(of("firmwares"))(word)],
    "--ram": ["ram", () => (of("map") ? "" : shortSize(model.get("ram"))), (word) => (of("map") ? undefined : sizeOf(word))],
    "--map": ["map", () => of("map"), (word) => known([of("map")])(word)],
    "--buffer": ["placement", () => hex(placed()), (word) => of("placements").find(([, , , address]) => hex(address) === word)?.[0]],
    "--page-size": ["page_size", () => unless("1G", "page_size"), (word) => known(of("page_sizes"))(word)],
  };
  const line = () => {
    const words = Object.entries(options).map(([name, [, value]]) => (value() ? `${name} ${value()}` : ""));
    return ["efimm run", ...words.filter(Boolean)].join(" ");
  };
  // The traits that a line asks for, or under "no" why there is no such view here.
  const read = (text) => {
    const words = text.trim().replace(/^\$ /, "").split(/\s+/);
    const no = `This is no line of this view: ${text}`;
    if (words.slice(0, 2).join(" ") !== "efimm run" || words.length % 2) return { no };
    const view = { kernel: "3.5", firmware: "edk2", placement: "auto", page_size: "1G" };
    for (let place = 2; place < words.length; place += 2) {
      const [trait, , find] = options[words[place]] ?? [];
      const found = find?.(words[place + 1]);
      if (found === undefined) return { no: `${no} (${words[place]} ${words[place + 1]})` };
      view[trait] = found;
    }
    delete view.map;
    if (!known(of("kernels"))(view.kernel) || !known(of("firmwares"))(view.firmware)) return { no };
    const [least, most] = of("limits");
    if (view.ram < least || view.ram > most) return { no: `${no} (expected 1G to 64T)` };
    return view;
  };
  return { line, read };
}

// A view as the command that shows the same (efimm/show/ram/slider.py), and back.

const UNITS = { "": 0, k: 10, m: 20, g: 30, t: 40 };

function sizeOf(text) {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  return digits ? Number(digits) * 2 ** UNITS[unit.toLowerCase()] : undefined;
}

function shortSize(ram) {
  return ram % 2 ** 40 ? `${ram / 2 ** 30}G` : `${ram / 2 ** 40}T`;
}

// An address such as page.html#kernel=3.5&ram=1T or page.html#efimm run ... as a line; "" for any other.
function lineInAddress(hash) {
  const text = decodeURIComponent(hash.slice(1)).replaceAll("+", " ");
  if (text.startsWith("efimm run")) return text;
  const words = ["kernel", "firmware", "ram"].map((name) => [name, new URLSearchParams(hash.slice(1)).get(name)]);
  const said = words.filter(([, value]) => value);
  return said.length ? `efimm run ${said.map(([name, value]) => `--${name} ${value}`).join(" ")}` : "";
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

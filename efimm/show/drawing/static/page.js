// A page without a kernel: the widgets' saved states stand in it, and a plain object takes the place of their model.

const NOBODY = "There is no Python behind this page: open the notebook in JupyterLab to try this.";

function savedModel({ traits, buffers }) {
  for (const [path, data] of buffers) {
    const holder = path.slice(0, -1).reduce((node, step) => node[step], traits);
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    holder[path.at(-1)] = new DataView(bytes.buffer);
  }
  const listeners = [];
  return {
    alone: true, // nobody hears what is set here
    get: (name) => traits[name],
    set(name, value) {
      if (traits[name] === value) return;
      traits[name] = value;
      for (const [names, call] of listeners) if (names.split(" ").includes(`change:${name}`)) call();
      if (traits.kind === "exercise" && ["guess", "again"].includes(name)) this.set("feedback", { right: false, text: NOBODY });
    },
    on: (names, call) => listeners.push([names, call]),
    off() {},
    save_changes() {},
  };
}

const models = JSON.parse([...document.querySelectorAll("script#efimm-models")].at(-1).textContent); // ours is the last
const counted = {};
for (const place of document.querySelectorAll(".efimm-live")) {
  if (!Object.hasOwn(models, place.dataset.model)) continue; // what the notebook itself calls so
  const model = savedModel(models[place.dataset.model]);
  const kind = model.get("kind");
  model.number = counted[kind] = (counted[kind] ?? 0) + 1; // on this page, for an address to name
  renderers[kind](model, place);
}

// The films that have arrived (efimm/show/ram/strips.py), and whether Python is there to make more of them.

const OPEN = "{firmware}"; // where a film leaves room for the firmware's name
const LONGEST_NAME = 18;
const MOST_LENT = 6; // strips that Python was asked for, and can be asked for again; each of the 180 takes 0.4 MB

// For each kernel, firmware, placement and page size: at each RAM size the scenes of its moments.
function sceneStore() {
  const strips = new Map();
  const lent = new Set(); // the names of those, the last one at the end
  let legend = null;
  const sent = (stop) => (Array.isArray(stop) ? stop[1].filter((place) => place !== null).length : 0);
  return {
    async add(view, { answer = false } = {}) {
      if (!view?.byteLength) return;
      const { strips: found, ...film } = await unpacked(view);
      film.named = new Map();
      legend ??= [film.legend, film];
      for (const [key, stops] of Object.entries(found)) {
        const again = lent.delete(key);
        if (answer && (again || !strips.has(key))) lent.add(key);
        if (!strips.has(key)) strips.set(key, new Map());
        const strip = strips.get(key);
        for (const [ram, stop] of Object.entries(stops)) {
          if (!strip.has(Number(ram)) || sent(stop) >= sent(strip.get(Number(ram)).stop)) strip.set(Number(ram), { stop, film });
        }
      }
      for (const key of [...lent].slice(0, -MOST_LENT)) lent.delete(key) && strips.delete(key);
    },
    legend(narrow) {
      const drawn = narrow ? legendInParts(...legend) : [drawScene(...legend, null)];
      for (const svg of drawn) svg.classList.replace("picture", "key");
      return drawn;
    },
    has: (key, ram) => strips.get(key)?.has(ram) ?? false,
    // What there is to show, with the firmware's name filled in; undefined where it has not arrived.
    get(key, ram, moment) {
      const { stop, film } = strips.get(key)?.get(ram) ?? {};
      if (!stop) return undefined;
      if (typeof stop === "string") return { trouble: stop };
      const place = stop[1][moment < 0 ? stop[0] : moment];
      if (place === null || place === undefined) return undefined;
      const name = key.split("|")[1];
      if (!film.named.has(name)) film.named.set(name, withName(film, name));
      return film.named.get(name)(place);
    },
    // The keys of all moments of a run, in order.
    moments: (key, ram) => strips.get(key)?.get(ram)?.stop?.[2] ?? [],
  };
}

function withName(film, name) {
  const short = name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name;
  const fill = (text, words = name) => text.replaceAll(OPEN, () => words);
  const shapes = film.shapes.map((shape) => (shape[0] === "t" ? [...shape.slice(0, 3), fill(shape[3], short), shape[4]] : shape));
  const pools = { ...film, shapes, lines: film.lines.map((line) => fill(line)) };
  return (place) => {
    const [height, title, about, ...rest] = film.scenes[place];
    return { scene: [height, fill(title), fill(about), ...rest], pools };
  };
}

// Whether what is set here is heard.  JupyterLab's manager of widgets knows; where nobody knows, it is taken to be.
function hearingOf(model) {
  if (model.alone) return () => false;
  const manager = model.widget_manager;
  const own = [...(manager?._modelsSync?.values?.() ?? [])].find((one) => one.get("choices") === model.get("choices"));
  return () => {
    const kernel = manager?.kernel;
    const gone = kernel === null || kernel?.isDisposed || ["dead", "terminating"].includes(kernel?.status);
    return own?.comm_live !== false && !gone;
  };
}

// The page that searches: all sections of the site are in it (SECTIONS: address, page, section, text).

const MOST = 30;
const index = new MiniSearch({ fields: ["page", "title", "text"], searchOptions: { boost: { title: 4, page: 2 }, prefix: true, fuzzy: 0.15, combineWith: "AND" } });
index.addAll(SECTIONS.map(([, page, title, text], id) => ({ id, page, title, text })));

const words = document.getElementById("words");
const said = document.getElementById("said");
const list = document.getElementById("found");

function node(name, attributes, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

// The text around the first of the terms that were found in it, with all of them marked.
function excerpt(text, terms) {
  const any = new RegExp(terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "gi");
  const from = text.lastIndexOf(" ", Math.max(0, text.search(any) - 70)) + 1;
  const part = text.slice(from, from + 220);
  const marked = [];
  let last = 0;
  for (const hit of part.matchAll(any)) {
    marked.push(part.slice(last, hit.index), node("mark", {}, hit[0]));
    last = hit.index + hit[0].length;
  }
  return node("p", {}, from ? "… " : "", ...marked, part.slice(last), from + 220 < text.length ? " …" : "");
}

function search() {
  const found = words.value.trim() ? index.search(words.value) : [];
  const many = found.length > MOST ? `${found.length} sections, the best ${MOST}:` : `${found.length} sections:`;
  said.textContent = !words.value.trim() ? "" : found.length ? many : "Nothing found. Fewer words find more.";
  list.replaceChildren(
    ...found.slice(0, MOST).map(({ id, terms }) => {
      const [address, page, title, text] = SECTIONS[id];
      return node("li", {}, node("a", { href: address }, title), title === page ? "" : ` (${page})`, excerpt(text, terms));
    }),
  );
  history.replaceState(null, "", `#${new URLSearchParams({ q: words.value })}`);
}

words.addEventListener("input", search);
words.value = new URLSearchParams(location.hash.slice(1)).get("q") ?? "";
if (words.value) search();
words.focus();

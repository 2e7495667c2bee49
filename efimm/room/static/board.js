// The room's two pages: the board is asked for twice a second, and drawn with text only, never with HTML from outside.

const $ = (name) => document.getElementById(name);
const ask = (what, body) =>
  fetch(what, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const people = (count) => `${count} ${count === 1 ? "person" : "people"}`;

// Two bars for each answer: before the reveal (outlined) and after it (filled); the numbers stand beside them.
function bars({ before, after, revealed, hidden }) {
  if (hidden && !revealed) return [element("p", {}, "The answers are covered until the reveal.")];
  const counts = new Map();
  before.answers.forEach(([answer, count]) => counts.set(answer, [count, 0]));
  after.answers.forEach(([answer, count]) => counts.set(answer, [counts.get(answer)?.[0] ?? 0, count]));
  const most = Math.max(1, ...[...counts.values()].flat());
  const rows = [...counts].map(([answer, pair]) => element("tr", {}, element("th", { scope: "row" }, answer), ...pair.map((count, after) =>
    element("td", {}, element("span", { class: `bar ${after ? "after" : "before"}`, style: `width: ${(75 * count) / most}%` }), ` ${count}`))));
  const others = before.others + after.others ? [element("p", {}, `and ${before.others + after.others} other answers`)] : [];
  const heads = ["answer", "before the reveal", "after it"].map((head) => element("th", { scope: "col" }, head));
  return [element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)), ...others];
}

function draw(board) {
  $("address").textContent = board.address;
  $("question").textContent = board.shown;
  $("answered").textContent = `${people(board.before.answered)} answered` +
    (board.revealed ? `; after the reveal ${people(board.after.answered)}` : ` of ${board.participants} in the room`);
  $("answers").replaceChildren(...bars(board));
  $("progress").replaceChildren(...board.progress.map(({ notebook, participants }) =>
    element("li", { class: participants ? "begun" : "" }, notebook.slice(0, 2), element("b", {}, String(participants)))));
  window.drawMore?.(board);
}

async function follow() {
  try {
    const answer = await fetch("board");
    if (answer.ok) draw(await answer.json());
    $("lost").hidden = answer.ok;
  } catch {
    $("lost").hidden = false;
  }
  setTimeout(follow, 500);
}

// The instructor's page has these, too.
if ($("reveal")) {
  let last = "";
  window.drawMore = (board) => {
    $("projector").href = board.projector;
    $("hide").checked = board.hidden;
    $("reveal").disabled = board.revealed;
    const names = JSON.stringify(board.questions);
    if (names !== last && document.activeElement !== $("questions")) {
      last = names;
      $("questions").replaceChildren(...board.questions.map(({ notebook, text, answered }) =>
        element("option", { value: text }, `${notebook.slice(0, 2)} ${text} (${answered})`)));
    }
    if (document.activeElement !== $("questions")) $("questions").value = board.shown;
  };
  $("questions").addEventListener("change", () => ask("show", { question: $("questions").value }));
  $("reveal").addEventListener("click", () => ask("reveal", { question: $("question").textContent }));
  $("hide").addEventListener("change", () => ask("hide", { hidden: $("hide").checked ? "yes" : "no" }));
  $("clear").addEventListener("click", () => confirm("Forget every vote?") && ask("clear"));
}

// Works without the clipboard API, which plain http does not have.
$("copy").addEventListener("click", () => {
  const field = element("textarea", {}, $("address").textContent);
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  $("copy").textContent = copied ? "Copied" : "Select it, and press Ctrl+C";
});

follow();

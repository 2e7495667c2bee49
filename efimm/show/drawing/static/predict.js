// A question, a field for the answer, and what is said to it.  A prediction is judged here, with what Python has sealed
// (efimm/exercises/answers.py), so that it needs nobody; an exercise is judged by Python, which draws its numbers.

const TRIES = 3; // wrong answers after which "Show me" is offered

// The form of a question: its parts, and `said(text, right, code)` to speak below it.
function answerForm(model, el, onCheck, onShow) {
  const id = `efimm-answer-${++drawn}`;
  const field = element("input", { type: "text", id, size: 16, autocomplete: "off", spellcheck: "false" });
  const label = element("label", { for: id });
  const show = element("button", { type: "button", hidden: "" }, "Show me");
  const form = element("form", { class: "predict" }, label, field, element("button", { type: "submit" }, "Check"), show);
  const feedback = element("div", { class: "feedback", "aria-live": "polite" });
  const check = (event) => {
    event.preventDefault();
    onCheck(field.value);
  };
  form.addEventListener("submit", check);
  // Inside JupyterLab, Enter does not submit a form by itself.
  const typed = ({ key, isComposing }) => key === "Enter" && !isComposing;
  field.addEventListener("keydown", (event) => (typed(event) ? check(event) : null));
  show.addEventListener("click", onShow);
  el.append(element("div", OURS, form, feedback));
  const ask = () => label.replaceChildren(...withCode(model.get("question")));
  const said = (text, right, code) => {
    const lines = element("p", {}, ...withCode(text));
    feedback.replaceChildren(lines, ...(code ? [element("pre", {}, code)] : []));
    feedback.className = `feedback ${right ? "right" : "wrong"}`;
  };
  ask();
  return { form, field, show, feedback, ask, said };
}

function renderPredict(model, el) {
  const sealed = unpacked(model.get("sealed"));
  const save = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const parts = answerForm(model, el, async (text) => {
    const { valid, right, text: words } = judged(await sealed, text);
    if (!valid) return parts.said(words, false);
    const { number = 0, wrong = 0 } = model.get("guess");
    save("guess", { text, number: number + 1, wrong: wrong + !right });
    tellTheRoom(model.get("question"), text);
  }, () => save("shown", true));
  parts.form.classList.add("prediction");
  const skip = element("button", { type: "button" }, "Open it");
  const note = element("p", { class: "note" }, "What comes next opens when you have answered. ", skip);
  parts.form.after(note);
  skip.addEventListener("click", () => save("opened", true));
  const draw = async () => {
    const box = await sealed, { text, number = 0, wrong = 0 } = model.get("guess");
    const shown = model.get("shown"), open = number > 0 || shown || model.get("opened");
    const answer = number ? judged(box, text) : { text: "" };
    const record = number ? `Your answer: ${text.trim()}. ` : "";
    parts.said(record + (shown && !answer.right ? box.answer : answer.text), answer.right);
    parts.show.hidden = wrong < TRIES || shown || Boolean(answer.right);
    note.hidden = open;
    parts.form.dataset.open = String(open);
    if (el.isConnected) closeAnswers(el);
  };
  model.on("change:guess change:shown change:opened", draw);
  draw();
  whenThere(el, closeAnswers);
  return () => model.off("change:guess change:shown change:opened", draw);
}

function renderExercise(model, el) {
  const count = (name) => {
    model.set(name, model.get(name) + 1);
    model.save_changes();
  };
  const parts = answerForm(model, el, (text) => {
    model.set("guess", { text, number: (model.get("guess").number ?? 0) + 1 });
    model.save_changes();
  }, () => count("shown"));
  parts.form.classList.add("exercise");
  parts.form.prepend(element("strong", {}, `Exercise ${model.get("name")}`));
  const other = element("button", { type: "button" }, "Other numbers");
  other.addEventListener("click", () => {
    parts.field.value = "";
    count("again");
    parts.field.focus();
  });
  parts.form.append(other);
  const draw = () => {
    const { text = "", right, code } = model.get("feedback");
    parts.said(text, right, code);
    parts.show.hidden = model.get("wrong") < TRIES || Boolean(right);
  };
  model.on("change:question", parts.ask);
  model.on("change:feedback change:wrong", draw);
  draw();
  return () => {
    model.off("change:question", parts.ask);
    model.off("change:feedback change:wrong", draw);
  };
}

// What is said to `typed`; not `valid`: it is no number where one is wanted, and does not count.
function judged(box, typed) {
  const guess = box.number ? parsedNumber(typed)?.toString() : typed.trim().replace(/^[.'"]+|[.'"]+$/g, "").toLowerCase();
  if (!guess) return { valid: false, text: box.unread };
  if (guess === box.right) return { valid: true, right: true, text: box.yes };
  const hint = Object.hasOwn(box.hints, guess) ? box.hints[guess] : undefined; // "constructor" is in every object
  return { valid: true, right: false, text: hint ?? box.other.replace("{}", box.number ? shownNumber(guess) : guess) };
}

const NUMBER = /^([-+]?)(0x[0-9a-f]{1,40}|\d{1,40}(?:\.\d{1,18})?)\s*([kmgt]?)(?:i?b)?$/i;
const SHIFTS = { "": 0, k: 10, m: 20, g: 30, t: 40 };

// As efimm.machines.number reads it: decimal or hex, with K, M, G or T behind it; null if it is none.
function parsedNumber(typed) {
  const match = NUMBER.exec(typed.trim().replace(/[_,]/g, ""));
  if (!match) return null;
  const [, sign, digits, unit] = match, shift = SHIFTS[unit.toLowerCase()];
  const value = digits.includes(".") ? BigInt(Math.trunc(digits * 2 ** shift)) : BigInt(digits) << BigInt(shift);
  return sign === "-" ? -value : value;
}

function shownNumber(guess) {
  return /^\d{5,}$/.test(guess) && BigInt(guess) >= 0x10000n ? `${guess} (0x${BigInt(guess).toString(16)})` : guess;
}

// Closes what follows an unanswered prediction, up to the next one or the next heading: the text of cells, and what code
// has put out.  The same in JupyterLab and on a page.
function closeAnswers(el) {
  const cell = el.closest(".jp-Cell");
  let closed = false;
  for (const one of cell ? cell.parentElement.querySelectorAll(":scope > .jp-Cell") : []) {
    const boxes = [...one.querySelectorAll("form.prediction")];
    if (boxes.length || one.querySelector(".jp-RenderedMarkdown :is(h1, h2, h3)")) closed = false;
    one.classList.toggle("efimm-closed", closed);
    if (boxes.length) closed = boxes.some((box) => box.dataset.open !== "true");
  }
}

// Calls as soon as `el` stands in the page.
function whenThere(el, call) {
  if (el.isConnected) call(el);
  else requestAnimationFrame(() => whenThere(el, call));
}

// A room that serves this page listens, and counts predictions (efimm room); elsewhere nobody does.
function tellTheRoom(question, answer) {
  window.dispatchEvent(new CustomEvent("efimm-prediction", { detail: { question, answer } }));
}

// What stands between backticks is code.
function withCode(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

renderers.predict = renderPredict;
renderers.exercise = renderExercise;

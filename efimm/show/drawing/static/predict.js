// A question, a field for the answer, and what Python says to it.  An exercise is one with a heading and other numbers.

function renderPredict(model, el) {
  const id = `efimm-answer-${++drawn}`;
  const field = element("input", { type: "text", id, size: 16, autocomplete: "off", spellcheck: "false" });
  const label = element("label", { for: id });
  const form = element("form", { class: "predict" }, label, field, element("button", { type: "submit" }, "Check"));
  const feedback = element("p", { class: "feedback", "aria-live": "polite" });
  el.append(element("div", OURS, form, feedback));
  const check = (event) => {
    event.preventDefault();
    model.set("guess", { text: field.value, number: (model.get("guess").number ?? 0) + 1 });
    model.save_changes();
    if (model.get("kind") === "predict") tellTheRoom(model.get("question"), field.value);
  };
  form.addEventListener("submit", check);
  // Inside JupyterLab, Enter does not submit a form by itself.
  field.addEventListener("keydown", (event) => (event.key === "Enter" && !event.isComposing ? check(event) : null));
  if (model.get("kind") === "exercise") addOtherNumbers(model, form, field);
  const asked = () => label.replaceChildren(...withCode(model.get("question")));
  const answered = () => {
    const { text = "", right } = model.get("feedback");
    feedback.replaceChildren(...withCode(text));
    feedback.className = `feedback ${right ? "right" : "wrong"}`;
  };
  model.on("change:question", asked);
  model.on("change:feedback", answered);
  asked();
  answered();
  return () => {
    model.off("change:question", asked);
    model.off("change:feedback", answered);
  };
}

// A room that serves this page listens, and counts predictions (efimm room); elsewhere nobody does.
function tellTheRoom(question, answer) {
  window.dispatchEvent(new CustomEvent("efimm-prediction", { detail: { question, answer } }));
}

function addOtherNumbers(model, form, field) {
  form.classList.add("exercise");
  form.prepend(element("strong", {}, `Exercise ${model.get("name")}`));
  const other = element("button", { type: "button" }, "Other numbers");
  other.addEventListener("click", () => {
    field.value = "";
    model.set("again", model.get("again") + 1);
    model.save_changes();
    field.focus();
  });
  form.append(other);
}

// What stands between backticks is code.
function withCode(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

renderers.predict = renderPredict;
renderers.exercise = renderPredict;

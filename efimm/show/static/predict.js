// A question, a field for the answer, and what Python says to it.

function renderPredict(model, el) {
  const id = `efimm-answer-${++drawn}`;
  const field = element("input", { type: "text", id, size: 16, autocomplete: "off", spellcheck: "false" });
  const form = element(
    "form", { class: "predict" },
    element("label", { for: id }, model.get("question")), field, element("button", { type: "submit" }, "Check"),
  );
  const feedback = element("p", { class: "feedback", "aria-live": "polite" });
  el.append(element("div", OURS, form, feedback));
  const check = (event) => {
    event.preventDefault();
    model.set("guess", { text: field.value, number: (model.get("guess").number ?? 0) + 1 });
    model.save_changes();
  };
  form.addEventListener("submit", check);
  // Inside JupyterLab, Enter does not submit a form by itself.
  field.addEventListener("keydown", (event) => (event.key === "Enter" && !event.isComposing ? check(event) : null));
  const answered = () => {
    const { text = "", right } = model.get("feedback");
    feedback.textContent = text;
    feedback.className = `feedback ${right ? "right" : "wrong"}`;
  };
  model.on("change:feedback", answered);
  answered();
  return () => model.off("change:feedback", answered);
}

renderers.predict = renderPredict;

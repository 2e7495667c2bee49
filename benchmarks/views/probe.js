// Notes, for every event on a control, how long it takes until the picture is new, and until that frame is painted.
(() => {
  const events = [];
  let waiting = null;
  const start = (event) => {
    if (event.target.closest(".efimm")) waiting = { at: event.timeStamp, what: event.target.localName };
  };
  for (const kind of ["input", "change"]) document.addEventListener(kind, start, true);
  new MutationObserver((changes) => {
    const now = performance.now();
    const drawn = changes.some((change) => [...change.addedNodes].some((node) => node.classList?.contains("picture")));
    if (!drawn || !waiting) return;
    const event = { ...waiting, drawn: now - waiting.at };
    waiting = null;
    events.push(event);
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => (event.painted = performance.now() - event.at);
      channel.port2.postMessage(0); // runs after the frame
    });
  }).observe(document.body, { childList: true, subtree: true });
  window.efimmEvents = events;
})();

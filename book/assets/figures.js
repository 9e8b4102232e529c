// Bring the page's figures to life without a kernel: each place that the build left for one is drawn by the
// figure's own code from the state that the place holds. Only pages with a figure load this.
(() => {
  const { undrawn } = /** @type {any} */ (document.currentScript).dataset; // what is said then

  /** What a figure asks of a live widget's model, with nobody at the other end. */
  function makeModel(state, linked) {
    const listeners = {};
    const tell = (event) => (listeners[event] || []).forEach((listener) => listener());
    return {
      linked, // whether the page may hold the state in its address: no running notebook can, nor a slide
      get: (name) => state[name],
      set(name, value) {
        if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
        state[name] = value;
        tell(`change:${name}`);
        tell("change");
      },
      save_changes() {},
      send() {},
      on(event, listener) { (listeners[event] = listeners[event] || []).push(listener); },
      off(event, listener) { listeners[event] = (listeners[event] || []).filter((known) => listener && known !== listener); },
    };
  }

  function readState({ state, buffers }) {
    for (const [name, data] of Object.entries(buffers)) {
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      state[name] = new DataView(bytes.buffer);
    }
    return state;
  }

  /** A link with a state names the figure before its "?", which no browser finds by itself. */
  function goToFigure() {
    const [id, query] = location.hash.slice(1).split("?");
    if (query !== undefined) document.getElementById(id)?.scrollIntoView();
  }

  function start() {
    const places = /** @type {any} */ (document.querySelectorAll(".mf-place"));
    for (const place of places) {
      try {
        const state = readState(JSON.parse(place.querySelector("script").textContent));
        window.bookFigures[place.dataset.figure].render({ model: makeModel(state, !place.closest(".reveal")), el: place });
      } catch (error) {
        const sentence = document.createElement("p");
        sentence.setAttribute("role", "alert");
        sentence.textContent = undrawn.replace("{reason}", () => error.message);
        place.replaceChildren(sentence);
      }
    }
    goToFigure();
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
  addEventListener("load", goToFigure);
  addEventListener("hashchange", goToFigure);
})();

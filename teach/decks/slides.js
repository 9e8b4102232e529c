// What the decks ask of reveal.js: its settings, the keys of a focused control, and the dark.
(() => {
  const root = document.documentElement, dark = "(prefers-color-scheme: dark)";
  root.dataset.theme = matchMedia(dark).matches ? "dark" : "light";

  /** Whether a control of a figure needs the key itself. A clicker's keys, and Escape, it never does. */
  function needs(control, key) {
    if (["PageUp", "PageDown", "Escape"].includes(key)) return false;
    if (!control.matches("button, summary, [type=checkbox]")) return true;
    return !/^(Arrow.*|Home|End|\w)$/.test(key);
  }

  window.deck = {
    width: 1280, height: 720, margin: 0, center: false, display: "flex",
    hash: true, navigationMode: "linear", transition: "none", backgroundTransition: "none",
    slideNumber: "c/t", controls: false, scrollActivationWidth: null,
    keyboard: { 68: () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; } }, // D
    keyboardCondition(event) {
      const control = event.target.closest?.(".mf-figure") && event.target;
      if (!control) return true;
      if (needs(control, event.key)) return false;
      control.blur(); // what has the focus keeps the keys
      return event.key !== "Escape";
    },
  };

  // A finger moves a figure's points, not the slides; of its groups there is room for one at a time.
  addEventListener("load", () => document.querySelectorAll(".mf-place").forEach((place, k) => {
    place.setAttribute("data-prevent-swipe", "");
    const under = ".mf-figure > .mf-buttons, .below .mf-figure > :is(.mf-say, .mf-readouts)";
    place.querySelector(".mf-stage")?.append(...place.querySelectorAll(under));
    place.querySelectorAll("details").forEach((group, nth) => {
      group.name = `figure-${k}`;
      group.open = nth === 0;
    });
  }));
  Reveal.on("slidechanged", () => /** @type {any} */ (document.activeElement)?.blur());
})();

// Code and equations that are wider than the page scroll inside it: let the keyboard reach them.
(() => {
  const reach = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
      else target.removeAttribute("tabindex");
    }
  });
  const watch = (selector) => document.querySelectorAll(selector).forEach((e) => reach.observe(e));
  addEventListener("load", async () => {
    watch(".bd-content :is(pre, .picture, .pst-scrollable-table-container)");
    await window.MathJax?.startup?.promise;
    watch(".bd-content mjx-container[display]");
  });
})();

// On paper nothing can be unfolded, and it is white: answers are printed, folded code is not.
(() => {
  const root = document.documentElement;
  let folded = [], theme;
  addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    root.style.setProperty("--paper-title", JSON.stringify(document.title));
    const answers = ".bd-content :is(details.below-input, details.quiz-key):not([open])";
    folded = [...document.querySelectorAll(answers)];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    for (const one of folded) one.open = false;
  });
})();

// A word of the glossary shows its meaning in place: to the pointer, to the keyboard, and to a finger's
// first tap. Escape closes it; a second tap follows the link, as a click does.
addEventListener("DOMContentLoaded", () => {
  const terms = /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll("a[aria-describedby^=meaning-]")
  );
  const meaningOf = (term) =>
    /** @type {any} */ (document.getElementById(term.getAttribute("aria-describedby")));
  /** @type {HTMLElement | null} */
  let shown = null;
  let byFinger = false;

  function hide() {
    if (shown) meaningOf(shown).hidden = true;
    shown = null;
  }

  function show(term) {
    if (term === shown) return;
    hide();
    shown = term;
    const meaning = meaningOf(term);
    meaning.hidden = false;
    const [line] = term.getClientRects(); // the first, where the word goes over two
    const room = meaning.offsetParent.getBoundingClientRect();
    const left = Math.min(line.left, document.documentElement.clientWidth - meaning.offsetWidth - 8);
    const below = line.bottom + meaning.offsetHeight < innerHeight;
    meaning.style.left = `${Math.max(8, left) - room.left}px`;
    meaning.style.top = `${(below ? line.bottom : line.top - meaning.offsetHeight) - room.top}px`;
  }

  for (const term of terms) {
    const meaning = meaningOf(term);
    const leave = (event) => {
      const onTheWay = term.contains(event.relatedTarget) || meaning.contains(event.relatedTarget);
      if (event.pointerType !== "touch" && !onTheWay) hide();
    };
    term.addEventListener("pointerenter", (event) => event.pointerType === "touch" || show(term));
    term.addEventListener("focus", () => byFinger || show(term));
    term.addEventListener("blur", hide);
    term.addEventListener("click", (event) => {
      if (byFinger && shown !== term) event.preventDefault();
      show(term);
    });
    for (const place of [term, meaning]) place.addEventListener("pointerleave", leave);
  }
  addEventListener("pointerdown", (event) => {
    const target = /** @type {Element} */ (event.target);
    byFinger = event.pointerType === "touch";
    if (!shown?.contains(target) && !target.closest(".meaning")) hide();
  }, true);
  addEventListener("keydown", (event) => {
    byFinger = false;
    if (event.key === "Escape") hide();
  });
});

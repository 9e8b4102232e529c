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
    folded = [...document.querySelectorAll(".bd-content details.below-input:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    for (const one of folded) one.open = false;
  });
})();

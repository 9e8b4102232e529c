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
// On paper nothing can be unfolded: what is folded is printed, but for the solutions.
(() => {
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll(".bd-content details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();

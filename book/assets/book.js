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
    watch(".bd-content pre");
    await window.MathJax?.startup?.promise;
    watch(".bd-content mjx-container[display]");
  });
})();

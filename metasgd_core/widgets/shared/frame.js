// What every figure has around its pictures: controls tied to the model's traits, read-outs, a summary
// that is spoken, Reset, and in the built page a link that holds the state.

const NEEDED = ["DOMPoint", "MutationObserver", "ResizeObserver", "structuredClone"];

/**
 * An HTML element with its attributes (`text`: its content) and children.
 * @param {string} tag
 * @param {{text?: string, [attribute: string]: any}} [attributes]
 * @param {...(Node|string)} children
 * @returns {any}
 */
function element(tag, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  // In JupyterLab a letter, an arrow or Enter is the notebook's own, unless the focused node says no.
  if (["button", "input", "select", "summary"].includes(tag)) node.dataset.lmSuppressShortcuts = "true";
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

/** Whether the page around is dark: the book's switch, JupyterLab's, Colab's, else the reader's. */
function isDark() {
  const html = document.documentElement, lab = document.body.dataset.jpThemeLight;
  const told = html.dataset.theme || html.getAttribute("theme");
  if (told === "dark" || told === "light") return told === "dark";
  if (lab !== undefined) return lab === "false";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** The book's colours (metasgd_core.plotting.PALETTE), with text, grid and background of the theme. */
function palette() {
  return FRAME.themes[isDark() ? "dark" : "light"];
}

/** The colour that a method has on every page. */
function methodColour(name) {
  return palette()[FRAME.methods[name] ?? "text"];
}

function prefersReducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Whether `value` could stand where `first` stands: the same type, all numbers finite. */
function sameKind(value, first) {
  if (Array.isArray(first)) {
    return Array.isArray(value) && value.every((v) => !first.length || sameKind(v, first[0]));
  }
  return typeof value === typeof first && (typeof value !== "number" || Number.isFinite(value));
}

/** The parts of the address after "?" in its hash: figure id -> text. */
function linkedParts() {
  const [, query = ""] = location.hash.split("?");
  return new Map(query.split("&").filter(Boolean).map((part) => {
    const at = part.indexOf("=");
    return [part.slice(0, at), part.slice(at + 1)];
  }));
}

/**
 * Put the figure's frame into `el`.
 * @param {HTMLElement} el
 * @param {Model} model
 * @param {{title: string, goals?: Goal[], summary?: string, fits?: (state: any) => boolean}} options `goals`:
 *   one is shown at a time, ticked when it is reached; `fits` says whether the state of a link can be
 * @returns the frame: root, stage, controls, say(...parts), fail(sentence), onRedraw(fn), redraw(), linked,
 *   and close(), which `render` returns: a notebook calls it when it closes this view
 */
function createFrame(el, model, { title, goals = [], summary, fits = () => true }) {
  const { words } = FRAME, lacking = NEEDED.filter((feature) => !(feature in window));
  if (lacking.length) throw new Error(fill(words.lacking, { feature: lacking.join(", ") }));
  // Counted in the document: each figure may have loaded this source for itself.
  const id = `mf-${window.bookFigureCount = (window.bookFigureCount ?? 0) + 1}`;
  const name = model.get("_figure") || "figure", traits = model.get("_state") || [];
  const defaults = Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const root = element("div", { class: "mf-figure", role: "group", "aria-labelledby": `${id}-title` });
  const stage = element("div", { class: "mf-stage" });
  const controls = element("div", { class: "mf-controls" });
  const readouts = element("dl", { class: "mf-readouts" });
  const buttons = element("div", { class: "mf-buttons" });
  const said = element("p", { class: "mf-say", "data-say": "" });
  const live = element("p", { class: "mf-live", role: "status" });
  const note = element("p", { class: "mf-note", role: "status", "data-note": "" });
  root.append(element("p", { class: "mf-title", id: `${id}-title`, text: title }));
  const list = element("ol", { class: "mf-goals", "aria-live": "polite" });
  if (goals.length) root.append(list);
  if (summary) root.append(element("p", { class: "mf-summary", text: summary }));
  root.append(stage, said, readouts, controls, buttons, note, live);
  el.replaceChildren(root);

  const redrawers = [], syncs = [], checks = {}, closing = new AbortController();
  let waiting = 0, speaking = 0, failed = false, moved = false, done = 0;
  const frame = {
    root, stage, controls, rows: controls, readouts, buttons, model, id, syncs, checks, linked: Boolean(model.linked), plots: /** @type {any[]} */ ([]),
    set(values) {
      for (const [trait, value] of Object.entries(values)) model.set(trait, value);
      model.save_changes();
    },
    /** What `marked` returns, and text between. */
    say(...parts) {
      const text = parts.map((part) => part.textContent ?? part).join("");
      if (said.textContent === text) return;
      said.replaceChildren(...parts);
      clearTimeout(speaking); // spoken when it rests, not at each step of a drag, nor as the page opens
      if (moved) speaking = setTimeout(() => { live.textContent = text; }, 500);
    },
    note(text) { note.textContent = text; },
    fail(sentence) {
      failed = true;
      root.replaceChildren(element("p", { class: "mf-fail", role: "alert", text: sentence }));
      root.dataset.failed = "true";
    },
    now() {
      if (failed) return;
      root.dataset.theme = isDark() ? "dark" : "light";
      try {
        for (const sync of syncs) sync();
        for (const plot of frame.plots) plot.fit();
        for (const draw of redrawers) if (!failed) draw();
        if (moved && goals[done]?.reached?.()) show(done + 1);
      } catch (error) {
        frame.fail(fill(words.stopped, { reason: error.message }));
        console.debug(error);
      }
    },
    redraw() {
      if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; frame.now(); });
    },
    onRedraw(draw) {
      redrawers.push(draw);
      if (redrawers.length === 1) restore();
      frame.now();
      root.dataset.ready = "true";
    },
    close() {
      closing.abort();
      observers.forEach((observer) => observer.disconnect());
      model.off("change", change);
      cancelAnimationFrame(waiting);
      clearTimeout(speaking);
    },
  };

  /** The goals reached, ticked, and the next one. */
  function show(reached) {
    const count = goals.length;
    done = reached;
    list.replaceChildren(...goals.slice(0, done + 1).map(({ text: goal }, k) => element("li", {
      text: k < done ? fill(words.reached, { goal }) : count > 1 ? fill(words.goal, { number: k + 1, count, goal }) : goal,
    })));
    goals[done]?.begin?.();
    if (done === count && count > 1) list.append(element("li", { text: words.done }));
  }
  show(0);

  /** Take the state from the address, if it holds one of this figure; a faulty one changes nothing. */
  function restore() {
    const part = frame.linked && linkedParts().get(name);
    if (!part) return;
    try {
      const state = JSON.parse(decodeURIComponent(part));
      const wrong = Object.entries(state).some(([trait, value]) => !traits.includes(trait)
        || !sameKind(value, defaults[trait]) || checks[trait] && !checks[trait](value));
      if (wrong || !fits(state)) throw new Error();
      frame.set(state);
      note.textContent = "";
    } catch {
      note.textContent = words.damaged;
    }
  }

  addButton(frame, words.reset, () => { frame.set(structuredClone(defaults)); note.textContent = ""; show(0); });
  if (frame.linked) {
    root.id = `figure-${name}`;
    addButton(frame, words.link, async () => {
      const state = Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
      const parts = linkedParts().set(name, encodeURIComponent(JSON.stringify(state)));
      const query = [...parts].map(([key, text]) => `${key}=${text}`).join("&");
      history.replaceState(null, "", `#${root.id}?${query}`);
      note.textContent = words.linked;
      try {
        await navigator.clipboard.writeText(location.href);
        note.textContent = words.copied;
      } catch { /* the address bar has it */ }
    });
    addEventListener("hashchange", restore, { signal: closing.signal });
  }
  const change = () => {
    moved = Boolean(root.dataset.ready);
    frame.redraw();
  };
  model.on("change", change);
  const observers = [new MutationObserver(frame.now), new ResizeObserver(frame.redraw)], [theme, size] = observers;
  theme.observe(document.documentElement, { attributeFilter: ["data-theme", "theme"] });
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", frame.now, { signal: closing.signal });
  size.observe(el);
  return frame;
}

/**
 * A sentence with its blanks filled as `fill` does it, each blank an element of its own that stands out.
 * @template {string | {other: string}} S
 * @param {S} sentence
 * @param {Blanks<S>} values by the names of the blanks
 * @param {string} [prefix] of the names by which the numbers are found
 * @returns {any[]}
 */
function marked(sentence, values, prefix = "") {
  const given = /** @type {any} */ (values);
  return partsOf(sentence, given.count)
    .map((part, i) => (i % 2 ? element("b", { "data-readout": prefix + part, text: given[part] }) : part));
}

/** A group of controls, which on a phone is folded until it is asked for; what is added next goes into it. */
function addGroup(frame, title, open = !matchMedia("(max-width: 640px)").matches) {
  frame.rows = element("div", { class: "mf-rows" });
  const group = element("details", { class: "mf-group" }, element("summary", { text: title }), frame.rows);
  group.open = open;
  frame.controls.append(group);
  return group;
}

/** A row of the controls: a label tied to its input, and what stands beside it. */
function addRow(frame, trait, label, input, ...more) {
  input.id = `${frame.id}-${trait}`;
  input.dataset.trait = trait;
  frame.rows.append(element("div", { class: "mf-row" }, element("label", { for: input.id, text: label }), ...more, input));
  return input;
}

/**
 * A native range input and a field for its number, with the range, the label and the unit that the
 * figure's constant has for the trait. With `log` it moves evenly in the logarithm, `step` in powers of
 * ten, and `digits` are significant ones; otherwise they are decimals.
 * @param {any} frame
 * @param {Required<Table>} table
 * @param {string} trait
 * @param {{step?: number, digits?: number, log?: boolean}} [way]
 */
function addSlider(frame, { ranges, words }, trait, { step = 1, digits, log = false } = {}) {
  const [min, max] = ranges[trait], unit = words.units?.[trait] ?? "{value}", label = words.controls[trait];
  const places = digits ?? (log ? 3 : Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  const to = log ? Math.log10 : (v) => v;
  const span = to(max) - to(min), even = log ? span * (1 - 1e-12) / Math.round(span / step) : step; // so that it reaches its end
  const from = log ? (v) => Number((10 ** v).toPrecision(Math.max(3, places))) : (v) => v;
  const read = (v) => (log ? String(Number(v.toPrecision(places))) : v.toFixed(places));
  const input = element("input", { type: "range", min: to(min), max: to(max), step: even });
  const field = element("input", { type: "number", min, max, step: "any", "data-number": trait, "aria-label": fill(FRAME.words.exact, { label }) });
  const [before, after] = unit.split("{value}");
  addRow(frame, trait, label, input, element("span", {}, before, field, after));
  const set = (v) => frame.set({ [trait]: Math.min(max, Math.max(min, step % 1 ? v : Math.round(v))) });
  input.addEventListener("input", () => set(from(Number(input.value))));
  let shown = NaN; // what stands there while it is typed over
  field.addEventListener("change", () => {
    shown = NaN;
    if (field.value) set(Number(field.value));
    frame.redraw();
  });
  field.addEventListener("keydown", (event) => { // as on the slider
    const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!up) return;
    event.preventDefault();
    input.stepUp(up);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  frame.checks[trait] = (value) => value >= min && value <= max;
  frame.syncs.push(() => {
    const value = frame.model.get(trait);
    // While it is moved, the input keeps its own place: the value may be rounded.
    if (from(Number(input.value)) !== value) input.value = to(value);
    if (value === shown) return;
    shown = value;
    field.value = read(value);
    input.setAttribute("aria-valuetext", fill(unit, { value: read(value) }));
  });
  return input;
}

/** Show a row only where it counts. */
function showRow(frame, trait, there) {
  frame.controls.querySelector(`[data-trait="${trait}"]`).parentNode.hidden = !there;
}

/** A list to choose from: `options` are pairs of a value and its text. */
function addSelect(frame, { words }, trait, options) {
  const input = element("select", {}, ...options.map(([value, text]) => element("option", { value, text })));
  input.addEventListener("change", () => frame.set({ [trait]: options[input.selectedIndex][0] }));
  frame.checks[trait] = (value) => options.some(([known]) => known === value);
  frame.syncs.push(() => {
    input.selectedIndex = options.findIndex(([value]) => value === frame.model.get(trait));
  });
  return addRow(frame, trait, words.controls[trait], input);
}

function addCheckbox(frame, { words }, trait) {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => frame.set({ [trait]: input.checked }));
  frame.syncs.push(() => { input.checked = frame.model.get(trait); });
  return addRow(frame, trait, words.controls[trait], input);
}

function addButton(frame, label, onClick, parent = frame.buttons) {
  const button = element("button", { type: "button", text: label });
  button.addEventListener("click", onClick);
  parent.append(button);
  return button;
}

/** The seed: a whole number that the reader sees and may change. */
function addSeed(frame, { ranges }) {
  const trait = "seed", [min, max] = ranges[trait];
  const input = element("input", { type: "number", min, max, step: 1 });
  const fits = (value) => Number.isInteger(value) && value >= min && value <= max;
  input.addEventListener("change", () => {
    const value = Number(input.value);
    if (input.value !== "" && fits(value)) frame.set({ [trait]: value });
    else input.value = frame.model.get(trait);
  });
  frame.checks[trait] = fits;
  frame.syncs.push(() => {
    if (document.activeElement !== input || Number(input.value) !== frame.model.get(trait)) input.value = frame.model.get(trait);
  });
  return addRow(frame, trait, FRAME.words.seed, input);
}

/** Show a number that the figure computed; `label` is what stands before it. */
function setReadout(frame, name, text, label = name) {
  let node = frame.readouts.querySelector(`[data-readout="${name}"]`);
  if (!node) {
    node = element("dd", { "data-readout": name });
    frame.readouts.append(element("div", {}, element("dt", { text: label }), node));
  }
  if (node.textContent !== text) node.textContent = text;
  if (node.previousSibling.textContent !== label) node.previousSibling.textContent = label;
}

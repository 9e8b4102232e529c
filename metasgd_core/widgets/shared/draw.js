// Pictures in SVG: axes, curves, points, and points that the reader can drag. Everything has a key; the
// same key again updates what is there.

function svgNode(tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/**
 * Round places of an axis: about `count` of them; decades on a logarithmic one.
 * @param {number[]} domain
 * @param {boolean} log
 * @param {number} count
 */
function axisTicks([low, high], log, count) {
  const ticks = [];
  if (log) {
    const from = Math.ceil(Math.log10(low) - 1e-9), to = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((to - from) / count));
    if (to - from > 1) {
      for (let k = from; k <= to; k += every) ticks.push(10 ** k);
      return ticks;
    }
    for (let k = from - 1; k <= to; k++) ticks.push(...[1, 2, 5].map((m) => Number((m * 10 ** k).toPrecision(12))));
    return ticks.filter((tick) => tick >= low && tick <= high);
  }
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough * 0.999) ?? 10);
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    ticks.push(Number((k * step).toPrecision(12)));
  }
  return ticks;
}

function tickText(value) {
  const size = Math.abs(value);
  if (value === 0 || size >= 0.001 && size < 1e5) return String(value).replace("-", "−");
  return value.toExponential(0).replace("e+", "e").replace(/-/g, "−");
}

/** Where in the picture, in its own units, a pointer is. */
function placeIn(svg, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
}

/**
 * Let a part of a picture be moved by mouse, by touch and by the arrow keys.
 * @param {SVGElement} node
 * @param {SVGSVGElement} svg the picture
 * @param {object} heard
 * @param {(to: DOMPoint, from: DOMPoint) => void} heard.onDrag each move, from where the last one ended
 * @param {(across: number, up: number, shift: boolean) => boolean} heard.onKey says whether it took the key
 */
function makeDraggable(node, svg, { onDrag, onKey }) {
  let from = /** @type {DOMPoint|null} */ (null);
  // Chromium heeds touch-action on no part of an SVG: without this the page scrolls under the finger.
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    event.preventDefault();
    from = placeIn(svg, event);
  });
  node.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = placeIn(svg, event);
    onDrag(to, from);
    from = to;
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    node.addEventListener(end, () => { from = null; });
  }
  node.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || !onKey(step[0], step[1], event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/**
 * A picture with axes, as wide as there is room, at most `width`.
 * @param {{width?: number, height?: number, x: number[], y: number[], xlabel?: string, ylabel?: string,
 *   xlog?: boolean, ylog?: boolean, label: string, axes?: boolean, indent?: number}} options `indent`: the least
 *   room for the numbers of y, so that pictures under one another line up
 */
function createPlot(frame, options) {
  const { width = 560, height = 360, xlabel = "", ylabel = "", xlog = false, ylog = false, label, axes = true, indent = 56 } = options;
  let [x, y] = [options.x, options.y], w = width, h = height;
  const margin = axes ? { left: indent, right: 12, top: 10, bottom: xlabel ? 44 : 26 } : { left: 0, right: 0, top: 0, bottom: 0 };
  const box = element("div", { class: "mf-plot" }), svg = svgNode("svg", { role: "group", "aria-label": label });
  const clip = svgNode("clipPath", { id: `${frame.id}-clip-${frame.plots.length}` }), window_ = svgNode("rect");
  const back = svgNode("g", { class: "mf-axes", "aria-hidden": "true" });
  const middle = svgNode("g", { "clip-path": `url(#${clip.id})` }), front = svgNode("g");
  const key = element("ul", { class: "mf-legend" });
  svg.style.maxWidth = `${width}px`;
  clip.append(window_);
  svg.append(clip, back, middle, front);
  box.append(svg, key);
  frame.stage.append(box);

  const items = new Map();
  const scale = (domain, log, from, to) => {
    const t = log ? Math.log10 : (v) => v, low = t(domain[0]), span = t(domain[1]) - low;
    return (v) => {
      const p = from + (to - from) * (t(v) - low) / span; // far outside stays outside, in bounds for SVG
      return p > 1e5 ? 1e5 : p < -1e5 ? -1e5 : p;
    };
  };
  const inverse = (domain, log, from, to) => (p) => {
    const t = log ? Math.log10 : (v) => v, share = Math.min(1, Math.max(0, (p - from) / (to - from)));
    const v = t(domain[0]) + share * (t(domain[1]) - t(domain[0]));
    return log ? 10 ** v : v;
  };
  let X, Y, toX, toY;
  const at = (a, b) => `${X(a).toFixed(2)} ${Y(b).toFixed(2)}`;
  const inked = (node, { colour, width: thick = 2, dash = "", opacity = 1, fill = "none" }) => {
    const attributes = {
      stroke: colour ?? "currentColor", "stroke-width": thick, "stroke-dasharray": dash, opacity, fill,
      "stroke-linejoin": "round", "stroke-linecap": "round",
    };
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  };

  function layout() {
    const ticks = axisTicks(y, ylog, h / 55), longest = Math.max(...ticks.map((tick) => tickText(tick).length));
    if (axes) margin.left = Math.max(indent, 34 + 7.5 * longest); // they keep clear of the axis's name
    [X, toX] = [scale, inverse].map((f) => f(x, xlog, margin.left, w - margin.right));
    [Y, toY] = [scale, inverse].map((f) => f(y, ylog, h - margin.bottom, margin.top));
    svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    const room = { x: margin.left, y: margin.top, width: w - margin.left - margin.right, height: h - margin.top - margin.bottom };
    for (const [name, value] of Object.entries(room)) window_.setAttribute(name, value);
    back.replaceChildren();
    if (!axes) return;
    const line = (x1, y1, x2, y2) => back.append(svgNode("line", { x1, y1, x2, y2 }));
    const write = (px, py, string, more) => {
      const node = svgNode("text", { x: px, y: py, ...more });
      node.textContent = string;
      back.append(node);
    };
    const [left, right, top, bottom] = [margin.left, w - margin.right, margin.top, h - margin.bottom];
    for (const tick of axisTicks(x, xlog, w / 90)) {
      line(X(tick), top, X(tick), bottom);
      write(X(tick), bottom + 17, tickText(tick), { "text-anchor": "middle" });
    }
    for (const tick of ticks) {
      line(left, Y(tick), right, Y(tick));
      write(left - 6, Y(tick) + 4, tickText(tick), { "text-anchor": "end" });
    }
    write((left + right) / 2, h - 8, xlabel, { "text-anchor": "middle" });
    const middle_ = (top + bottom) / 2;
    write(13, middle_, ylabel, { "text-anchor": "middle", transform: `rotate(-90 13 ${middle_})` });
  }

  /** Keep one element per key, and how to paint it, for when the picture changes its size. */
  function put(name, tag, paint, layer = middle) {
    let item = items.get(name);
    if (!item || item.tag !== tag || item.layer !== layer) {
      item?.node.remove();
      item = { tag, layer, node: svgNode(tag, { "data-key": name }) };
      layer.append(item.node);
      items.set(name, item);
    }
    item.paint = () => paint(item.node);
    item.paint();
    return item.node;
  }
  const repaint = () => { layout(); for (const item of items.values()) item.paint(); };
  const path = (name, style, trace) => put(name, "path", (node) => {
    inked(node, style);
    node.setAttribute("d", trace());
  });
  /** A broken line: it ends where a number is not finite, and goes on after it. */
  const trace = (xs, ys) => {
    let d = "", pen = false;
    for (let i = 0; i < xs.length; i++) {
      const px = X(xs[i]), py = Y(ys[i]), drawn = Number.isFinite(px) && Number.isFinite(py);
      if (drawn) d += `${pen ? "L" : "M"}${px.toFixed(2)} ${py.toFixed(2)}`;
      pen = drawn;
    }
    return d;
  };
  const shapes = {
    circle: (px, py, r) => `M${px - r} ${py}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    square: (px, py, r) => `M${px - r} ${py - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    cross: (px, py, r) => `M${px - r} ${py - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`,
    plus: (px, py, r) => `M${px - r} ${py}h${2 * r}M${px} ${py - r}v${2 * r}`,
  };

  const plot = {
    svg, box,
    get domain() { return { x, y }; },
    /** To the pixels of the picture, for what a figure draws by itself. */
    pixel: (a, b) => [X(a), Y(b)],
    put,
    setDomain(domain) {
      const next = { x, y, ...domain };
      if (String(next.x) === String(x) && String(next.y) === String(y)) return;
      ({ x, y } = next);
      repaint();
    },
    fit() {
      const room = Math.round(Math.min(width, box.clientWidth || width));
      if (room === w) return;
      [w, h] = [room, Math.round(height * Math.max(0.7, room / width))];
      repaint();
    },
    curve: (name, xs, ys, style = {}) => path(name, style, () => trace(xs, ys)),
    /** @type {(name: string, xs: ArrayLike<number>, ys: ArrayLike<number>, style: Style) => SVGElement} */
    points(name, xs, ys, { colour, radius = 4, shape = "circle", ...style }) {
      const open = shape === "cross" || shape === "plus";
      return path(name, { colour, width: open ? 2 : 0, fill: open ? "none" : colour, ...style }, () => {
        let d = "";
        for (let i = 0; i < xs.length; i++) {
          const px = X(xs[i]), py = Y(ys[i]);
          if (Number.isFinite(px) && Number.isFinite(py)) d += shapes[shape](px, py, radius);
        }
        return d;
      });
    },
    arrow: (name, x0, y0, x1, y1, style = {}) => plot.way(name, [[x0, y0], [x1, y1]], style),
    /** A broken line with a head at its end. */
    way: (name, corners, style = {}) => path(name, { width: 1.8, ...style }, () => {
      const [[a, b], [c, d]] = corners.slice(-2).map(([px, py]) => [X(px), Y(py)]), length = Math.hypot(c - a, d - b);
      if (!(length > 0.5)) return "";
      const head = Math.min(7, length), angle = Math.atan2(d - b, c - a);
      const wing = (turn) => `${(c - head * Math.cos(angle + turn)).toFixed(2)} ${(d - head * Math.sin(angle + turn)).toFixed(2)}`;
      return `M${corners.map(([px, py]) => at(px, py)).join("L")}M${wing(0.45)}L${c} ${d}L${wing(-0.45)}`;
    }),
    area: (name, xs, lows, highs, { colour, opacity = 0.2 }) => path(name, { colour, width: 0, fill: colour, opacity }, () => {
      const there = [...xs.keys()].filter((i) => [xs[i], lows[i], highs[i]].every(Number.isFinite));
      const up = there.map((i) => at(xs[i], highs[i])), down = there.reverse().map((i) => at(xs[i], lows[i]));
      return up.length ? `M${[...up, ...down].join("L")}Z` : "";
    }),
    bars: (name, edges, counts, { colour, opacity = 0.8 }) => path(name, { colour, width: 0, fill: colour, opacity }, () =>
      Array.from(counts, (count, i) => `M${at(edges[i], y[0])}V${Y(count)}H${X(edges[i + 1])}V${Y(y[0])}Z`).join("")),
    text: (name, tx, ty, string, { colour }) => put(name, "text", (node) => {
      const attributes = { x: X(tx), y: Y(ty), fill: colour ?? "currentColor", "text-anchor": "middle" };
      for (const [key_, value] of Object.entries(attributes)) node.setAttribute(key_, value);
      node.textContent = string;
    }),
    /** A table of values as coloured cells over the whole domain, its first row at the top. */
    image: (name, rows, cols, values, colourOf) => put(name, "image", (node) => {
      const canvas = element("canvas", { width: cols, height: rows }), ink = canvas.getContext("2d");
      for (let k = 0; k < rows * cols; k++) {
        ink.fillStyle = colourOf(values[k]);
        ink.fillRect(k % cols, Math.floor(k / cols), 1, 1);
      }
      const attributes = {
        href: canvas.toDataURL(), x: X(x[0]), y: Y(y[1]), width: X(x[1]) - X(x[0]), height: Y(y[0]) - Y(y[1]),
        preserveAspectRatio: "none", style: "image-rendering: pixelated",
      };
      for (const [key_, value] of Object.entries(attributes)) node.setAttribute(key_, value);
    }),
    remove(name) {
      const node = items.get(name)?.node, focused = node && node === document.activeElement;
      node?.remove();
      items.delete(name);
      if (focused) [...svg.querySelectorAll(".mf-handle")].at(-1)?.focus(); // else it is lost to the page
    },
    legend(entries) {
      const text = JSON.stringify(entries);
      if (key.dataset.shown === text) return;
      key.dataset.shown = text;
      key.replaceChildren(...entries.map(({ label: name, colour, dash = "" }) => {
        const swatch = svgNode("svg", { width: 28, height: 10, "aria-hidden": "true" });
        const stroke = svgNode("path", { d: "M1 5H27" });
        inked(stroke, { colour, dash, width: 2.5 });
        swatch.append(stroke);
        const entry = element("li", {}, name);
        entry.prepend(swatch);
        return entry;
      }));
    },
    /**
     * A point to drag: by mouse, by touch, and by the arrow keys (a fiftieth of the axis, with Shift a tenth).
     * @param {{x: number, y: number, label: string, colour?: string, onMove: (x, y) => void}} handle
     */
    handle(name, handle) {
      const held = items.get(name)?.held ?? {};
      const node = put(name, "g", (g) => {
        const { x: hx, y: hy, label: text, colour } = held.now;
        const dot = g.lastChild;
        // A point beyond the edge waits at the edge, where it can be taken.
        const px = Math.min(w - margin.right, Math.max(margin.left, X(hx)));
        const py = Math.min(h - margin.bottom, Math.max(margin.top, Y(hy)));
        if (dot) g.setAttribute("transform", `translate(${px} ${py})`);
        if (dot) dot.setAttribute("fill", colour ?? "currentColor");
        const spoken = { // a slider has one number, this one has two: they are the text of its value
          "aria-label": text, "aria-valuetext": fill(DRAW.words.place, { x: Number(hx.toPrecision(3)), y: Number(hy.toPrecision(3)) }),
          "aria-valuenow": hx, "aria-valuemin": x[0], "aria-valuemax": x[1],
        };
        for (const [key_, value] of Object.entries(spoken)) g.setAttribute(key_, value);
      }, (held.now = handle, front));
      const item = items.get(name);
      if (item.held) return node;
      item.held = held;
      const fixed = { class: "mf-handle", role: "slider", "aria-roledescription": DRAW.words.point, tabindex: 0, "data-lm-suppress-shortcuts": "true" };
      for (const [key_, value] of Object.entries(fixed)) node.setAttribute(key_, value);
      node.append(svgNode("circle", { r: 13, class: "mf-target" }), svgNode("circle", { r: 6.5, class: "mf-dot" }));
      item.paint();
      makeDraggable(node, svg, {
        onDrag(place) { held.now.onMove(toX(place.x), toY(place.y)); },
        onKey(across, up, shift) {
          const far = (shift ? 5 : 1) / 50, { x: hx, y: hy, onMove } = held.now;
          const px = X(hx) + across * far * (w - margin.left - margin.right);
          const py = Y(hy) - up * far * (h - margin.top - margin.bottom);
          // What does not move keeps its every digit. The next key of this frame goes on from here.
          held.now = { ...held.now, x: across ? toX(px) : hx, y: up ? toY(py) : hy };
          onMove(held.now.x, held.now.y);
          frame.redraw(); // and comes back where the figure did not follow
          return true;
        },
      });
      return node;
    },
  };
  frame.plots.push(plot);
  layout();
  return plot;
}

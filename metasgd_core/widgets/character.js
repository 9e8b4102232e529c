// Draw a character: five pads to learn from, one to ask about, and a game against the network.

/** What no other figure looks like: the pads, the table, the board. */
const CHARACTER_STYLE = `.mf-figure :is(.mf-pads, .mf-game, .mf-readouts)[hidden] { display: none; }
.mf-pads { display: grid; grid-template-columns: repeat(3, minmax(0, 150px)); gap: 0.4rem; justify-content: center; text-align: center; user-select: none; -webkit-user-select: none; }
.mf-pads .mf-buttons { justify-content: center; gap: 0.3rem; margin: 0.2rem 0; }
.mf-pads button { padding: 0 0.4rem; font-size: 0.85rem; }
.mf-pad, .mf-asked { width: 100%; aspect-ratio: 1; border: 1px solid var(--mf-edge); border-radius: 4px; box-sizing: border-box; }
.mf-pad { cursor: crosshair; touch-action: none; }
.mf-glyph { width: 32px; height: 32px; vertical-align: middle; }
.mf-asked { max-width: 150px; }
.mf-game { display: flex; flex-wrap: wrap; gap: 0.6rem; align-items: center; }
.mf-answers { display: grid; grid-template-columns: repeat(5, minmax(0, 72px)); gap: 0.4rem; }
.mf-figure .mf-answers button { justify-self: stretch; padding: 0.3rem; }
.mf-answers .mf-glyph { display: block; width: 100%; height: auto; }
.mf-figure table.mf-chances { display: table; width: 100%; table-layout: fixed !important; border-collapse: collapse; margin: 0.4rem 0; font-size: 0.85rem; color: inherit; }
.mf-chances caption { caption-side: top; color: inherit; padding: 0; text-align: start; font-weight: 600; }
.mf-figure .mf-chances :is(th, td) { padding: 0.1rem; border: 0; background: none; text-align: start; vertical-align: middle; font-weight: 400; overflow-wrap: anywhere; color: inherit; }
.mf-chances th[scope="col"] { font-size: 0.9em; line-height: 1.2; }
.mf-chances tr > :first-child { width: 3.4rem; }
.mf-figure .mf-chances td[data-first] { font-weight: 700; }
.mf-chances i { display: block; height: 6px; min-width: 1px; }
`;

const CHARACTER_PAD = /^(#\d+|([0-9a-f]{4})+( ([0-9a-f]{4})+)*)?$/;

/** The strokes of a pad: points of x and y, two hexadecimal digits each. */
function characterStrokes(pad) {
  return pad.split(" ").map((stroke) => stroke.match(/.{4}/g).map((point) => [0, 2].map((k) => parseInt(point.slice(k, k + 2), 16))));
}

/** The offered drawings, from a bit a pixel to 0 and 1. */
function characterSheet(view) {
  const bytes = (view.byteLength * 8) / CONVNET.size ** 2;
  return Array.from({ length: bytes }, (_, k) => Float64Array.from({ length: CONVNET.size ** 2 }, (_pixel, i) => {
    const bit = k * CONVNET.size ** 2 + i;
    return (view.getUint8(bit >> 3) >> (7 - (bit & 7))) & 1;
  }));
}

/** So many different ones of the numbers below `count`, by a seed; `from` is the first number of it that is used. */
function characterDraw(seed, from, count, many) {
  const left = Array.from({ length: count }, (_, k) => k);
  return Array.from({ length: many }, (_, k) => left.splice(Math.floor(mulberry(seed, from + k) * left.length), 1)[0]);
}

/** The question of the game with this number: the five drawings that are shown, the one that is asked about, and which it is. */
function characterQuestion(seed, number, characters) {
  const { ways, drawings, round } = CHARACTER, at = number % round, from = (number - at) * 100;
  const shown = characterDraw(seed, from, characters, ways), first = shown.map((character) => character * drawings);
  const asked = characterDraw(seed, from + ways, ways * (drawings - 1), round)[at], truth = asked % ways;
  return { first, asked: first[truth] + 1 + Math.floor(asked / ways), truth };
}

/** What each way of telling says of a new image after five known ones: chances, or the cosines of the pixels. */
function characterChances(net, phis, known, image) {
  const one = known.length / CHARACTER.ways, norm = (values) => Math.hypot(...values);
  const nearest = Float64Array.from({ length: CHARACTER.ways }, (_, k) => {
    const other = known.subarray(k * one, (k + 1) * one);
    return other.reduce((sum, value, i) => sum + value * image[i], 0) / (norm(other) * norm(image));
  });
  return { ...Object.fromEntries(Object.entries(phis).map(([name, phi]) => [name, chancesAlone(net, phi, known, image)])), nearest };
}

function characterLikeliest(values) {
  return values.indexOf(Math.max(...values));
}

function render({ model, el }) {
  const { words, ways, drawings, pad: side } = CHARACTER, { game } = words, get = (name) => model.get(name);
  const own = (pad) => pad !== "" && pad[0] !== "#";
  let chances = /** @type {any} */ (null), drawing = false; // a goal that is ticked moves the pads: not under a pen
  const frame = createFrame(el, model, {
    title: words.title, summary: words.summary,
    fits: ({ pads = get("pads"), seed = 0, answers = "" }) => pads.length === ways + 1 && Number.isInteger(seed) &&
      /^[0-4]{0,200}$/.test(answers) && pads.every((pad) => CHARACTER_PAD.test(pad) && (pad[0] !== "#" || Number(pad.slice(1)) < sheet.length)),
    goals: [
      { text: words.goals.own, reached: () => !drawing && get("mode") === "draw" && get("pads").every(own) },
      { text: words.goals.differ, reached: () => !drawing && get("mode") === "draw" && chances && own(get("pads")[ways])
        && characterLikeliest(chances["Meta-SGD"]) !== characterLikeliest(chances.nearest) },
      { text: fill(words.goals.game, { count: CHARACTER.goal }), reached: () => get("answers").length >= CHARACTER.goal },
    ],
  });
  const sheet = characterSheet(get("_sheet")), characters = sheet.length / drawings, net = makeConvNet(ways, CHARACTER.filters);
  let starts;
  try {
    const [theta, alpha, other] = storedRows(get("_weights"), [net.count, net.count, net.count], 16);
    starts = { none: [theta, 0], MAML: [other, get("_rate")], "Meta-SGD": [theta, alpha] };
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  frame.root.append(element("style", { text: CHARACTER_STYLE }));
  frame.stage.append(addSelect(frame, CHARACTER, "mode", Object.entries(words.modes)).parentNode);

  // ---- what is drawn

  /** A picture of pixels or of strokes, `view` units wide and high. */
  const picture = (view, attributes) => {
    const svg = svgNode("svg", { viewBox: `0 0 ${view} ${view}`, ...attributes });
    svg.append(svgNode("path", { "stroke-linecap": "round", "stroke-linejoin": "round" }));
    return svg;
  };
  const small = () => picture(CONVNET.size, { class: "mf-glyph", "aria-hidden": "true" });
  const paintPixels = (svg, image) => {
    const d = Array.from(image, (there, k) => (there ? `M${k % CONVNET.size} ${Math.floor(k / CONVNET.size)}h1v1h-1Z` : "")).join("");
    const attributes = { d, fill: palette().text, stroke: palette().text, "stroke-width": 0.15, transform: "" };
    for (const [name, value] of Object.entries(attributes)) svg.firstChild.setAttribute(name, value);
  };
  const paintStrokes = (svg, strokes) => {
    const d = strokes.map((points) => `M${points.map((point) => point.join(" ")).join("L")}${points.length > 1 ? "" : "h0"}`).join("");
    const attributes = { d, fill: "none", stroke: palette().text, "stroke-width": CHARACTER.pen, transform: "" };
    for (const [name, value] of Object.entries(attributes)) svg.firstChild.setAttribute(name, value);
  };
  const seen = new Map(); // what the networks get to see of a pad
  const imageOf = (pad) => {
    if (!seen.has(pad)) seen.set(pad, pad === "" ? null : pad[0] === "#" ? sheet[Number(pad.slice(1))] : inked(characterStrokes(pad)));
    return seen.get(pad);
  };

  // ---- drawing

  const place = element("div", { class: "mf-pads", role: "group", "aria-label": words.pads });
  const setPad = (k, pad) => frame.set({ pads: get("pads").map((old, i) => (i === k ? pad : old)) });
  let picks = 0;
  /** Another offered drawing: of a character that no pad has; of one that a pad has, for the last. */
  const pick = (k) => {
    const pads = get("pads"), there = pads.map((pad) => (pad[0] === "#" ? Math.floor(Number(pad.slice(1)) / drawings) : -1));
    const learned = there.slice(0, ways).filter((character) => character >= 0);
    const open = k === ways && learned.length ? learned : Array.from({ length: characters }, (_, c) => c).filter((c) => !there.includes(c));
    const offered = open.flatMap((c) => Array.from({ length: drawings }, (_, i) => `#${c * drawings + i}`)).filter((pad) => !pads.includes(pad));
    const other = k === ways ? offered : offered.filter((pad) => Number(pad.slice(1)) % drawings === 0);
    setPad(k, other[Math.floor(mulberry(7, picks++) * other.length)]);
  };
  const pads = Array.from({ length: ways + 1 }, (_, k) => {
    const name = k < ways ? fill(words.pad, { number: k + 1 }) : words.last, svg = picture(side, { role: "img", class: "mf-pad", "data-key": `pad ${k}` });
    const bar = element("div", { class: "mf-buttons" });
    for (const [act, press] of /** @type {any[]} */ ([[words.pick, () => pick(k)], [words.clear, () => setPad(k, "")]])) {
      addButton(frame, act, press, bar).setAttribute("aria-label", fill(words.act, { act, pad: name }));
    }
    place.append(element("div", {}, element("span", { text: k < ways ? String(k + 1) : words.query }), svg, bar));
    drawIn(svg, k);
    return { name, svg };
  });
  frame.stage.append(place);

  /** Strokes by mouse, pen or finger; the first on an offered character takes its place. */
  function drawIn(svg, k) {
    let held = -1, last = [0, 0];
    svg.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    const mark = (event, begins) => {
      const { x, y } = placeIn(svg, event), at = [x, y].map((v) => Math.min(side - 1, Math.max(0, Math.round(v))));
      if (!begins && Math.hypot(at[0] - last[0], at[1] - last[1]) < CHARACTER.apart) return;
      last = at;
      const pad = get("pads")[k], before = own(pad) ? pad : "";
      if (before.length > CHARACTER.most) return frame.note(words.full);
      setPad(k, `${before}${before && begins ? " " : ""}${at.map((v) => v.toString(16).padStart(2, "0")).join("")}`);
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.button || held >= 0) return;
      held = event.pointerId;
      drawing = true;
      svg.setPointerCapture(held);
      event.preventDefault();
      frame.note("");
      mark(event, true);
    });
    svg.addEventListener("pointermove", (event) => { if (event.pointerId === held) mark(event, !own(get("pads")[k])); });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) svg.addEventListener(end, () => {
      held = -1;
      drawing = false;
      frame.redraw();
    });
  }

  const rows = Array.from({ length: ways }, (_, k) => {
    const glyph = small(), head = element("th", { scope: "row" }, String(k + 1));
    head.append(glyph);
    const cells = Object.keys(words.columns).map((name) => {
      const bar = element("i"), text = element("span", { "data-chance": `${name} ${k + 1}` });
      return { name, bar, text, cell: element("td", {}, text, bar) };
    });
    return { glyph, cells, row: element("tr", {}, head, ...cells.map(({ cell }) => cell)) };
  });
  const asked = small();
  const corner = element("td", {});
  corner.append(asked);
  const table = element("table", { class: "mf-chances" }, element("caption", { text: words.table }),
    element("thead", {}, element("tr", {}, corner, ...Object.values(words.columns).map((text) => element("th", { scope: "col", text })))),
    element("tbody", {}, ...rows.map(({ row }) => row)));
  const verdict = element("div", {}, table);
  frame.stage.append(verdict);

  // ---- the game

  const question = picture(CONVNET.size, { role: "img", "aria-label": game.query, class: "mf-asked" });
  const answers = element("div", { class: "mf-answers", role: "group", "aria-label": game.asked });
  const choices = Array.from({ length: ways }, (_, k) => {
    const button = addButton(frame, "", () => frame.set({ answers: get("answers") + k }), answers), glyph = small();
    button.setAttribute("aria-label", fill(game.answer, { number: k + 1 }));
    button.append(glyph, String(k + 1));
    return glyph;
  });
  const board = element("div", { class: "mf-game" }, answers);
  board.prepend(question);
  frame.stage.append(board);
  const again = addButton(frame, game.again, () => frame.set({ seed: (get("seed") + 1) % CHARACTER.seeds[1], answers: "" }));

  // ---- what the networks say

  const memory = new Map();
  /** Keep what was computed for what the reader has not changed. */
  const once = (key, make) => {
    if (!memory.has(key)) memory.set(key, make());
    return memory.get(key);
  };
  const adapted = (key, images) => once(`adapted ${key}`, () => {
    const known = new Float64Array(ways * CONVNET.size ** 2);
    images.forEach((image, k) => known.set(image, k * image.length));
    const phis = Object.fromEntries(Object.entries(starts).map(([name, [theta, alpha]]) =>
      [name, name === "none" ? theta : convStep(net, theta, alpha, known)]));
    return { known, phis };
  });
  const told = (key, images, asks, image) => {
    const { known, phis } = adapted(key, images);
    return once(`${key} asks ${asks}`, () => characterChances(net, phis, known, image));
  };

  function drawPads() {
    const all = get("pads"), images = all.map(imageOf), known = images.slice(0, ways), last = images[ways];
    pads.forEach(({ name: pad, svg }, k) => {
      if (own(all[k])) paintStrokes(svg, characterStrokes(all[k]));
      else paintPixels(svg, images[k] ?? []);
      if (!own(all[k])) svg.firstChild.setAttribute("transform", `scale(${side / CONVNET.size})`);
      const holds = all[k] === "" ? fill(words.holds.empty, { pad })
        : own(all[k]) ? fill(words.holds.drawn, { pad }) : fill(words.holds.offered, { pad, number: Math.floor(Number(all[k].slice(1)) / drawings) + 1 });
      svg.setAttribute("aria-label", holds);
    });
    const whole = known.every(Boolean);
    chances = whole && last ? told(all.slice(0, ways).join(), known, all[ways], last) : null;
    paintPixels(asked, last ?? []);
    rows.forEach(({ glyph, cells }, k) => {
      paintPixels(glyph, known[k] ?? []);
      for (const { name, bar, text, cell } of cells) {
        const value = chances ? chances[name][k] : 0, first = chances && characterLikeliest(chances[name]) === k;
        text.textContent = !chances ? "" : name === "nearest" ? value.toFixed(2) : fill(words.share, { share: Math.round(100 * value) });
        cell.toggleAttribute("data-first", Boolean(first));
        bar.style.cssText = `width: ${(100 * value).toFixed(1)}%; background: ${FRAME.methods[name] ? methodColour(name) : palette().grey}`;
      }
    });
    const missing = known.filter((image) => !image).length;
    if (missing) return frame.say(fill(words.empty, { count: missing }));
    if (!chances) return frame.say(words.unasked);
    const says = (name) => String(characterLikeliest(chances[name]) + 1);
    frame.say(...marked(words.said, {
      MetaSGD: says("Meta-SGD"), share: Math.round(100 * Math.max(...chances["Meta-SGD"])), MAML: says("MAML"),
      nearest: says("nearest"), none: says("none"),
    }));
  }

  function drawGame() {
    const seed = get("seed"), said = get("answers"), count = said.length, now = characterQuestion(seed, count, characters);
    choices.forEach((glyph, k) => paintPixels(glyph, sheet[now.first[k]]));
    paintPixels(question, sheet[now.asked]);
    const right = { you: 0, MAML: 0, "Meta-SGD": 0, nearest: 0 };
    let last = /** @type {any} */ (null);
    for (let k = 0; k < count; k++) {
      const { first, asked: query, truth } = characterQuestion(seed, k, characters);
      const found = told(first.join(), first.map((i) => sheet[i]), query, sheet[query]), you = Number(said[k]);
      last = { truth: truth + 1, you: you + 1, MetaSGD: characterLikeliest(found["Meta-SGD"]) + 1 };
      right.you += Number(you === truth);
      for (const name of ["MAML", "Meta-SGD", "nearest"]) right[name] += Number(characterLikeliest(found[name]) === truth);
    }
    tally((name) => fill(game.tally, { right: right[name] }));
    if (!last) return frame.say(game.begun);
    const renewed = count % CHARACTER.round ? [] : [" ", game.renewed];
    frame.say(...marked(game.told, { ...last, count, yours: right.you, its: right["Meta-SGD"] }), ...renewed);
  }

  /** How often the others are right, which the sentence leaves out. */
  const tally = (text) => {
    for (const [name, label] of Object.entries(game.right)) setReadout(frame, `${name} right`, text(name), label);
  };

  frame.onRedraw(() => {
    const playing = get("mode") === "game";
    for (const node of [place, verdict]) node.hidden = playing;
    for (const node of [board, again, frame.readouts]) node.hidden = !playing;
    if (memory.size > 300) memory.clear(); // of a long drawing's every point
    if (playing) return drawGame();
    tally(() => "");
    drawPads();
  });
  return frame.close;
}

export default { render };

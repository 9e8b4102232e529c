// Beat the guesser: matching pennies against five logits that take a step every ten rounds.

/**
 * A game, round after round. What is seen: nothing yet, or both last moves, the guesser's own first.
 * @param {{theta: Float64Array, alpha: Float64Array}} start
 * @param {string} moves letters H and T
 */
function guesserGame({ theta, alpha }, moves) {
  const logits = Float64Array.from(theta), guesses = [], fixed = [];
  let seen = 0, still = 0, lately = /** @type {{seen: number, heads: number}[]} */ ([]);
  for (const move of moves) {
    const heads = Number(move === "H"), guess = Number(logits[seen] >= 0), other = Number(theta[still] >= 0);
    guesses.push(guess);
    fixed.push(other);
    lately.push({ seen, heads });
    seen = 4 - 2 * guess - heads;
    still = 4 - 2 * other - heads;
    if (lately.length < GUESSER.rounds) continue;
    const gradient = new Float64Array(logits.length); // of minus the mean log-probability of what was shown
    for (const round of lately) {
      gradient[round.seen] += (1 / (1 + Math.exp(-logits[round.seen])) - round.heads) / lately.length;
    }
    gradient.forEach((slope, i) => { logits[i] -= alpha[i] * slope; });
    lately = [];
  }
  return { logits, guesses, fixed };
}

/** Wilson's 95 % interval of a share, in percent. */
function guesserInterval(hits, count) {
  const z = GUESSER.normal, middle = hits / count + z * z / (2 * count);
  const half = z * Math.sqrt(hits * (count - hits) / count ** 3 + z * z / (4 * count * count));
  return [-1, 1].map((sign) => 100 * (middle + sign * half) / (1 + z * z / count));
}

function render({ model, el }) {
  const { words, players, most, wide, normal, rounds } = GUESSER;
  const now = { count: 0, low: 0, high: 100 };
  const yours = () => model.get("player") === "you";
  const frame = createFrame(el, model, {
    title: words.title, summary: fill(words.summary, { rounds }),
    goals: [
      { text: words.goals.play, reached: () => yours() && now.count >= 30 },
      { text: words.goals.habit, reached: () => yours() && now.low > 50 },
      { text: words.goals.beat, reached: () => yours() && now.count > 0 && now.high < 50 },
    ],
  });
  let start;
  try {
    const [theta, alpha] = storedRows(model.get("_weights"), [5, 5]);
    start = { theta, alpha };
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  frame.checks.moves = (value) => value.length <= most && /^[HT]*$/.test(value);
  const plot = createPlot(frame, { height: 280, x: [0, wide], y: [-20, 20], xlabel: words.x, ylabel: words.y, label: words.plot });
  const show = (letter) => () => {
    if (model.get("moves").length < most) frame.set({ moves: model.get("moves") + letter });
  };
  const coins = [addButton(frame, words.heads, show("H")), addButton(frame, words.tails, show("T"))];
  const again = addButton(frame, words.again, () => frame.set({ moves: "", player: "you" }));
  frame.buttons.prepend(...coins, again); // before Reset and the link
  addSelect(frame, GUESSER, "player", [["you", words.you], ...players.map(([name]) => [name, words.players[name]])]);

  frame.onRedraw(() => {
    const colours = palette(), own = methodColour("Meta-SGD");
    const given = players.find(([name]) => name === model.get("player")), moves = given ? given[1] : model.get("moves");
    const game = guesserGame(start, moves), heads = Array.from(moves, (move) => Number(move === "H")), count = moves.length;
    for (const coin of coins) coin.disabled = Boolean(given) || count >= most;
    const right = (guesses) => guesses.map((guess, i) => Number(guess === heads[i]));
    const sum = (hits) => hits.reduce((total, hit) => total + hit, 0);
    const lead = (hits) => hits.reduce((path, hit) => [...path, path.at(-1) + 2 * hit - 1], [0]);
    const [hits, still] = [game.guesses, game.fixed].map(right), hit = sum(hits), [paths, calm] = [hits, still].map(lead);
    const end = Math.max(wide, count), tall = Math.max(20, ...paths.map(Math.abs), ...calm.map(Math.abs)) + 4;
    const axis = Float64Array.from({ length: 101 }, (_, i) => end * (i / 100) ** 2), band = axis.map((n) => normal * Math.sqrt(n));
    plot.setDomain({ x: [0, end], y: [-tall, tall] });
    plot.area("band", axis, band.map((v) => -v), band, { colour: colours.grey });
    plot.curve("level", [0, end], [0, 0], { colour: colours.grey, width: 1 });
    const line = (path) => Array.from(path, (_, i) => i);
    plot.curve("fixed", line(calm), calm, { colour: colours.grey, dash: "7 4" });
    plot.curve("guesser", line(paths), paths, { colour: own });
    const steps = line(paths).filter((i) => i && i % rounds === 0);
    plot.points("steps", steps, steps.map((i) => paths[i]), { colour: own, radius: 3.5 });
    plot.legend([
      { label: words.names.guesser, colour: own }, { label: words.names.fixed, colour: colours.grey, dash: "7 4" },
      { label: words.names.band, colour: colours.grey, dash: "0 7" },
    ]);
    Object.assign(now, { count, low: 0, high: 100 });
    if (!count) {
      frame.say(words.empty);
      return;
    }
    [now.low, now.high] = guesserInterval(hit, count);
    const side = (coin) => (coin ? words.sides.heads : words.sides.tails), share = hit / count;
    const far = 2 * hit === count ? Infinity : (normal / (2 * share - 1)) ** 2;
    const half = now.low > 50 ? words.read : now.high < 50 ? words.fooled : far <= 1e5 ? fill(words.open, { needed: Math.ceil(far) }) : words.level;
    frame.say(
      ...marked(words.said, {
        round: count, shown: side(heads[count - 1]), guess: side(game.guesses[count - 1]), hits: hit, share: (100 * share).toFixed(0),
        low: now.low.toFixed(0), high: now.high.toFixed(0), fixed: sum(still),
      }),
      " ", half,
      ...(count >= 2 * rounds ? [" ", ...marked(words.changed, { rounds, first: sum(hits.slice(0, rounds)), last: sum(hits.slice(-rounds)) })] : []),
    );
  });
  return frame.close;
}

export default { render };

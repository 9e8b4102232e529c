// Words come from a table, metasgd_core/widgets/words.py: a script only fills them in.

const PLURALS = new Intl.PluralRules(WORDS.language);

/**
 * A sentence with its blanks filled; of several, the one that `count` asks for.
 * @template {string | {other: string}} S
 * @param {S} sentence
 * @param {Blanks<S>} values by the names of the blanks
 */
function fill(sentence, values) {
  const given = /** @type {any} */ (values);
  const whole = typeof sentence === "string" ? sentence : sentence[PLURALS.select(given.count)];
  return whole.replace(/\{(\w+)\}/g, (_, name) => given[name]);
}

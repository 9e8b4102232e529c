// Words come from a table, metasgd_core/widgets/words.py: a script only fills them in.

const PLURALS = new Intl.PluralRules(WORDS.language);

/** A sentence's words and, at the odd places, the names of its blanks; of several, the one for `count`. */
function partsOf(sentence, count) {
  return (typeof sentence === "string" ? sentence : sentence[PLURALS.select(count)]).split(/\{(\w+)\}/);
}

/**
 * A sentence with its blanks filled; of several, the one that `count` asks for.
 * @template {string | {other: string}} S
 * @param {S} sentence
 * @param {Blanks<S>} values by the names of the blanks
 */
function fill(sentence, values) {
  const given = /** @type {any} */ (values);
  return partsOf(sentence, given.count).map((part, i) => (i % 2 ? given[part] : part)).join("");
}

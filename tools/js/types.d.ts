// Types that the scripts of the figures share. tools/check_js.py adds the constants that Python gives them.

/** The names in braces in a sentence, or in any of its plural forms. */
type Names<S> = S extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never;
type Blanks<S> = S extends string
  ? Record<Names<S>, unknown>
  : { count: number } & Record<Names<S[keyof S]>, unknown>;

/** As `values[i]` is, the last of a list is taken to be there. */
interface Array<T> { at(index: number): T }

/** A figure's constant, as the controls read it. */
interface Table {
  ranges?: Readonly<Record<string, readonly [number, number]>>;
  words?: { controls: Readonly<Record<string, string>>; units?: Readonly<Record<string, string>> };
}

/** What a figure needs of an anywidget model; `linked` only where a page plays the part of one. */
interface Model {
  get(trait: string): any;
  set(trait: string, value: any): void;
  save_changes(): void;
  on(event: string, heard: () => void): void;
  off(event: string, heard: () => void): void;
  linked?: boolean;
}

/** What a reader is asked to find, whether it is found, and what is done when its turn comes. */
interface Goal { text: string; reached?: () => boolean; begin?: () => void }

/** What makeNetwork returns: where each layer's numbers stand. */
interface Network {
  sizes: number[];
  activation: string;
  count: number;
  layers: { weight: number; bias: number; in: number; out: number }[];
}

/** One rate, one for each number of theta, or what makes the gradient a move. */
type Alpha = number | Float64Array | ((gradient: Float64Array) => Float64Array);

/** How something is drawn. */
interface Style {
  colour?: string;
  width?: number;
  dash?: string;
  opacity?: number;
  fill?: string;
  radius?: number;
  shape?: string;
}

interface Window {
  bookFigureCount?: number;
  bookFigures: any;
  MathJax?: any;
  deck: any;
}

/** reveal.js, on slides. */
declare const Reveal: any;

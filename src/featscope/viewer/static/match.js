// What belongs together in two runs, scales that several panels share, and the sizes of a grid. No DOM: tests run this file in Node.
import { fitView } from './draw/placement.js';
import { sharedBounds } from './draw/ranges.js';

/** @typedef {import('./draw/placement.js').View} View */
/** @typedef {{layer: string, field: string, levels: {level: number, shape?: string}[]}} Group */
/** @typedef {{group: number, level: number}} Place */
/** @typedef {{shape: number[], reduce: string, channels: number, placement: import('./draw/placement.js').Placement}} Header */

/** Names that tell runs apart: those of the same name get as much of their folder as it takes. @param {{name: string, folder: string}[]} runs */
export function runNames(runs) {
  const parts = runs.map(({ folder }) => folder.split(/[\\/]/).filter(Boolean));
  return runs.map(({ name }, number) => {
    const others = runs.map((_, other) => other).filter((other) => other !== number && runs[other].name === name);
    if (!others.length) return name;
    const { length } = parts[number];
    let depth = 2;
    while (
      depth < length &&
      others.some((other) => parts[other].slice(-depth).join('/') === parts[number].slice(-depth).join('/'))
    )
      depth++;
    const text = parts[number].slice(-depth).join('/') || name;
    return others.some((other) => parts[other].join('/') === parts[number].join('/'))
      ? `${text} (${number + 1})`
      : text;
  });
}

/** The run that the one in front is compared with. @param {{run: number, against: number}} state @param {number} count  of runs */
export const otherRun = ({ run, against }, count) => (against < count && against !== run ? against : run === 0 ? 1 : 0);

/** Samples by their names: `both` and `a` are indices of the first list, `b` of the second. @param {string[]} a @param {string[]} b */
export function matchSamples(a, b) {
  const inA = new Set(a),
    inB = new Set(b);
  const every = [...a.keys()];
  return {
    both: every.filter((i) => inB.has(a[i])),
    a: every.filter((i) => !inB.has(a[i])),
    b: [...b.keys()].filter((i) => !inA.has(b[i])),
  };
}

/**
 * The map of B that belongs to a map of A: that of the same layer, field and level, else the most alike; `instead` says what differs.
 * A layer under another name has to share a part of its name. Null: only A has it.
 * @param {Group} wanted @param {number} level @param {Group[]} groups  of B @param {Place[]} maps  those that B's sample has
 * @returns {Place & {instead: ''|'layer'|'field'|'level'}|null}
 */
export function counterpart(wanted, level, groups, maps) {
  const shape = shapeOf(wanted, level);
  let most = 0;
  let found = null;
  for (const map of maps) {
    const group = groups[map.group];
    if (!group) continue;
    const alike = likeness(wanted.layer, group.layer);
    if (!alike) continue;
    const field = group.field === wanted.field;
    /** @type {''|'layer'|'field'|'level'} */
    const instead = alike < Infinity ? 'layer' : !field ? 'field' : map.level !== level ? 'level' : '';
    const score =
      1e6 * Math.min(alike, 1000) +
      (field ? 1e5 : 0) -
      10 * Math.min(Math.abs(map.level - level), 999) +
      (shapeOf(group, map.level) === shape ? 5 : 0);
    if (found && score <= most) continue;
    most = score;
    found = { group: map.group, level: map.level, instead };
  }
  return found;
}

/** @param {Group} group @param {number} level */
const shapeOf = (group, level) => group.levels.find((each) => each.level === level)?.shape;

/** How many parts two names of layers have in common, at the start or at the end. @param {string} a @param {string} b */
function likeness(a, b) {
  if (a === b) return Infinity;
  const parts = a.split('.'),
    others = b.split('.');
  let first = 0,
    last = 0;
  while (first < parts.length && parts[first] === others[first]) first++;
  while (last < parts.length && parts[parts.length - 1 - last] === others[others.length - 1 - last]) last++;
  return Math.max(first, last);
}

/** Why B - A cannot be drawn: the key of the words and their values; null if it can. @param {Header} a @param {Header} b @returns {[string, ...string[]]|null} */
export function whyNoDifference(a, b) {
  if (a.reduce !== b.reduce) return ['compare.not_reduce', a.reduce, b.reduce];
  if (String(a.shape) !== String(b.shape)) return ['compare.not_shape', a.shape.join(' × '), b.shape.join(' × ')];
  /** @param {Header} header */
  const numbers = ({ placement: { frame, cells, crop } }) => [...frame, ...cells, ...(crop ?? [0, 0, ...frame])];
  const others = numbers(b);
  const same =
    a.placement.flip === b.placement.flip && numbers(a).every((value, i) => Math.abs(value - others[i]) <= 1e-3);
  return same ? null : ['compare.not_place'];
}

/**
 * One scale for all panels of a kind. A panel that is the only one of its kind keeps its own.
 * @param {{kind: string, bounds: number[]}[]} panels
 * @returns {Map<string, number[]>} by kind
 */
export function scalesOf(panels) {
  /** @type {Map<string, number[][]>} */
  const kinds = new Map();
  for (const { kind, bounds } of panels) kinds.set(kind, [...(kinds.get(kind) ?? []), bounds]);
  return new Map([...kinds].filter(([, all]) => all.length > 1).map(([kind, all]) => [kind, sharedBounds(all)]));
}

/** The levels that any layer has, ascending. @param {Group[]} groups */
export const levelsOf = (groups) =>
  [...new Set(groups.flatMap((group) => group.levels.map(({ level }) => level)))].sort((a, b) => a - b);

/** As many tiles beside each other as fit, and the width that fills the row. @param {number} width @param {number} wanted @param {number} gap */
export function tilesAcross(width, wanted, gap) {
  const columns = Math.max(1, Math.floor((width + gap) / (wanted + gap)));
  return { columns, tile: Math.max(1, Math.floor((width - gap * (columns - 1)) / columns)) };
}

/** Whether two panels are larger below each other than side by side. @param {number} width @param {number} height @param {number[]} frame [height, width] @param {number} chrome  what each has above and below its picture */
export function stacked(width, height, [tall, wide], chrome) {
  const beside = Math.min(width / 2 / wide, (height - chrome) / tall);
  return Math.min(width / wide, (height / 2 - chrome) / tall) > beside;
}

/**
 * The view that shows, in another panel and on another frame, the same part.
 * @param {View} view @param {number[]} frame [height, width] @param {number[]} size  of the panel, [width, height] @param {number[]} toFrame @param {number[]} toSize
 * @returns {View}
 */
export function sameView(view, frame, size, toFrame, toSize) {
  const zoom = view.scale / fitView(frame, size[0], size[1]).scale;
  return {
    x: (view.x * toFrame[1]) / frame[1],
    y: (view.y * toFrame[0]) / frame[0],
    scale: zoom * fitView(toFrame, toSize[0], toSize[1]).scale,
  };
}

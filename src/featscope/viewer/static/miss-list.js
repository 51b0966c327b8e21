// Which misses or false alarms are listed, and in which order. No DOM: tests run this file in Node.
import { within } from './list.js';

/** @typedef {import('./state.js').LostFilters} LostFilters */
/**
 * @typedef {object} MissColumns
 * @property {number[]} sample  numbers of samples
 * @property {number[]} number  of the object or of the detection in its sample
 * @property {string[]} label
 * @property {number[]} x
 * @property {number[]} y
 * @property {number[]} size
 * @property {(number|null)[]} score
 * @property {string[]} [stage]
 * @property {string[]} [verdict]
 * @property {string[]} [other]  'found' or 'missed' in the other run, '' if that does not count it
 * @property {string[]} [kind]  of a false alarm
 * @property {number[]} [iou]
 * @property {string[]} [about]
 */
/** @typedef {'label'|'stage'|'verdict'|'kind'} Named */

export class MissList {
  /** @param {MissColumns} columns @param {string[]} ids  of the samples by their numbers */
  constructor(columns, ids) {
    this.columns = columns;
    this.ids = ids;
    this.size = columns.sample.length;
    /** @type {Map<string, number>} */
    this.places = new Map(columns.sample.map((sample, row) => [`${sample} ${columns.number[row]}`, row]));
  }

  /** The row of an object or a detection, -1 if it is not among them. @param {number} sample @param {number} number */
  rowOf(sample, number) {
    return this.places.get(`${sample} ${number}`) ?? -1;
  }

  /** The values of a column, the most frequent first, with their counts. @param {Named} name @returns {[string, number][]} */
  values(name) {
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const value of this.columns[name] ?? []) counts.set(value, (counts.get(value) ?? 0) + 1);
    return [...counts].filter(([value]) => value).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  }

  /**
   * The rows that fit, in their order. What has no score comes last either way.
   * @param {{search?: string, ranked?: string, lost?: LostFilters}} wanted @returns {number[]}
   */
  select({ search = '', ranked = '', lost }) {
    const { columns, ids } = this;
    const parts = search.toLowerCase().split(/\s+/).filter(Boolean);
    /** @type {[Named|'other', string|null|undefined][]} */
    const wanted = [
      ['label', lost?.class],
      ['stage', lost?.stage],
      ['verdict', lost?.verdict],
      ['kind', lost?.kind],
      ['other', lost?.other],
    ];
    // A filter of the other list's columns is kept, and does nothing here.
    const exact = wanted.filter(([name, value]) => value && columns[name]);
    const [from, to] = lost?.size ?? [null, null];
    const found = [...columns.sample.keys()].filter(
      (row) =>
        exact.every(([name, value]) => columns[name]?.[row] === value) &&
        within(columns.size[row], from, to) &&
        parts.every((part) => `${ids[columns.sample[row]]} ${columns.label[row]}`.toLowerCase().includes(part)),
    );
    const down = ranked.startsWith('-');
    const keys = /** @type {(number|null)[]|undefined} */ (
      /** @type {any} */ ({ score: columns.score, size: columns.size })[ranked.replace('-', '')]
    );
    if (!keys) return found;
    /** @param {number} row */
    const key = (row) => {
      const value = keys[row];
      return value === null ? Infinity : down ? -value : value;
    };
    return found.sort((a, b) => key(a) - key(b) || a - b);
  }
}

/** Whether the filters leave anything out of a list with these columns. @param {LostFilters} lost @param {MissColumns|null} columns */
export function isLimited(lost, columns) {
  return (
    lost.class !== null ||
    lost.size.some((side) => side !== null) ||
    (lost.stage !== null && !!columns?.stage) ||
    (lost.verdict !== null && !!columns?.verdict) ||
    (lost.kind !== null && !!columns?.kind) ||
    (lost.other !== null && !!columns?.other)
  );
}

const SHARE = 5; // the object takes a fifth of the panel's shorter side
const LARGEST = 12; // screen pixels of a pixel of the image

/** The view that has an object in its middle, with its surroundings. @param {number} x @param {number} y @param {number} size @param {number} width  of the panel @param {number} height */
export function viewOf(x, y, size, width, height) {
  const scale = Math.min(LARGEST, Math.min(width, height) / (SHARE * Math.max(1, size)));
  return { x: Math.round(x), y: Math.round(y), scale: Number(scale.toPrecision(3)) };
}

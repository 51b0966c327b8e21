// Which samples are listed, and in which order. No DOM: tests run this file in Node.

/** @typedef {import('./state.js').Filters} Filters */
/**
 * @typedef {object} Columns
 * @property {string[]} ids
 * @property {(number|null)[]} detections
 * @property {(number|null)[]} truths
 * @property {(number|null)[]} score
 * @property {(number|null)[]} smallest
 * @property {number[][]} classes
 * @property {boolean[]} [maps]  whether it has maps
 * @property {boolean[]} [image]  whether it has an image
 */

/** Runs of digits are compared as numbers: P2 before P10. @param {string} name */
const naturally = (name) => name.replace(/\d+/g, (digits) => digits.padStart(12, '0'));

export class SampleList {
  /** @param {Columns} columns */
  constructor(columns) {
    this.columns = columns;
    this.size = columns.ids.length;
    /** @type {string[]|null} */
    this.lower = null;
    /** @type {Map<string, Uint32Array>} */
    this.orders = new Map();
    /** @type {Map<string, number>|null} */
    this.places = null;
  }

  /** The ids in small letters; made when they are looked for. */
  get names() {
    this.lower ??= this.columns.ids.map((id) => id.toLowerCase());
    return this.lower;
  }

  /** The index of a sample, -1 if there is none. @param {string} id */
  indexOf(id) {
    this.places ??= new Map(this.columns.ids.map((name, index) => [name, index]));
    return this.places.get(id) ?? -1;
  }

  /** Objects of a sample: those detected or, without predictions, those known. @param {number} index */
  objects(index) {
    return this.columns.detections[index] ?? this.columns.truths[index] ?? 0;
  }

  /** All samples in an order such as '-score'. What has no value comes last either way. @param {string} sort */
  order(sort) {
    let order = this.orders.get(sort);
    if (order) return order;
    order = new Uint32Array(this.size);
    for (let index = 0; index < this.size; index++) order[index] = index;
    const down = sort.startsWith('-');
    const name = down ? sort.slice(1) : sort;
    if (name === 'name') {
      const keys = this.names.map(naturally);
      const sign = down ? -1 : 1;
      order.sort((a, b) => (keys[a] < keys[b] ? -sign : keys[a] > keys[b] ? sign : a - b));
    } else if (name) {
      const column = /** @type {(number|null)[]} */ (/** @type {any} */ (this.columns)[name]);
      const keys = Float64Array.from(column, (value) => (value === null ? Infinity : down ? -value : value));
      order.sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b));
    }
    this.orders.set(sort, order);
    return order;
  }

  /**
   * The samples that fit, in their order.
   * @param {{search?: string, sort?: string, filters?: Filters}} wanted
   * @returns {Uint32Array}
   */
  select({ search = '', sort = '', filters }) {
    const { columns, names } = this;
    const order = this.order(sort);
    const parts = search.toLowerCase().split(/\s+/).filter(Boolean);
    const [few, many] = filters?.objects ?? [null, null];
    const [small, large] = filters?.smallest ?? [null, null];
    const label = filters?.class ?? null;
    const least = filters?.score ?? null;
    const counted = few !== null || many !== null;
    const measured = small !== null || large !== null;
    if (!parts.length && label === null && least === null && !counted && !measured) return order;
    const found = new Uint32Array(this.size);
    let count = 0;
    for (const index of order) {
      if (parts.length && !parts.every((part) => names[index].includes(part))) continue;
      if (label !== null && !columns.classes[index].includes(label)) continue;
      if (least !== null && !((columns.score[index] ?? -1) >= least)) continue;
      if (counted && !within(this.objects(index), few, many)) continue;
      if (measured && !within(columns.smallest[index], small, large)) continue;
      found[count++] = index;
    }
    return found.subarray(0, count);
  }
}

/** Whether a value lies between two, either of which may be open. @param {number|null} value @param {number|null} from @param {number|null} to */
export function within(value, from, to) {
  return value !== null && (from === null || value >= from) && (to === null || value <= to);
}

/** Whether anything is left out of the list. @param {Filters} filters */
export function isFiltered(filters) {
  return (
    filters.class !== null ||
    filters.score !== null ||
    [...filters.objects, ...filters.smallest].some((value) => value !== null)
  );
}

/**
 * The map to show: the one that is asked for, or the nearest that the sample has. `instead` says what was not there.
 * @param {{layer: string, field: string, levels: {level: number}[]}[]} groups
 * @param {{group: number, level: number}[]} maps
 * @param {{layer: string, field: string, level: number}} wanted
 * @returns {{group: number, level: number, instead: ''|'layer'|'field'|'level'}|null}
 */
export function nearestMap(groups, maps, wanted) {
  const held = new Set(maps.map((map) => map.group));
  const numbers = [...held].filter((number) => groups[number]).sort((a, b) => a - b);
  if (!numbers.length) return null;
  /** @param {(group: {layer: string, field: string}) => boolean} fits */
  const first = (fits) => numbers.find((number) => fits(groups[number]));
  /** @type {''|'layer'|'field'|'level'} */
  let instead = '';
  let group = first(({ layer, field }) => layer === wanted.layer && field === wanted.field);
  if (group === undefined && wanted.layer) {
    group = first(({ layer }) => layer === wanted.layer);
    instead = group === undefined ? 'layer' : 'field';
  }
  group ??= likest(groups, numbers, wanted.layer);
  const levels = maps.filter((map) => map.group === group).map((map) => map.level);
  const level = levels.reduce((best, next) =>
    Math.abs(next - wanted.level) < Math.abs(best - wanted.level) ? next : best,
  );
  if (level !== wanted.level && !instead) instead = 'level';
  return { group, level, instead };
}

/** The layer with the most leading parts of the name in common. @param {{layer: string}[]} groups @param {number[]} numbers @param {string} name */
function likest(groups, numbers, name) {
  const parts = name.split('.');
  /** @param {number} number */
  const common = (number) => {
    const others = groups[number].layer.split('.');
    let count = 0;
    while (count < parts.length && parts[count] === others[count]) count++;
    return count;
  };
  return numbers.reduce((best, next) => (common(next) > common(best) ? next : best));
}

/** How many rows a key moves along a list; undefined if it moves nowhere. @param {KeyboardEvent} event @param {number} page rows that are in sight @param {number} count rows of the list */
export function rowsToMove(event, page, count) {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const far = Math.max(1, page - 1);
  /** @type {Record<string, number>} */
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: far, PageUp: -far, Home: -count, End: count };
  return by[event.key];
}

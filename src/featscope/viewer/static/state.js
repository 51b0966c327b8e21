// The whole state of the page, and its address after '#'. No DOM here: tests run this file in Node.
import { parseRange } from './draw/ranges.js';

/** @typedef {{class: number|null, score: number|null, objects: Pair, smallest: Pair}} Filters */
/** @typedef {{class: string|null, stage: string|null, verdict: string|null, kind: string|null, size: Pair, other: 'found'|'missed'|null}} LostFilters
 *  of the lists of misses and of false alarms; kind: of a false alarm; other: what became of it in the other run */
/** @typedef {[number|null, number|null]} Pair  from, to; null leaves a side open */
/**
 * @typedef {object} State
 * @property {'stage'|'grid'|'channels'|'compare'} mode
 * @property {number} run  the run in front
 * @property {number} against  the run it is compared with
 * @property {string} sample  the sample's id; '' is the first one
 * @property {string} layer  '' is the first one
 * @property {string} field
 * @property {number} level
 * @property {number} slice
 * @property {string} reduce  'auto' or the name of a reduction, or 'channel:N'
 * @property {string} colormap  'auto' or a name
 * @property {string} range  'auto', 'map', 'percentile:a:b', 'symmetric', 'symmetric:q' or 'lo:hi'
 * @property {boolean} shared  one scale of colours for all maps on the page
 * @property {boolean} apart  where runs are compared, which have one scale otherwise: each its own
 * @property {number} opacity
 * @property {'grey'|'colour'|'none'} photo
 * @property {boolean} fade
 * @property {boolean} smooth
 * @property {'none'|'detections'|'truth'|'both'} boxes
 * @property {number} score  detections below it are not drawn
 * @property {number[]} classes  the classes that are hidden, ascending
 * @property {{kind: 'detection'|'truth', number: number}|null} box  the selected box
 * @property {string|null} explanation  the name of the stored explanation that is shown in place of the map
 * @property {{x: number, y: number, scale: number}|null} view  null fits the image
 * @property {'peak'|'mean'} by
 * @property {string} order  'number', 'energy', 'sparsity', 'contrast' or 'similarity:N'
 * @property {number} size
 * @property {'levels'|'samples'} grid
 * @property {number} tile  the width of a tile of the grid in pixels; 0: as the page has room
 * @property {'side'|'swipe'|'blink'|'difference'} compare
 * @property {number} swipe  0 to 1
 * @property {string} search
 * @property {string} sort  '' is the order of the run; '-score' is by score, highest first
 * @property {Filters} filters
 * @property {'samples'|'misses'|'alarms'} list  which list stands beside the map
 * @property {string} ranked  the order of misses and false alarms: '' is that of the run; '-score' is by score, highest first
 * @property {LostFilters} lost
 */

/** @type {State} */
export const DEFAULTS = Object.freeze({
  mode: 'stage',
  run: 0,
  against: 1,
  sample: '',
  layer: '',
  field: '',
  level: 0,
  slice: 0,
  reduce: 'auto',
  colormap: 'auto',
  range: 'auto',
  shared: false,
  apart: false,
  opacity: 0.7,
  photo: 'grey',
  fade: true,
  smooth: true,
  boxes: 'both',
  score: 0.3,
  classes: [],
  box: null,
  explanation: null,
  view: null,
  by: 'peak',
  order: 'number',
  size: 96,
  grid: 'levels',
  tile: 0,
  compare: 'side',
  swipe: 0.5,
  search: '',
  sort: '',
  filters: Object.freeze({
    class: null,
    score: null,
    objects: /** @type {Pair} */ ([null, null]),
    smallest: /** @type {Pair} */ ([null, null]),
  }),
  list: 'samples',
  ranked: '',
  lost: Object.freeze({
    class: null,
    stage: null,
    verdict: null,
    kind: null,
    size: /** @type {Pair} */ ([null, null]),
    other: null,
  }),
});

/** Whether all maps on the page have one scale. @param {State} state */
export const isShared = ({ shared, apart, mode }) => (mode === 'compare' ? !apart : shared);
/** What makes it so. @param {State} state @param {boolean} shared @returns {Partial<State>} */
export const sharing = ({ mode }, shared) => (mode === 'compare' ? { apart: !shared } : { shared });

export const SORTS = ['name', 'detections', 'truths', 'score', 'smallest'];
export const RANKS = ['score', 'size'];
const VERSION = '1';
/** Changes of these are steps that 'back' undoes. */
const STEPS = new Set(['mode', 'run', 'sample', 'layer', 'field', 'level']);

/** @param {string} text @returns {number|undefined} */
export function toNumber(text) {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : undefined;
}

/** Whether a text names a range of values. @param {string} text */
export const isRange = (text) => text === 'auto' || parseRange(text) !== null;

/**
 * How one field is written and read; read gives undefined for what is wrong.
 * @template T
 * @typedef {{read: (text: string) => T|undefined, write: (value: T) => string}} Codec
 */

/** @template {string} T @param {T[]} values @returns {Codec<T>} */
const oneOf = (...values) => ({ read: (text) => values.find((value) => value === text), write: String });

/** @param {number} low @param {number} high @returns {Codec<number>} */
const real = (low, high) => ({
  read: (text) => {
    const value = toNumber(text);
    return value !== undefined && value >= low && value <= high ? value + 0 : undefined;
  },
  write: String,
});

/** @param {number} [low] @param {number} [high] @returns {Codec<number>} */
const whole = (low = 0, high = 999999999) => ({
  read: (text) => (/^\d{1,9}$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
  write: String,
});

/** @type {Codec<boolean>} */
const yes = {
  read: (text) => (text === '1' ? true : text === '0' ? false : undefined),
  write: (value) => (value ? '1' : '0'),
};

/** A text of at most `most` characters in the address. @param {number} most @param {(text: string) => boolean} [fits] @returns {Codec<string>} */
const words = (most, fits = () => true) => ({
  read: (text) => (escaped(text).length <= most && fits(text) ? text : undefined),
  write: (value) => (escaped(value).length <= most ? value : ''),
});

/** @template T @param {Codec<T>} codec @returns {Codec<T|null>} */
const maybe = (codec) => ({ read: codec.read, write: (value) => (value === null ? '' : codec.write(value)) });

/** @type {Codec<Pair>} */
const pair = {
  read: (text) => {
    const parts = text.split('~');
    if (parts.length !== 2) return undefined;
    const [a, b] = parts.map((part) => (part === '' ? null : real(0, 1e9).read(part)));
    return a === undefined || b === undefined ? undefined : [a, b];
  },
  write: ([a, b]) => (a === null && b === null ? '' : `${a ?? ''}~${b ?? ''}`),
};

/** Whole numbers, ascending: '0-4,7'. @type {Codec<number[]>} */
const numbers = {
  read: (text) => {
    if (!/^\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*$/.test(text) || text.length > 400) return undefined;
    const all = new Set();
    for (const part of text.split(',')) {
      const [first, last = first] = part.split('-').map(Number);
      if (last < first || last - first > 99999) return undefined;
      for (let number = first; number <= last; number++) all.add(number);
    }
    return [...all].sort((a, b) => a - b);
  },
  write: (value) => {
    /** @type {[number, number][]} */
    const spans = [];
    for (const number of value) {
      const span = spans[spans.length - 1];
      if (span && span[1] + 1 === number) span[1] = number;
      else spans.push([number, number]);
    }
    const text = spans.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
    return text.length <= 400 ? text : '';
  },
};

/** @type {Codec<State['box']>} */
const box = {
  read: (text) =>
    /^[dt]\d{1,6}$/.test(text)
      ? { kind: text[0] === 'd' ? 'detection' : 'truth', number: Number(text.slice(1)) }
      : undefined,
  write: (value) => (value ? value.kind[0] + value.number : ''),
};

/** @type {Codec<State['view']>} */
const view = {
  read: (text) => {
    const [x, y, scale, ...more] = text.split(',').map(toNumber);
    return x === undefined || y === undefined || scale === undefined || scale <= 0 || more.length
      ? undefined
      : { x, y, scale };
  },
  write: (value) => (value ? `${value.x},${value.y},${value.scale}` : ''),
};

/** @type {Record<string, Codec<any>>} */
const CODECS = {
  mode: oneOf('stage', 'grid', 'channels', 'compare'),
  run: whole(0, 99),
  against: whole(0, 99),
  sample: words(500),
  layer: words(250),
  field: words(80),
  level: whole(0, 9999),
  slice: whole(),
  reduce: words(40, (text) => /^(channel:\d{1,9}|[a-z][a-z0-9_]*)$/.test(text)),
  colormap: words(60, (text) => /^[\w:.-]+$/.test(text)),
  range: words(60, isRange),
  shared: yes,
  apart: yes,
  opacity: real(0, 1),
  photo: oneOf('grey', 'colour', 'none'),
  fade: yes,
  smooth: yes,
  boxes: oneOf('none', 'detections', 'truth', 'both'),
  score: real(0, 1),
  classes: numbers,
  box,
  explanation: maybe(words(200, (text) => text !== '')),
  view,
  by: oneOf('peak', 'mean'),
  order: words(30, (text) => /^(number|energy|sparsity|contrast|similarity:\d{1,9})$/.test(text)),
  size: whole(8, 1024),
  grid: oneOf('levels', 'samples'),
  tile: whole(0, 480),
  compare: oneOf('side', 'swipe', 'blink', 'difference'),
  swipe: real(0, 1),
  search: words(180),
  sort: oneOf('', ...SORTS, ...SORTS.map((name) => `-${name}`)),
  list: oneOf('samples', 'misses', 'alarms'),
  ranked: oneOf('', ...RANKS, ...RANKS.map((name) => `-${name}`)),
};
const some = maybe(words(120, (text) => text !== ''));
/** Parts of a field of the state that have a name of their own in the address. @type {Record<string, ['filters'|'lost', string, Codec<any>]>} */
const FILTERS = {
  'only.class': ['filters', 'class', maybe(whole())],
  'only.best': ['filters', 'score', maybe(real(0, 1))],
  'only.objects': ['filters', 'objects', pair],
  'only.smallest': ['filters', 'smallest', pair],
  'lost.class': ['lost', 'class', some],
  'lost.stage': ['lost', 'stage', some],
  'lost.verdict': ['lost', 'verdict', some],
  'lost.kind': ['lost', 'kind', some],
  'lost.size': ['lost', 'size', pair],
  'lost.other': ['lost', 'other', maybe(oneOf('found', 'missed'))],
};

/** A text for the address: readable, and half of a character (from a file name that is not UTF-8) survives. @param {string} text */
function escaped(text) {
  const safe = text.replace(/[\ud800-\udfff]|~/gu, (part) => `~${part.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return encodeURIComponent(safe).replace(/%(2F|3A|2C)/g, decodeURIComponent);
}

/** @param {string} text */
function unescaped(text) {
  return decodeURIComponent(text).replace(/~([0-9a-f]{4})/g, (_, code) => String.fromCharCode(parseInt(code, 16)));
}

/** Texts escape '~'; the other fields write it as it is. @param {string} key */
const isText = (key) =>
  ['sample', 'layer', 'field', 'search', 'lost.class', 'lost.stage', 'lost.verdict', 'lost.kind'].includes(key);

/** The address of a state, with its '#'; what equals the default is left out. @param {State} state */
export function link(state) {
  const parts = [`v=${VERSION}`];
  for (const [key, codec] of Object.entries(CODECS)) {
    const text = codec.write(/** @type {any} */ (state)[key]);
    if (text !== codec.write(/** @type {any} */ (DEFAULTS)[key]) && text !== '')
      parts.push(`${key}=${isText(key) ? escaped(text) : text}`);
  }
  for (const [key, [group, name, codec]] of Object.entries(FILTERS)) {
    const text = codec.write(/** @type {any} */ (state[group])[name]);
    if (text !== '') parts.push(`${key}=${isText(key) ? escaped(text) : text}`);
  }
  return parts.length > 1 ? `#${parts.join('&')}` : '#';
}

/**
 * The state that an address names, and the parts of it that could not be used.
 * @param {string} hash
 * @returns {{state: State, ignored: string[]}}
 */
export function read(hash) {
  /** @type {any} */
  const state = { ...DEFAULTS, classes: [], filters: { ...DEFAULTS.filters }, lost: { ...DEFAULTS.lost } };
  /** @type {string[]} */
  const ignored = [];
  const parts = hash.replace(/^#/, '').slice(0, 8000).split('&').filter(Boolean);
  const version = parts.find((part) => part.startsWith('v='));
  if (version && version !== `v=${VERSION}`) return { state, ignored: [version.slice(0, 40)] };
  const seen = new Set(['v']);
  for (const part of parts) {
    if (part === version) continue;
    const at = part.indexOf('=');
    const key = part.slice(0, at < 0 ? part.length : at);
    let value;
    try {
      const raw = part.slice(at + 1);
      const text = isText(key) ? unescaped(raw) : decodeURIComponent(raw);
      if (at > 0 && !seen.has(key)) {
        seen.add(key);
        if (Object.hasOwn(CODECS, key)) {
          value = CODECS[key].read(text);
          if (value !== undefined) state[key] = value;
        } else if (Object.hasOwn(FILTERS, key)) {
          const [group, name, codec] = FILTERS[key];
          value = codec.read(text);
          if (value !== undefined) state[group][name] = value;
        }
      }
    } catch {
      /* a broken escape: said below */
    }
    if (value === undefined) ignored.push(part.slice(0, 60));
  }
  return { state, ignored };
}

/** @param {string} hash @returns {State} */
export const parse = (hash) => read(hash).state;

/** @param {any} a @param {any} b */
const same = (a, b) =>
  Object.is(a, b) || (typeof a === 'object' && typeof b === 'object' && JSON.stringify(a) === JSON.stringify(b));

/**
 * @typedef {(state: State, changed: Set<string>, how: {replace: boolean, silent: boolean}) => void} Listener
 * @typedef {ReturnType<typeof createStore>} Store
 */

/** @param {State} initial */
export function createStore(initial) {
  let state = Object.freeze({ ...initial });
  /** @type {Set<Listener>} */
  const listeners = new Set();
  return {
    get: () => state,
    /**
     * Change some fields. `replace` keeps the step of the history; `silent` leaves the address alone.
     * @param {Partial<State>} partial @param {{replace?: boolean, silent?: boolean}} [how]
     */
    set(partial, { replace, silent = false } = {}) {
      const changed = new Set(
        Object.keys(partial).filter((key) => !same(/** @type {any} */ (partial)[key], /** @type {any} */ (state)[key])),
      );
      if (!changed.size) return;
      state = Object.freeze({ ...state, ...partial });
      const step = [...changed].some((key) => STEPS.has(key));
      for (const listener of [...listeners]) listener(state, changed, { replace: replace ?? !step, silent });
    },
    /** @param {Listener} listener @returns {() => void} what ends it */
    subscribe(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
  };
}

/**
 * Keep the address bar and the store equal. Browsers let a page change its address only so often: a slider's changes are
 * written once it rests, and steps in quick succession (a held key) become one.
 * @param {Store} store @param {(ignored: string[]) => void} onIgnored
 */
export function keepAddress(store, onIgnored) {
  /** @type {number|undefined} */
  let timer;
  let last = 0;
  let written = store.get();
  /** @param {boolean} push @param {State} [state] */
  const write = (push, state = store.get()) => {
    clearTimeout(timer);
    timer = undefined;
    try {
      history[push ? 'pushState' : 'replaceState'](state, '', link(state));
    } catch {
      /* a frame without an address of its own, as in a notebook */
    }
  };
  store.subscribe((state, _changed, { replace, silent }) => {
    const before = written;
    written = state;
    if (silent) return;
    const now = performance.now();
    if (!replace && now - last > 400) {
      if (timer) write(false, before);
      write(true);
    } else {
      clearTimeout(timer);
      timer = setTimeout(write, 250, false);
    }
    if (!replace) last = now;
  });
  addEventListener('popstate', (event) => {
    clearTimeout(timer);
    if (event.state?.mode) store.set({ ...DEFAULTS, ...event.state }, { silent: true });
    else {
      const { state, ignored } = read(location.hash);
      store.set(state, { silent: true });
      onIgnored(ignored);
    }
  });
  return { flush: () => write(false) };
}

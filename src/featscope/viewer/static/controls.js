// The inspector: how the map is reduced, coloured and laid over the image, and the boxes of the sample.
import { CLASS_COLOURS } from './draw/palette.js';
import { format } from './draw/ranges.js';
import { h, reveal, setText } from './dom.js';
import { isShared, sharing, toNumber } from './state.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */
/** @typedef {import('./main.js').Box} Box */
/** @typedef {import('./state.js').State} State */

const PERCEPTUAL = ['viridis', 'magma', 'inferno', 'plasma', 'cividis', 'turbo', 'gray', 'grey'];
const DIVERGING = [
  'RdBu_r',
  'RdBu',
  'coolwarm',
  'bwr',
  'seismic',
  'PiYG',
  'PRGn',
  'BrBG',
  'PuOr',
  'RdGy',
  'RdYlBu',
  'RdYlBu_r',
  'Spectral',
  'vik',
  'berlin',
  'vanimo',
  'managua',
];
const MOST_ROWS = 200;

/** A colour map without its catalogue, such as 'RdBu_r' of 'colorbrewer:RdBu_r'. @param {string} name */
const shortOf = (name) => name.slice(name.lastIndexOf(':') + 1);

/** The names of the colour maps in the order of the list. @param {Record<string, string>} maps */
export function groupsOf(maps) {
  const names = Object.keys(maps);
  /** @param {string[]} order */
  const among = (order) => order.flatMap((short) => names.filter((name) => shortOf(name) === short));
  return {
    perceptual: among(PERCEPTUAL),
    diverging: among(DIVERGING),
    other: names.filter((name) => ![...PERCEPTUAL, ...DIVERGING].includes(shortOf(name))).sort(),
  };
}

/** The colour of a class; ground truth is white. @param {number} label */
export const colourOf = (label) => CLASS_COLOURS[label % CLASS_COLOURS.length];

/** A choice of a few: native radio buttons, drawn as one bar. @param {string} name @param {string} label @param {[string, string][]} options @param {(value: string) => void} onPick */
export function segment(name, label, options, onPick) {
  const inputs = options.map(([value]) => h('input', { type: 'radio', name, value, onchange: () => onPick(value) }));
  const element = h(
    'div',
    { class: 'segment', role: 'radiogroup', 'aria-label': label },
    ...options.map(([, text], at) => h('label', {}, inputs[at], h('span', { text }))),
  );
  return {
    element,
    set: (/** @type {string} */ value) => {
      for (const input of inputs) input.checked = input.value === value;
    },
  };
}

/** @param {string} text @param {() => void} onTurn */
export function toggle(text, onTurn) {
  const input = h('input', { type: 'checkbox', role: 'switch', onchange: onTurn });
  return { element: h('label', { class: 'switch' }, h('span', { text }), input), input };
}

let sliders = 0;

/** @param {string} text @param {number} step @param {(value: number) => void} onSlide @param {(value: number) => string} say */
export function slider(text, step, onSlide, say) {
  const out = h('output', {});
  const id = `slider-${++sliders}`;
  const input = h('input', {
    type: 'range',
    id,
    min: '0',
    max: '1',
    step,
    oninput: () => onSlide(Number(input.value)),
  });
  // Without its number, the label would be that of the output.
  const element = h(
    'label',
    { class: 'slider', for: id },
    h('span', { class: 'line' }, h('span', { text }), out),
    input,
  );
  return {
    element,
    set: (/** @type {number} */ value) => {
      if (Number(input.value) !== value) input.value = String(value);
      input.style.setProperty('--part', `${100 * value}%`);
      setText(out, say(value));
    },
  };
}

/** @param {string} text @param {...(Node|string)} parts */
const field = (text, ...parts) =>
  h('div', { class: 'line' }, h('span', { text }), h('span', { class: 'inputs' }, ...parts));
/** @param {string} title @param {...Node} parts */
const section = (title, ...parts) => h('section', {}, h('h2', { text: title }), ...parts);

/**
 * The map in which the source cell of a detection lies, if that is not the one that is shown: a map of the head's level.
 * @param {NonNullable<View['sample']>} sample @param {{level: number, shape?: number[]|null, group?: number|null}} cell @param {number|null} group @param {number} level
 */
export function sourceMap(sample, cell, group, level) {
  const { shape } = cell;
  if (!shape) return null;
  const fits = sample.maps.filter((map) => map.shape[1] === shape[0] && map.shape[2] === shape[1]);
  if (fits.some((map) => map.group === group && map.level === level)) return null;
  // The shown layer, such as a neck, if its levels are numbered as the head's are; or else the head.
  return (
    fits.find((map) => map.group === group && map.level === cell.level) ??
    fits.find((map) => map.group === cell.group && map.level === cell.level) ??
    null
  );
}

export class Controls {
  /** @param {HTMLElement} root @param {App} app */
  constructor(root, app) {
    this.root = root;
    this.app = app;
    const { store } = app;
    /** @param {Partial<State>} partial */
    const set = (partial) => store.set(partial);
    /** @type {View|null} */
    this.view = null;
    /** @type {unknown} */
    this.drawnFor = null;

    // The map.
    this.reduce = h('select', {
      'aria-label': t('reduce.title'),
      onchange: () => set({ reduce: this.reduce.value === 'channel' ? 'channel:0' : this.reduce.value }),
    });
    this.channel = h('input', {
      type: 'number',
      min: '0',
      step: '1',
      'aria-label': t('channel.title'),
      oninput: () => {
        const value = toNumber(this.channel.value);
        if (value !== undefined && value >= 0)
          set({ reduce: `channel:${Math.min(Math.floor(value), (this.view?.channels || 1) - 1)}` });
      },
    });
    this.channelOf = h('span', { class: 'unit' });
    this.channelLine = field(t('channel.title'), this.channel, this.channelOf);
    this.slice = h('input', {
      type: 'number',
      min: '0',
      step: '1',
      'aria-label': t('slice.title'),
      oninput: () => {
        const value = toNumber(this.slice.value);
        if (value !== undefined && value >= 0)
          set({ slice: Math.min(Math.floor(value), (this.view?.slices || 1) - 1) });
      },
    });
    this.sliceOf = h('span', { class: 'unit' });
    this.sliceLine = field(t('slice.title'), this.slice, this.sliceOf);
    this.map = section(t('map.title'), field(t('reduce.title'), this.reduce), this.channelLine, this.sliceLine);

    // Its colours.
    this.colormap = h('select', {
      'aria-label': t('colormap.title'),
      onchange: () => set({ colormap: this.colormap.value }),
    });
    this.strip = h('canvas', { class: 'strip', width: '256', height: '1', 'aria-hidden': 'true' });
    this.kind = h(
      'select',
      { 'aria-label': t('range.title'), onchange: () => this.takeKind(this.kind.value) },
      ...['auto', 'map', 'percentile', 'symmetric', 'fixed'].map((kind) =>
        h('option', { value: kind, text: t(`range.${kind}`) }),
      ),
    );
    const ends = () => this.takeEnds();
    this.low = h('input', { type: 'number', step: 'any', 'aria-label': t('range.low'), onchange: ends });
    this.high = h('input', { type: 'number', step: 'any', 'aria-label': t('range.high'), onchange: ends });
    this.dash = h('span', { text: '–' });
    this.rangeLine = field(t('range.numbers'), this.low, this.dash, this.high);
    this.shared = toggle(t('shared.title'), () => set(sharing(store.get(), this.shared.input.checked)));
    this.colours = section(
      t('colours.title'),
      field(t('colormap.title'), this.colormap),
      this.strip,
      field(t('range.title'), this.kind),
      this.rangeLine,
      this.shared.element,
    );

    // The image under it.
    this.opacity = slider(
      t('opacity.title'),
      0.05,
      (opacity) => set({ opacity }),
      (value) => `${Math.round(100 * value)}%`,
    );
    this.photo = segment(
      'photo',
      t('photo.title'),
      [
        ['grey', t('photo.grey')],
        ['colour', t('photo.colour')],
        ['none', t('photo.none')],
      ],
      (photo) => set({ photo: /** @type {State['photo']} */ (photo) }),
    );
    this.fade = toggle(t('fade.title'), () => set({ fade: this.fade.input.checked }));
    this.smooth = toggle(t('smooth.title'), () => set({ smooth: this.smooth.input.checked }));
    this.photoLine = field(t('photo.title'), this.photo.element);
    this.look = section(t('look.title'), this.opacity.element, this.photoLine, this.fade.element, this.smooth.element);

    // The boxes.
    this.boxes = segment(
      'boxes',
      t('boxes.title'),
      ['detections', 'truth', 'both', 'none'].map((name) => [name, t(`boxes.${name}`)]),
      (boxes) => set({ boxes: /** @type {State['boxes']} */ (boxes) }),
    );
    this.score = slider(
      t('score.title'),
      0.01,
      (score) => set({ score }),
      (value) => value.toFixed(2),
    );
    this.classes = h('div', { class: 'classes' });
    this.classBox = h('details', { class: 'fold' }, h('summary', { text: t('classes.title') }), this.classes);
    this.count = h('p', { class: 'hint' });
    this.rows = h('ul', { class: 'boxes', 'aria-label': t('boxes.list') });
    this.explanations = h('div', { class: 'explanations' });
    /** The method that is being computed. */
    this.computing = '';
    this.boxPart = section(
      t('boxes.title'),
      this.boxes.element,
      this.score.element,
      this.classBox,
      this.explanations,
      this.count,
      this.rows,
    );
    root.append(this.map, this.colours, this.look, this.boxPart);
  }

  /** @param {View} view */
  update(view) {
    const before = this.view;
    this.view = view;
    const { state, sample, header } = view;
    const { about } = this.app;
    const channel = state.reduce.startsWith('channel:');
    if (!before) {
      this.reduce.append(...about.reductions.map((name) => h('option', { value: name, text: reduction(name) })));
      const all = groupsOf(about.colormaps);
      this.colormap.append(
        h('option', { value: 'auto', text: t('auto') }),
        ...['perceptual', 'diverging', 'other'].map((kind) => {
          const group = h('optgroup', { label: t(`colormap.${kind}`) });
          group.append(
            ...all[/** @type {keyof typeof all} */ (kind)].map((name) =>
              h('option', { value: name, text: shortOf(name), title: name }),
            ),
          );
          return group;
        }),
      );
    }
    const explained = state.explanation !== null;
    const tiles = state.mode === 'channels';
    this.map.hidden = view.group === null || explained || tiles;
    this.colours.hidden = !header;
    this.look.hidden = !header || tiles;
    this.reduce.value = channel ? 'channel' : state.reduce;
    this.channelLine.hidden = !channel;
    if (document.activeElement !== this.channel) this.channel.value = state.reduce.slice(8);
    this.channel.max = String(view.channels - 1);
    setText(this.channelOf, t('of', view.channels));
    this.sliceLine.hidden = view.slices < 2;
    if (document.activeElement !== this.slice) this.slice.value = String(state.slice);
    setText(this.sliceOf, t('of', view.slices));

    if (header) {
      const look = this.app.lookFor(header);
      this.colormap.value = state.colormap;
      setText(
        /** @type {HTMLElement} */ (this.colormap.firstElementChild),
        t('auto.is', shortOf(state.colormap === 'auto' ? look.colormap : header.colormap)),
      );
      this.paint(look.palette);
      setText(/** @type {HTMLElement} */ (this.kind.firstElementChild), t('auto.is', sayRange(header.range)));
      const [kind, a, b] = partsOf(state.range);
      this.kind.value = kind;
      this.rangeLine.hidden = !(kind === 'percentile' || kind === 'symmetric' || kind === 'fixed');
      this.low.hidden = this.dash.hidden = kind === 'symmetric';
      if (document.activeElement !== this.low) this.low.value = a;
      if (document.activeElement !== this.high) this.high.value = b;
      this.shared.input.checked = isShared(state);
      this.shared.element.hidden = state.mode === 'stage' || state.mode === 'channels';
      this.opacity.set(state.opacity);
      this.photo.set(state.photo);
      const on = view.image && state.photo !== 'none';
      this.opacity.element.hidden = !on;
      this.photoLine.hidden = !view.image;
      this.fade.element.hidden = !on;
      this.fade.input.checked = state.fade;
      this.smooth.input.checked = state.smooth;
    }

    const found = sample?.detections ?? [];
    const truth = sample?.truth ?? [];
    // The classes that are shown are those whose contrast the channels are ordered by.
    this.boxPart.hidden = (tiles && state.order !== 'contrast') || (!found.length && !truth.length);
    this.boxes.set(state.boxes);
    this.score.set(state.score);
    this.score.element.hidden = !found.length || !['detections', 'both'].includes(state.boxes);
    if (!before || before.sample !== sample || before.state !== state) this.list();
  }

  list() {
    const { view, app } = this;
    if (!view?.sample) return;
    const { state, sample } = view;
    const names = app.about.runs[state.run].classes;
    /** @type {Map<number, [number, number]>} */
    const counts = new Map();
    for (const [at, boxes] of [sample.detections, sample.truth].entries()) {
      for (const { label } of boxes) {
        const count = counts.get(label) ?? [0, 0];
        count[at]++;
        counts.set(label, count);
      }
    }
    const hidden = new Set(state.classes);
    const key = JSON.stringify([
      sample.id,
      state.run,
      state.classes,
      state.score,
      state.box,
      state.boxes,
      state.explanation,
      view.group,
      view.level,
    ]);
    if (key === this.drawnFor) return;
    this.drawnFor = key;
    const focused = this.boxPart.contains(document.activeElement)
      ? document.activeElement?.getAttribute('data-key')
      : null;
    this.classBox.hidden = state.boxes === 'none' || !counts.size;
    this.classes.replaceChildren(
      ...[...counts]
        .sort(([a], [b]) => a - b)
        .map(([label, [detected, known]]) => {
          const swatch = h('span', { class: 'swatch' });
          swatch.style.background = colourOf(label);
          const input = h('input', {
            type: 'checkbox',
            'data-key': `class ${label}`,
            checked: !hidden.has(label),
            onchange: () => {
              const next = new Set(app.store.get().classes);
              if (input.checked) next.delete(label);
              else next.add(label);
              app.store.set({ classes: [...next].sort((a, b) => a - b) });
            },
          });
          return h(
            'label',
            { class: 'check' },
            input,
            swatch,
            h('span', { class: 'name', text: names[label] ?? String(label) }),
            h('span', {
              class: 'facts',
              text: sample.truth.length ? `${detected} / ${known}` : String(detected),
              title: t('classes.counts', detected, known),
            }),
          );
        }),
    );

    const wanted = state.boxes === 'truth' ? 'truth' : 'detection';
    const boxes = (wanted === 'truth' ? sample.truth : sample.detections)
      .map((box, number) => ({ box, number }))
      .filter(({ box }) => !hidden.has(box.label) && (box.score === null || box.score >= state.score));
    this.rows.hidden = state.boxes === 'none' || !boxes.length;
    this.count.hidden = state.boxes === 'none';
    const all = wanted === 'truth' ? sample.truth.length : sample.detections.length;
    setText(
      this.count,
      !all
        ? t(wanted === 'truth' ? 'boxes.no_truth' : 'boxes.no_detections')
        : t(
            boxes.length > MOST_ROWS ? 'boxes.first' : wanted === 'truth' ? 'boxes.truths_shown' : 'boxes.shown',
            boxes.length,
            all,
            MOST_ROWS,
          ),
    );
    this.rows.replaceChildren(...boxes.slice(0, MOST_ROWS).map(({ box, number }) => this.row(wanted, box, number)));
    this.showExplanations(view, sample);
    // With a list of misses, what is known of the chosen one stands above.
    if (state.box?.kind === wanted && app.listOf(state) === 'samples')
      reveal(this.rows.querySelector('[aria-pressed=true]'), this.root);
    // What had the focus is made anew.
    const again = [...this.boxPart.querySelectorAll('[data-key]')].find(
      (element) => focused && element.getAttribute('data-key') === focused,
    );
    if (again instanceof HTMLElement && again !== document.activeElement) again.focus({ preventScroll: true });
  }

  /** What explains the chosen detection: what is stored, and what can be computed. @param {View} view @param {NonNullable<View['sample']>} sample */
  showExplanations(view, sample) {
    const { app } = this,
      { state, index, group } = view;
    const number = state.box?.kind === 'detection' ? state.box.number : null;
    const stored = sample.explanations.filter(({ box, name }) => box === number || name === state.explanation);
    const methods = number === null || group === null ? [] : app.about.explains;
    const cell = number === null ? null : sample.detections[number]?.cells[0];
    const there = cell && sourceMap(sample, cell, group, view.level);
    const hint = number !== null && !stored.length && !methods.length;
    this.explanations.hidden = !stored.length && !methods.length && !there && !hint;
    /** @param {string} key @param {string} text @param {boolean} on @param {() => unknown} onclick */
    const choice = (key, text, on, onclick) =>
      h('button', { type: 'button', class: 'choice', 'data-key': key, 'aria-pressed': String(on), text, onclick });
    this.explanations.replaceChildren(
      ...(there
        ? [
            choice('source', t('boxes.to_source', app.layerName(state.run, there.group, there.level)), false, () =>
              app.chooseMap(there.group, there.level),
            ),
          ]
        : []),
      ...(hint ? [h('p', { class: 'hint', text: t('explanations.none') })] : []),
      ...(stored.length ? [h('h3', { text: t('explanations.title') })] : []),
      ...stored.map(({ name, words }) =>
        choice(`stored ${name}`, words, state.explanation === name, () =>
          app.store.set({ explanation: app.store.get().explanation === name ? null : name }),
        ),
      ),
      ...(methods.length
        ? [h('h3', { text: t('explanations.compute', app.layerName(state.run, group, view.level)) })]
        : []),
      ...methods.map((method) =>
        choice(
          `compute ${method}`,
          this.computing === method ? t('explanations.computing', method) : method,
          false,
          () => this.explain(method, { run: state.run, sample: index, group, box: number }),
        ),
      ),
    );
  }

  /** Have a detection explained, and show it. @param {string} method @param {import('./transport.js').Params} where */
  async explain(method, where) {
    const { app } = this;
    if (this.computing) return;
    this.computing = method;
    this.drawnFor = '';
    this.list();
    try {
      const { explanations } = await app.ask('explain', { ...where, method }, { role: 'explain' });
      app.transport.drop('explain', { ...where, method });
      app.transport.drop('sample', { run: where.run, sample: where.sample });
      const made = explanations.filter(
        (/** @type {{box: number, method: string}} */ one) => one.box === where.box && one.method === method,
      );
      if (made.length) app.store.set({ explanation: made[made.length - 1].name });
    } catch (error) {
      app.showError(error);
    } finally {
      this.computing = '';
      this.drawnFor = '';
      this.list();
    }
  }

  /** @param {'detection'|'truth'} kind @param {Box} box @param {number} number */
  row(kind, box, number) {
    const { app, view } = this;
    const chosen = view?.state.box;
    const on = chosen?.kind === kind && chosen.number === number;
    const swatch = h('span', { class: kind === 'truth' ? 'swatch truth' : 'swatch' });
    if (kind === 'detection') swatch.style.background = colourOf(box.label);
    return h(
      'li',
      {},
      h(
        'button',
        {
          type: 'button',
          class: 'box-row',
          'aria-pressed': String(on),
          'data-key': `${kind} ${number}`,
          onclick: () => app.store.set({ box: on ? null : { kind, number }, explanation: null }),
        },
        swatch,
        h('span', { class: 'name', text: box.name }),
        h('span', { class: 'number', text: box.score === null ? '' : box.score.toFixed(3) }),
        h('span', { class: 'number', text: `${format(box.size, 3)} px`, title: t('boxes.size') }),
        box.state || box.source
          ? h('span', {
              class: 'source',
              text: [box.state && sayState(box.state), saySource(box)].filter(Boolean).join(' · '),
            })
          : null,
      ),
    );
  }

  /** @param {Uint8Array} palette */
  paint(palette) {
    const context = this.strip.getContext('2d');
    if (!context) return;
    const pixels = context.createImageData(256, 1);
    for (let index = 0; index < 256; index++) {
      pixels.data.set(palette.subarray(3 * index, 3 * index + 3), 4 * index);
      pixels.data[4 * index + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }

  /** @param {string} kind */
  takeKind(kind) {
    this.app.store.set({ range: rangeOf(kind, this.view) });
  }

  takeEnds() {
    const low = toNumber(this.low.value);
    const high = toNumber(this.high.value);
    const kind = this.kind.value;
    let range = null;
    if (kind === 'symmetric' && high !== undefined && high > 0) range = high >= 100 ? 'symmetric' : `symmetric:${high}`;
    else if (low !== undefined && high !== undefined && low < high)
      range = kind === 'fixed' ? `${low}:${high}` : `percentile:${Math.max(0, low)}:${Math.min(100, high)}`;
    const fits = range !== null && (kind !== 'percentile' || ((low ?? 0) < 100 && (high ?? 0) > 0));
    for (const input of [this.low, this.high]) input.setAttribute('aria-invalid', String(!fits));
    if (range && fits) this.app.store.set({ range });
  }
}

/** The range of a kind, beginning with numbers that make sense. @param {string} kind @param {View|null} view */
export function rangeOf(kind, view) {
  if (kind === 'percentile') return 'percentile:1:99';
  if (kind !== 'fixed') return kind;
  const [low, high] = [view?.low ?? 0, view?.high ?? 1].map((value) => Number(value.toPrecision(4)));
  return low < high ? `${low}:${high}` : `${low}:${low + 1}`;
}

/** @param {string} range @returns {[string, string, string]} the kind and its two numbers */
export function partsOf(range) {
  const [kind, a = '', b = ''] = range.split(':');
  if (kind === 'auto' || kind === 'map') return [kind, '', ''];
  if (kind === 'symmetric') return [kind, '', a || '100'];
  return kind === 'percentile' ? [kind, a, b] : ['fixed', kind, a];
}

/** @param {string} range */
function sayRange(range) {
  const [kind, a, b] = partsOf(range);
  if (kind === 'percentile') return t('range.say_percentile', a, b);
  if (kind === 'symmetric') return b === '100' ? t('range.symmetric') : t('range.say_symmetric', b);
  return kind === 'fixed' ? `${a} – ${b}` : t(`range.${kind}`);
}

/** @param {string} name */
const reduction = (name) => t(`reduce.${name}`, name);
/** @param {string} state */
const sayState = (state) => t(`source.${state.replaceAll(' ', '_')}`, state);
/** @param {Box} box */
const saySource = ({ cells, source }) =>
  cells?.length === 1 ? t('source.cell', cells[0].level, cells[0].row, cells[0].column) : source;

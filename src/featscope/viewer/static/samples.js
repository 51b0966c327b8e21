// The list of samples. Only the rows in sight exist, so 100,000 samples scroll as smoothly as ten.
import { h, icon, setName, setText } from './dom.js';
import { format } from './draw/ranges.js';
import { SampleList, isFiltered, rowsToMove } from './list.js';
import { DEFAULTS, SORTS, toNumber } from './state.js';
import { isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {{element: HTMLElement, name: HTMLElement, facts: HTMLElement, image: HTMLImageElement, at: number, stop: AbortController|null, url: string}} Row */

const ROW = 52;
const SPARE = 4;
const DOWNLOADS = 3;

export class SampleView {
  /** @param {HTMLElement} root @param {App} app */
  constructor(root, app) {
    this.app = app;
    /** @type {SampleList|null} */
    this.list = null;
    /** @type {Uint32Array} */
    this.found = new Uint32Array(0);
    /** @type {Map<number, Row>} */
    this.rows = new Map();
    /** @type {Row[]} */
    this.free = [];
    this.run = 0;
    this.active = -1;
    this.loading = 0;
    /** @type {number|undefined} */
    this.timer = undefined;
    this.frame = 0;

    const { store } = app;
    this.search = h('input', {
      type: 'search',
      class: 'search',
      placeholder: t('samples.search'),
      'aria-label': t('samples.search'),
      value: store.get().search,
      spellcheck: 'false',
      oninput: () => store.set({ search: this.search.value.slice(0, 60) }),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === 'ArrowDown' || event.key === 'Enter') {
          event.preventDefault();
          this.box.focus();
          if (event.key === 'Enter' && this.found.length) this.go(0);
        }
      },
    });
    this.sort = h(
      'select',
      { 'aria-label': t('samples.sort'), onchange: () => this.resort() },
      h('option', { value: '', text: t('sort.run') }),
      ...SORTS.map((name) => h('option', { value: name, text: t(`sort.${name}`) })),
    );
    this.turn = h('button', { type: 'button', class: 'tool', onclick: () => this.resort(true) });
    this.filter = h(
      'button',
      {
        type: 'button',
        class: 'tool',
        'aria-expanded': 'false',
        'aria-controls': 'filters',
        title: t('filter.title'),
        'aria-label': t('filter.title'),
        onclick: () => this.openFilters(),
      },
      icon('filter'),
    );
    this.count = h('span', { class: 'count', 'aria-live': 'polite' });
    this.clear = h('button', {
      type: 'button',
      class: 'quiet',
      text: t('filter.clear'),
      onclick: () => this.clearAll(),
    });
    /** @type {(() => void)[]} */
    this.fields = [];
    this.form = this.filterForm();
    this.box = h('div', {
      class: 'list',
      id: 'samples',
      role: 'listbox',
      tabindex: '0',
      'aria-label': t('samples.title'),
      onscroll: () => this.draw(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
    });
    this.space = h('div', { class: 'list-space', role: 'presentation' });
    this.box.append(this.space);
    this.empty = h('p', { class: 'empty', hidden: true });
    root.append(
      h('div', { class: 'bar' }, this.search, this.filter),
      this.form,
      h('div', { class: 'bar low' }, this.sort, this.turn, h('span', { class: 'grow' }), this.clear, this.count),
      this.box,
      this.empty,
    );
    new ResizeObserver(() => this.draw()).observe(this.box);
    store.subscribe((state, changed) => {
      if (changed.has('search') && this.search.value !== state.search) this.search.value = state.search;
      if (['search', 'sort', 'filters'].some((key) => changed.has(key))) this.select(true, changed.has('sort'));
    });
  }

  filterForm() {
    const { store } = this.app;
    /** @param {string} key @param {(value: number|null) => any} change @param {() => number|null} now @param {string} step */
    const field = (key, change, now, step = '1') => {
      const input = h('input', {
        type: 'number',
        min: '0',
        step,
        'aria-label': t(key),
        inputmode: 'decimal',
        oninput: () => store.set({ filters: { ...store.get().filters, ...change(toNumber(input.value) ?? null) } }),
      });
      this.fields.push(() => {
        if (document.activeElement !== input) input.value = String(now() ?? '');
      });
      return input;
    };
    const filters = () => store.get().filters;
    this.label = h('select', {
      'aria-label': t('filter.class'),
      onchange: () =>
        store.set({ filters: { ...filters(), class: this.label.value === '' ? null : Number(this.label.value) } }),
    });
    this.fields.push(() => {
      this.label.value = String(filters().class ?? '');
    });
    /** @param {string} key @param {...HTMLElement|string} inputs */
    const line = (key, ...inputs) =>
      h('div', { class: 'line' }, h('span', { text: t(key) }), h('span', { class: 'inputs' }, ...inputs));
    return h(
      'div',
      { class: 'filters', id: 'filters', hidden: true, role: 'group', 'aria-label': t('filter.title') },
      line('filter.class', this.label),
      line(
        'filter.score',
        field(
          'filter.score',
          (score) => ({ score: score === null ? null : Math.min(score, 1) }),
          () => filters().score,
          '0.05',
        ),
      ),
      line(
        'filter.objects',
        field(
          'filter.objects_from',
          (from) => ({ objects: [from, filters().objects[1]] }),
          () => filters().objects[0],
        ),
        '–',
        field(
          'filter.objects_to',
          (to) => ({ objects: [filters().objects[0], to] }),
          () => filters().objects[1],
        ),
      ),
      line(
        'filter.smallest',
        field(
          'filter.smallest_from',
          (from) => ({ smallest: [from, filters().smallest[1]] }),
          () => filters().smallest[0],
        ),
        '–',
        field(
          'filter.smallest_to',
          (to) => ({ smallest: [filters().smallest[0], to] }),
          () => filters().smallest[1],
        ),
      ),
    );
  }

  openFilters() {
    this.form.hidden = !this.form.hidden;
    this.filter.setAttribute('aria-expanded', String(!this.form.hidden));
    this.draw();
  }

  clearAll() {
    this.app.store.set({ search: '', filters: DEFAULTS.filters });
    this.search.focus();
  }

  /** @param {boolean} [turn] */
  resort(turn) {
    const name = this.sort.value;
    const before = this.app.store.get().sort;
    let down = before.startsWith('-');
    if (turn) down = !down;
    else if (name !== before.replace('-', '')) down = name !== 'name' && name !== 'smallest';
    this.app.store.set({ sort: name && down ? `-${name}` : name });
  }

  /** Show the samples of a run. @param {SampleList} list @param {string[]} classes @param {number} run @returns {boolean} whether they were not shown before */
  show(list, classes, run) {
    if (this.list === list) return false;
    this.run = run;
    const grown = this.list && this.list.columns.ids[0] === list.columns.ids[0];
    this.list = list;
    const chosen = this.app.store.get().filters.class;
    this.label.replaceChildren(
      h('option', { value: '', text: t('filter.any') }),
      ...classes.map((name, index) => h('option', { value: index, text: name })),
    );
    this.label.value = String(chosen ?? '');
    this.box.style.setProperty('--rows', String(Math.max(2, Math.min(list.size, 1000))));
    this.drop();
    this.select(!grown);
    return true;
  }

  /** @param {boolean} move  scroll to the selected sample, or else to the top @param {boolean} [top]  scroll to the top */
  select(move, top) {
    if (!this.list) return;
    const state = this.app.store.get();
    this.found = this.list.select(state);
    const name = state.sort.replace('-', '');
    this.sort.value = name;
    this.turn.hidden = !name;
    const down = state.sort.startsWith('-');
    this.turn.replaceChildren(icon(down ? 'down' : 'up'));
    this.turn.setAttribute('aria-label', t(down ? 'sort.down' : 'sort.up'));
    this.turn.title = t(down ? 'sort.down' : 'sort.up');
    for (const field of this.fields) field();
    const filtered = isFiltered(state.filters);
    this.filter.classList.toggle('on', filtered);
    this.clear.hidden = !filtered && !state.search;
    setText(
      this.count,
      t('samples.count', this.found.length.toLocaleString('en'), this.list.size.toLocaleString('en')),
    );
    this.empty.hidden = this.found.length > 0;
    setText(this.empty, t(this.list.size ? 'samples.none_found' : 'samples.none'));
    this.box.hidden = !this.found.length;
    this.space.style.height = `${this.found.length * ROW}px`;
    this.drop();
    this.active = this.found.indexOf(this.app.index());
    if (this.active >= 0 && move && !top) this.reveal();
    else if (move) this.box.scrollTop = 0;
    this.draw();
  }

  /** The selected sample has changed. @param {number} index */
  choose(index) {
    this.active = this.found.indexOf(index);
    this.reveal();
    this.draw();
  }

  /** Step to the next or an earlier sample of the list. @param {number} by */
  step(by) {
    if (!this.found.length) return;
    this.go(this.active < 0 ? 0 : Math.min(this.found.length - 1, Math.max(0, this.active + by)));
  }

  /** The sample that lies `by` rows on, -1 if none. @param {number} by */
  neighbour(by) {
    return this.active < 0 ? -1 : (this.found[this.active + by] ?? -1);
  }

  /** @param {number} at */
  go(at) {
    if (!this.list || at < 0) return;
    this.active = at;
    this.app.store.set({ sample: this.list.columns.ids[this.found[at]], box: null, explanation: null, slice: 0 });
    this.reveal();
    this.draw();
  }

  reveal() {
    if (this.active < 0) return;
    const top = this.active * ROW;
    const { scrollTop, clientHeight } = this.box;
    if (!clientHeight) return;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.box.scrollTop = top + ROW - clientHeight;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const by = rowsToMove(event, Math.floor(this.box.clientHeight / ROW), this.found.length);
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(by);
  }

  draw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  /** Lay out the rows in sight and take the others away. */
  render() {
    const height = this.box.clientHeight;
    if (!this.list || !height) return;
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
    const last = Math.min(this.found.length, Math.ceil((this.box.scrollTop + height) / ROW) + SPARE);
    for (const [at, row] of this.rows) {
      if (at < first || at >= last) this.put(row);
    }
    for (let at = first; at < last; at++) if (!this.rows.has(at)) this.take(at);
    for (const [at, row] of this.rows) {
      const on = at === this.active;
      if ((row.element.getAttribute('aria-selected') === 'true') !== on)
        row.element.setAttribute('aria-selected', String(on));
    }
    if (this.rows.has(this.active)) this.box.setAttribute('aria-activedescendant', `sample-${this.active}`);
    else this.box.removeAttribute('aria-activedescendant');
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), 60);
  }

  /** @param {number} at */
  take(at) {
    if (!this.list) return;
    const row = this.free.pop() ?? this.make();
    const { columns } = this.list;
    const index = this.found[at];
    row.at = at;
    row.element.id = `sample-${at}`;
    row.element.setAttribute('aria-setsize', String(this.found.length));
    row.element.setAttribute('aria-posinset', String(at + 1));
    row.element.style.transform = `translateY(${at * ROW}px)`;
    row.element.hidden = false;
    setName(row.name, columns.ids[index]);
    setText(row.facts, facts(columns, index));
    row.element.classList.toggle('bare', columns.maps?.[index] === false);
    this.rows.set(at, row);
  }

  /** @returns {Row} */
  make() {
    const name = h('span', { class: 'name long' });
    const details = h('span', { class: 'facts', title: t('samples.facts') });
    const image = h('img', { alt: '', class: 'thumb', decoding: 'async' });
    const element = h(
      'div',
      { role: 'option', class: 'row', 'aria-selected': 'false' },
      h('span', { class: 'thumb-box' }, image),
      h('span', { class: 'texts' }, name, details),
    );
    /** @type {Row} */
    const row = { element, name, facts: details, image, at: -1, stop: null, url: '' };
    image.hidden = true;
    element.addEventListener('click', () => {
      this.go(row.at);
      this.app.pane('map');
    });
    this.space.append(element);
    return row;
  }

  /** A row that has left the view: its download ends. @param {Row} row */
  put(row) {
    row.stop?.abort();
    row.stop = null;
    if (row.url) URL.revokeObjectURL(row.url);
    row.url = '';
    row.image.hidden = true;
    row.image.removeAttribute('src');
    row.element.hidden = true;
    row.element.removeAttribute('id');
    this.rows.delete(row.at);
    this.free.push(row);
  }

  drop() {
    for (const row of [...this.rows.values()]) this.put(row);
  }

  /** Fetch the thumbnails of rows in sight, a few at a time. */
  load() {
    const { run } = this;
    for (const [at, row] of [...this.rows].sort(([a], [b]) => a - b)) {
      if (this.loading >= DOWNLOADS) return;
      if (row.stop || this.list?.columns.image?.[this.found[at]] === false) continue;
      const stop = new AbortController();
      row.stop = stop;
      this.loading++;
      this.app
        .ask('thumb', { run, sample: this.found[at] }, { signal: stop.signal, calm: true })
        .then((blob) => {
          if (row.stop !== stop) return;
          row.url = URL.createObjectURL(blob);
          row.image.src = row.url;
          row.image.hidden = false;
        })
        .catch((error) => {
          if (!isAbort(error) && row.stop === stop && error.name === 'Gone') row.stop = null;
          return error.name === 'Gone';
        })
        .then((gone) => {
          this.loading--;
          if (!gone) this.load();
        });
    }
  }
}

/** @param {import('./list.js').Columns} columns @param {number} index */
function facts(columns, index) {
  const { detections, truths, score, smallest, maps } = columns;
  const parts = [];
  if (maps?.[index] === false) parts.push(t('samples.no_maps'));
  if (detections[index] !== null) parts.push(t('samples.detections', detections[index]));
  if (truths[index] !== null) parts.push(t('samples.truths', truths[index]));
  if (score[index] !== null) parts.push(/** @type {number} */ (score[index]).toFixed(2));
  if (smallest[index] !== null) parts.push(t('samples.smallest', format(/** @type {number} */ (smallest[index]), 3)));
  return parts.join(' · ');
}

// The lists of missed objects and of false alarms, in place of the list of samples.
import { MissCard } from './miss-card.js';
import { MissList, isLimited, viewOf } from './miss-list.js';
import { h, icon, setName, setText } from './dom.js';
import { format } from './draw/ranges.js';
import { Rows } from './linked.js';
import { rowsToMove } from './list.js';
import { otherRun, runNames } from './match.js';
import { said } from './said.js';
import { DEFAULTS, RANKS, toNumber } from './state.js';
import { isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */
/** @typedef {import('./state.js').State} State */
/** @typedef {import('./miss-list.js').MissColumns} MissColumns */
/** @typedef {{score: number, iou: number, rule: string, chosen: string}} Point */
/** @typedef {{why: string, point: Point|null, objects: number, missed: number, ignored: number, images: number, notes: string[], misses: MissColumns, alarms: MissColumns}} Answer */

const ROW = 52;
/** @type {('class'|'stage'|'verdict'|'kind'|'other')[]} */
const CHOICES = ['class', 'stage', 'verdict', 'kind', 'other'];
const COLUMN = /** @type {const} */ ({ class: 'label', stage: 'stage', verdict: 'verdict', kind: 'kind' });

/** @param {string} verdict */
export const verdictWords = (verdict) =>
  verdict.startsWith('lost in ') ? t('verdict.lost_in', verdict.slice(8)) : t(`verdict.${verdict}`, verdict);

/** The words for a value of a column. @param {string} name @param {string} value */
function wordsFor(name, value) {
  if (name === 'stage') return t(`lost.${value}`, value);
  if (name === 'verdict') return verdictWords(value);
  return name === 'kind' ? t(`alarm.${value}`, value) : value;
}

export class MissView {
  /** @param {HTMLElement} root @param {App} app */
  constructor(root, app) {
    this.app = app;
    this.root = root;
    /** @type {Answer|null} */
    this.answer = null;
    /** @type {{misses: MissList, alarms: MissList}|null} */
    this.lists = null;
    this.key = '';
    this.drawn = '';
    /** @type {number[]} */
    this.found = [];
    this.active = -1;
    this.turn = 0;
    /** The boxes that tell where the chosen object was lost. @type {import('./panel.js').Mark[]} */
    this.marks = [];
    this.marked = '';
    /** The view that the list has chosen; the numbers of cells would cover its boxes. @type {State['view']} */
    this.zoomed = null;
    this.card = new MissCard(app);
    const { store } = app;
    this.search = h('input', {
      type: 'search',
      class: 'search',
      placeholder: t('misses.search'),
      'aria-label': t('misses.search'),
      spellcheck: 'false',
      oninput: () => store.set({ search: this.search.value.slice(0, 60) }),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== 'ArrowDown' && event.key !== 'Enter') return;
        event.preventDefault();
        this.box.focus();
        if (event.key === 'Enter' && this.found.length) this.go(0);
      },
    });
    this.filter = h(
      'button',
      {
        type: 'button',
        class: 'tool',
        'aria-expanded': 'false',
        'aria-controls': 'miss-filters',
        title: t('filter.title'),
        'aria-label': t('filter.title'),
        onclick: () => this.openFilters(),
      },
      icon('filter'),
    );
    this.selects = CHOICES.map((name) => this.select(name));
    const ends = [0, 1].map((end) => {
      const input = h('input', {
        type: 'number',
        min: '0',
        inputmode: 'decimal',
        'aria-label': t(end ? 'filter.size_to' : 'filter.size_from'),
        oninput: () => {
          const size = /** @type {State['lost']['size']} */ ([...store.get().lost.size]);
          size[end] = toNumber(input.value) ?? null;
          this.limit({ size });
        },
      });
      return input;
    });
    this.ends = ends;
    this.form = h(
      'div',
      { class: 'filters', id: 'miss-filters', hidden: true, role: 'group', 'aria-label': t('filter.title') },
      ...this.selects.map(({ line }) => line),
      h(
        'div',
        { class: 'line' },
        h('span', { text: t('filter.size') }),
        h('span', { class: 'inputs' }, ends[0], '–', ends[1]),
      ),
    );
    this.sort = h(
      'select',
      { 'aria-label': t('samples.sort'), onchange: () => this.resort() },
      h('option', { value: '', text: t('rank.run') }),
      ...RANKS.map((name) => h('option', { value: name, text: t(`rank.${name}`) })),
    );
    this.direction = h('button', { type: 'button', class: 'tool', onclick: () => this.resort(true) });
    this.clear = h('button', {
      type: 'button',
      class: 'quiet',
      text: t('filter.clear'),
      onclick: () => {
        store.set({ search: '', lost: DEFAULTS.lost });
        this.search.focus();
      },
    });
    this.count = h('span', { class: 'count', 'aria-live': 'polite' });
    this.point = h('p', { class: 'point facts' });
    this.box = h('div', {
      class: 'list',
      id: 'misses',
      role: 'listbox',
      tabindex: '0',
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.press(event),
    });
    this.empty = h('p', { class: 'empty', role: 'status' });
    this.notes = h('p', { class: 'empty note' });
    root.append(
      h('div', { class: 'bar' }, this.search, this.filter),
      this.form,
      h('div', { class: 'bar low' }, this.sort, this.direction, h('span', { class: 'grow' }), this.clear, this.count),
      this.point,
      this.box,
      this.empty,
      this.notes,
    );
    this.rows = new Rows(
      this.box,
      (row, element) => this.fill(row, element),
      () => {},
    );
  }

  /** @param {typeof CHOICES[number]} name */
  select(name) {
    const input = h('select', {
      'aria-label': t(name === 'other' ? 'filter.other_run' : `filter.${name}`),
      onchange: () => this.limit({ [name]: input.value || null }),
    });
    const title = h('span', { text: name === 'other' ? '' : t(`filter.${name}`) });
    return { name, input, title, line: h('div', { class: 'line' }, title, h('span', { class: 'inputs' }, input)) };
  }

  /** @param {Partial<State['lost']>} part */
  limit(part) {
    const { store } = this.app;
    store.set({ lost: { ...store.get().lost, ...part } });
  }

  openFilters() {
    this.form.hidden = !this.form.hidden;
    this.filter.setAttribute('aria-expanded', String(!this.form.hidden));
    this.rows.ask();
  }

  /** @param {boolean} [turn] */
  resort(turn) {
    const { store } = this.app;
    const before = store.get().ranked;
    const name = this.sort.value;
    let down = before.startsWith('-');
    if (turn) down = !down;
    else if (name !== before.replace('-', '')) down = name === 'score';
    store.set({ ranked: name && down ? `-${name}` : name });
  }

  /** Which of the two is listed. @param {State} state */
  kindOf(state) {
    return this.app.listOf(state) === 'alarms' ? 'alarms' : 'misses';
  }

  /** Show the list that the state names. @param {State} state @param {import('./list.js').SampleList} samples */
  show(state, samples) {
    const { app } = this;
    if (app.listOf(state) === 'samples') return;
    const { runs } = app.about;
    const against = runs.length > 1 ? otherRun(state, runs.length) : null;
    const key = [state.run, runs[state.run].state, against, against === null ? '' : runs[against].state].join(' ');
    if (key === this.key) {
      this.draw(state);
      return;
    }
    this.key = key;
    this.answer = this.lists = null;
    this.draw(state);
    app
      .ask('misses', { run: state.run, against }, { role: 'misses' })
      .then((/** @type {Answer} */ answer) => {
        if (this.key !== key) return;
        this.answer = answer;
        const { ids } = samples.columns;
        this.lists = { misses: new MissList(answer.misses, ids), alarms: new MissList(answer.alarms, ids) };
        this.drawn = '';
        app.refresh();
      })
      .catch((error) => {
        if (isAbort(error) || this.key !== key) return;
        this.key = '';
        this.draw(app.store.get(), String(error.message ?? error));
        app.showError(error);
      });
  }

  /** @param {State} state @param {string} [error] */
  draw(state, error = '') {
    const { answer, lists } = this;
    const kind = this.kindOf(state);
    const list = lists?.[kind] ?? null;
    const why = error || (answer?.why ? said(answer.why) : '');
    const busy = !list && !why;
    this.root.classList.toggle('waiting', busy);
    this.root.setAttribute('aria-busy', String(busy));
    this.box.setAttribute('aria-label', t(`list.${kind}`));
    if (this.search.value !== state.search) this.search.value = state.search;
    const drawn = JSON.stringify([this.key, kind, state.search, state.ranked, state.lost, why, busy]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.found = list && !why ? list.select(state) : [];
    for (const bar of this.root.querySelectorAll('.bar')) /** @type {HTMLElement} */ (bar).hidden = !list || !!why;
    if (!list || why) this.form.hidden = true;
    this.offer(state, list);
    const name = state.ranked.replace('-', '');
    const down = state.ranked.startsWith('-');
    this.sort.value = name;
    this.direction.hidden = !name;
    this.direction.replaceChildren(icon(down ? 'down' : 'up'));
    this.direction.title = t(down ? 'sort.down' : 'sort.up');
    this.direction.setAttribute('aria-label', this.direction.title);
    const limited = isLimited(state.lost, list?.columns ?? null);
    this.filter.classList.toggle('on', limited);
    this.clear.hidden = !limited && !state.search;
    setText(this.count, list ? t('samples.count', this.found.length.toLocaleString('en'), list.size) : '');
    const point = why ? null : answer?.point;
    this.point.hidden = !point;
    this.point.title = t('misses.point_words');
    const missed = kind === 'misses' && answer ? t('misses.of', answer.missed, answer.objects) : '';
    const limits = point ? t('misses.point', format(point.score, 3), format(point.iou, 3)) : '';
    setText(this.point, [limits, missed].filter(Boolean).join(' · '));
    const nothing = kind === 'alarms' ? 'misses.no_alarms' : 'misses.none';
    const empty = why || (busy ? t('misses.working') : list?.size ? t('misses.none_found') : t(nothing));
    setText(this.empty, empty);
    this.empty.hidden = this.found.length > 0;
    setText(this.notes, (answer?.notes ?? []).join(' '));
    this.notes.hidden = !answer?.notes.length || !!why;
    this.box.hidden = !this.found.length;
    this.box.style.setProperty('--rows', String(Math.max(2, Math.min(this.found.length, 1000))));
    this.rows.set(this.found.length, ROW, true);
    this.box.scrollTop = 0;
    this.choose();
  }

  /** What the filters offer: the values that the list has. @param {State} state @param {MissList|null} list */
  offer(state, list) {
    const { runs } = this.app.about;
    for (const { name, input, title, line } of this.selects) {
      /** @type {[string, string][]} */
      let values;
      if (name === 'other') {
        values = ['found', 'missed'].map((value) => [value, t(`other.${value}`)]);
        const other = runs.length > 1 ? runNames(runs)[otherRun(state, runs.length)] : '';
        setName(title, t('filter.other', other));
        line.hidden = runs.length < 2 || !list?.columns.other;
      } else {
        const known = list?.values(COLUMN[name]) ?? [];
        values = known.map(([value, count]) => [value, `${wordsFor(name, value)} (${count})`]);
        line.hidden = !known.length;
      }
      const chosen = state.lost[name];
      if (chosen && !values.some(([value]) => value === chosen)) values.push([chosen, wordsFor(name, chosen)]);
      input.replaceChildren(
        h('option', { value: '', text: t('filter.any') }),
        ...values.map(([value, text]) => h('option', { value, text })),
      );
      input.value = chosen ?? '';
    }
    state.lost.size.forEach((side, end) => {
      if (document.activeElement !== this.ends[end]) this.ends[end].value = String(side ?? '');
    });
  }

  /** @param {number} at @param {HTMLElement} element */
  fill(at, element) {
    const list = this.lists?.[this.kindOf(this.app.store.get())];
    if (!list) return;
    const row = this.found[at];
    const { columns, ids } = list;
    const image = h('span', { class: 'name facts image' });
    setName(image, ids[columns.sample[row]]);
    const score = columns.score[row];
    const what = columns.kind
      ? [t(`alarm.${columns.kind[row]}`, columns.kind[row])]
      : [
          columns.stage?.[row] ? t(`lost.${columns.stage[row]}`, columns.stage[row]) : '',
          columns.verdict?.[row] ? verdictWords(columns.verdict[row]) : '',
        ];
    const words = what.filter(Boolean).join(' · ');
    const other = columns.other?.[row] ?? '';
    element.className = 'row miss';
    element.id = `miss-${at}`;
    for (const [key, value] of Object.entries({
      role: 'option',
      'aria-setsize': this.found.length,
      'aria-posinset': at + 1,
      'aria-selected': at === this.active,
    }))
      element.setAttribute(key, String(value));
    element.append(
      h('span', { class: 'name', text: columns.label[row] }),
      h('span', { class: 'facts', text: t('misses.size', format(columns.size[row], 3)) }),
      image,
      h('span', { class: 'facts what', text: words, title: words }),
      h(
        'span',
        { class: 'number', title: t(columns.kind ? 'misses.alarm_score' : 'misses.best_score') },
        other === 'found' &&
          h('span', {
            class: 'other found',
            role: 'img',
            'aria-label': t('other.found_by', this.otherName()),
            title: t('other.found_by', this.otherName()),
            text: '✓',
          }),
        score === null ? '–' : score.toFixed(2),
      ),
    );
    element.addEventListener('click', () => {
      this.app.pane('map');
      this.go(at);
    });
  }

  otherName() {
    const { store, about } = this.app;
    return about.runs.length > 1 ? runNames(about.runs)[otherRun(store.get(), about.runs.length)] : '';
  }

  /** Mark the row of what is chosen on the page. */
  choose() {
    const { app, lists } = this;
    const { state, index } = app.view();
    const kind = this.kindOf(app.store.get());
    const wanted = kind === 'alarms' ? 'detection' : 'truth';
    const row = lists && state.box?.kind === wanted ? lists[kind].rowOf(index, state.box.number) : -1;
    const at = row < 0 ? -1 : this.found.indexOf(row);
    if (at >= 0 && at !== this.active) this.rows.reveal(at);
    this.active = at < 0 ? Math.min(this.active, this.found.length - 1) : at;
    for (const [place, element] of this.rows.elements)
      element.setAttribute('aria-selected', String(row >= 0 && place === at));
    if (this.rows.elements.has(this.active)) this.box.setAttribute('aria-activedescendant', `miss-${this.active}`);
    else this.box.removeAttribute('aria-activedescendant');
    return row;
  }

  /** @param {number} by */
  step(by) {
    if (!this.found.length) return;
    const chosen = this.app.store.get().box !== null || by < 0 || this.active < 0;
    const at = this.active < 0 ? 0 : this.active + (chosen ? by : 0);
    this.go(Math.min(this.found.length - 1, Math.max(0, at)));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const moved = rowsToMove(event, Math.floor(this.box.clientHeight / ROW), this.found.length);
    const by = event.key === 'Enter' ? 0 : moved;
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(by);
    if (event.key === 'Enter') this.app.pane('map');
  }

  /** Open the sample of a row, and zoom to what was missed. @param {number} at */
  go(at) {
    const { app } = this;
    const kind = this.kindOf(app.store.get());
    const list = this.lists?.[kind];
    if (!list) return;
    this.active = at;
    const row = this.found[at];
    const { sample, number, x, y, size } = list.columns;
    const { clientWidth, clientHeight } = app.parts.stage;
    this.zoomed = viewOf(x[row], y[row], size[row], clientWidth || innerWidth, clientHeight || innerHeight / 2);
    app.store.set({
      sample: list.ids[sample[row]],
      box: { kind: kind === 'alarms' ? 'detection' : 'truth', number: number[row] },
      view: this.zoomed,
      explanation: null,
      slice: 0,
    });
    this.rows.reveal(at);
  }

  /** Say what is known of the chosen object or false alarm, and draw its boxes. @param {View} view */
  async tell(view) {
    const turn = ++this.turn;
    const { app, answer, lists } = this;
    const { state, index } = view;
    const row = app.listOf(state) === 'samples' ? -1 : this.choose();
    const kind = this.kindOf(state);
    const key = row < 0 ? '' : `${this.key} ${kind} ${row}`;
    if (key !== this.marked) this.marks = [];
    this.marked = key;
    if (row < 0 || !lists || !answer) {
      this.card.hide();
      return;
    }
    const { columns } = lists[kind];
    const known = { answer, columns, row, at: this.active, count: this.found.length, other: this.otherName() };
    if (kind === 'alarms') {
      this.card.alarm(known);
      return;
    }
    try {
      const { objects } = await app.ask('lost', { run: state.run, sample: index }, { role: 'lost' });
      if (turn !== this.turn) return;
      const found = objects.find((/** @type {{number: number}} */ one) => one.number === columns.number[row]);
      this.card.miss(known, found);
      const marks = marksOf(found);
      if (JSON.stringify(marks) === JSON.stringify(this.marks)) return;
      this.marks = marks;
      app.refresh();
    } catch (error) {
      app.showError(error);
    }
  }
}

/** @param {import('./miss-card.js').Lost} found @returns {import('./panel.js').Mark[]} */
function marksOf({ candidate, candidate_score, suppressor, by_score }) {
  /** @param {number|null} value */
  const number = (value) => (value === null ? '' : value.toFixed(2));
  /** @type {import('./panel.js').Mark[]} */
  const marks = [];
  if (suppressor)
    marks.push({ kind: 'suppressor', polygon: suppressor, text: t('miss.suppressor_score', number(by_score)) });
  if (candidate)
    marks.push({ kind: 'candidate', polygon: candidate, text: t('miss.candidate_score', number(candidate_score)) });
  return marks;
}

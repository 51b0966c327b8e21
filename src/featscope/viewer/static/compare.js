// Two runs of the same images: side by side, one over the other behind a divider, in turn, or their difference.
import { groupsOf, segment } from './controls.js';
import { cellAt } from './draw/placement.js';
import { differenceOf } from './draw/painter.js';
import { boundsOf, format } from './draw/ranges.js';
import { h, icon, setText } from './dom.js';
import { Linked, Rows } from './linked.js';
import { counterpart, matchSamples, otherRun, runNames, scalesOf, stacked, whyNoDifference } from './match.js';
import { Panel } from './panel.js';
import { boundsFor, common, featureMap } from './stage.js';
import { isShared } from './state.js';
import { isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */
/** @typedef {import('./main.js').Sample} Sample */
/** @typedef {import('./state.js').State} State */
/** @typedef {import('./transport.js').Arrays} Arrays */
/** @typedef {{run: number, index: number, sample: Sample|null, group: number|null, level: number, reply: Arrays|null, image: ImageBitmap|null, notes: string[], error: string}} Side */

const CHROME = 112; // of a panel, above and below its picture
const ROW = 28;
const WAYS = /** @type {const} */ (['side', 'swipe', 'blink', 'difference']);

class Compare {
  constructor() {
    /** @type {App|null} */
    this.app = null;
    this.turn = 0;
    this.front = 0;
    this.filter = 'both';
    /** @type {State['box']} */
    this.boxOfB = null;
    /** @type {(Side|null)[]} */
    this.sides = [null, null];
    /** @type {{key: Arrays[], map: import('./panel.js').FeatureMap}|null} */
    this.kept = null;
    /** @type {{lists: object[], found: ReturnType<typeof matchSamples>}|null} */
    this.matched = null;
    /** @type {number[]} */
    this.names = [];
  }

  /** @param {HTMLElement} root @param {App} app */
  mount(root, app) {
    if (app.about.runs.length < 2) {
      root.append(
        h(
          'div',
          { class: 'calm' },
          h('p', { text: t('compare.one') }),
          h('code', { text: `featscope view ${app.about.runs[0].folder} RUN_B` }),
          h('p', { class: 'facts', text: t('compare.one_more') }),
        ),
      );
      return;
    }
    const { store } = app;
    this.app = app;
    /** @param {string} name @param {string} badge @param {(run: number) => void} pick */
    const choice = (name, badge, pick) => {
      const select = h(
        'select',
        { 'aria-label': t(`compare.run_${name}`), onchange: () => pick(Number(select.value)) },
        ...runNames(app.about.runs).map((text, value) => h('option', { value, text })),
      );
      return {
        select,
        element: h('span', { class: 'inputs' }, h('span', { class: 'panel-badge', text: badge }), select),
      };
    };
    this.a = choice('a', 'A', (run) => this.choose(run, this.against(store.get())));
    this.b = choice('b', 'B', (run) => this.choose(store.get().run, run));
    const swap = h('button', {
      type: 'button',
      class: 'tool',
      title: t('compare.swap'),
      'aria-label': t('compare.swap'),
      text: '⇄',
      onclick: () => this.choose(this.against(store.get()), store.get().run),
    });
    this.ways = segment(
      'compare',
      t('compare.title'),
      WAYS.map((way) => [way, t(`compare.${way}`)]),
      (way) => store.set({ compare: /** @type {State['compare']} */ (way) }),
    );
    this.other = h('button', {
      type: 'button',
      class: 'action',
      title: t('compare.next'),
      onclick: () => this.blink(),
    });
    this.counts = h('button', {
      type: 'button',
      class: 'action',
      'aria-expanded': 'false',
      title: t('compare.list'),
      onclick: () => this.openList(),
    });
    this.which = segment(
      'which',
      t('compare.list'),
      [
        ['both', ''],
        ['a', ''],
        ['b', ''],
      ],
      (which) => this.list(which),
    );
    this.nameBox = h('div', { class: 'names', role: 'list', tabindex: '-1' });
    this.none = h('p', { class: 'empty', text: t('compare.no_names') });
    this.lists = h('div', { class: 'names-part', hidden: true }, this.which.element, this.nameBox, this.none);
    this.rows = new Rows(
      this.nameBox,
      (row, element) => this.name(row, element),
      () => {},
    );
    this.why = h('p', { class: 'notice', role: 'status', hidden: true });
    this.box = h('div', { class: 'pair' });
    root.append(
      h(
        'div',
        { class: 'mode-bar' },
        this.a.element,
        swap,
        this.b.element,
        this.ways.element,
        this.other,
        h('span', { class: 'grow' }),
        this.counts,
      ),
      this.lists,
      this.why,
      this.box,
    );
    this.linked = new Linked(store, this.box);
    this.panels = ['A', 'B', 'B − A'].map((badge, side) => {
      const element = h('div', { class: 'pair-one' });
      this.box?.append(element);
      const panel = new Panel(element, { painter: app.painter, words: app.words });
      panel.show({ badge });
      this.linked?.add(panel, (hover) => this.hover(side, hover));
      panel.onBox = (number, kind) => this.pickBox(side, number === null || !kind ? null : { number, kind });
      return panel;
    });
    this.divider = this.makeDivider();
    this.box.append(this.divider);
    this.sizes = new ResizeObserver(() => this.arrange());
    this.sizes.observe(this.box);
    this.sizes.observe(this.panels[0].stage);
  }

  /** The run that stands beside the first. @param {State} state */
  against(state) {
    return otherRun(state, /** @type {App} */ (this.app).about.runs.length);
  }

  /** @param {number} a @param {number} b */
  choose(a, b) {
    const { run } = /** @type {App} */ (this.app).store.get();
    this.app?.store.set({ run: a, against: a === b ? run : b, box: null, explanation: null });
  }

  /** The other run in the same place. */
  blink() {
    const { app } = this;
    if (!app) return;
    const { mode, compare } = app.store.get();
    if (mode !== 'compare') return;
    this.front = 1 - this.front;
    if (compare === 'blink') this.arrange();
    else app.store.set({ compare: 'blink' });
  }

  /** @param {State} state @param {View} view */
  async update(state, view) {
    const { app, panels, linked } = this;
    if (!app || !panels || !linked || !this.a || !this.b) return;
    const turn = ++this.turn;
    const { sample, group, level } = view;
    const other = this.against(state);
    this.a.select.value = String(state.run);
    this.b.select.value = String(other);
    this.ways?.set(state.compare);
    for (const panel of panels) panel.show({ loading: true });
    const [listA, listB] = await Promise.all([app.samples(state.run), app.samples(other)]);
    if (turn !== this.turn) return;
    this.match(listA, listB);
    const { notes } = app.about.runs[other];
    app.notice('notesB', notes.length ? t('compare.notes_b', notes.join('  ')) : '');
    if (!sample) return this.present([null, null], view, t('stage.no_samples'));
    const at = listB.indexOf(sample.id);
    /** @type {[Side|null, Side|null]} */
    const sides = await Promise.all([
      this.side('A', state.run, view.index, sample, group === null ? null : { group, level, note: '' }),
      this.sideOfB(view, other, at),
    ]);
    if (turn !== this.turn) return;
    this.present(sides, view, '');
  }

  /** @param {View} view @param {number} run @param {number} index @returns {Promise<Side|null>} */
  async sideOfB({ state, sample, group, level }, run, index) {
    const app = /** @type {App} */ (this.app);
    const nothing = { run, index, sample: null, group: null, level, reply: null, image: null, notes: [] };
    if (index < 0) return { ...nothing, error: t('compare.no_sample', 'B', sample?.id ?? '') };
    let found;
    try {
      found = await app.sample(run, index, { role: 'sampleB' });
    } catch (error) {
      if (isAbort(error)) return null;
      app.showError(error);
      return { ...nothing, error: /** @type {Error} */ (error).message };
    }
    if (group === null) return this.side('B', run, index, found, null);
    const wanted = app.about.runs[state.run].groups[group];
    const place = counterpart(wanted, level, app.about.runs[run].groups, found.maps);
    const name = app.layerName(state.run, group, level);
    if (!place)
      return {
        ...(await this.side('B', run, index, found, null)),
        error: found.maps.length ? t('compare.only_one', name) : t('compare.no_maps', 'B'),
      };
    return this.side('B', run, index, found, {
      ...place,
      note: place.instead ? t('compare.instead', name, app.layerName(run, place.group, place.level)) : '',
    });
  }

  /** What one run has. @param {string} badge @param {number} run @param {number} index @param {Sample} sample @param {{group: number, level: number, note: string}|null} place @returns {Promise<Side>} */
  async side(badge, run, index, sample, place) {
    const app = /** @type {App} */ (this.app);
    const view = app.view();
    const map = place && sample.maps.find((each) => each.group === place.group && each.level === place.level);
    const slice = map && map.slices > 1 && view.state.slice ? Math.min(view.state.slice, map.slices - 1) : null;
    /** @param {Promise<any>} promise */
    const tried = (promise) =>
      promise.then(
        (value) => ({ value, error: null }),
        (error) => ({ value: null, error }),
      );
    const [reply, image] = await Promise.all([
      tried(
        place
          ? app.ask('map', app.mapParams(view, { run, sample: index, group: place.group, level: place.level, slice }), {
              role: `map${badge}`,
            })
          : Promise.resolve(null),
      ),
      tried(sample.image ? app.bitmap({ run, sample: index }, { role: `image${badge}` }) : Promise.resolve(null)),
    ]);
    if (reply.error?.name === 'Gone') app.showError(reply.error);
    const notes = [place?.note, ...sample.notes, ...(reply.value?.header.notes ?? [])].filter(Boolean);
    return {
      run,
      index,
      sample,
      group: place?.group ?? null,
      level: place?.level ?? 0,
      reply: reply.value,
      image: image.value,
      notes,
      error: reply.error ? reply.error.message : place ? '' : t('compare.no_maps', badge),
    };
  }

  /** Show both sides. @param {(Side|null)[]} sides @param {View} view @param {string} error */
  present(sides, view, error) {
    const { app, panels, linked, why } = this;
    if (!app || !panels || !linked || !why) return;
    const { state } = view;
    this.sides = sides;
    const replies = sides.map((side) => side?.reply ?? null);
    const shown = sides.map((side) => {
      if (!side?.reply) return null;
      const look = app.lookFor(side.reply.header);
      return { look, kind: [side.reply.header.reduce, look.zero].join(), bounds: boundsFor(side.reply, look.range) };
    });
    const scales = isShared(state) ? scalesOf(shown.filter((each) => each !== null)) : new Map();
    const one = scales.size > 0;
    shown.forEach((each, number) => {
      const side = sides[number];
      const panel = panels[number];
      const base = {
        ...common(app, { ...view, state: { ...state, run: side?.run ?? state.run }, sample: side?.sample ?? null }),
        selected: number ? this.boxOfB : state.box,
        loading: false,
        numbers: !!state.view,
        image: side?.image ?? null,
        title: side && side.group !== null ? app.layerName(side.run, side.group, side.level) : '',
        error: error || side?.error || '',
        shared: one,
        how: side?.reply?.header.words ?? '',
      };
      const notes = [
        ...(side?.notes ?? []),
        ...(isShared(state) && !one && shown[0] && shown[1] ? [t('compare.own_scales')] : []),
      ];
      this.tell(panel, notes);
      if (!each || !side?.reply) {
        panel.show({ ...base, map: null });
        return;
      }
      // One scale has one palette: that of A.
      const { palette, zero, alpha, fade } = (one && shown[0]?.look) || each.look;
      const [low, high] = scales.get(each.kind) ?? each.bounds;
      panel.show({ ...base, map: featureMap(side.reply, side.level), low, high, palette, zero, alpha, fade });
      if (!number) app.shown({ header: side.reply.header, low, high });
    });
    if (!replies[0]) app.shown({ header: null, low: null, high: null });
    this.reason = this.subtract(view, replies);
    why.hidden = state.compare !== 'difference' || !this.reason || !!error;
    setText(why, this.reason ? t('compare.no_difference', this.reason) : '');
    this.arrange();
    linked.show(sides[0]?.sample?.frame ?? [1, 1], state.view);
  }

  /** The panel of the difference; says why there is none. @param {View} view @param {(Arrays|null)[]} replies */
  subtract(view, [a, b]) {
    const {
      app,
      panels,
      sides: [side, other],
    } = this;
    const { state } = view;
    if (!app || !panels || state.compare !== 'difference' || !side) return '';
    if (!a || !b) return t('compare.not_missing');
    const why = whyNoDifference(a.header, b.header);
    if (why) return t(...why);
    if (!this.kept || this.kept.key[0] !== a || this.kept.key[1] !== b) {
      this.kept = {
        key: [a, b],
        map: {
          ...featureMap(a),
          values: differenceOf(/** @type {Float32Array} */ (b.data), /** @type {Float32Array} */ (a.data)),
          level: side.level,
        },
      };
    }
    const { map } = this.kept;
    const { reduce, channels, words } = a.header;
    const notes = [...new Set([...side.notes, ...(other?.notes ?? [])])];
    if (channels !== b.header.channels) notes.unshift(t('compare.note_channels', channels, b.header.channels));
    if (reduce === 'contrast' || reduce.startsWith('pc'))
      notes.unshift(t('compare.note_own', t(`reduce.${reduce}`, reduce)));
    if (reduce.startsWith('channel:')) notes.unshift(t('compare.note_channel', reduce.slice(8)));
    const range = state.range.startsWith('symmetric')
      ? state.range
      : state.range === 'map'
        ? 'symmetric'
        : 'symmetric:99';
    const [low, high] = boundsOf(map.values, map.shape, map.inside, range);
    const names = Object.keys(app.about.colormaps);
    /** @param {string} name  such as colorbrewer:RdBu_r */
    const diverges = (name) => groupsOf({ [name.split(':').pop() ?? '']: '' }).diverging.length > 0;
    const colormap = diverges(state.colormap)
      ? state.colormap
      : (names.find((name) => name.endsWith('RdBu_r')) ?? names.find(diverges) ?? names[0]);
    app.shown({ header: { ...a.header, colormap, range, zero: true }, low, high }); // the inspector is about what is seen
    this.tell(panels[2], notes);
    panels[2].show({
      ...common(app, view),
      map,
      low,
      high,
      palette: app.paletteOf(colormap),
      zero: true,
      alpha: state.opacity,
      fade: state.fade,
      image: side.image,
      numbers: !!state.view,
      shared: false,
      loading: false,
      error: '',
      title: app.layerName(side.run, side.group, side.level),
      how: t('compare.how', words),
    });
    return '';
  }

  /** Notes only if they are others than before. @param {Panel} panel @param {string[]} notes */
  tell(panel, notes) {
    if (JSON.stringify(notes) !== JSON.stringify(panel.shown.notes)) panel.show({ notes });
  }

  /** Which panels are on the page, where they lie and where the divider is. */
  arrange() {
    const { app, box, panels, divider, other, linked } = this;
    if (!app || !box || !panels || !divider || !other) return;
    const { compare, swipe } = app.store.get();
    const way =
      (compare === 'difference' && this.reason) || !this.sides.every((side) => side?.reply) ? 'side' : compare;
    const over = way === 'swipe' || way === 'blink';
    box.classList.toggle('over', over);
    box.classList.toggle('blink', way === 'blink');
    panels.forEach((panel, number) => {
      panel.root.hidden = way === 'difference' ? number < 2 : number === 2;
      panel.root.classList.toggle('behind', way === 'blink' && number < 2 && number !== this.front);
    });
    const frame = this.sides[0]?.sample?.frame ?? [3, 4];
    const below =
      way === 'side' && (box.clientWidth < 500 || stacked(box.clientWidth, box.clientHeight, frame, CHROME));
    box.classList.toggle('stacked', below);
    const wide = (way === 'side' && !below ? (box.clientWidth - 8) / 2 : box.clientWidth) - 26;
    box.style.setProperty('--picture', `${Math.max(96, Math.round((wide * frame[0]) / frame[1]))}px`);
    other.hidden = way !== 'blink';
    other.replaceChildren(
      ...['A', 'B'].map((name, number) =>
        h('span', { class: number === this.front ? 'panel-badge on' : 'panel-badge', text: name }),
      ),
      h('kbd', { text: 'x' }),
    );
    divider.hidden = way !== 'swipe';
    panels[1].stage.style.clipPath = way === 'swipe' ? `inset(0 0 0 ${100 * swipe}%)` : '';
    if (way === 'swipe') {
      const { stage } = panels[0];
      const from = box.getBoundingClientRect(),
        to = stage.getBoundingClientRect();
      Object.assign(divider.style, {
        left: `${to.left - from.left + to.width * swipe}px`,
        top: `${to.top - from.top}px`,
        height: `${to.height}px`,
      });
      divider.setAttribute('aria-valuenow', String(Math.round(100 * swipe)));
      divider.setAttribute('aria-valuetext', t('compare.divider_at', Math.round(100 * swipe)));
    }
    if (linked?.view) for (const panel of panels) linked.place(panel);
  }

  makeDivider() {
    const divider = h(
      'div',
      {
        class: 'swipe',
        role: 'slider',
        tabindex: '0',
        'aria-label': t('compare.divider'),
        'aria-valuemin': 0,
        'aria-valuemax': 100,
        'aria-orientation': 'horizontal',
        hidden: true,
      },
      h('i', {}, icon('left'), icon('right')),
    );
    /** @param {number} swipe */
    const set = (swipe) => {
      this.app?.store.set({ swipe: Math.round(1000 * Math.min(1, Math.max(0, swipe))) / 1000 });
      this.arrange();
    };
    divider.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      divider.focus();
      divider.setPointerCapture(event.pointerId);
    });
    divider.addEventListener('pointermove', (event) => {
      if (!divider.hasPointerCapture(event.pointerId) || !this.panels) return;
      const { left, width } = this.panels[0].stage.getBoundingClientRect();
      set((event.clientX - left) / width);
    });
    divider.addEventListener('keydown', (event) => {
      const { swipe } = /** @type {App} */ (this.app).store.get();
      const to = {
        ArrowLeft: swipe - 0.02,
        ArrowDown: swipe - 0.02,
        ArrowRight: swipe + 0.02,
        ArrowUp: swipe + 0.02,
        PageDown: swipe - 0.1,
        PageUp: swipe + 0.1,
        Home: 0,
        End: 1,
      }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      set(to);
    });
    return divider;
  }

  /** The values of both runs under the pointer. @param {number} side @param {import('./panel.js').Hover|null} hover */
  hover(side, hover) {
    const { app, sides } = this;
    if (!app) return;
    const values = hover
      ? sides
          .map((each, number) => {
            if (!each?.reply || !each.sample || !sides[0]?.sample) return null;
            const map = featureMap(each.reply);
            const from = sides[side === 2 ? 0 : side]?.sample?.frame ?? each.sample.frame;
            const cell = cellAt(
              map.placement,
              map.shape[0],
              map.shape[1],
              (hover.x * each.sample.frame[1]) / from[1],
              (hover.y * each.sample.frame[0]) / from[0],
            );
            return cell && { number, value: map.values[cell.row * map.shape[1] + cell.column] };
          })
          .filter((each) => each !== null)
      : [];
    const words =
      values.length === 2
        ? t(
            'compare.values',
            format(values[0].value),
            format(values[1].value),
            format(values[1].value - values[0].value),
          )
        : values.length
          ? t('compare.alone', 'AB'[values[0].number], format(values[0].value))
          : '';
    app.showHover(hover, sides[side === 1 ? 1 : 0]?.reply?.header, words);
  }

  /** @param {number} side @param {State['box']} box */
  pickBox(side, box) {
    if (side !== 1) this.app?.store.set({ box });
    else {
      this.boxOfB = box;
      this.panels?.[1].show({ selected: box });
    }
  }

  // Which samples the runs have

  /** @param {import('./list.js').SampleList} a @param {import('./list.js').SampleList} b */
  match(a, b) {
    if (!this.counts || !this.which || (this.matched?.lists[0] === a && this.matched.lists[1] === b)) return;
    const found = matchSamples(a.columns.ids, b.columns.ids);
    this.matched = { lists: [a, b], found };
    this.boxOfB = null;
    this.counts.replaceChildren(
      h('span', {
        text: [
          t('compare.both', found.both.length),
          ...(found.a.length ? [t('compare.only_a', found.a.length)] : []),
          ...(found.b.length ? [t('compare.only_b', found.b.length)] : []),
        ].join(' · '),
      }),
      icon('down'),
    );
    const texts = [
      t('compare.both', found.both.length),
      t('compare.only_a', found.a.length),
      t('compare.only_b', found.b.length),
    ];
    for (const [number, span] of [...this.which.element.querySelectorAll('span')].entries())
      setText(span, texts[number]);
    this.list(this.filter);
  }

  openList() {
    if (!this.lists || !this.counts) return;
    this.lists.hidden = !this.lists.hidden;
    this.counts.setAttribute('aria-expanded', String(!this.lists.hidden));
    this.list(this.filter);
  }

  /** @param {string} which */
  list(which) {
    const { matched, rows, nameBox, none } = this;
    if (!matched || !rows || !nameBox || !none) return;
    this.filter = which;
    this.which?.set(which);
    this.names = matched.found[/** @type {'both'|'a'|'b'} */ (which)];
    none.hidden = this.names.length > 0;
    nameBox.hidden = !this.names.length;
    nameBox.style.height = `${Math.min(this.names.length, 6) * ROW}px`;
    rows.set(this.names.length, ROW, true);
  }

  /** @param {number} row @param {HTMLElement} element */
  name(row, element) {
    const { app, matched } = this;
    if (!app || !matched) return;
    const inB = this.filter === 'b';
    const list = /** @type {import('./list.js').SampleList} */ (matched.lists[inB ? 1 : 0]);
    const id = list.columns.ids[this.names[row]];
    element.setAttribute('role', 'listitem');
    element.append(
      h('button', {
        type: 'button',
        class: 'names-one name',
        text: id,
        title: inB ? t('compare.only_b_words') : id,
        onclick: () => {
          const state = app.store.get();
          app.store.set({
            sample: id,
            box: null,
            explanation: null,
            slice: 0,
            ...(inB ? { mode: /** @type {const} */ ('stage'), run: this.against(state), against: state.run } : {}),
          });
        },
      }),
    );
  }

  unmount() {
    this.turn++;
    this.sizes?.disconnect();
    this.rows?.destroy();
    for (const panel of this.panels ?? []) this.linked?.remove(panel);
    this.app?.notice('notesB', '');
    for (const role of ['sampleB', 'mapA', 'mapB', 'imageA', 'imageB']) this.app?.transport.release(role);
    this.app = null;
    this.matched = this.kept = null;
    this.boxOfB = null;
    this.sides = [null, null];
  }
}

export const compare = new Compare();

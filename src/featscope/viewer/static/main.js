// The page: its parts, what they share, and what follows when the state changes.
import { channels } from './channels.js';
import { compare } from './compare.js';
import { Controls, groupsOf, segment } from './controls.js';
import { createPainter } from './draw/painter.js';
import { paletteFrom } from './draw/palette.js';
import { format } from './draw/ranges.js';
import { h, icon, recall, remember, setText } from './dom.js';
import { grid } from './grid.js';
import { listenToKeys } from './keys.js';
import { LayerView } from './layers.js';
import { SampleList, nearestMap } from './list.js';
import { runNames } from './match.js';
import { MissView } from './misses.js';
import { SampleView } from './samples.js';
import { copyCommand, copyLink, savePicture } from './share.js';
import { stage } from './stage.js';
import { createStore, keepAddress, read } from './state.js';
import { Transport, isAbort } from './transport.js';
import { language, switchLanguage, t } from './words.js';

/** @typedef {import('./state.js').State} State */
/** @typedef {{level: number, shape: string, channels: number, stride: string, place: string, maps: number}} Level */
/** @typedef {{layer: string, field: string, folder: string, levels: Level[]}} Group */
/** @typedef {{name: string, folder: string, model: string, config: string, classes: string[], live: boolean, samples: number, maps: number, state: string, notes: string[], groups: Group[], left: {layer: string, why: string}[]}} Run */
/** @typedef {{version: string, runs: Run[], colormaps: Record<string, string>, reductions: string[], explains: string[], misses: boolean}} About */
/** @typedef {{polygon: number[], label: number, name: string, score: number|null, state: string, source: string, cells: {level: number, row: number, column: number, shape: number[]|null, group: number|null}[], size: number}} Box */
/** @typedef {{id: string, path: string, frame: number[], image: boolean, notes: string[], detections: Box[], truth: Box[], maps: {group: number, level: number, shape: number[], slices: number}[], explanations: {name: string, box: number, method: string, layer: string, level: number, words: string}[]}} Sample */
/**
 * What the state means for the data at hand.
 * @typedef {object} View
 * @property {State} state
 * @property {number} index  of the sample, -1 if there is none
 * @property {Sample|null} sample
 * @property {number|null} group  of the map; null if the sample has none
 * @property {number} level
 * @property {number} channels
 * @property {number} slices
 * @property {boolean} image  it is at hand
 * @property {any} header  of the map that is shown
 * @property {number|null} low
 * @property {number|null} high
 */
/** @typedef {{mount: (root: HTMLElement, app: App) => void, update: (state: State, view: View) => unknown, unmount: () => void}} Mode */
/** @typedef {Page} App */

/** @type {Record<State['mode'], Mode|null>} */
const MODES = { stage, grid, channels, compare };
/** @type {State['mode'][]} */
const ORDER = ['stage', 'grid', 'channels', 'compare'];
/** @type {State['list'][]} */
const LISTS = ['samples', 'misses', 'alarms'];
const LIVE_EVERY = 2000;
const SEQUENTIAL = 'turbo';

class Page {
  /** @param {About} about @param {Transport} transport */
  constructor(about, transport) {
    this.about = about;
    this.transport = transport;
    transport.heard = () => this.notice('gone', '');
    this.painter = createPainter();
    this.words = t;
    const { state, ignored } = read(location.hash);
    this.store = createStore(state);
    const address = keepAddress(this.store, (parts) => this.ignored(parts));
    /** Write the address now. */
    this.flush = address.flush;
    /** @type {Map<number, Promise<SampleList>>} */
    this.lists = new Map();
    /** @type {Map<string, Uint8Array>} */
    this.palettes = new Map();
    /** @type {View} */
    this.now = {
      state,
      index: -1,
      sample: null,
      group: null,
      level: 0,
      channels: 0,
      slices: 0,
      image: false,
      header: null,
      low: null,
      high: null,
    };
    this.turn = 0;
    /** @type {State['view']} */
    this.seen = null;
    this.early = true; // the list of samples is not read yet
    /** The run whose layers are listed. @type {Run|null} */
    this.run = null;
    this.mode = '';
    /** @type {Map<string, HTMLElement>} */
    this.notices = new Map();
    /** @type {number|undefined} */
    this.quiet = undefined;
    this.parts = this.build();
    this.pane('map');
    this.sampleView = new SampleView(this.parts.sampleList, this);
    this.missView = new MissView(this.parts.missList, this);
    this.layerView = new LayerView(this.parts.layers, this);
    this.controls = new Controls(this.parts.inspector, this);
    this.openKeys = listenToKeys(this);
    this.ignored(ignored);
    this.store.subscribe(() => this.refresh());
    this.refresh();
    this.watch();
  }

  // What modes use

  /** @param {string} name @param {import('./transport.js').Params} [params] @param {import('./transport.js').How} [how] @returns {Promise<any>} */
  ask(name, params, how) {
    return this.transport.ask(name, params, how);
  }

  /** A picture that stays open until its role asks for another. @param {import('./transport.js').Params} params @param {import('./transport.js').How} [how] */
  bitmap(params, how) {
    return this.transport.bitmap(params, how);
  }

  /** The samples of a run. @param {number} run @returns {Promise<SampleList>} */
  samples(run) {
    let list = this.lists.get(run);
    if (!list) {
      list = this.ask('samples', { run }).then((columns) => new SampleList(columns));
      list.catch(() => this.lists.delete(run));
      this.lists.set(run, list);
    }
    return list;
  }

  /** @param {number} run @param {number} index @param {import('./transport.js').How} [how] @returns {Promise<Sample>} */
  sample(run, index, how) {
    return this.ask('sample', { run, sample: index }, how);
  }

  /** What is shown now. */
  view() {
    return this.now;
  }

  /** The index of the selected sample. */
  index() {
    return this.now.index;
  }

  /** The question for a map: that of the view, or with another group, level or sample. @param {View} view @param {Record<string, any>} [other] */
  mapParams({ state, index, group, level, slices }, other = {}) {
    return {
      run: state.run,
      sample: index,
      group,
      level,
      reduce: state.reduce,
      slice: slices > 1 && state.slice ? Math.min(state.slice, slices - 1) : null,
      ...other,
    };
  }

  /** 256 colours. @param {string} name @returns {Uint8Array} */
  paletteOf(name) {
    let palette = this.palettes.get(name);
    if (!palette) {
      const text = this.about.colormaps[name] ?? Object.values(this.about.colormaps)[0];
      palette = paletteFrom(text);
      this.palettes.set(name, palette);
    }
    return palette;
  }

  /** The names of the colour maps, in the order of the list. */
  colormaps() {
    return Object.values(groupsOf(this.about.colormaps)).flat();
  }

  /**
   * How a map is drawn: what the user has chosen, else what the map's header says.
   * @param {{range: string, colormap: string, zero: boolean}} header
   */
  lookFor(header) {
    const state = this.store.get();
    const range = state.range === 'auto' ? header.range : state.range;
    // As `featscope heat`: zero has a colour of its own only where it is in the middle and no colour map was chosen.
    const middle = state.range === 'auto' || range.startsWith('symmetric');
    const chosen = state.colormap !== 'auto' && state.colormap in this.about.colormaps;
    const colormap = chosen ? state.colormap : header.zero && !middle ? SEQUENTIAL : header.colormap;
    return {
      range,
      colormap,
      palette: this.paletteOf(colormap),
      zero: header.zero && middle && !chosen,
      alpha: state.opacity,
      fade: state.fade,
      smooth: state.smooth,
      photo: state.photo,
    };
  }

  /** @param {number} run @param {number|null} group @param {number} level */
  layerName(run, group, level) {
    const found = group === null ? null : this.about.runs[run].groups[group];
    if (!found) return '';
    return [found.layer, found.field, found.levels.length > 1 ? t('layers.level', level) : '']
      .filter(Boolean)
      .join(' · ');
  }

  /** The map that a mode shows, for the inspector. @param {{header: any, low: number|null, high: number|null}} map */
  shown(map) {
    Object.assign(this.now, map);
    if (map.header) this.now.channels = map.header.channels;
    this.controls.update(this.now);
  }

  /** @param {import('./panel.js').Hover|null} hover @param {any} [header]  of the map under the pointer @param {string} [values]  in place of its value */
  showHover(hover, header = this.now.header, values = '') {
    const { parts } = this;
    parts.hover.classList.toggle('idle', !hover);
    if (!hover) {
      setText(parts.hover, t('hover.none'));
      return;
    }
    const stride = header?.stride;
    const words = [t('hover.pixel', hover.x.toFixed(1), hover.y.toFixed(1))];
    if (hover.row !== null)
      words.unshift(
        values || `${t('hover.value')} ${format(/** @type {number} */ (hover.value), 5)}`,
        t('hover.cell', hover.row, hover.column),
      );
    if (stride)
      words.push(t('hover.stride', [...new Set(stride.map((/** @type {number} */ side) => format(side)))].join(' × ')));
    setText(parts.hover, words.join('  ·  '));
  }

  /** Say an error at the top; null takes it away. @param {any} error */
  showError(error) {
    if (isAbort(error)) return;
    if (error?.name === 'Gone') this.notice('gone', error.message);
    else this.notice('error', error ? String(error.message ?? error) : '');
    if (error && !error.name?.match(/^(Gone|Over|Broken|Missing|Error)$/)) console.error(error);
  }

  /** Say something in passing. @param {string} text */
  say(text) {
    const { said } = this.parts;
    setText(said, text);
    said.title = text;
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => setText(said, ''), 6000);
  }

  /** A line at the top that can be dismissed; no text takes it away. @param {string} key @param {string} text */
  notice(key, text) {
    const before = this.notices.get(key);
    if (before?.dataset.text === text) return;
    before?.remove();
    this.notices.delete(key);
    if (!text) return;
    const bad = key === 'gone' || key === 'error';
    const element = h(
      'div',
      { class: bad ? 'notice bad' : 'notice', role: bad ? 'alert' : 'status', 'data-text': text },
      h('span', { text }),
      h(
        'button',
        {
          type: 'button',
          class: 'tool',
          'aria-label': t('dismiss'),
          title: t('dismiss'),
          onclick: () => element.remove(),
        },
        icon('close'),
      ),
    );
    this.notices.set(key, element);
    this.parts.notices.append(element);
  }

  // What the user does

  /** @param {number} group @param {number} level */
  chooseMap(group, level) {
    const { layer, field } = this.about.runs[this.now.state.run].groups[group];
    this.store.set({
      layer,
      field,
      level,
      explanation: null,
      slice: 0,
      ...(this.channelFits(group, level) ? {} : { reduce: 'auto' }),
    });
  }

  /** A chosen channel stays only where there is one of its number. @param {number} group @param {number} level */
  channelFits(group, level) {
    const { state } = this.now;
    const channel = state.reduce.startsWith('channel:') ? Number(state.reduce.slice(8)) : 0;
    return (
      channel < (this.about.runs[state.run].groups[group].levels.find((each) => each.level === level)?.channels ?? 1)
    );
  }

  /** @param {number} by */
  stepSample(by) {
    if (this.listOf(this.store.get()) === 'samples') this.sampleView.step(by);
    else this.missView.step(by);
  }

  /** Which list stands beside the map. A report may hold no misses. @param {State} state */
  listOf(state) {
    return this.about.misses ? state.list : 'samples';
  }

  nextList() {
    if (this.about.misses) this.store.set({ list: LISTS[(LISTS.indexOf(this.store.get().list) + 1) % LISTS.length] });
  }

  /** @param {number} by */
  stepLevel(by) {
    const { sample, group, level } = this.now;
    const levels = (sample?.maps ?? [])
      .filter((map) => map.group === group)
      .map((map) => map.level)
      .sort((a, b) => a - b);
    const next = levels[levels.indexOf(level) + by];
    if (group !== null && next !== undefined) this.chooseMap(group, next);
  }

  /** @param {number} by */
  stepLayer(by) {
    const { sample, group, level } = this.now;
    const groups = [...new Set((sample?.maps ?? []).map((map) => map.group))].sort((a, b) => a - b);
    const next = group === null ? undefined : groups[groups.indexOf(group) + by];
    if (next === undefined) return;
    const levels = (sample?.maps ?? []).filter((map) => map.group === next).map((map) => map.level);
    this.chooseMap(next, levels.includes(level) ? level : levels[0]);
  }

  /** @param {number} number */
  chooseMode(number) {
    if (MODES[ORDER[number]]) this.store.set({ mode: ORDER[number] });
  }

  fit() {
    this.store.set({ view: null });
  }

  focusSearch() {
    this.pane('samples');
    const { search } = this.listOf(this.store.get()) === 'samples' ? this.sampleView : this.missView;
    search.focus();
    search.select();
  }

  escape() {
    const { box, explanation } = this.store.get();
    if (explanation !== null) this.store.set({ explanation: null });
    else if (box) this.store.set({ box: null });
    else for (const element of this.notices.values()) element.remove();
  }

  /** Which part a narrow page shows. @param {string} name */
  pane(name) {
    document.body.dataset.pane = name;
    for (const button of this.parts.panes.children)
      button.setAttribute('aria-pressed', String(button.getAttribute('data-pane') === name));
    this.sampleView?.draw();
    this.missView?.rows.ask();
  }

  /** @param {string[]} parts */
  ignored(parts) {
    this.notice('ignored', parts.length ? t('note.ignored', parts.join('  ')) : '');
  }

  // From the state to the page

  async refresh() {
    const turn = ++this.turn;
    try {
      await this.follow(turn);
    } catch (error) {
      if (turn !== this.turn || isAbort(error)) return;
      this.showError(error);
      this.parts.stage.setAttribute('aria-busy', 'false');
    }
    if (turn !== this.turn || !this.early) return;
    this.early = false;
    if (!this.sampleView.list) requestAnimationFrame(() => setTimeout(() => this.refresh())); // when the picture is on the screen
  }

  /** @param {number} turn */
  async follow(turn) {
    let state = this.store.get();
    const { runs } = this.about;
    const still = state.view === this.seen;
    this.seen = state.view;
    this.notice('run', state.run < runs.length ? '' : t('note.run', state.run));
    if (state.run >= runs.length) state = { ...state, run: 0 };
    /** @type {Run} */
    const run = runs[state.run];
    this.notice('notes', run.notes.join('  '));
    // Where none is named, it is the first: it is shown before the list is read, which may be long.
    const list = this.early && !state.sample && run.samples ? null : await this.samples(state.run);
    if (turn !== this.turn) return;
    let index = state.sample && list ? list.indexOf(state.sample) : 0;
    if (list && !list.size) index = -1;
    this.notice('sample', index < 0 && list?.size ? t('note.sample', state.sample) : '');
    if (index < 0 && list?.size) index = 0;
    const before = this.now;
    const moved = before.index !== index || before.state.run !== state.run;
    if (moved) this.now = { ...before, index };
    const listed = !!list && this.sampleView.show(list, run.classes, state.run);
    if (this.run !== run) this.layerView.show(run);
    this.run = run;
    this.bar(state);
    if (moved && list) this.sampleView.choose(index);
    if (list) this.missView.show(state, list);
    const sample = index < 0 ? null : await this.sample(state.run, index, { role: 'sample' });
    if (turn !== this.turn) return;
    if (moved && still && state.view && before.sample && sample && String(before.sample.frame) !== String(sample.frame))
      state = { ...state, view: null };
    const map = sample && nearestMap(run.groups, sample.maps, state);
    this.notice(
      'instead',
      !map
        ? ''
        : map.instead === 'level'
          ? t('note.level', state.level, map.level)
          : map.instead
            ? t(
                'note.layer',
                [state.layer, state.field].filter(Boolean).join(' · '),
                this.layerName(state.run, map.group, map.level),
              )
            : '',
    );
    const known = state.explanation === null || sample?.explanations.some(({ name }) => name === state.explanation);
    this.notice('explanation', known ? '' : t('note.explanation', state.explanation));
    if (!known) state = { ...state, explanation: null };
    const found = sample?.maps.find((each) => each.group === map?.group && each.level === map.level);
    const same = !moved && before.group === (map?.group ?? null) && before.level === map?.level;
    this.now = {
      state,
      index,
      sample,
      group: map?.group ?? null,
      level: map?.level ?? 0,
      channels: found?.shape[0] ?? 0,
      slices: found?.slices ?? 0,
      image: sample?.image ?? false,
      header: map ? before.header : null,
      low: same ? before.low : null,
      high: same ? before.high : null,
    };
    if (map) this.layerView.choose(map.group, map.level);
    this.controls.update(this.now);
    this.missView.tell(this.now);
    document.title = [sample?.id, this.layerName(state.run, this.now.group, this.now.level), 'featscope']
      .filter(Boolean)
      .join(' · ');
    const mode = MODES[state.mode] ? state.mode : 'stage';
    if (this.mode !== mode) {
      if (this.mode) MODES[/** @type {State['mode']} */ (this.mode)]?.unmount();
      this.parts.stage.replaceChildren();
      this.mode = mode;
      MODES[mode]?.mount(this.parts.stage, this);
    }
    await MODES[mode]?.update(state, this.now);
    if (turn === this.turn && list && (!same || listed)) this.ahead();
  }

  /** Ask for what comes next: the samples beside this one. */
  ahead() {
    const { now } = this,
      { state, group, level } = now;
    for (const by of [1, -1]) {
      const index = this.sampleView.neighbour(by);
      if (index < 0) continue;
      this.transport.prefetch('sample', { run: state.run, sample: index }, (/** @type {Sample} */ { maps, image }) => {
        const there = maps.some((map) => map.group === group && map.level === level);
        if (there && state.mode !== 'channels') this.transport.prefetch('map', this.mapParams(now, { sample: index }));
        if (image) this.transport.prefetch('image', { run: state.run, sample: index });
      });
    }
  }

  /** While a run is being captured, look for what is new. */
  watch() {
    if (!this.about.runs.some((run) => run.live)) return;
    const look = async () => {
      if (document.visibilityState === 'visible') {
        try {
          this.grown(await this.ask('about'));
        } catch (error) {
          this.showError(error);
        }
      }
      if (this.about.runs.some((run) => run.live)) setTimeout(look, LIVE_EVERY);
    };
    setTimeout(look, LIVE_EVERY);
  }

  /** @param {About} about */
  grown(about) {
    let changed = false;
    about.runs.forEach((run, number) => {
      const before = this.about.runs[number];
      if (before && before.state === run.state && before.live === run.live) {
        about.runs[number] = before;
        return;
      }
      changed = true;
      /** @param {Run|undefined} one */
      const names = (one) => JSON.stringify(one?.groups.map(({ layer, field }) => [layer, field]));
      this.transport.forget(number, names(before) !== names(run));
      this.lists.delete(number);
    });
    this.about = about;
    if (changed) this.refresh();
  }

  // The parts of the page

  build() {
    const { runs } = this.about;
    /** @param {Parameters<typeof icon>[0]} sign @param {string} words @param {() => unknown} act */
    const button = (sign, words, act) =>
      h(
        'button',
        {
          type: 'button',
          class: 'action',
          title: words,
          onclick: () => Promise.resolve(act()).catch((error) => this.showError(error)),
        },
        icon(sign),
        h('span', { text: words }),
      );
    const tabs = h(
      'div',
      { class: 'tabs', role: 'group', 'aria-label': t('mode.title') },
      ...ORDER.filter((mode) => MODES[mode]).map((mode) =>
        h('button', {
          type: 'button',
          'data-mode': mode,
          text: t(`mode.${mode}`),
          onclick: () => this.store.set({ mode }),
        }),
      ),
    );
    const name =
      runs.length > 1
        ? h(
            'select',
            {
              class: 'run',
              'aria-label': t('run.title'),
              onchange: (/** @type {Event} */ event) =>
                this.store.set({
                  run: Number(/** @type {HTMLSelectElement} */ (event.target).value),
                  box: null,
                  explanation: null,
                }),
            },
            ...runNames(runs).map((text, value) => h('option', { value, text })),
          )
        : h('span', { class: 'run' });
    const live = h('span', { class: 'live', hidden: true, text: t('run.live'), title: t('run.live_words') });
    const lists = segment(
      'list',
      t('list.title'),
      LISTS.map((list) => [list, t(`list.${list}`)]),
      (list) => this.store.set({ list: /** @type {State['list']} */ (list) }),
    );
    const sampleList = h('div', { class: 'listed' });
    const missList = h('div', { class: 'listed' });
    const samples = h(
      'section',
      { class: 'samples', 'aria-label': t('samples.title') },
      h('div', { class: 'lists', hidden: !this.about.misses }, lists.element),
      sampleList,
    );
    const layers = h('section', { class: 'layers', 'aria-label': t('layers.title') });
    const inspector = h('section', { class: 'inspector', 'aria-label': t('pane.settings') });
    const notices = h('div', { class: 'notices' });
    const stageBox = h('div', { class: 'mode', id: 'map', tabindex: '-1' });
    const centre = h('section', { class: 'centre', 'aria-label': t('mode.title') }, notices, stageBox);
    const hover = h('span', { class: 'hover idle', text: t('hover.none') });
    const said = h('span', { class: 'said', role: 'status' });
    const panes = h(
      'nav',
      { class: 'panes', 'aria-label': t('pane.title') },
      .../** @type {[string, Parameters<typeof icon>[0]][]} */ ([
        ['samples', 'samples'],
        ['map', 'stage'],
        ['layers', 'layers'],
        ['settings', 'settings'],
      ]).map(([pane, sign]) =>
        h(
          'button',
          { type: 'button', 'data-pane': pane, onclick: () => this.pane(pane) },
          icon(sign),
          h('span', { text: t(`pane.${pane}`) }),
        ),
      ),
    );
    const left = h('div', { class: 'left' }, samples, this.divider('height', 0.6, 0.15, 0.85), layers);
    const width = this.divider('width', 312, 216, 480);
    document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
    document.body.replaceChildren(
      h('a', {
        class: 'skip',
        href: '#map',
        onclick: (/** @type {Event} */ event) => {
          event.preventDefault();
          stageBox.querySelector('canvas')?.focus();
        },
        text: t('skip'),
      }),
      h(
        'header',
        { class: 'top' },
        h('h1', { text: 'featscope' }),
        name,
        live,
        tabs,
        h('span', { class: 'grow' }),
        h(
          'div',
          { class: 'actions', role: 'group', 'aria-label': t('share.title') },
          button('link', t('share.link'), () => copyLink(this)),
          button('command', t('share.command'), () => copyCommand(this)),
          button('save', t('share.save'), () => savePicture(this)),
        ),
        h('button', {
          type: 'button',
          class: 'action plain',
          lang: language === 'zh' ? 'en' : 'zh-CN',
          title: t('language.title'),
          text: t('language'),
          onclick: () => {
            this.flush();
            switchLanguage();
            location.reload();
          },
        }),
        button('help', t('help'), () => this.openKeys()),
      ),
      h('main', { class: 'columns' }, left, width, centre, inspector),
      h('footer', { class: 'status' }, hover, said),
      panes,
    );
    return {
      sampleList,
      missList,
      lists,
      layers,
      inspector,
      centre,
      notices,
      stage: stageBox,
      hover,
      said,
      panes,
      tabs,
      name,
      live,
    };
  }

  /** @param {State} state */
  bar(state) {
    const { tabs, name, live, lists, sampleList, missList } = this.parts;
    const list = this.listOf(state);
    lists.set(list);
    sampleList.hidden = list !== 'samples';
    if (list === 'samples') missList.remove();
    else if (!missList.isConnected) sampleList.after(missList);
    const run = this.about.runs[state.run];
    for (const tab of tabs.children)
      tab.setAttribute(
        'aria-pressed',
        String(tab.getAttribute('data-mode') === (MODES[state.mode] ? state.mode : 'stage')),
      );
    tabs.hidden = tabs.children.length < 2;
    if (name instanceof HTMLSelectElement) name.value = String(state.run);
    else setText(name, run.name);
    name.title = [run.folder, run.model, run.config, t('run.facts', run.samples, run.maps)].filter(Boolean).join('\n');
    live.hidden = !run.live;
  }

  /** A bar that is dragged, or moved with the arrow keys. @param {'width'|'height'} side @param {number} value @param {number} least @param {number} most */
  divider(side, value, least, most) {
    const upright = side === 'width';
    const kept = Number(recall(side));
    const step = upright ? 16 : 0.05;
    const element = h('div', {
      class: `divider ${side}`,
      role: 'separator',
      tabindex: '0',
      'aria-orientation': upright ? 'vertical' : 'horizontal',
      'aria-label': t(`resize.${side}`),
      'aria-valuemin': upright ? least : 100 * least,
      'aria-valuemax': upright ? most : 100 * most,
    });
    /** @param {number} wanted */
    const set = (wanted) => {
      value = Math.min(most, Math.max(least, wanted));
      document.documentElement.style.setProperty(`--left-${side}`, upright ? `${value}px` : String(value));
      element.setAttribute('aria-valuenow', String(Math.round(upright ? value : 100 * value)));
    };
    set(kept >= least && kept <= most ? kept : value);
    element.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener('pointermove', (event) => {
      if (!element.hasPointerCapture(event.pointerId)) return;
      const area = /** @type {HTMLElement} */ (element.parentElement).getBoundingClientRect();
      set(upright ? event.clientX - area.left : (event.clientY - area.top) / area.height);
    });
    element.addEventListener('pointerup', () => remember(side, String(value)));
    element.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -step, ArrowUp: -step, ArrowRight: step, ArrowDown: step }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      set(value + by);
      remember(side, String(value));
    });
    return element;
  }
}

/** Begin; where the server does not answer, say so and offer another try. */
async function start() {
  const transport = new Transport();
  try {
    return new Page(await transport.ask('about'), transport);
  } catch (error) {
    document.body.replaceChildren(
      h(
        'main',
        { class: 'failed' },
        h('h1', { text: 'featscope' }),
        h('p', { role: 'alert', text: /** @type {Error} */ (error).message }),
        h('button', {
          type: 'button',
          class: 'action',
          text: '↻',
          'aria-label': 'Reload',
          onclick: () => location.reload(),
        }),
      ),
    );
    if (!(/** @type {Error} */ (error).name.match(/^(Gone|Over|Broken|Missing|Error)$/))) console.error(error);
    return null;
  }
}

start();

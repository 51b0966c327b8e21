// The keys of the page, and the dialog that lists them.
import { partsOf, rangeOf } from './controls.js';
import { h, icon } from './dom.js';
import { compare } from './compare.js';
import { copyLink, savePicture } from './share.js';
import { isShared, sharing } from './state.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {{keys: string[], show: string, words: string, act: (shift: boolean) => unknown}} Key */

/** @template T @param {T[]} values @param {T} now @returns {T} */
const next = (values, now) => values[(values.indexOf(now) + 1) % values.length];

/** @param {App} app @returns {Key[]} */
function keysOf(app) {
  const { store } = app;
  const state = () => store.get();
  return [
    { keys: ['j', 'ArrowDown'], show: 'j ↓', words: 'key.next', act: () => app.stepSample(1) },
    { keys: ['k', 'ArrowUp'], show: 'k ↑', words: 'key.previous', act: () => app.stepSample(-1) },
    { keys: ['m'], show: 'm', words: 'key.list', act: () => app.nextList() },
    { keys: ['['], show: '[', words: 'key.level_down', act: () => app.stepLevel(-1) },
    { keys: [']'], show: ']', words: 'key.level_up', act: () => app.stepLevel(1) },
    { keys: [',', '<'], show: ',', words: 'key.layer_up', act: () => app.stepLayer(-1) },
    { keys: ['.', '>'], show: '.', words: 'key.layer_down', act: () => app.stepLayer(1) },
    { keys: ['1', '2', '3', '4'], show: '1 … 4', words: 'key.modes', act: () => {} },
    {
      keys: ['r'],
      show: 'r',
      words: 'key.reduce',
      act: () => {
        const value = next(app.about.reductions, state().reduce.split(':')[0]);
        store.set({ reduce: value === 'channel' ? 'channel:0' : value });
      },
    },
    {
      keys: ['c'],
      show: 'c',
      words: 'key.colormap',
      act: () => store.set({ colormap: next(['auto', ...app.colormaps()], state().colormap) }),
    },
    {
      keys: ['g'],
      show: 'g',
      words: 'key.range',
      act: () =>
        store.set({
          range: rangeOf(
            next(['auto', 'map', 'percentile', 'symmetric', 'fixed'], partsOf(state().range)[0]),
            app.view(),
          ),
        }),
    },
    { keys: ['s'], show: 's', words: 'key.shared', act: () => store.set(sharing(state(), !isShared(state()))) },
    { keys: ['x'], show: 'x', words: 'key.blink', act: () => compare.blink() },
    {
      keys: ['o', 'O'],
      show: 'o ⇧o',
      words: 'key.opacity',
      act: (shift) =>
        store.set({ opacity: Math.min(1, Math.max(0, Math.round(10 * state().opacity + (shift ? -1 : 1)) / 10)) }),
    },
    {
      keys: ['b'],
      show: 'b',
      words: 'key.boxes',
      act: () =>
        store.set({
          boxes: next(/** @type {const} */ (['both', 'detections', 'truth', 'none']).slice(), state().boxes),
        }),
    },
    { keys: ['f'], show: 'f', words: 'key.fit', act: () => app.fit() },
    { keys: ['l'], show: 'l', words: 'key.link', act: () => copyLink(app) },
    { keys: ['p'], show: 'p', words: 'key.save', act: () => savePicture(app) },
    { keys: ['/'], show: '/', words: 'key.search', act: () => app.focusSearch() },
    { keys: ['Escape'], show: 'Esc', words: 'key.escape', act: () => app.escape() },
    { keys: ['?'], show: '?', words: 'key.help', act: () => {} },
  ];
}

/** @param {App} app @returns {() => void} what opens the dialog */
export function listenToKeys(app) {
  const keys = keysOf(app);
  const close = h(
    'button',
    { type: 'button', class: 'tool', 'aria-label': t('close'), onclick: () => dialog.close() },
    icon('close'),
  );
  const dialog = h(
    'dialog',
    {
      class: 'keys',
      'aria-labelledby': 'keys-title',
      onclick: (/** @type {MouseEvent} */ event) => {
        if (event.target === dialog) dialog.close();
      },
    },
    h('div', { class: 'dialog-head' }, h('h2', { id: 'keys-title', text: t('keys.title') }), close),
    h(
      'dl',
      {},
      ...keys.map(({ show, words }) =>
        h(
          'div',
          {},
          h('dt', {}, ...show.split(' ').map((key) => (key === '…' ? '… ' : h('kbd', { text: key })))),
          h('dd', { text: t(words) }),
        ),
      ),
    ),
  );
  document.body.append(dialog);
  const open = () => {
    if (!dialog.open) dialog.showModal();
  };
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || dialog.open)
      return;
    const target = event.target instanceof HTMLElement ? event.target : null;
    const typing = target?.matches(
      'select, textarea, [contenteditable], input:not([type=radio], [type=checkbox], [type=range], [type=button])',
    );
    if (typing && event.key !== 'Escape') return;
    if (event.key.startsWith('Arrow') && target?.matches('input, [role=listbox], [role=tree], [role=separator]'))
      return;
    const key = keys.find((each) => each.keys.includes(event.key));
    if (!key) return;
    event.preventDefault();
    if (key.words === 'key.help') open();
    else if (key.words === 'key.modes') app.chooseMode(Number(event.key) - 1);
    else if (typing) target?.blur();
    else Promise.resolve(key.act(event.shiftKey)).catch((error) => app.showError(error));
  });
  return open;
}

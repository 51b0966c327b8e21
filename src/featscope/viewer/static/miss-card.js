// What is known of a missed object or of a false alarm, in plain words and by level.
import { h, icon } from './dom.js';
import { format } from './draw/ranges.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {{level: number, iou: number, score: number|null}} LevelSeen */
/** @typedef {{layer: string, field: string, level: number, cells: number, likeness: number|null, probe: number|null, ratio: number|null, present: boolean|null}} Evidence */
/** @typedef {{number: number, stage: string, verdict: string, score: number|null, iou: number|null, level: number|null, candidate: number[]|null, candidate_score: number|null, suppressor: number[]|null, by: string, by_score: number|null, by_iou: number|null, by_overlap: number|null, other: string, reaching: number, passing: number, steps: [string, number][], levels: LevelSeen[], evidence: Evidence[]}} Lost */
/** @typedef {{answer: import('./misses.js').Answer, columns: import('./miss-list.js').MissColumns, row: number, at: number, count: number, other: string}} Known
 *  at: its place in the list, of `count`; other: the name of the other run */

const NARROW = '(max-width: 999px)';
/** @param {number|null} value @param {number} [digits] */
const number = (value, digits = 2) => (value === null ? '–' : value.toFixed(digits));

/** A score: those of an untrained head are small. @param {number|null} value */
const short = (value) => (value === null ? '–' : format(value, 2));

/** @param {string} name @param {string} value @param {string} [title] */
const fact = (name, value, title = '') =>
  h('div', {}, h('dt', { text: name }), h('dd', { text: value, title: title || null }));

/** @param {string} title @param {string} name @param {string} words */
const verdict = (title, name, words) =>
  h(
    'div',
    { class: 'verdict' },
    h('h3', { text: title }),
    h('p', { class: 'strong', text: name }),
    h('p', { text: words }),
  );

/** @param {string} title @param {[string, string][]} heads  names and what they mean @param {string[][]} rows @param {boolean} open */
function table(title, heads, rows, open) {
  return h(
    'details',
    { class: 'fold', open },
    h('summary', { text: title }),
    h(
      'table',
      { class: 'numbers' },
      h(
        'thead',
        {},
        h('tr', {}, ...heads.map(([text, words]) => h('th', { scope: 'col', text, title: words || null }))),
      ),
      h(
        'tbody',
        {},
        ...rows.map(([first, ...cells]) =>
          h('tr', {}, h('th', { scope: 'row', text: first, title: first }), ...cells.map((text) => h('td', { text }))),
        ),
      ),
    ),
  );
}

export class MissCard {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.root = h('section', { class: 'miss-card', hidden: true, 'aria-label': t('miss.title') });
    this.drawn = '';
    const narrow = matchMedia(NARROW);
    // Beside the map where there is room, else below it.
    const place = () => {
      const { inspector, centre } = app.parts;
      if (narrow.matches) centre.append(this.root);
      else inspector.prepend(this.root);
    };
    narrow.addEventListener('change', place);
    place();
  }

  hide() {
    this.root.hidden = true;
    this.drawn = '';
  }

  /** @param {Known} known @param {string} title @param {unknown} about @param {() => (Node|null|false)[]} parts */
  draw(known, title, about, parts) {
    const { at, count, columns, row } = known;
    this.root.hidden = false;
    const drawn = JSON.stringify([title, at, count, known.other, columns.sample[row], about]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const focused = this.root.contains(document.activeElement) && document.activeElement?.getAttribute('data-key');
    const open = new Set([...this.root.querySelectorAll('details[open] > summary')].map((one) => one.textContent));
    const folded = [...this.root.querySelectorAll('details:not([open]) > summary')].map((one) => one.textContent);
    /** @param {'up'|'down'} sign @param {string} words @param {number} by */
    const step = (sign, words, by) =>
      h(
        'button',
        {
          type: 'button',
          class: 'tool',
          'data-key': sign,
          title: words,
          'aria-label': words,
          disabled: at + by < 0 || at + by >= count,
          onclick: () => this.app.stepSample(by),
        },
        icon(sign),
      );
    this.root.setAttribute('aria-label', title);
    this.root.replaceChildren(
      h(
        'div',
        { class: 'miss-head' },
        h('h2', { text: title }),
        h('span', { class: 'facts', text: at < 0 ? '' : t('samples.count', at + 1, count) }),
        step('up', t('miss.previous'), -1),
        step('down', t('miss.next'), 1),
      ),
      h('p', { class: 'strong', text: t('miss.what', columns.label[row], format(columns.size[row], 3)) }),
      ...parts().filter((part) => part instanceof Node),
    );
    for (const one of this.root.querySelectorAll('details')) {
      const name = one.querySelector('summary')?.textContent ?? '';
      if (open.has(name)) one.open = true;
      else if (folded.includes(name)) one.open = false;
    }
    const again = focused ? this.root.querySelector(`[data-key=${focused}]`) : null;
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
    this.root.scrollTop = 0;
  }

  /** @param {Known} known */
  alarm(known) {
    const { columns, row } = known;
    const kind = columns.kind?.[row] ?? '';
    const about = columns.about?.[row] ?? '';
    const iou = columns.iou?.[row] ?? 0;
    this.draw(known, t('miss.alarm'), [row, kind], () => [
      verdict('', t(`alarm.${kind}`, kind), t(`false.${kind}`, '')),
      h(
        'dl',
        {},
        fact(t('miss.detection_score'), number(columns.score[row])),
        about !== '' && fact(t('miss.about'), t('miss.about_is', about, number(iou))),
      ),
    ]);
  }

  /** @param {Known} known @param {Lost} found */
  miss(known, found) {
    const { answer, columns, row, other } = known;
    const elsewhere = columns.other?.[row] ?? '';
    this.draw(known, t('miss.title'), [found, elsewhere], () => [
      elsewhere ? h('p', { class: `facts other ${elsewhere}`, text: t(`other.${elsewhere}_by`, other) }) : null,
      this.legend(found),
      verdict(
        t('miss.in_head'),
        found.stage ? t(`lost.${found.stage}`, found.stage) : t('miss.unknown'),
        found.stage ? t(`because.${found.stage}`, found.other) : t('because.unknown'),
      ),
      found.by ? h('p', {}, h('span', { text: `${t(`by.${found.by}`, found.by)}: ` }), this.suppressor(found)) : null,
      found.stage
        ? h(
            'dl',
            {},
            fact(
              t('miss.score'),
              t('miss.needs', short(found.score), short(answer.point?.score ?? null)),
              t('misses.best_score'),
            ),
            found.iou !== null &&
              fact(
                t('miss.iou'),
                found.level === null ? number(found.iou) : t('miss.at_level', number(found.iou), found.level),
              ),
            fact(t('miss.reaching'), found.reaching ? t('miss.passing', found.reaching, found.passing) : '0'),
            found.steps.length > 0 &&
              fact(
                t('miss.steps'),
                found.steps.map(([stage, count]) => `${count} × ${t(`lost.${stage}`, stage)}`).join(', '),
              ),
          )
        : null,
      found.levels.length
        ? table(
            t('miss.levels'),
            [
              [t('miss.level'), ''],
              [t('miss.best_iou'), ''],
              [t('miss.score'), t('misses.best_score')],
            ],
            found.levels.map(({ level, iou, score }) => [String(level), number(iou), number(score, 3)]),
            true,
          )
        : null,
      this.features(found),
      found.evidence.length
        ? table(
            t('miss.evidence'),
            ['map', 'cells', 'likeness', 'probe', 'ratio', 'present'].map((name) => [
              t(`miss.${name}`),
              name === 'map' ? '' : t(`miss.${name}_words`),
            ]),
            found.evidence.map((one) => [
              [one.layer, one.field, one.level].filter((part) => part !== '').join(' '),
              format(one.cells, 2),
              number(one.likeness),
              one.probe === null ? '–' : `${Math.round(100 * one.probe)} %`,
              number(one.ratio),
              one.present === null ? '–' : t(one.present ? 'miss.yes' : 'miss.no'),
            ]),
            false,
          )
        : null,
    ]);
  }

  /** @param {Lost} found */
  suppressor({ by_score, by_iou, by_overlap }) {
    return h('span', { class: 'facts', text: t('by.numbers', number(by_score), number(by_iou), number(by_overlap)) });
  }

  /** @param {Lost} found */
  features({ verdict: name }) {
    const last = name.startsWith('lost in ') ? name.slice(8) : '';
    const key = last ? 'lost_in' : name || 'unknown';
    return verdict(
      t('miss.in_features'),
      name ? t(`verdict.${key}`, last || name) : t('miss.unknown'),
      t(`holds.${key}`, last),
    );
  }

  /** What the lines on the map are. @param {Lost} found */
  legend({ candidate, suppressor }) {
    const lines = ['truth', candidate && 'candidate', suppressor && 'suppressor'].filter(Boolean);
    return h(
      'ul',
      { class: 'legend', 'aria-label': t('miss.legend') },
      ...lines.map((name) => h('li', {}, h('i', { class: `line-of ${name}` }), h('span', { text: t(`miss.${name}`) }))),
    );
  }
}

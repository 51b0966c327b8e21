import assert from 'node:assert/strict';
import test from 'node:test';
import { MissList, isLimited, viewOf } from '../../../src/featscope/viewer/static/miss-list.js';
import { otherRun } from '../../../src/featscope/viewer/static/match.js';
import { DEFAULTS } from '../../../src/featscope/viewer/static/state.js';

const COLUMNS = {
  sample: [0, 0, 1, 2],
  number: [3, 4, 3, 0],
  label: ['ship', 'plane', 'ship', 'Large Ship'],
  x: [10, 20, 30, 40],
  y: [1, 2, 3, 4],
  size: [8, 64, 16, 16],
  score: [0.2, null, 0.4, 0.1],
  stage: ['low score', 'no box at all', 'suppressed', 'low score'],
  verdict: ['undecided', 'lost in neck', 'undecided', ''],
  other: ['found', 'missed', '', 'found'],
};
const list = new MissList(COLUMNS, ['a/P1', 'b/P2', 'c/P3']);
const lost = (part) => ({ lost: { ...DEFAULTS.lost, ...part } });

test('without filters, all are listed in the order of the run', () => {
  assert.deepEqual(list.select({}), [0, 1, 2, 3]);
  assert.deepEqual(list.select({ ...lost({}), search: ' ', ranked: '' }), [0, 1, 2, 3]);
});

test('every filter leaves out what does not fit, and they go together', () => {
  assert.deepEqual(list.select(lost({ class: 'ship' })), [0, 2]);
  assert.deepEqual(list.select(lost({ stage: 'low score' })), [0, 3]);
  assert.deepEqual(list.select(lost({ verdict: 'undecided' })), [0, 2]);
  assert.deepEqual(list.select(lost({ other: 'found' })), [0, 3]);
  assert.deepEqual(list.select(lost({ size: [16, null] })), [1, 2, 3]);
  assert.deepEqual(list.select(lost({ size: [16, 16] })), [2, 3]);
  assert.deepEqual(list.select(lost({ stage: 'low score', size: [null, 10] })), [0]);
});

test('a filter of the other list does nothing', () => {
  assert.deepEqual(list.select(lost({ kind: 'duplicate' })), [0, 1, 2, 3]);
  assert.equal(isLimited({ ...DEFAULTS.lost, kind: 'duplicate' }, COLUMNS), false);
  assert.equal(isLimited({ ...DEFAULTS.lost, stage: 'suppressed' }, COLUMNS), true);
  assert.equal(isLimited({ ...DEFAULTS.lost, size: [null, 4] }, null), true);
});

test('a search looks in names of images and classes', () => {
  assert.deepEqual(list.select({ search: 'p1' }), [0, 1]);
  assert.deepEqual(list.select({ search: 'SHIP b/' }), [2]);
  assert.deepEqual(list.select({ search: 'large' }), [3]);
});

test('what has no score comes last either way', () => {
  assert.deepEqual(list.select({ ranked: 'score' }), [3, 0, 2, 1]);
  assert.deepEqual(list.select({ ranked: '-score' }), [2, 0, 3, 1]);
  assert.deepEqual(list.select({ ranked: 'size' }), [0, 2, 3, 1]);
  assert.deepEqual(list.select({ ranked: '-size' }), [1, 2, 3, 0]);
});

test('a row is found by its sample and number, and values are counted', () => {
  assert.equal(list.rowOf(1, 3), 2);
  assert.equal(list.rowOf(1, 4), -1);
  assert.deepEqual(list.values('stage'), [
    ['low score', 2],
    ['no box at all', 1],
    ['suppressed', 1],
  ]);
  assert.deepEqual(list.values('verdict'), [
    ['undecided', 2],
    ['lost in neck', 1],
  ]);
  assert.deepEqual(list.values('kind'), []);
});

test('100,000 misses are filtered and sorted at once', () => {
  const many = (make) => Array.from({ length: 100_000 }, (_, row) => make(row));
  const long = new MissList(
    {
      sample: many((row) => row % 1000),
      number: many((row) => Math.floor(row / 1000)),
      label: many((row) => ['ship', 'plane'][row % 2]),
      x: many(Number),
      y: many(Number),
      size: many((row) => row % 97),
      score: many((row) => (row % 89) / 89),
    },
    Array.from({ length: 1000 }, (_, sample) => `tile_${sample}`),
  );
  const began = performance.now();
  const found = long.select({ ...lost({ class: 'ship' }), ranked: '-score' });
  assert.equal(found.length, 50_000);
  assert.ok(performance.now() - began < 500);
});

test('a view has the object in its middle, a fifth of the panel large', () => {
  assert.deepEqual(viewOf(100.4, 50, 20, 600, 400), { x: 100, y: 50, scale: 4 });
  assert.equal(viewOf(0, 0, 2, 600, 400).scale, 12, 'no larger than 12 times');
  assert.ok(viewOf(0, 0, 0, 600, 400).scale > 0);
});

test('the other run is another one', () => {
  assert.equal(otherRun({ run: 0, against: 1 }, 2), 1);
  assert.equal(otherRun({ run: 1, against: 1 }, 2), 0);
  assert.equal(otherRun({ run: 0, against: 7 }, 2), 1);
  assert.equal(otherRun({ run: 0, against: 2 }, 3), 2);
});

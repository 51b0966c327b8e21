import assert from 'node:assert/strict';
import test from 'node:test';
import { SampleList, isFiltered, nearestMap, rowsToMove } from '../../../src/featscope/viewer/static/list.js';
import { DEFAULTS } from '../../../src/featscope/viewer/static/state.js';

const columns = {
  ids: ['P10', 'p2', 'val/P1', 'night'],
  detections: [3, null, 0, 7],
  truths: [1, 5, null, 2],
  score: [0.5, null, null, 0.9],
  smallest: [20, 4, null, 12],
  classes: [[0, 1], [1], [], [2]],
};
const list = new SampleList(columns);
const select = (wanted) => [...list.select({ ...wanted, filters: { ...DEFAULTS.filters, ...wanted.filters } })];

test('names are found by any of their parts', () => {
  assert.deepEqual(select({}), [0, 1, 2, 3]);
  assert.deepEqual(select({ search: 'P' }), [0, 1, 2]);
  assert.deepEqual(select({ search: 'p1 val' }), [2]);
  assert.deepEqual(select({ search: '.*' }), []);
  assert.equal(list.indexOf('night'), 3);
  assert.equal(list.indexOf('day'), -1);
});

test('orders, with what has no value last', () => {
  assert.deepEqual(select({ sort: 'name' }), [3, 1, 0, 2]);
  assert.deepEqual(select({ sort: '-name' }), [2, 0, 1, 3]);
  assert.deepEqual(select({ sort: 'score' }), [0, 3, 1, 2]);
  assert.deepEqual(select({ sort: '-score' }), [3, 0, 1, 2]);
  assert.deepEqual(select({ sort: 'smallest' }), [1, 3, 0, 2]);
  assert.deepEqual(select({ sort: '-detections' }), [3, 0, 2, 1]);
});

test('filters', () => {
  assert.deepEqual(select({ filters: { class: 1 } }), [0, 1]);
  assert.deepEqual(select({ filters: { score: 0.6 } }), [3]);
  assert.deepEqual(select({ filters: { score: 0 } }), [0, 3], 'a sample without a score has none');
  assert.deepEqual(
    select({ filters: { objects: [4, null] } }),
    [1, 3],
    'objects of the ground truth where nothing was predicted',
  );
  assert.deepEqual(select({ filters: { objects: [null, 3] } }), [0, 2]);
  assert.deepEqual(select({ filters: { smallest: [null, 12] }, sort: 'smallest' }), [1, 3]);
  assert.ok(!isFiltered(DEFAULTS.filters));
  assert.ok(isFiltered({ ...DEFAULTS.filters, smallest: [null, 0] }));
});

test('100,000 names are searched within 50 ms', () => {
  const count = 100000;
  const all = (value) => new Array(count).fill(value);
  const large = new SampleList({
    ids: Array.from({ length: count }, (_, at) => `images/val/P${at}.png`),
    detections: all(1),
    truths: all(1),
    score: all(0.5),
    smallest: all(9),
    classes: all([1]),
  });
  large.select({ search: 'warm' });
  const times = ['9', 'p99', 'val 77', 'nothing'].map((search) => {
    const begin = performance.now();
    large.select({ search });
    return performance.now() - begin;
  });
  assert.ok(Math.min(...times) < 50, `${times}`);
});

const groups = [
  ['neck', ''],
  ['head', 'cls'],
  ['head', 'reg'],
  ['backbone.layer1', ''],
  ['backbone.layer2', ''],
].map(([layer, field]) => ({ layer, field, levels: [] }));
const maps = [
  [0, 0],
  [0, 1],
  [0, 3],
  [1, 0],
  [3, 0],
].map(([group, level]) => ({ group, level }));

test('the map that is shown is the one asked for, or the nearest', () => {
  const near = (layer, field, level) => nearestMap(groups, maps, { layer, field, level });
  assert.deepEqual(near('', '', 0), { group: 0, level: 0, instead: '' });
  assert.deepEqual(near('neck', '', 3), { group: 0, level: 3, instead: '' });
  assert.deepEqual(near('neck', '', 9), { group: 0, level: 3, instead: 'level' });
  assert.deepEqual(near('head', 'reg', 0), { group: 1, level: 0, instead: 'field' });
  assert.deepEqual(near('backbone.layer2', '', 0), { group: 3, level: 0, instead: 'layer' });
  assert.deepEqual(near('other', '', 0), { group: 0, level: 0, instead: 'layer' });
  assert.equal(nearestMap(groups, [], { layer: '', field: '', level: 0 }), null);
});

test('keys move along a list', () => {
  const moved = (key, more = {}) => rowsToMove({ key, ...more }, 10, 100);
  assert.deepEqual(
    ['ArrowDown', 'ArrowUp', 'PageDown', 'PageUp', 'Home', 'End'].map((key) => moved(key)),
    [1, -1, 9, -9, -100, 100],
  );
  assert.equal(moved('a'), undefined);
  assert.equal(moved('ArrowDown', { ctrlKey: true }), undefined);
  assert.equal(rowsToMove({ key: 'PageDown' }, 0, 100), 1);
});

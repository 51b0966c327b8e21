// What belongs together in two runs, and the sizes of a grid.
import assert from 'node:assert/strict';
import test from 'node:test';

import { fitView } from '../../../src/featscope/viewer/static/draw/placement.js';
import {
  counterpart,
  levelsOf,
  matchSamples,
  runNames,
  sameView,
  scalesOf,
  stacked,
  tilesAcross,
  whyNoDifference,
} from '../../../src/featscope/viewer/static/match.js';

const group = (layer, field = '', levels = [0]) => ({
  layer,
  field,
  levels: levels.map((level) => ({ level, shape: `8 x ${64 >> level} x ${64 >> level}` })),
});
const maps = (groups) => groups.flatMap((each, number) => each.levels.map(({ level }) => ({ group: number, level })));
const find = (wanted, level, groups) => counterpart(wanted, level, groups, maps(groups));

test('samples are matched by name, whatever their order', () => {
  const a = ['P1', 'P2', '<img onerror=x>', 'P4'],
    b = ['P4', 'x', '<img onerror=x>', 'P1'];
  assert.deepEqual(matchSamples(a, b), { both: [0, 2, 3], a: [1], b: [1] });
  assert.deepEqual(matchSamples([], b), { both: [], a: [], b: [0, 1, 2, 3] });
});

test('the same layer, field and level is taken, and nothing is said', () => {
  const groups = [
    group('backbone'),
    group('neck', '', [0, 1, 2]),
    group('head', 'cls', [0, 1, 2]),
    group('head', 'reg', [0, 1, 2]),
  ];
  assert.deepEqual(find(group('neck', '', [0, 1, 2]), 2, groups), { group: 1, level: 2, instead: '' });
  assert.deepEqual(find(group('head', 'reg', [0, 1, 2]), 1, groups), { group: 3, level: 1, instead: '' });
});

test('what differs from the map that was asked for is said', () => {
  const groups = [group('model.backbone', '', [0, 1]), group('neck', '', [0, 1, 3]), group('head', 'cls', [0])];
  assert.deepEqual(find(group('neck', '', [0, 4]), 4, groups), { group: 1, level: 3, instead: 'level' });
  assert.deepEqual(find(group('head', 'obj'), 0, groups), { group: 2, level: 0, instead: 'field' });
  assert.deepEqual(find(group('backbone', '', [0, 1]), 1, groups), { group: 0, level: 1, instead: 'layer' });
});

test('the name with more parts in common is nearer; without any there is no counterpart', () => {
  const groups = [group('model.neck.top'), group('model.backbone.layer3'), group('model.backbone.layer4')];
  assert.equal(find(group('net.model.backbone.layer4'), 0, groups)?.group, 2);
  assert.equal(find(group('encoder'), 0, groups), null);
  assert.equal(counterpart(group('neck'), 0, [group('neck')], []), null);
});

test('a difference needs one reduction, one shape and one place', () => {
  const placement = { frame: [40, 60], cells: [0, 0, 6, 4], crop: null, flip: '' };
  const header = { shape: [4, 6], reduce: 'mean', channels: 3, placement };
  assert.equal(whyNoDifference(header, { ...header, channels: 9 }), null);
  assert.equal(whyNoDifference(header, { ...header, placement: { ...placement, crop: [0, 0, 40, 60] } }), null);
  assert.deepEqual(whyNoDifference(header, { ...header, reduce: 'contrast' }), [
    'compare.not_reduce',
    'mean',
    'contrast',
  ]);
  assert.deepEqual(whyNoDifference(header, { ...header, shape: [8, 12] }), ['compare.not_shape', '4 × 6', '8 × 12']);
  for (const other of [{ cells: [0, 0, 6, 4.5] }, { flip: 'horizontal' }, { frame: [40, 61] }]) {
    assert.deepEqual(whyNoDifference(header, { ...header, placement: { ...placement, ...other } }), [
      'compare.not_place',
    ]);
  }
});

test('panels of a kind have one scale; a kind of one has none', () => {
  const scales = scalesOf([
    { kind: 'a', bounds: [0, 3] },
    { kind: 'b', bounds: [-9, 9] },
    { kind: 'a', bounds: [-1, 2] },
  ]);
  assert.deepEqual([...scales], [['a', [-1, 3]]]);
});

test('runs of one name get as much of their folder as tells them apart', () => {
  const run = (folder) => ({ name: folder.split('/').pop(), folder });
  assert.deepEqual(runNames([run('/a/fpn'), run('/b/pafpn')]), ['fpn', 'pafpn']);
  assert.deepEqual(runNames([run('/x/a/run'), run('/x/b/run'), run('/x/c')]), ['a/run', 'b/run', 'c']);
  assert.deepEqual(runNames([run('/x/a/run'), run('/y/a/run')]), ['x/a/run', 'y/a/run']);
  assert.deepEqual(runNames([run('/x/run'), run('/x/run')]), ['x/run (1)', 'x/run (2)']);
});

test('tiles fill the width of their row', () => {
  for (let width = 60; width < 3000; width += 37) {
    for (const wanted of [120, 220, 480]) {
      const { columns, tile } = tilesAcross(width, wanted, 8);
      assert.ok(columns >= 1 && columns * tile + 8 * (columns - 1) <= width, `${width} ${wanted}`);
      if (columns > 1) assert.ok(tile >= wanted);
    }
  }
  assert.deepEqual(levelsOf([group('a', '', [3, 1]), group('b', '', [2, 1])]), [1, 2, 3]);
});

test('wide pictures lie below each other, tall ones side by side', () => {
  assert.equal(stacked(800, 800, [200, 1000], 100), true);
  assert.equal(stacked(1200, 600, [600, 600], 100), false);
});

test('a view in another panel shows the same part, and comes back', () => {
  const view = { x: 20, y: 30, scale: 9 },
    frame = [60, 80],
    size = [640, 480],
    toFrame = [120, 160],
    toSize = [320, 240];
  const there = sameView(view, frame, size, toFrame, toSize);
  assert.deepEqual([there.x, there.y], [40, 60]);
  assert.equal(there.scale / fitView(toFrame, ...toSize).scale, view.scale / fitView(frame, ...size).scale);
  const back = sameView(there, toFrame, toSize, frame, size);
  for (const key of ['x', 'y', 'scale']) assert.ok(Math.abs(back[key] - view[key]) < 1e-9);
});

// Which codes a tile of the mosaic shows, and their colours. Run with `node --test tests/viewer/js`.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { direction } from '../../../src/featscope/viewer/static/draw/placement.js';
import {
  blockOf,
  boundsOfTiles,
  codeColours,
  layoutOf,
  pool,
  putTile,
  sizeFor,
  spansOf,
  tileSides,
  twoSigns,
  valueAt,
} from '../../../src/featscope/viewer/static/draw/tiles.js';

const colours = Uint32Array.from({ length: 256 }, (_, i) => i);
/** Channels of one row of codes. */
const tilesOf = (codes, lows, highs, rows = 1, columns = codes.length / lows.length / rows) => ({
  codes: Uint8Array.from(codes),
  lows,
  highs,
  rows,
  columns,
});

test('as many cells are asked for as a tile has pixels, within what the server offers', () => {
  assert.deepEqual([8, 16, 17, 64, 65, 128, 512].map(sizeFor), [16, 16, 32, 64, 128, 128, 128]);
});

test('the number of cells per code is that of the server, for all sizes', () => {
  for (const size of [16, 32, 64, 128]) {
    for (let rows = 1; rows < 300; rows += 7) {
      for (const columns of [1, 13, 64, 100, 129, 257]) {
        const step = Math.max(1, Math.ceil(Math.max(rows, columns) / size));
        assert.equal(blockOf([rows, columns], Math.ceil(rows / step), Math.ceil(columns / step)), step);
      }
    }
  }
});

test('a tile has the shape of the picture, or of the part that the network saw', () => {
  assert.deepEqual(tileSides({ frame: [480, 640], cells: [], crop: null, flip: '' }, 64), { width: 64, height: 48 });
  assert.deepEqual(tileSides({ frame: [480, 640], cells: [], crop: [0, 0, 400, 100], flip: '' }, 64), {
    width: 16,
    height: 64,
  });
  assert.deepEqual(tileSides({ frame: [1, 4000], cells: [], crop: null, flip: '' }, 24), { width: 24, height: 4 });
});

test('rows are filled, and a page narrower than a tile has one column', () => {
  const { across, rows, pitch, height } = layoutOf(256, 656, { width: 64, height: 48 }, 8, 16);
  assert.deepEqual([across, rows, pitch, height], [9, 29, 72, 29 * 72]);
  assert.equal(layoutOf(3, 10, { width: 64, height: 48 }, 8, 16).across, 1);
  assert.equal(layoutOf(0, 656, { width: 64, height: 48 }, 8, 16).rows, 0);
});

test('padding is left out, and a mirrored picture is turned back', () => {
  // The picture covers cells 1 to 3 of 4.
  const placement = { frame: [10, 10], cells: [1, 0, 3, 4], crop: null, flip: '' };
  assert.deepEqual([...spansOf(direction(placement, 'x'), 4, 1, 4).from], [1, 1, 2, 2]);
  assert.deepEqual([...spansOf(direction({ ...placement, flip: 'horizontal' }, 'x'), 4, 1, 4).from], [2, 2, 1, 1]);
  assert.deepEqual([...spansOf(direction({ ...placement, flip: 'horizontal' }, 'y'), 4, 1, 4).from], [0, 1, 2, 3]);
  // Cells beyond the map: its border goes on.
  assert.deepEqual([...spansOf({ first: -1, last: 5 }, 6, 1, 4).from], [0, 0, 1, 2, 3, 3]);
});

test('where pixels cover several codes, each code belongs to one pixel', () => {
  for (const [first, last] of [
    [0, 60],
    [60, 0],
    [0, 47.5],
  ]) {
    const { from, to, single } = spansOf({ first, last }, 24, 1, 60);
    assert.equal(single, false);
    const seen = new Array(60).fill(0);
    from.forEach((start, i) => {
      for (let at = start; at < to[i]; at++) seen[at]++;
    });
    assert.ok(seen.every((count, at) => count === (at < Math.round(Math.max(first, last)) ? 1 : 0)));
  }
});

test('the strongest code stays visible, the farthest from zero; marks win over all', () => {
  const both = { from: Int32Array.of(0, 2), to: Int32Array.of(2, 4), single: false },
    one = { from: Int32Array.of(0), to: Int32Array.of(1), single: true };
  const tiles = tilesOf([126, 3, 130, 200, 20, 255, 254, 7], [-1, 0], [1, 1]);
  assert.deepEqual([...pool(tiles, 0, one, both, 'peak')], [3, 200]);
  assert.deepEqual([...pool(tiles, 0, one, both, 'mean')], [65, 165]);
  assert.deepEqual([...pool(tiles, 1, one, both, 'peak')], [255, 254]);
});

test('colours span a range; what lies beyond is clipped, and marks keep theirs', () => {
  assert.equal(codeColours(colours, -2, 5, -2, 5), colours);
  const zero = codeColours(colours, 0, 1, -1, 1);
  assert.deepEqual([zero[0], zero[253], zero[254], zero[255]], [127, 253, 254, 255]);
  const clipped = codeColours(colours, 0, 10, 4, 5);
  assert.deepEqual([clipped[0], clipped[253]], [0, 253]);
  assert.equal(codeColours(colours, 3, 3, 3, 3)[0], 127); // all cells are equal: the middle
});

test('each channel has its own range, or all have one', () => {
  const tiles = tilesOf([0, 253, 0, 253], [-1, 2], [3, 10]);
  assert.deepEqual(boundsOfTiles(tiles, 'auto', false, false), [
    [-1, 3],
    [2, 10],
  ]);
  assert.deepEqual(boundsOfTiles(tiles, 'auto', false, true), [
    [-3, 3],
    [-10, 10],
  ]);
  assert.deepEqual(boundsOfTiles(tiles, 'map', true, false), [
    [-1, 10],
    [-1, 10],
  ]);
  assert.deepEqual(boundsOfTiles(tiles, 'symmetric', true, false), [
    [-10, 10],
    [-10, 10],
  ]);
  assert.deepEqual(boundsOfTiles(tiles, '0:4', false, false), [
    [0, 4],
    [0, 4],
  ]);
});

test('percentiles come from the codes, and leave one strong cell out', () => {
  const codes = Array.from({ length: 1000 }, (_, i) => (i === 7 ? 253 : i % 11));
  const [[low, high]] = boundsOfTiles(tilesOf(codes, [0], [253]), 'percentile:1:99', false, false);
  assert.ok(low === 0 && high >= 9.8 && high <= 10.2, `${low} ${high}`);
  const [[a, b]] = boundsOfTiles(tilesOf(codes, [0], [253]), 'symmetric:99', true, true);
  assert.ok(a === -b && b >= 9.8 && b <= 10.2);
  assert.deepEqual(boundsOfTiles(tilesOf([0, 0], [5], [5]), 'percentile:1:99', false, false), [[5, 5]]);
});

test('a tile is cut at the edges of the picture', () => {
  const pixels = new Uint32Array(4 * 3),
    down = Int32Array.of(0, 0, 1),
    across = Int32Array.of(0, 1);
  putTile(pixels, 4, 3, -1, Uint8Array.of(1, 2, 3, 4), 0, down, across, 2, colours);
  assert.deepEqual([...pixels], [0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0]);
  putTile(pixels, 4, 0, 2, Uint8Array.of(1, 2, 3, 4), 0, down, across, 2, colours);
  assert.deepEqual([...pixels.subarray(8)], [1, 2, 0, 0]);
});

test('a map is signed by the rule of featscope heat', () => {
  assert.deepEqual(
    [
      [[-0.27], [5]],
      [[-0.04], [5]],
      [[-3], [-1]],
      [
        [0, -2],
        [1, 0],
      ],
      [[], []],
    ].map(([lows, highs]) => twoSigns(lows, highs)),
    [true, false, false, true, false],
  );
});

test('a value has no more digits than its code can tell', () => {
  assert.equal(valueAt(0, -1.23456, 2), -1.23);
  assert.equal(valueAt(253, 0, 12345.678), 12346);
  assert.equal(valueAt(100, 7.25, 7.25), 7.25);
  assert.ok(Number.isNaN(valueAt(255, 0, 1)));
  assert.equal(valueAt(254, 0, 1), Infinity);
});

import assert from 'node:assert/strict';
import test from 'node:test';

import { boxAt, placeLabels } from '../../../src/featscope/viewer/static/draw/boxes.js';
import { placedIndices } from '../../../src/featscope/viewer/static/draw/canvas.js';
import { coloursOf, lookupOf, seenOf, weightsOf } from '../../../src/featscope/viewer/static/draw/palette.js';
import { colour, differenceOf, quantise } from '../../../src/featscope/viewer/static/draw/steps.js';

const grey = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
const plain = { marked: false, opaque: false, alpha: 0.7, fade: true, zero: false };

test('values become indices', () => {
  assert.deepEqual([...quantise(Float32Array.of(0, 0.5, 1, -9, 9), 0, 1).indices], [0, 128, 255, 0, 255]);
  assert.deepEqual([...quantise(Float32Array.of(0, 1, NaN, -Infinity), 0, 1).indices], [0, 253, 255, 254]);
  assert.deepEqual([...quantise(Float32Array.of(4, 4), 4, 4).indices], [128, 128]);
  assert.deepEqual([...quantise(Float32Array.of(4, NaN), 4, 4).indices], [127, 255]);
  assert.deepEqual([...quantise(Float32Array.of(-3e38, 3e38), -3e38, 3e38).indices], [0, 255]);
});

test('beside marks, the map spans 254 colours', () => {
  const colours = coloursOf(grey, true);
  assert.deepEqual([...colours.slice(0, 3)], [0, 0, 0]);
  assert.deepEqual([...colours.slice(253 * 3)], [255, 255, 255, 0, 255, 0, 255, 0, 255]);
  assert.equal(coloursOf(grey, false), grey);
});

test('weak colours have low weights', () => {
  assert.deepEqual(
    [0, 42, 85, 255].map((i) => weightsOf(plain)[i]),
    [0, 88, 179, 179],
  );
  const zero = weightsOf({ ...plain, alpha: 1, zero: true });
  assert.deepEqual(
    [0, 127, 128, 255].map((i) => zero[i]),
    [255, 1, 1, 255],
  );
  assert.deepEqual(
    [254, 255].map((i) => weightsOf({ ...plain, marked: true })[i]),
    [179, 179],
  );
  assert.ok(weightsOf({ ...plain, opaque: true }).every((weight) => weight === 255));
});

test('a lookup holds red, green, blue and weight', () => {
  const palette = new Uint8Array(768);
  palette.set([1, 2, 3], 765);
  const pixels = new Uint32Array(1);
  colour(Uint8Array.of(255), lookupOf(palette, plain), pixels);
  assert.deepEqual([...new Uint8Array(pixels.buffer)], [1, 2, 3, 179]);
  assert.deepEqual([...seenOf(lookupOf(grey, plain), false).slice(0, 4)], [150, 150, 150, 255]);
});

/** @param {Partial<any>} change */
const scene = (change) => ({
  width: 8,
  height: 8,
  view: { x: 4, y: 4, scale: 1 },
  placement: { frame: [8, 8], cells: [0, 0, 2, 2], crop: null, flip: '' },
  shape: [2, 2],
  smooth: true,
  ...change,
});

test('nothing is drawn outside of a crop or of the frame', () => {
  const quantised = quantise(Float32Array.of(0, 1, 0, 1), 0, 1);
  const crop = { frame: [8, 8], cells: [0, 0, 2, 2], crop: [2, 1, 4, 5], flip: '' };
  const { x, y, width, height } = placedIndices(scene({ placement: crop }), quantised);
  assert.deepEqual([x, y, width, height], [1, 2, 5, 4]);
  const away = placedIndices(scene({ view: { x: 400, y: 4, scale: 1 } }), quantised);
  assert.equal(away.placed.length, 0);
});

test('cells are flat, or blended between their centres', () => {
  const quantised = quantise(Float32Array.of(0, 1, 0, 1), 0, 1);
  const row = (/** @type {boolean} */ smooth) => [...placedIndices(scene({ smooth }), quantised).placed.slice(0, 8)];
  assert.deepEqual(row(false), [0, 0, 0, 0, 255, 255, 255, 255]);
  assert.deepEqual(row(true), [0, 0, 32, 96, 159, 223, 255, 255]);
});

test('marks are never blended', () => {
  const quantised = quantise(Float32Array.of(NaN, 1, 1, 1), 0, 1);
  const { placed } = placedIndices(scene({}), quantised);
  assert.deepEqual([...placed.slice(0, 5)], [255, 255, 255, 255, 158]); // NaN counts as 0 beside it
});

test('where a pixel covers several cells, a peak among them is not lost', () => {
  const side = 64,
    values = new Float32Array(side * side);
  for (let i = 0; i < 8; i++) values[(i * 8 + 3) * side + i * 8 + 5] = 1;
  for (const smooth of [true, false]) {
    const placement = { frame: [8, 8], cells: [0, 0, side, side], crop: null, flip: '' };
    const { placed } = placedIndices(scene({ placement, shape: [side, side], smooth }), quantise(values, 0, 1));
    for (let i = 0; i < 8; i++) assert.ok(placed[i * 9] > 0);
    assert.ok(Math.max(...placed) < 20);
  }
});

test('a difference of two maps', () => {
  assert.deepEqual([...differenceOf(Float32Array.of(1, 2, Infinity), Float32Array.of(3, 1, Infinity))], [-2, 1, NaN]);
  assert.throws(() => differenceOf(new Float32Array(2), new Float32Array(3)), RangeError);
});

/** @param {number} x @param {number} y @param {number} side @param {number} number */
const square = (x, y, side, number) =>
  /** @type {any} */ ({
    box: { polygon: [x, y, x + side, y, x + side, y + side, x, y + side], label: 0, score: 1 },
    number,
    kind: 'detection',
    text: 'a',
  });

test('a click chooses the smallest box, or one whose edge is near', () => {
  const items = [square(0, 0, 100, 0), square(40, 40, 10, 1)];
  assert.equal(boxAt(items, 45, 45, 5)?.number, 1);
  assert.equal(boxAt(items, 10, 10, 5)?.number, 0);
  assert.equal(boxAt(items, 103, 50, 5)?.number, 0);
  assert.equal(boxAt(items, 110, 50, 5), null);
  const truth = { ...square(2, 2, 96, 7), kind: /** @type {const} */ ('truth') };
  assert.equal(boxAt([items[0], truth], 10, 10, 5)?.number, 0); // of two alike, the one that has sources
});

test('labels never cover each other', () => {
  const labels = [];
  for (let i = 0; i < 60; i++) {
    const x = (i * 37) % 300,
      y = (i * 53) % 200;
    labels.push({ points: [x, y, x + 60, y, x + 60, y + 40, x, y + 40], width: 50, forced: i === 0 });
  }
  const areas = placeLabels(labels, 16, 320, 240).filter((area) => area !== null);
  assert.ok(areas.length > 5 && areas.length < 60);
  for (const a of areas) {
    for (const b of areas)
      assert.ok(a === b || a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top);
  }
  assert.deepEqual(placeLabels([{ points: [0, 0, 9, 0, 9, 9, 0, 9], width: 50, forced: false }], 16, 99, 99), [null]);
});

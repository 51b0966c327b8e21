import assert from 'node:assert/strict';
import test from 'node:test';

import {
  cellAt,
  cellQuad,
  clampView,
  fitView,
  frameToScreen,
  screenToFrame,
  zoomAbout,
} from '../../../src/featscope/viewer/static/draw/placement.js';

const whole = { frame: [80, 120], cells: [0, 0, 12, 8], crop: null, flip: '' };

test('a point of the frame lies in its cell', () => {
  assert.deepEqual(cellAt(whole, 8, 12, 25, 39), { x: 2.5, y: 3.9, row: 3, column: 2 });
  assert.equal(cellAt(whole, 8, 12, 120, 0), null);
  assert.equal(cellAt(whole, 8, 12, -1, 0), null);
  assert.equal(cellAt(whole, 8, 12, NaN, 0), null);
});

test('beyond the edge of the map its border cells go on', () => {
  const p = { ...whole, cells: [-2, -1, 14, 9] };
  const corner = cellAt(p, 8, 12, 0, 0);
  assert.deepEqual([corner?.row, corner?.column], [0, 0]);
  const last = cellAt(p, 8, 12, 119.9, 79.9);
  assert.deepEqual([last?.row, last?.column], [7, 11]);
});

test('a mirrored map is mirrored inside of its crop', () => {
  const p = { frame: [100, 200], cells: [0, 0, 10, 10], crop: [20, 50, 50, 100], flip: 'diagonal' };
  const found = cellAt(p, 10, 10, 51, 21);
  assert.deepEqual([found?.row, found?.column], [9, 9]);
  assert.equal(cellAt(p, 10, 10, 49, 30), null);
  assert.deepEqual(cellQuad(p, 9, 9), { x: 50, y: 20, width: 10, height: 5 });
});

test('the middle of a cell lies in the cell, for every flip', () => {
  for (const flip of ['', 'horizontal', 'vertical', 'diagonal']) {
    const p = { frame: [90, 70], cells: [1.5, -0.5, 9, 7.25], crop: [5, 10, 60, 55], flip };
    for (let row = 0; row < 7; row++) {
      for (let column = 2; column < 9; column++) {
        const { x, y, width, height } = cellQuad(p, row, column);
        const found = cellAt(p, 8, 9, x + width / 2, y + height / 2);
        assert.deepEqual([found?.row, found?.column], [row, column]);
      }
    }
  }
});

test('a view fits the frame, and moves points there and back', () => {
  const view = fitView([100, 200], 400, 400);
  assert.deepEqual(view, { x: 100, y: 50, scale: 2 });
  assert.deepEqual(frameToScreen(view, 400, 400, 0, 0), { x: 0, y: 100 });
  assert.deepEqual(screenToFrame(view, 400, 400, 0, 100), { x: 0, y: 0 });
  assert.equal(fitView([100, 200], 0, 0).scale, 1);
});

test('zooming leaves the point under the pointer where it is', () => {
  const view = zoomAbout({ x: 50, y: 50, scale: 2 }, 400, 300, 90, 80, 1.7);
  const before = screenToFrame({ x: 50, y: 50, scale: 2 }, 400, 300, 90, 80),
    after = screenToFrame(view, 400, 300, 90, 80);
  assert.ok(Math.abs(before.x - after.x) < 1e-9 && Math.abs(before.y - after.y) < 1e-9);
});

test('a view shows no emptiness', () => {
  assert.deepEqual(clampView({ x: -90, y: 500, scale: 0.01 }, [100, 200], 400, 200), { x: 100, y: 50, scale: 2 });
  const near = clampView({ x: 0, y: 0, scale: 10 }, [100, 200], 400, 200);
  assert.deepEqual(near, { x: 20, y: 10, scale: 10 });
  assert.equal(clampView({ x: 0, y: 0, scale: 1e9 }, [100, 200], 400, 200).scale, 48);
});

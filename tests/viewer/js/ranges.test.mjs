import assert from 'node:assert/strict';
import test from 'node:test';

import {
  boundsOf,
  countMarks,
  format,
  niceTicks,
  outsideCount,
  parseRange,
  percentile,
  sharedBounds,
  sharesBeyond,
} from '../../../src/featscope/viewer/static/draw/ranges.js';

const values = Float32Array.of(-3, 1, 2, 4, NaN, 100, Infinity, 100);
const shape = [2, 4],
  inside = [0, 2, 0, 3]; // the last column is padding

test('ranges', () => {
  assert.deepEqual(boundsOf(values, shape, inside, 'map'), [-3, 100]);
  assert.deepEqual(boundsOf(values, shape, inside, 'symmetric'), [-100, 100]);
  assert.deepEqual(boundsOf(values, shape, inside, '0:1'), [0, 1]);
  assert.deepEqual(boundsOf(values, shape, inside, '-1.5:1e3'), [-1.5, 1000]);
  assert.deepEqual(boundsOf(values, shape, inside, 'percentile:0:50'), [-3, 1.5]); // of -3, 1, 2, 100
  const low = boundsOf(values, shape, inside, 'symmetric:50');
  assert.deepEqual(low, [-2.5, 2.5]); // of 1, 2, 3, 100
});

test('a range that would be empty spans all cells', () => {
  const rare = Float32Array.from({ length: 1000 }, (_, i) => (i === 7 ? 5 : 0));
  assert.deepEqual(boundsOf(rare, [10, 100], null, 'percentile:1:99'), [0, 5]);
  assert.deepEqual(boundsOf(rare, [10, 100], null, 'symmetric:50'), [-5, 5]);
  assert.deepEqual(boundsOf(Float32Array.of(2, 2), [1, 2], null, 'map'), [2, 2]);
  assert.deepEqual(boundsOf(Float32Array.of(NaN), [1, 1], null, 'percentile:1:99'), [0, 0]);
});

test('what is not a range', () => {
  for (const spec of [
    '',
    'x',
    '1:0',
    '1:1',
    'percentile:1',
    'percentile:-1:50',
    'symmetric:101',
    '0:',
    ':1',
    '0:NaN',
    '0:1:2',
    '0:Infinity',
  ]) {
    assert.equal(parseRange(spec), null, spec);
  }
  assert.throws(() => boundsOf(values, shape, null, 'nonsense'), RangeError);
});

test('percentiles are those of a sorted list', () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (const count of [1, 2, 3, 10, 101, 5000]) {
    const cells = Float32Array.from({ length: count }, () => Math.round(random() * 50) / 8);
    const sorted = [...cells].sort((a, b) => a - b);
    for (const q of [0, 1, 33.3, 50, 99, 100]) {
      const at = ((count - 1) * q) / 100,
        below = Math.floor(at),
        next = sorted[Math.min(below + 1, count - 1)];
      assert.ok(Math.abs(percentile(cells, q) - (sorted[below] + (next - sorted[below]) * (at - below))) < 1e-6);
    }
  }
});

test('shares and counts', () => {
  assert.deepEqual(sharesBeyond(Float32Array.of(0, 1, 2, 4, NaN), [1, 5], null, 1, 3), { below: 0.25, above: 0.25 });
  assert.deepEqual(sharesBeyond(Float32Array.of(0.1, 0.7), [1, 2], null, 0.1, 0.7), { below: 0, above: 0 });
  assert.deepEqual(sharesBeyond(Float32Array.of(NaN), [1, 1], null, 0, 1), { below: 0, above: 0 });
  assert.deepEqual(countMarks(values), { nan: 1, inf: 1 });
  assert.equal(outsideCount(shape, inside), 2);
  assert.equal(outsideCount(shape, null), 0);
  assert.deepEqual(
    sharedBounds([
      [0, 1],
      [-2, 0.5],
    ]),
    [-2, 1],
  );
  assert.deepEqual(sharedBounds([]), [0, 0]);
});

test('ticks are round', () => {
  assert.deepEqual(niceTicks(0.55, 7.1), [2, 4, 6]);
  assert.deepEqual(niceTicks(-1, 1), [-1, -0.5, 0, 0.5, 1]);
  assert.deepEqual(niceTicks(0, 0.3), [0, 0.1, 0.2, 0.3]);
  assert.ok(niceTicks(-5.784, 5.784).every((tick) => !Object.is(tick, -0)));
  assert.deepEqual(niceTicks(1, 1), []);
  assert.deepEqual(niceTicks(NaN, 1), []);
  assert.ok(niceTicks(0, 3e38).length >= 3 && niceTicks(0, 1e-40).length >= 3);
});

test('short numbers', () => {
  assert.equal(format(0), '0');
  assert.equal(format(-0.123456), '−0.1235');
  assert.equal(format(12345.6), '12350');
  assert.equal(format(1234567), '1.235e6');
  assert.equal(format(1.5e-7), '1.5e−7');
  assert.equal(format(99999.9), '100000');
  assert.equal(format(NaN), 'NaN');
  assert.equal(format(-Infinity), '−∞');
  assert.equal(format(-1.987, 2), '−2');
});

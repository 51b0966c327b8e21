import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Cache, Transport, isAbort, keyOf, unpack } from '../../../src/featscope/viewer/static/transport.js';

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
  delete globalThis.featscopeAnswers;
});

/** A reply of header and numbers, as the server writes it. */
function packed(header, data) {
  const plain = new TextEncoder().encode(JSON.stringify(header));
  const text = new Uint8Array(Math.ceil(plain.length / 4) * 4).fill(32);
  text.set(plain);
  const bytes = new Uint8Array(4 + text.length + data.byteLength);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  bytes.set(new Uint8Array(data.buffer), 4 + text.length);
  return bytes;
}

const json = (value, status = 200) =>
  new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } });

test('a question is written in one way', () => {
  assert.equal(keyOf('about'), 'about?');
  assert.equal(
    keyOf('map', { sample: 3, run: 0, slice: null, reduce: 'channel:7', other: undefined }),
    'map?reduce=channel%3A7&run=0&sample=3',
  );
});

test('the cache is bounded by bytes, and the longest unused go first', () => {
  const out = [];
  const cache = new Cache(100, (value) => out.push(value));
  cache.put('a', 'A', 40);
  cache.put('b', 'B', 40);
  assert.equal(cache.get('a'), 'A');
  cache.put('c', 'C', 40);
  assert.deepEqual(out, ['B']);
  assert.equal(cache.bytes, 80);
  cache.held.add('A');
  cache.put('d', 'D', 90);
  assert.deepEqual(out, ['B', 'C'], 'what is on the screen stays');
  cache.put('d', 'D2', 10);
  assert.equal(cache.bytes, 50);
  cache.put('large', 'L', 1000);
  assert.equal(cache.get('large'), 'L', 'even one that is too large is kept until the next');
  cache.dropWhere((key) => key === 'large');
  assert.equal(cache.bytes, 40);
});

test('arrays', () => {
  const { header, data } = unpack(
    packed({ shape: [1, 2], dtype: 'float32', words: '通道' + 'x' }, new Float32Array([1.5, NaN])).buffer.slice(0),
  );
  assert.deepEqual([...data], [1.5, NaN]);
  assert.equal(header.words, '通道x');
});

test('equal questions are asked once, and answered from the cache afterwards', async () => {
  let asked = 0;
  globalThis.fetch = async () => {
    asked++;
    return json({ ids: ['a'] });
  };
  const transport = new Transport();
  const [a, b] = await Promise.all([transport.ask('samples', { run: 0 }), transport.ask('samples', { run: 0 })]);
  assert.equal(a, b);
  await transport.ask('samples', { run: 0 });
  assert.equal(asked, 1);
  transport.forget(1, true);
  await transport.ask('samples', { run: 0 });
  assert.equal(asked, 1);
  transport.forget(0, true);
  await transport.ask('samples', { run: 0 });
  assert.equal(asked, 2);
});

test('a later question of a role ends the earlier one, unless another waits for it', async () => {
  const ended = [];
  globalThis.fetch = (address, { signal }) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve(json({ address })), 20);
      signal.addEventListener('abort', () => {
        ended.push(address);
        clearTimeout(timer);
        reject(signal.reason);
      });
    });
  const transport = new Transport();
  const first = transport.ask('sample', { sample: 1 }, { role: 'sample' });
  const beside = transport.ask('sample', { sample: 2 });
  const second = transport.ask('sample', { sample: 2 }, { role: 'sample' });
  const third = transport.ask('sample', { sample: 3 }, { role: 'sample' });
  await assert.rejects(first, isAbort);
  await assert.rejects(second, isAbort);
  assert.equal((await beside).address, 'ask/sample?sample=2');
  assert.equal((await third).address, 'ask/sample?sample=3');
  assert.deepEqual(ended, ['ask/sample?sample=1']);
  assert.equal(transport.flights.size, 0);
});

test('a role that found its answer in the cache ends what it asked before', async () => {
  globalThis.fetch = (address) => new Promise((resolve) => setTimeout(() => resolve(json({ address })), 10));
  const transport = new Transport();
  await transport.ask('sample', { sample: 1 });
  const late = transport.ask('sample', { sample: 2 }, { role: 'sample' });
  assert.ok(await transport.ask('sample', { sample: 1 }, { role: 'sample' }));
  await assert.rejects(late, isAbort);
});

test('errors have the words of the server', async () => {
  const transport = new Transport();
  globalThis.fetch = async () => json({ error: 'there is no sample 9' }, 404);
  await assert.rejects(transport.ask('sample', { sample: 9 }), { message: 'there is no sample 9' });
  globalThis.fetch = async () => new Response('<html>', { status: 502 });
  await assert.rejects(transport.ask('sample', { sample: 9 }), /502/);
  globalThis.fetch = async () => {
    throw new TypeError('fetch failed');
  };
  await assert.rejects(transport.ask('sample', { sample: 9 }), { name: 'Gone' });
  globalThis.fetch = async () =>
    new Response(new Uint8Array(3), { headers: { 'content-type': 'application/octet-stream' } });
  await assert.rejects(transport.ask('map', { sample: 9 }), { name: 'Broken' });
  globalThis.fetch = async () => json({ id: 'P9' });
  assert.deepEqual(await transport.ask('sample', { sample: 9 }), { id: 'P9' }, 'a failure is not kept');
});

test('a report answers for itself, and says what it does not hold', async () => {
  globalThis.fetch = () => assert.fail('a report asks nobody');
  const zipped = (bytes) => gzipSync(bytes).toString('base64');
  globalThis.featscopeAnswers = new Map([
    ['sample?run=0&sample=0', zipped(JSON.stringify({ id: '航拍' }))],
    ['map?group=0&run=0', zipped(packed({ shape: [2], dtype: 'float32' }, new Float32Array([1, 2])))],
    ['image?run=0', zipped(new Uint8Array([0xff, 0xd8]))],
  ]);
  const transport = new Transport();
  assert.deepEqual(await transport.ask('sample', { sample: 0, run: 0 }), { id: '航拍' });
  assert.deepEqual([...(await transport.ask('map', { run: 0, group: 0 })).data], [1, 2]);
  assert.equal((await transport.ask('image', { run: 0 })).type, 'image/jpeg');
  await assert.rejects(transport.ask('map', { run: 1 }), /featscope view/);
});

import assert from 'node:assert/strict';
import test from 'node:test';
import {
  DEFAULTS,
  RANKS,
  SORTS,
  createStore,
  isRange,
  link,
  parse,
  read,
} from '../../../src/featscope/viewer/static/state.js';

/** A random number generator with a seed, so that a failure can be repeated. */
function seeded(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

function randomState(random) {
  const pick = (...values) => values[Math.floor(random() * values.length)];
  const whole = (most) => Math.floor(random() * (most + 1));
  const letters = [
    'a',
    'Z',
    '7',
    '.',
    '/',
    ' ',
    '&',
    '=',
    '#',
    '%',
    '~',
    '+',
    '"',
    '<img src=x onerror=alert(1)>',
    '航拍',
    '🚢',
    '\ud83d',
    '\udc80',
    '\n',
    '%20',
    '~0041',
  ];
  const text = (most) => {
    let made = '';
    for (let count = whole(6); count > 0 && made.length < most; count--) made += pick(...letters);
    return made;
  };
  const real = () => pick(0, 1, 0.3, random(), random() * 1e-7);
  const pair = () => [pick(null, whole(500)), pick(null, random() * 500)];
  const [low, high] = [random() * 10 - 5, 6 + random() * 1e6];
  return {
    mode: pick('stage', 'grid', 'channels', 'compare'),
    run: whole(99),
    against: whole(99),
    sample: text(40),
    layer: text(20),
    field: text(5),
    level: whole(20),
    slice: whole(99),
    reduce: pick('auto', 'max', 'absmean', 'l2', 'select_max', `channel:${whole(4096)}`),
    colormap: pick('auto', 'turbo', 'RdBu_r', 'cmocean:thermal'),
    range: pick(
      'auto',
      'map',
      'symmetric',
      `symmetric:${1 + whole(98)}`,
      `percentile:${whole(40)}:${50 + random() * 50}`,
      `${low}:${high}`,
      '-1e-7:2.5',
    ),
    shared: pick(true, false),
    apart: pick(true, false),
    opacity: real(),
    photo: pick('grey', 'colour', 'none'),
    fade: pick(true, false),
    smooth: pick(true, false),
    boxes: pick('none', 'detections', 'truth', 'both'),
    score: real(),
    classes: [...new Set(Array.from({ length: whole(30) }, () => whole(80)))].sort((a, b) => a - b),
    box: pick(null, { kind: pick('detection', 'truth'), number: whole(300) }),
    explanation: pick(null, `box_${whole(9)}_ship_layercam_neck_level_0`),
    view: pick(null, { x: random() * 5000 - 100, y: random() * 5000, scale: 0.01 + random() * 40 }),
    by: pick('peak', 'mean'),
    order: pick('number', 'energy', 'sparsity', 'contrast', `similarity:${whole(2048)}`),
    size: 8 + whole(500),
    grid: pick('levels', 'samples'),
    tile: whole(480),
    compare: pick('side', 'swipe', 'blink', 'difference'),
    swipe: real(),
    search: text(10),
    sort: pick('', ...SORTS, ...SORTS.map((name) => `-${name}`)),
    filters: { class: pick(null, whole(80)), score: pick(null, real()), objects: pair(), smallest: pair() },
    list: pick('samples', 'misses', 'alarms'),
    ranked: pick('', ...RANKS, ...RANKS.map((name) => `-${name}`)),
    lost: {
      class: text(5) || null,
      stage: pick(null, 'suppressed', 'seen, badly boxed', "below the detector's threshold"),
      verdict: pick(null, 'undecided', 'present, the head lost it', 'lost in neck.fpn'),
      kind: pick(null, 'wrong class and place'),
      size: pair(),
      other: pick(null, 'found', 'missed'),
    },
  };
}

test('a link names its state, and is short', () => {
  const random = seeded(7);
  assert.deepEqual(Object.keys(randomState(random)).sort(), Object.keys(DEFAULTS).sort(), 'every field is tested');
  let longest = 0;
  for (let round = 0; round < 5000; round++) {
    const state = randomState(random);
    const address = link(state);
    longest = Math.max(longest, address.length);
    assert.deepEqual(read(address), { state, ignored: [] }, address);
    assert.equal(link(parse(address)), address);
  }
  assert.ok(longest < 2000, `${longest}`);
});

test('the longest link is below 2,500 characters', () => {
  const random = seeded(3);
  const long = '航'.repeat(3000);
  for (let round = 0; round < 300; round++) {
    const state = {
      ...randomState(random),
      sample: 'x'.repeat(500),
      layer: 'y'.repeat(250),
      field: 'z'.repeat(80),
      search: 'w'.repeat(180),
      lost: {
        ...DEFAULTS.lost,
        class: 'c'.repeat(120),
        stage: 's'.repeat(120),
        verdict: 'v'.repeat(120),
        kind: 'k'.repeat(120),
      },
      classes: Array.from({ length: 90 }, (_, at) => 2 * at),
    };
    assert.ok(link(state).length < 2500);
    assert.deepEqual(parse(link(state)), state);
    assert.ok(
      link({
        ...state,
        sample: long,
        layer: long,
        field: long,
        search: long,
        classes: Array.from({ length: 9000 }, (_, at) => 2 * at),
      }).length < 2500,
    );
  }
});

test('a link without lists is as it was before there were any', () => {
  const address = '#v=1&sample=val/P0706&level=2&sort=-score&only.class=3&only.objects=~18';
  assert.equal(link(parse(address)), address);
  assert.equal(parse(address).list, 'samples');
});

test('filters of misses are texts in the address', () => {
  const lost = { ...DEFAULTS.lost, stage: 'seen, badly boxed', verdict: 'lost in neck', size: [8, null] };
  const state = { ...DEFAULTS, list: 'misses', ranked: '-score', lost };
  const address =
    '#v=1&list=misses&ranked=-score&lost.stage=seen,%20badly%20boxed&lost.verdict=lost%20in%20neck&lost.size=8~';
  assert.equal(link(state), address);
  assert.deepEqual(read(address), { state, ignored: [] });
  assert.deepEqual(read('#v=1&lost.other=gone&lost.size=a~b&list=all').ignored.length, 3);
});

test('defaults are left out', () => {
  assert.equal(link(DEFAULTS), '#');
  assert.equal(link({ ...DEFAULTS, level: 2, sample: 'val/P0706' }), '#v=1&sample=val/P0706&level=2');
  assert.deepEqual(read(''), { state: DEFAULTS, ignored: [] });
  assert.deepEqual(read('#'), { state: DEFAULTS, ignored: [] });
});

test('what is wrong in a link is left out and said', () => {
  const { state, ignored } = read(
    '#v=1&level=2&opacity=7&mode=<script>&sample=%E0%A4%A&range=5:1&nonsense=1&__proto__=1&level=3&only.class=-1&only.objects=1~2&only.constructor=1&classes=5-1&view=1,2,0&view&=&box=x1&score=0x1',
  );
  assert.deepEqual(state, { ...DEFAULTS, level: 2, filters: { ...DEFAULTS.filters, objects: [1, 2] } });
  assert.equal(ignored.length, 17 - 2);
  assert.deepEqual(read('#v=2&level=2'), { state: DEFAULTS, ignored: ['v=2'] });
});

test('no damaged link throws', () => {
  const random = seeded(11);
  for (let round = 0; round < 5000; round++) {
    const letters = [...link(randomState(random))];
    for (let change = 0; change < 5; change++)
      letters.splice(
        Math.floor(random() * letters.length),
        Math.floor(random() * 3),
        String.fromCharCode(32 + Math.floor(random() * 95)),
      );
    const { state } = read(letters.join(''));
    assert.deepEqual(parse(link(state)), state);
  }
});

test('ranges are those of the command line', () => {
  for (const range of ['auto', 'map', 'symmetric', 'symmetric:99', 'percentile:1:99', '0:1', '-1.5:2e3'])
    assert.ok(isRange(range), range);
  for (const range of [
    '',
    'layer',
    'symmetric:0',
    'symmetric:101',
    'percentile:99:1',
    'percentile:1',
    '1:0',
    '1',
    'a:b',
    '1:2:3',
    ':',
    'NaN:1',
    '0:Infinity',
  ])
    assert.ok(!isRange(range), range);
});

test('the store tells what has changed, and whether it is a step of the history', () => {
  const store = createStore(DEFAULTS);
  const heard = [];
  const end = store.subscribe((state, changed, how) => heard.push([state, [...changed], how.replace]));
  store.set({ level: 0, classes: [] });
  assert.equal(heard.length, 0, 'nothing has changed');
  store.set({ opacity: 0.5 });
  store.set({ sample: 'P1', box: { kind: 'truth', number: 1 } });
  store.set({ box: { kind: 'truth', number: 1 } });
  store.set({ layer: 'neck' }, { replace: true });
  assert.deepEqual(
    heard.map(([, changed, replace]) => [changed, replace]),
    [
      [['opacity'], true],
      [['sample', 'box'], false],
      [['layer'], true],
    ],
  );
  assert.equal(store.get().layer, 'neck');
  end();
  store.set({ layer: '' });
  assert.equal(heard.length, 3);
  assert.throws(() => {
    store.get().level = 3;
  });
});

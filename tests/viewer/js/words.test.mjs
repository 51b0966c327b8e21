import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { WORDS, t } from '../../../src/featscope/viewer/static/words.js';

const folder = new URL('../../../src/featscope/viewer/static/', import.meta.url);

test('both languages have the same words, with the same places for values', () => {
  assert.deepEqual(Object.keys(WORDS.zh).sort(), Object.keys(WORDS.en).sort());
  const places = (text) => [...new Set(text.match(/\{\d\}/g) ?? [])].sort();
  for (const [key, text] of Object.entries(WORDS.en)) {
    assert.ok(text && WORDS.zh[key], key);
    assert.deepEqual(places(WORDS.zh[key]), places(text), key);
  }
});

test('every key in the code has words, and every word is used', () => {
  const code = readdirSync(folder)
    .filter((name) => name.endsWith('.js') && !name.endsWith('words.js'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'))
    .join('\n');
  for (const [, key] of code.matchAll(/\b(?:t|words)\('([\w.]+)'/g)) assert.ok(key in WORDS.en, key);
  const made = [...code.matchAll(/`([\w.]+\.)\$\{/g)].map((match) => match[1]);
  for (const key of Object.keys(WORDS.en))
    assert.ok(code.includes(`'${key}'`) || made.some((start) => key.startsWith(start)), `${key} is not used`);
});

test('values are filled in', () => {
  assert.equal(t('samples.count', '3', '10'), '3 of 10');
  assert.equal(t('no.such.key'), 'no.such.key');
  assert.equal(t('reduce.newest', 'newest'), 'newest');
  assert.equal(t('note.ignored', '{0} $& {1}'), 'Not understood in the address, and left out: {0} $& {1}');
});

// Makes ../viewer.js, which is all that the page needs, and viewer.licences.txt, what it consists of.
//
//     npm ci && npm run build
//
// The first line of the bundle tells the sources that it was made from; tests/test_viewer.py compares.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const here = new URL('.', import.meta.url).pathname;
const there = join(here, '..');
const sources = createHash('sha256');
for (const name of ['build.mjs', 'package-lock.json', 'package.json', 'page.jsx']) {
  sources.update(readFileSync(join(here, name), 'utf8').replaceAll('\r\n', '\n'));
}

const made = await build({
  absWorkingDir: here,
  entryPoints: ['page.jsx'],
  bundle: true,
  format: 'esm',
  minify: true,
  target: 'es2022',
  metafile: true,
  legalComments: 'none',
  define: { 'process.env.NODE_ENV': '"production"' },
  // Of the node branches of libraries nothing runs in a browser.
  platform: 'browser',
  outfile: join(there, 'viewer.js'),
  banner: { js: `/* made from ${sources.digest('hex')} by source/build.mjs; licences: viewer.licences.txt */` },
});

const packages = new Set();
for (const [path, input] of Object.entries(Object.values(made.metafile.outputs)[0].inputs)) {
  const found = /^node_modules\/.*?((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(path);
  const inner = path.lastIndexOf('node_modules/');
  if (found && input.bytesInOutput) {
    const parts = path.slice(inner + 'node_modules/'.length).split('/');
    packages.add(path.slice(0, inner) + 'node_modules/' + parts.slice(0, parts[0].startsWith('@') ? 2 : 1).join('/'));
  }
}
const texts = [];
for (const folder of [...packages].sort()) {
  const about = JSON.parse(readFileSync(join(here, folder, 'package.json'), 'utf8'));
  const file = readdirSync(join(here, folder)).find((name) => /^licen[cs]e/i.test(name));
  const text = file && existsSync(join(here, folder, file)) ? readFileSync(join(here, folder, file), 'utf8').trim() : '';
  texts.push(`${about.name} ${about.version}: ${about.license}\n\n${text}`);
}
writeFileSync(join(there, 'viewer.licences.txt'), `${texts.join(`\n\n${'-'.repeat(80)}\n`)}\n`);

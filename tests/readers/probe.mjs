// Reads lines of JSON, {"kind": "tiff" | "zarr", "url": ...}, and says of each on one line of JSON what viv finds there.
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { DOMParser } from '@xmldom/xmldom';

globalThis.DOMParser = DOMParser;
const { loadOmeTiff, loadOmeZarr } = await import('@vivjs/loaders');

// viv reads over HTTP, as in a browser.
const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
  let size;
  try {
    const found = statSync(path);
    if (!found.isFile()) throw new Error('a folder');
    size = found.size;
  } catch {
    response.writeHead(404).end();
    return;
  }
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
  let [start, end] = [0, size - 1];
  if (range && range[1] === '') start = Math.max(0, size - Number(range[2]));
  else if (range) [start, end] = [Number(range[1]), Math.min(range[2] ? Number(range[2]) : size - 1, size - 1)];
  if (start > end || start > size) {
    response.writeHead(416).end();
    return;
  }
  const headers = { 'Content-Length': end - start + 1, 'Accept-Ranges': 'bytes' };
  if (range) headers['Content-Range'] = `bytes ${start}-${end}/${size}`;
  response.writeHead(range ? 206 : 200, headers);
  if (request.method === 'HEAD' || size === 0) response.end();
  else createReadStream(path, { start, end }).pipe(response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${server.address().port}`;

async function planesOf(source) {
  const loops = source.labels.slice(0, -2);
  const shape = source.shape.slice(0, -2);
  const planes = [];
  const walk = async (index) => {
    if (index.length < loops.length) {
      for (let at = 0; at < shape[index.length]; at++) await walk([...index, at]);
      return;
    }
    const selection = Object.fromEntries(loops.map((name, axis) => [name, index[axis]]));
    try {
      const { data } = await source.getRaster({ selection });
      planes.push(Array.from(data, Number));
    } catch (error) {
      planes.push(String(error));
    }
  };
  await walk([]);
  return planes;
}

async function describe({ kind, path }) {
  const url = base + path.split('/').map(encodeURIComponent).join('/');
  const loaded =
    kind === 'tiff'
      ? await loadOmeTiff(url, { images: 'all' })
      : [await loadOmeZarr(url, { type: 'multiscales' })];
  const images = [];
  for (const { data, metadata } of loaded) {
    const [source] = data;
    images.push({
      labels: source.labels,
      shape: source.shape,
      dtype: source.dtype,
      meta: source.meta,
      metadata,
      planes: await planesOf(source),
    });
  }
  return { images };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await describe(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error.stack ?? error) };
  }
  console.log(JSON.stringify(answer));
}
server.close();
process.exit(0);

// The page of `ome-writers view`: viv's viewer over the files of a dataset, and controls for what is shown.
//
// The server says in state.json how far the run is and which images there are; pixels are read from the files. When more
// frames have come, the sources are made anew, so that nothing that was read before stands for what is there now.
import {
  DETAIL_VIEW_ID,
  PictureInPictureViewer,
  TiffPixelSource,
  getChannelStats,
  getDefaultInitialViewState,
  loadOmeZarr,
} from '@hms-dbmi/viv';
import GeoTIFF, { GeoTIFFImage } from 'geotiff';
import React from 'react';
import { createRoot } from 'react-dom/client';

const { useEffect, useMemo, useRef, useState } = React;
const MOST_CHANNELS = 6; // viv draws so many at once
const POLL = 1000;

const here = (path) => new URL(path, window.location.href).href;

// ── where pixels come from ─────────────────────────────────────────────────────────────────────────────────────────

async function zarrSource(image) {
  const { data } = await loadOmeZarr(here(image.url), { type: 'multiscales' });
  for (const source of data) source.meta = { physicalSizes: image.physicalSizes };
  return data;
}

// What reads a file for geotiff: just the bytes that are asked for. Its own reader, which asks for blocks of 64 KiB, fails
// where pixels end with a block, as aligned ones often do.
function bytesOf(url) {
  const one = async ({ offset, length }, signal) => {
    const answer = await fetch(url, { headers: { Range: `bytes=${offset}-${offset + length - 1}` }, signal });
    if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
    const found = new Uint8Array(length);
    found.set(new Uint8Array(await answer.arrayBuffer()).subarray(0, length));
    return found.buffer;
  };
  return { fileSize: null, fetch: (slices, signal) => Promise.all(slices.map((slice) => one(slice, signal))) };
}

function tiffSource(image, number) {
  const files = new Map();
  const blank = {
    // A page that has not been written yet.
    readRasters: async ({ window: part }) => {
      const [height, width] = image.shape.slice(-2);
      const [w, h] = part ? [part[2] - part[0], part[3] - part[1]] : [width, height];
      return Object.assign([new globalThis[`${image.dtype}Array`](w * h)], { width: w, height: h });
    },
  };
  const loops = image.labels.slice(0, -2);
  const page = async (selection) => {
    const index = loops.map((name) => selection[name] ?? 0).join(',');
    const answer = await fetch(here(`page.json?image=${number}&index=${index}`));
    if (!answer.ok) throw new Error(await answer.text());
    const { url, offset } = await answer.json();
    if (offset === null) return blank;
    if (!files.has(url)) files.set(url, GeoTIFF.fromSource(bytesOf(here(url))));
    const tiff = await files.get(url);
    const { fileDirectory, geoKeyDirectory } = await tiff.parseFileDirectoryAt(offset);
    return new GeoTIFFImage(fileDirectory, geoKeyDirectory, tiff.dataView, tiff.littleEndian, tiff.cache, tiff.source);
  };
  const meta = { physicalSizes: image.physicalSizes };
  return [new TiffPixelSource(page, image.dtype, image.tile, image.shape, image.labels, meta)];
}

async function limitsOf(source, selections) {
  const found = [];
  for (const selection of selections) {
    const { data } = await source.getRaster({ selection });
    const [low, high] = getChannelStats(data.slice()).contrastLimits;
    found.push(high > low ? [low, high] : [0, Math.max(1, high)]);
  }
  return found;
}

// ── what is shown ──────────────────────────────────────────────────────────────────────────────────────────────────

const rgb = (color) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));

function useSize() {
  const [size, setSize] = useState([window.innerWidth, window.innerHeight]);
  useEffect(() => {
    const told = () => setSize([window.innerWidth, window.innerHeight]);
    window.addEventListener('resize', told);
    return () => window.removeEventListener('resize', told);
  }, []);
  return size;
}

function useRun() {
  const [state, setState] = useState(null);
  const [lost, setLost] = useState(null);
  useEffect(() => {
    let timer;
    let gone = false;
    const ask = async () => {
      let final = false;
      try {
        const answer = await fetch(here('state.json'));
        if (!answer.ok) throw new Error(await answer.text());
        const told = await answer.json();
        final = told.final;
        setState((before) => (before && JSON.stringify(before) === JSON.stringify(told) ? before : told));
        setLost(null);
      } catch (error) {
        setLost(String(error.message ?? error));
      }
      if (!final && !gone) timer = setTimeout(ask, POLL);
    };
    ask();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, []);
  return [state, lost];
}

function Page() {
  const [state, lost] = useRun();
  const [width, height] = useSize();
  const [chosen, setChosen] = useState(null); // number of the image; null follows the newest
  const [at, setAt] = useState({}); // index of each loop that was set by hand
  const [hidden, setHidden] = useState({});
  const [shown, setShown] = useState(null);
  const [failure, setFailure] = useState(null);
  const run = useRef(0);

  const newest = state?.newest ?? { image: 0, index: {} };
  const number = chosen ?? newest.image;
  const image = state?.images[number];
  const following = chosen === null && Object.keys(at).length === 0;
  const loops = image ? image.labels.slice(0, -2).map((name, axis) => [name, image.shape[axis]]) : [];
  const sliders = loops.filter(([name, size]) => name !== image.channelAxis && size > 1);
  const index = {};
  for (const [name, size] of loops) index[name] = Math.min(at[name] ?? newest.index[name] ?? 0, size - 1);

  const selections = useMemo(() => {
    if (!image) return [];
    const count = image.channelAxis ? Math.min(image.channels.length, MOST_CHANNELS) : 1;
    return Array.from({ length: count }, (_, c) => (image.channelAxis ? { ...index, [image.channelAxis]: c } : index));
  }, [number, JSON.stringify(index), image?.channels.length]);

  const key = state && `${number} ${state.version} ${JSON.stringify(selections)}`;
  useEffect(() => {
    if (!image) return;
    const mine = (run.current += 1);
    const load = async () => {
      if (image.unshown) throw new Error(image.unshown);
      const data = image.kind === 'zarr' ? await zarrSource(image) : tiffSource(image, number);
      const limits = await limitsOf(data[data.length - 1], selections);
      if (mine === run.current) {
        setShown({ number, data, selections, limits, image, key });
        setFailure(null);
      }
    };
    load().catch((error) => {
      if (mine === run.current) setFailure(`${image.name}: ${error.message ?? error}`);
    });
  }, [key]);

  const top = 88;
  const channels = shown?.image.channels ?? [];
  // As large as the window allows, until somebody moves it; new frames leave it where it is.
  const viewStates = useMemo(
    () =>
      shown && [{ ...getDefaultInitialViewState(shown.data, { width, height: height - top }, 0.05), id: DETAIL_VIEW_ID }],
    [shown?.number, width, height],
  );
  return (
    <>
      <header>
        <div>
          <b>{state?.name ?? '…'}</b>
          {(state?.columns ?? []).map((text, place) => (
            <span key={place}>{text}</span>
          ))}
          {lost && <span className="bad">the server does not answer: {lost}</span>}
          {failure && <span className="bad">{failure}</span>}
        </div>
        <div>
          {state && state.images.length > 1 && (
            <select value={number} onChange={(event) => setChosen(Number(event.target.value))} aria-label="image">
              {state.images.map((one, place) => (
                <option key={place} value={place}>
                  {one.name}
                </option>
              ))}
            </select>
          )}
          {sliders.map(([name, size]) => (
            <label key={name}>
              {name} <output>{index[name]}</output>
              <input
                type="range"
                min={0}
                max={size - 1}
                value={index[name]}
                onChange={(event) => setAt({ ...at, [name]: Number(event.target.value) })}
              />
            </label>
          ))}
          {channels.slice(0, selections.length).map((channel, place) => (
            <label key={place} className="channel">
              <input
                type="checkbox"
                checked={!hidden[place]}
                onChange={() => setHidden({ ...hidden, [place]: !hidden[place] })}
              />
              <i style={{ background: channel.color }} /> {channel.name}
            </label>
          ))}
          {state && !state.final && (
            <label>
              <input
                type="checkbox"
                checked={following}
                onChange={() => {
                  setAt(following ? index : {});
                  setChosen(following ? number : null);
                }}
              />
              follow
            </label>
          )}
        </div>
      </header>
      <main style={{ top }} data-shown={shown ? shown.key : ''}>
        {shown && (
          <PictureInPictureViewer
            key={shown.number}
            loader={shown.data}
            selections={shown.selections}
            contrastLimits={shown.limits}
            colors={shown.selections.map((_, place) => rgb(channels[place]?.color ?? '#FFFFFF'))}
            channelsVisible={shown.selections.map((_, place) => !hidden[place])}
            width={width}
            height={height - top}
            overviewOn={false}
            viewStates={viewStates}
            snapScaleBar={true}
            onViewportLoad={() => document.body.setAttribute('data-drawn', shown.key)}
          />
        )}
      </main>
    </>
  );
}

createRoot(document.getElementById('page')).render(<Page />);

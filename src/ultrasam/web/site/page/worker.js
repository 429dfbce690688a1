// The network in a thread of its own, so that the page stays quick.

import { maskOf } from '../segmentation/masks.js';
import { openNetwork } from '../segmentation/network.js';
import { Predictor } from '../segmentation/predictor.js';

const site = new URL('../', import.meta.url);
const RUNTIMES = {
  wasm: { script: 'ort.wasm.bundle.min.mjs', binary: 'ort-wasm-simd-threaded.wasm' },
  webgpu: { script: 'ort.jspi.bundle.min.mjs', binary: 'ort-wasm-simd-threaded.jspi.wasm' },
};
let network = null;
let predictor = null;
let open = null; // the picture's key

const actions = {
  async load({ threads, provider }) {
    const { script, binary } = RUNTIMES[provider];
    const vendor = new URL('vendor/onnxruntime-web/', site);
    const ort = await import(new URL(script, vendor));
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = { wasm: new URL(binary, vendor).href };
    const model = await (await fetched('model/model.json')).json();
    network = await openNetwork(ort, model, await graphsOf(model), provider);
    const { name, license, tta, accepts } = network.model;
    return { name, license, tta, accepts };
  },

  async setImage({ key, image, allViews }) {
    open = null;
    predictor = new Predictor(network, { allViews });
    await predictor.setImage(image);
    open = key;
    return {};
  },

  async predict({ key, prompt, candidates }) {
    if (key !== open) throw new Error('The picture has changed; click again.');
    return (await predictor.predict(prompt, candidates)).map((result) => ({
      mask: maskOf(result.logits),
      lowRes: result.lowRes,
      iou: result.iou,
    }));
  },
};

/** The bytes of the graphs, {encoder, decoder}; the page is told how much of them is there. */
async function graphsOf({ graphs }) {
  const parts = Object.entries(graphs).map(([part, { files: [{ name, bytes }] }]) => ({ part, name, bytes }));
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const found = await Promise.all(parts.map(async ({ part, name, bytes }) => {
    const data = new Uint8Array(bytes);
    let at = 0;
    for await (const piece of pieces((await fetched(`model/${name}`)).body)) {
      if (at + piece.length <= bytes) data.set(piece, at);
      at += piece.length;
      done += piece.length;
      self.postMessage({ loaded: Math.min(done / total, 1) });
    }
    if (at !== bytes) throw new Error(`${name} has ${at} bytes instead of ${bytes}; copy the site again.`);
    return [part, data];
  }));
  return Object.fromEntries(found);
}

async function* pieces(stream) {
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

async function fetched(name) {
  const response = await fetch(new URL(name, site));
  if (!response.ok) throw new Error(`${name} is missing on this server (status ${response.status}); copy the site again.`);
  return response;
}

/** The buffers of an answer's masks, which are handed over instead of copied. */
function masksOf(answer) {
  return Array.isArray(answer) ? answer.map(({ mask }) => mask.buffer) : [];
}

let last = Promise.resolve();
self.onmessage = ({ data: { id, action, values } }) => {
  last = last.then(async () => {
    const start = performance.now();
    try {
      const answer = await actions[action](values);
      const milliseconds = performance.now() - start;
      self.postMessage({ id, answer, milliseconds }, masksOf(answer));
    } catch (error) {
      self.postMessage({ id, error: error.message });
    }
  });
};

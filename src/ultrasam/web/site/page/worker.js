// The network in a thread of its own, so that the page stays quick.

import * as ort from '../vendor/onnxruntime-web/ort.wasm.bundle.min.mjs';
import { maskOf } from '../segmentation/masks.js';
import { openNetwork } from '../segmentation/network.js';
import { Predictor } from '../segmentation/predictor.js';

const site = new URL('../', import.meta.url);
let network = null;
let predictor = null;
let open = null; // the picture's key

const actions = {
  async load({ threads }) {
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = { wasm: new URL('vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm', site).href };
    const model = await (await fetched('model/model.json')).json();
    const [encoder, decoder] = await Promise.all(
      ['encoder.onnx', 'decoder.onnx'].map(async (name) => new Uint8Array(await (await fetched(`model/${name}`)).arrayBuffer())),
    );
    network = await openNetwork(ort, model, { encoder, decoder });
    return { name: network.model.name, license: network.model.license, tta: network.model.tta };
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

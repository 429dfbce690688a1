// Encoder and decoder in ONNX Runtime. `ort` is handed in, so that the same code runs in a page and under Node.

import { checkPreprocessing } from './preprocessing.js';

const FORMAT = 'ultrasam-export';
const VERSION = 1;

/**
 * The network of an exported folder.
 *
 * `model` is its model.json; `graphs` are {encoder, decoder}, each the bytes of an ONNX file. Throws an Error that
 * says what this page cannot do.
 */
export async function openNetwork(ort, model, graphs) {
  const settings = readModel(model);
  const options = { executionProviders: ['wasm'], graphOptimizationLevel: 'all' };
  const encoder = await ort.InferenceSession.create(graphs.encoder, options);
  const decoder = await ort.InferenceSession.create(graphs.decoder, options);
  return new Network(ort, settings, encoder, decoder);
}

/** The settings in a model.json that this page uses, checked. */
export function readModel(model) {
  if (model.format !== FORMAT || model.format_version !== VERSION) {
    throw new Error(
      `The model has format ${model.format} ${model.format_version}, but this page reads ${FORMAT} ${VERSION}; ` +
        'export both again.',
    );
  }
  checkPreprocessing(model.preprocessing);
  return {
    name: model.name,
    license: model.license,
    mask_size: model.sizes.mask_size,
    preprocessing: model.preprocessing,
    tta: model.test_time_augmentation,
    postprocessing: model.postprocessing,
  };
}

class Network {
  constructor(ort, model, encoder, decoder) {
    Object.assign(this, { ort, model, encoder, decoder });
  }

  /** The embedding of preprocessed pixels [3, S, S]: tensors by name. */
  async encode(pixels) {
    const { size } = this.model.preprocessing;
    const input = new this.ort.Tensor('float32', pixels, [1, 3, size, size]);
    return this.encoder.run({ pixels: input });
  }

  /** Decode one prompt: {masks: [4 × M × M], iou: [4]}, both Float32Array. */
  async decode(embedding, { coords, labels, slots, masks }) {
    const side = this.model.mask_size;
    const tensor = (data, shape) => new this.ort.Tensor('float32', data, shape);
    const output = await this.decoder.run({
      ...embedding,
      coords: tensor(coords, [1, slots, 2]),
      labels: tensor(labels, [1, slots]),
      mask_prompts: tensor(masks ?? new Float32Array(side * side), [1, 1, side, side]),
      has_mask: tensor(Float32Array.of(masks ? 1 : 0), [1]),
    });
    return { masks: output.masks.data, iou: output.predicted_iou.data };
  }
}

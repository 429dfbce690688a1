// Encoder and decoder in ONNX Runtime. `ort` is handed in, so that the same code runs in a page and under Node.

import { checkPreprocessing } from './preprocessing.js';

const FORMAT = 'ultrasam-export';
const VERSION = 1;

/**
 * The network of an exported folder.
 *
 * `model` is its model.json; `graphs` are {encoder, decoder}, each the bytes of an ONNX file; `provider` is 'wasm' or
 * 'webgpu'. Throws an Error that says what this page cannot do.
 */
export async function openNetwork(ort, model, graphs, provider = 'wasm') {
  const settings = readModel(model);
  const options = { executionProviders: [provider], graphOptimizationLevel: 'all' };
  const encoder = await ort.InferenceSession.create(graphs.encoder, options);
  const decoder = await ort.InferenceSession.create(graphs.decoder, options);
  checkNames(settings.names, encoder, decoder);
  return new Network(ort, settings, encoder, decoder);
}

function checkNames({ pixels, embedding, prompts, outputs }, encoder, decoder) {
  const pairs = [
    [encoder.inputNames, [pixels]], [encoder.outputNames, embedding],
    [decoder.inputNames, [...embedding, ...prompts]], [decoder.outputNames, outputs],
  ];
  const equal = ([found, expected]) => found.length === expected.length && expected.every((name) => found.includes(name));
  if (!pairs.every(equal)) throw new Error('The graphs are not those that model.json describes; export both again.');
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
  const names = readNames(model.graphs);
  return {
    name: model.name,
    license: model.license,
    names,
    accepts: model.prompt_types,
    mask_size: model.sizes.mask_size,
    preprocessing: model.preprocessing,
    tta: model.test_time_augmentation,
    postprocessing: model.postprocessing,
  };
}

/**
 * Names of the graphs' inputs and outputs. The decoder takes the encoder's outputs, and of the prompts, in this order:
 * coordinates, labels, masks, and whether there is a mask; it returns masks and their predicted IoU.
 */
function readNames({ encoder, decoder }) {
  const namesOf = (tensors) => tensors.map(({ name }) => name);
  const embedding = namesOf(encoder.outputs);
  const [inputs, outputs] = [namesOf(decoder.inputs), namesOf(decoder.outputs)];
  const prompts = inputs.filter((name) => !embedding.includes(name));
  if (encoder.inputs.length !== 1 || prompts.length !== 4 || outputs.length !== 2) {
    throw new Error('This page does not know the inputs of this model; export it again with this version.');
  }
  return { pixels: encoder.inputs[0].name, embedding, prompts, outputs };
}

class Network {
  constructor(ort, model, encoder, decoder) {
    Object.assign(this, { ort, model, encoder, decoder });
  }

  /** The embedding of preprocessed pixels [3, S, S]: tensors by name. */
  async encode(pixels) {
    const { size } = this.model.preprocessing;
    const input = new this.ort.Tensor('float32', pixels, [1, 3, size, size]);
    return this.encoder.run({ [this.model.names.pixels]: input });
  }

  /** Decode one prompt: {masks: [4 × M × M], iou: [4]}, both Float32Array. */
  async decode(embedding, { coords, labels, slots, masks }) {
    const side = this.model.mask_size;
    const tensor = (data, shape) => new this.ort.Tensor('float32', data, shape);
    const { prompts, outputs } = this.model.names;
    const given = [
      tensor(coords, [1, slots, 2]),
      tensor(labels, [1, slots]),
      tensor(masks ?? new Float32Array(side * side), [1, 1, side, side]),
      tensor(Float32Array.of(masks ? 1 : 0), [1]),
    ];
    const inputs = Object.fromEntries(prompts.map((name, i) => [name, given[i]]));
    const output = await this.decoder.run({ ...embedding, ...inputs });
    const [found, iou] = outputs.map((name) => output[name].data);
    return { masks: found, iou };
  }
}

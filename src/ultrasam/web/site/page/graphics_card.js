// The network on the graphics card (WebGPU), used only where it gives the processor's masks.
//
// Drivers and kernels have given wrong masks without an error, so one picture is first segmented by both.

import { Model } from './model.js';

const MIN_DICE = 0.999;
const MAX_IOU_DIFFERENCE = 0.01;
const PATIENCE = 60_000; // milliseconds

/** Whether this browser offers a graphics card, and what its build of the network needs. */
export async function hasGraphicsCard() {
  if (!navigator.gpu || !('Suspending' in WebAssembly)) return false;
  return Boolean(await navigator.gpu.requestAdapter().catch(() => null));
}

/**
 * A Model on the graphics card that gives the masks of `reference`, a Model on the processor, for a picture
 * {key, image, prompts}: {model, times}, the milliseconds of a click of both. Throws an Error that says why not.
 */
export async function checkedModel(reference, { threads, ...picture }) {
  const model = new Model({ provider: 'webgpu' });
  try {
    const expected = await segmented(reference, picture);
    const found = await within(PATIENCE, started(model, threads).then(() => segmented(model, picture)));
    const why = differenceOf(found.results, expected.results);
    if (why) throw new Error(why);
    return { model, times: { card: found.milliseconds, processor: expected.milliseconds } };
  } catch (error) {
    model.stop();
    throw new Error(`The graphics card is not used: ${error.message}`);
  }
}

async function started(model, threads) {
  try {
    await model.load(threads);
  } catch (error) {
    throw new Error(`it could not be started (${error.message.split('\n')[0].slice(0, 120)}).`);
  }
}

/** A promise's value, if it comes within some milliseconds. */
async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it did not answer within a minute.')), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The results of all prompts, and the time of the first one when it is asked again. */
async function segmented(model, { key, image, prompts }) {
  await model.ask('setImage', { key, image, allViews: false });
  const results = [];
  for (const prompt of [...prompts, prompts[0]]) {
    const { answer, milliseconds } = await model.ask('predict', { key, prompt, candidates: null });
    results.push({ ...answer[0], milliseconds });
  }
  return { results, milliseconds: results.at(-1).milliseconds };
}

/** Why results [{mask, iou}] are not those that are expected, or null. */
export function differenceOf(found, expected) {
  for (const [i, { mask, iou }] of found.entries()) {
    const dice = diceOf(mask, expected[i].mask);
    if (!(dice >= MIN_DICE)) return `its masks differ from the processor's (Dice ${dice.toFixed(3)}).`;
    if (!(Math.abs(iou - expected[i].iou) <= MAX_IOU_DIFFERENCE)) return 'it rates masks otherwise than the processor.';
  }
  return null;
}

function diceOf(a, b) {
  let [both, sum] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    both += a[i] & b[i];
    sum += a[i] + b[i];
  }
  return sum ? (2 * both) / sum : 0; // an empty mask tells nothing
}

// Chooses the masks that a prompt gets among its candidates, as ultrasam.inference.selection.

import { hasMask } from './masks.js';

const STEP = 1e-4; // the difference in predicted IoU that four digits show

/** One of the masks that a prompt may get: which mask of a `Mean`, and a limit of its predicted IoU. */
export class Candidate {
  constructor(mean, index, atMost = Infinity) {
    Object.assign(this, { mean, index, atMost });
    Object.freeze(this);
  }

  get iou() {
    return Math.min(this.mean.iou[this.index], this.atMost);
  }
}

/** All masks of a `Mean`. */
export function candidatesOf(mean) {
  return mean.iou.map((_, i) => new Candidate(mean, i));
}

/** The candidates with predicted IoU that fall from one to the next, so that the best stays the best in any order. */
export function inOrder(candidates) {
  const ordered = [];
  for (const { mean, index } of candidates) {
    ordered.push(new Candidate(mean, index, ordered.length ? ordered.at(-1).iou - STEP : Infinity));
  }
  return ordered;
}

/**
 * The best candidates by predicted IoU, those that are empty last: [{candidate, logits}], the logits at the picture's
 * pixels.
 */
export function bestFirst(candidates, count) {
  const [found, empty] = [[], []];
  for (const candidate of [...candidates].sort((a, b) => b.iou - a.iou)) {
    const logits = candidate.mean.inPicture(candidate.index);
    (hasMask(logits) ? found : empty).push({ candidate, logits });
    if (found.length === count) break;
  }
  return [...found, ...empty].slice(0, count);
}

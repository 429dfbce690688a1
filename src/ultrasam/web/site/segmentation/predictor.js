// Segments one picture with prompts; the picture is encoded once. It follows ultrasam.inference.predictor.
//
// A prompt is {points: [{x, y, label}], box: [x0, y0, x1, y1] | null, mask: Float32Array | null}, in the picture's
// pixels; mask is the `lowRes` of an earlier result.

import { View } from './geometry.js';
import { countAbove, hasMask, maskOf } from './masks.js';
import { cleaned, scannedArea } from './postprocessing.js';
import { concatenate, gray, pixelsOf, promptArrays } from './preprocessing.js';
import { boundingBox } from './regions.js';
import { bestFirst, candidatesOf, inOrder } from './selection.js';
import { Mean, firstViews, withFlip, zoomedViews } from './views.js';

const ONE_VIEW = Object.freeze({ zoom: 0, flip: false });
const MAX_CACHED = 16; // embeddings of views beside those of the whole picture

export class Predictor {
  /** `network` is as in network.js; with `allViews`, the model's test-time augmentation is used. */
  constructor(network, { allViews = false } = {}) {
    this.network = network;
    this.tta = allViews ? network.model.tta : ONE_VIEW;
    this.image = null;
  }

  /** Encode a picture {data: Uint8Array, width, height, channels}. */
  async setImage(image) {
    const { preprocessing } = this.network.model;
    this.image = preprocessing.channels === 'gray' ? gray(image) : image;
    const stretch = preprocessing.resize === 'stretch';
    this.full = View.full(image.height, image.width, { size: preprocessing.size, stretch });
    this.cache = new Map();
    this.scanned = undefined;
    await this.#embeddings(withFlip(this.full, this.tta));
  }

  /**
   * Segment the object of one prompt: a list of one result, or of three candidates for `multimask`, best first.
   *
   * A result is {logits, lowRes, iou, stability}; logits are at the picture's pixels, and its mask is where they
   * are positive. `multimask` null gives one mask, of a single click the best of its three candidates.
   */
  async predict(prompt, multimask = null) {
    this.#checkAccepted(prompt);
    const single = isSingleClick(prompt);
    const request = {
      prompt,
      views: firstViews(prompt, this.full, this.tta),
      multimask: multimask ?? single,
      mask: this.#maskInput(prompt),
    };
    let offered = candidatesOf(await this.#decode(request));
    if (single && this.tta.zoom) offered = await this.#closeBy(request, offered, multimask ? offered.length : 1);
    return bestFirst(offered, multimask ? 3 : 1).map(({ candidate, logits }) => {
      const kept = cleaned(logits, prompt, this.network.model.postprocessing, {
        width: this.image.width,
        height: this.image.height,
        scanned: () => this.#scannedArea(),
      });
      return {
        logits: kept,
        lowRes: candidate.mean.lowRes(candidate.index, this.full, kept),
        iou: hasMask(kept) ? Math.min(Math.max(candidate.iou, 0), 1) : 0,
        get stability() {
          return countAbove(kept, 1) / Math.max(1, countAbove(kept, -1));
        },
      };
    });
  }

  #checkAccepted({ points, box, mask }) {
    const { accepts } = this.network.model;
    const used = [[points.length, 'point', 'clicks'], [box, 'box', 'boxes'], [mask, 'mask', 'masks']];
    const refused = used.find(([given, kind]) => given && !accepts.includes(kind));
    if (refused) throw new Error(`This model takes no ${refused[2]}; ${accepts.includes('box') ? 'drag a box' : 'click'}.`);
  }

  get #onlyFullView() {
    return !this.tta.zoom && !this.tta.flip;
  }

  #scannedArea() {
    if (this.scanned === undefined) this.scanned = scannedArea(this.image);
    return this.scanned;
  }

  /** A prompt's mask for the whole picture as the only view as it is; for other views by way of the picture. */
  #maskInput({ mask }) {
    if (!mask) return null;
    const side = this.network.model.mask_size;
    return this.#onlyFullView ? mask : this.full.logitsToPicture(mask, side);
  }

  /**
   * The best candidates of a single click, each decoded again in zoomed views of its own with its mask as a prompt;
   * those that a zoom would barely magnify, or that are empty, as they are. The order stays that of the first pass.
   */
  async #closeBy({ prompt }, first, count) {
    const plan = bestFirst(first, count).map(({ candidate, logits }) =>
      ({ candidate, logits, views: this.#viewsOnMask(prompt, logits) }));
    const found = [];
    for (const { candidate, logits: mask, views } of plan) {
      if (views.length) found.push(...candidatesOf(await this.#decode({ prompt, views, multimask: false, mask })));
      else found.push(candidate);
    }
    return plan.length > 1 && plan.some(({ views }) => views.length) ? inOrder(found) : found;
  }

  /** Zoomed views of a click's mask and the click; none if they barely magnify, or the mask is empty. */
  #viewsOnMask(prompt, logits) {
    const box = boundingBox(maskOf(logits), this.image.width);
    if (!box) return [];
    const [{ x, y }] = prompt.points;
    const around = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)];
    return zoomedViews(around, this.full, this.tta);
  }

  async #embeddings(views) {
    const missing = views.filter((view) => !this.cache.has(view.key));
    for (const view of missing) {
      const pixels = pixelsOf(this.image, view, this.network.model.preprocessing);
      this.cache.set(view.key, await this.network.encode(pixels));
    }
    const found = views.map((view) => this.cache.get(view.key));
    const kept = withFlip(this.full, this.tta).length;
    for (const key of [...this.cache.keys()].slice(kept, -MAX_CACHED)) this.cache.delete(key);
    return found;
  }

  async #decode({ prompt, views, multimask, mask }) {
    const side = this.network.model.mask_size;
    const embeddings = await this.#embeddings(views);
    const parts = [];
    for (const [i, view] of views.entries()) {
      const { coords, labels, slots } = concatenate([promptArrays(prompt, view)]);
      let masks = null;
      if (mask) masks = mask.length === side * side && this.#onlyFullView ? mask : view.logitsToModel(mask, side);
      const output = await this.network.decode(embeddings[i], { coords, labels, slots, masks });
      const [start, end] = multimask ? [1, 4] : [0, 1];
      const logits = [];
      for (let m = start; m < end; m++) {
        logits.push(output.masks.slice(m * side * side, (m + 1) * side * side));
      }
      parts.push({ view, logits, iou: Array.from(output.iou.slice(start, end)) });
    }
    return new Mean(parts, side, this.tta.max_logit);
  }
}

export function isSingleClick({ points, box, mask }) {
  return !box && !mask && points.length === 1;
}

// The views of a prompt and the mean of their masks, as ultrasam.inference.augmentation.
//
// `tta` are the model's settings: {zoom, flip, box_margin, min_gain, max_logit}; zoom 0 and no flip is one view.

/** The views of a first pass: the whole picture, and a zoomed view around a box, if any. */
export function firstViews(prompt, full, tta) {
  const views = withFlip(full, tta);
  return tta.zoom && prompt.box ? [...views, ...zoomedViews(prompt.box, full, tta, tta.box_margin)] : views;
}

/** Zoomed views around a box; none if they barely magnify it. */
export function zoomedViews(box, full, tta, margin = 1) {
  const view = full.cropAround(box, tta.zoom * margin);
  return view.scale >= tta.min_gain * full.scale ? withFlip(view, tta) : [];
}

export function withFlip(view, tta) {
  return tta.flip ? [view, view.hflip()] : [view];
}

/** The M masks of one prompt, averaged over views: parts of {view, logits: Float32Array[], iou: number[]}. */
export class Mean {
  constructor(parts, side, maxLogit) {
    Object.assign(this, { parts, side, maxLogit });
    const count = parts[0].iou.length;
    this.iou = Array.from({ length: count }, (_, m) =>
      parts.reduce((sum, part) => sum + part.iou[m], 0) / parts.length);
  }

  /** Logits of one mask at the picture's pixels. */
  inPicture(mask) {
    const each = this.parts.map(({ view, logits }) => view.logitsToPicture(logits[mask], this.side));
    if (each.length === 1) return each[0];
    const sum = new Float32Array(each[0].length);
    const most = this.maxLogit; // logits are clipped, so one view cannot dominate
    for (const logits of each) {
      for (let i = 0; i < sum.length; i++) sum[i] += Math.min(Math.max(logits[i], -most), most);
    }
    for (let i = 0; i < sum.length; i++) sum[i] /= each.length;
    return sum;
  }

  /** Logits of one mask over the whole input, given its logits at the picture's pixels. */
  lowRes(mask, full, inPicture) {
    const [first] = this.parts;
    if (this.parts.length === 1 && first.view.key === full.key) return first.logits[mask];
    return full.logitsToModel(inPicture, this.side);
  }
}

// The masks of pictures as one COCO file.

import { boundingBox } from '../segmentation/regions.js';
import { maskArea } from './areas.js';
import { encodeRle } from './rle.js';

/**
 * A COCO data set of masks.
 *
 * `pictures` are {name, width, height, frame, objects}; an object is {label, mask, iou}. Each label is a category.
 */
export function cocoOf(pictures, { model, version }) {
  const labels = [...new Set(pictures.flatMap(({ objects }) => objects.map(({ label }) => label)))];
  const images = [];
  const annotations = [];
  pictures.forEach(({ name, width, height, frame, frames, objects }, i) => {
    const image = { id: i + 1, file_name: name, width, height };
    images.push(frames > 1 ? { ...image, frame } : image);
    for (const { label, mask, iou } of objects) {
      const [x0, y0, x1, y1] = boundingBox(mask, width);
      annotations.push({
        id: annotations.length + 1,
        image_id: i + 1,
        category_id: labels.indexOf(label) + 1,
        segmentation: { size: [height, width], counts: encodeRle(mask, width, height) },
        area: maskArea(mask),
        bbox: [x0, y0, x1 - x0, y1 - y0],
        iscrowd: 0,
        score: Math.round(iou * 1e4) / 1e4,
      });
    }
  });
  return {
    info: { description: `Masks by UltraSam ${version} (${model}), made in a browser; not a medical device.` },
    images,
    annotations,
    categories: labels.map((name, i) => ({ id: i + 1, name })),
  };
}

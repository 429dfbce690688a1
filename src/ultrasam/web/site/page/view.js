// Where a picture lies on the screen: its scale, and where its top-left corner is. Pixels of the screen are CSS pixels.

const MARGIN = 8; // pixels of the screen around a fitted picture
const [SMALLEST, LARGEST] = [0.05, 40];

export class View {
  constructor() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
  }

  /** Show a picture of this size whole, in the middle of an element. */
  fit({ width, height }, { clientWidth, clientHeight }) {
    this.scale = Math.max(Math.min((clientWidth - 2 * MARGIN) / width, (clientHeight - 2 * MARGIN) / height), SMALLEST);
    this.x = (clientWidth - width * this.scale) / 2;
    this.y = (clientHeight - height * this.scale) / 2;
  }

  /** The point of the picture under a pointer event. */
  at({ offsetX, offsetY }) {
    return { x: (offsetX - this.x) / this.scale, y: (offsetY - this.y) / this.scale };
  }

  /** Zoom about a place on the screen, which stays where it is. */
  zoom(factor, x, y) {
    const scale = Math.min(Math.max(this.scale * factor, SMALLEST), LARGEST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
  }

  pan(across, down) {
    this.x += across;
    this.y += down;
  }

  /** Make a context draw in the picture's pixels. */
  apply(context, ratio) {
    context.setTransform(this.scale * ratio, 0, 0, this.scale * ratio, this.x * ratio, this.y * ratio);
    context.imageSmoothingEnabled = this.scale < 3;
  }
}

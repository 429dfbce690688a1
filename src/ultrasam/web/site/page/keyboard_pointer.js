// A pointer on the picture that arrow keys move, for those who use no mouse.

const STEP = 16; // pixels of the screen; one with Shift

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The pointer of a Canvas; `place` is where it is in the picture, or null where it is not shown. */
export class KeyboardPointer {
  constructor(canvas) {
    Object.assign(this, { canvas, place: null });
    canvas.element.addEventListener('keydown', (event) => {
      if (!this.place || event.ctrlKey || event.metaKey || event.altKey || !this.#key(event)) return;
      event.preventDefault();
      event.stopPropagation(); // or arrows would change frames
    });
  }

  /** Show it in the middle of the picture, or hide it. */
  toggle() {
    const { image, element } = this.canvas;
    element.focus();
    this.#move(this.place || !image ? null : { x: image.width / 2, y: image.height / 2 });
  }

  /** Hide it. */
  leave() {
    if (this.place) this.#move(null);
  }

  #key({ key, shiftKey }) {
    const { image, scale, on } = this.canvas;
    if (key in DIRECTIONS) {
      const [across, down] = DIRECTIONS[key].map((way) => (way * (shiftKey ? 1 : STEP)) / scale);
      const held = (value, most) => Math.min(Math.max(value, 0), most);
      this.#move({ x: held(this.place.x + across, image.width), y: held(this.place.y + down, image.height) });
    } else if (key === 'Enter') {
      on.click({ ...this.place, label: shiftKey ? 0 : 1 });
    } else if (key === 'Escape') {
      this.#move(null);
    } else {
      return false;
    }
    return true;
  }

  #move(place) {
    this.place = place;
    this.canvas.on.hover(place && { ...place, label: 1 });
    this.canvas.draw();
  }

  /** Draw it as a cross in the picture's pixels. */
  draw(context) {
    if (!this.place) return;
    const { x, y } = this.place;
    const pixel = 1 / this.canvas.scale;
    for (const [style, width] of [['#000000', 4], ['#ffffff', 2]]) {
      context.beginPath();
      for (const [across, down] of Object.values(DIRECTIONS)) {
        context.moveTo(x + across * 4 * pixel, y + down * 4 * pixel);
        context.lineTo(x + across * 14 * pixel, y + down * 14 * pixel);
      }
      context.strokeStyle = style;
      context.lineWidth = width * pixel;
      context.stroke();
    }
  }
}

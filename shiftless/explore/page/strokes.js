// Strokes on photos, with undo and redo, and a layer for each photo that shows them.

const SIDE = 2048; // pixels along the longer side of a layer

export const ERASER = 255;

export class Strokes {
  constructor(classes) {
    this.classes = classes; // () -> [{ name, colour }]
    this.done = [];
    this.undone = [];
    this.bases = new Map(); // photo -> bitmap of an imported mask
    this.layers = new Map();
  }

  add(photo, stroke) {
    this.done.push({ photo: photo.id, stroke });
    this.undone = [];
    this.paint(this.layer(photo), stroke);
  }

  /** Take the last stroke back, or (redo) paint it again; returns the number of its photo, or null. */
  step(redo) {
    const entry = (redo ? this.undone : this.done).pop();
    if (!entry) return null;
    (redo ? this.done : this.undone).push(entry);
    this.layers.delete(entry.photo);
    return entry.photo;
  }

  of(photo) {
    return this.done.filter((entry) => entry.photo === photo).map((entry) => entry.stroke);
  }

  /** What the server is sent: the strokes of each photo. */
  all() {
    return [...new Set(this.done.map((entry) => entry.photo))].map((photo) => ({ photo, strokes: this.of(photo) }));
  }

  /** Forget a class's strokes, and number those after it anew. */
  removeClass(label) {
    const kept = (entries) =>
      entries
        .filter(({ stroke }) => stroke.label !== label)
        .map(({ photo, stroke }) => ({
          photo,
          stroke: { ...stroke, label: stroke.label !== ERASER && stroke.label > label ? stroke.label - 1 : stroke.label },
        }));
    this.done = kept(this.done);
    this.undone = kept(this.undone);
    this.layers.clear();
  }

  clear() {
    this.done = [];
    this.undone = [];
    this.layers.clear();
  }

  /** A photo's layer: a canvas of its shape with the colours of what is painted. */
  layer(photo) {
    if (!this.layers.has(photo.id)) {
      const scale = Math.min(1, SIDE / Math.max(photo.width, photo.height));
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(photo.width * scale));
      canvas.height = Math.max(1, Math.round(photo.height * scale));
      const layer = { canvas, across: canvas.width / photo.width, down: canvas.height / photo.height };
      const base = this.bases.get(photo.id);
      if (base) {
        const context = canvas.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(base, 0, 0, canvas.width, canvas.height);
      }
      for (const stroke of this.of(photo.id)) this.paint(layer, stroke);
      this.layers.set(photo.id, layer);
    }
    return this.layers.get(photo.id);
  }

  paint({ canvas, across, down }, { label, radius, points }) {
    const context = canvas.getContext("2d");
    context.save();
    context.setTransform(across, 0, 0, down, 0, 0);
    context.globalCompositeOperation = label === ERASER ? "destination-out" : "source-over";
    context.strokeStyle = label === ERASER ? "#000" : this.classes()[label].colour;
    context.lineWidth = 2 * radius;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
    context.restore();
  }
}

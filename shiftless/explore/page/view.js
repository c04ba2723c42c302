// A photo on a canvas: zoom, move, and points in the photo's own pixels, whatever the zoom and the screen.

const MOST = 64; // screen pixels that one pixel of the photo may take
const STILL = 4; // screen pixels that a pointer may move in a click

export class View {
  /**
   * options: name, testid, focusable; onPoint(x, y) for clicks; paint {start, move, end} for strokes, asked by
   * `painting()`; onArrow(step) for arrow keys, which returns the point that it moved to; onKey(event) for keys that
   * are not the view's own; draw(context, view) draws over the photo in its own pixels.
   */
  constructor(host, options) {
    this.options = options;
    this.photo = null;
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    this.whole = true; // whether the whole photo is shown, and stays so when the page changes its width
    this.pointers = new Map();
    this.figure = document.createElement("figure");
    this.figure.dataset.testid = options.testid;
    this.canvas = document.createElement("canvas");
    this.canvas.dataset.testid = `${options.testid}-canvas`;
    this.canvas.setAttribute("role", options.focusable ? "application" : "img"); // with keys of its own, or a picture
    this.caption = document.createElement("figcaption");
    this.nameText = Object.assign(document.createElement("span"), { className: "name" });
    this.text = document.createElement("span");
    this.text.dataset.testid = `${options.testid}-text`;
    this.caption.append(this.nameText, this.text, this.zoomButtons());
    this.figure.append(this.canvas, this.caption);
    host.append(this.figure);
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(kind, (event) => this.up(event, kind === "pointercancel"));
    }
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.canvas);
  }

  remove() {
    this.observer.disconnect();
    this.figure.remove();
  }

  zoomButtons() {
    const group = Object.assign(document.createElement("span"), { className: "zoom" });
    for (const [text, name, act] of [
      ["+", "Zoom in", () => this.zoom(2)],
      ["−", "Zoom out", () => this.zoom(0.5)],
      ["Fit", "Show the whole photo", () => this.fit()],
    ]) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      button.setAttribute("aria-label", `${name}: ${this.options.name}`);
      button.addEventListener("click", act);
      group.append(button);
    }
    return group;
  }

  /** Show a photo: { bitmap, width, height, name }; width and height are the original's. */
  show(photo) {
    const other = !this.photo || this.photo.id !== photo.id;
    this.photo = photo;
    this.nameText.textContent = this.options.title || photo.name;
    this.canvas.setAttribute("aria-label", `${this.options.name}: ${photo.name}, ${photo.width} by ${photo.height} pixels`);
    if (other) this.whole = true;
    this.resize();
  }

  resize() {
    if (!this.photo) return;
    const width = this.canvas.clientWidth;
    if (!width) return; // the panel is hidden
    const height = Math.min((width * this.photo.height) / this.photo.width, Math.max(240, window.innerHeight * 0.75));
    const ratio = window.devicePixelRatio || 1;
    this.canvas.style.height = `${height}px`;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    this.width = width;
    this.height = height;
    if (this.whole) this.fit();
    else this.draw();
  }

  fit() {
    if (!this.photo || !this.width) return;
    this.whole = true;
    this.scale = Math.min(this.width / this.photo.width, this.height / this.photo.height);
    this.left = (this.width - this.photo.width * this.scale) / 2;
    this.top = (this.height - this.photo.height * this.scale) / 2;
    this.draw();
  }

  /** Zoom by a factor about a place on the canvas, by default its middle. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    if (!this.photo) return;
    const least = Math.min(this.width / this.photo.width, this.height / this.photo.height) / 2;
    const scale = Math.min(Math.max(this.scale * factor, least), MOST);
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.whole = false;
    this.draw();
  }

  /** Move a zoomed photo so that a point of it lies on the canvas, an eighth of its width and height inside. */
  reveal([x, y]) {
    if (this.whole) return;
    const inside = (at, size) => Math.min(Math.max(at, size / 8), (size * 7) / 8);
    this.left = inside(this.left + x * this.scale, this.width) - x * this.scale;
    this.top = inside(this.top + y * this.scale, this.height) - y * this.scale;
    this.draw();
  }

  /** The place of a pointer on the canvas, in CSS pixels of the canvas, whatever scales the page. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) * this.width) / box.width,
      ((event.clientY - box.top) * this.height) / box.height,
    ];
  }

  /** A place on the canvas in the photo's own pixels: (0, 0) is its corner, pixel centres lie at a half. */
  toPhoto([x, y]) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }

  contains([x, y]) {
    return Boolean(this.photo) && x >= 0 && y >= 0 && x <= this.photo.width && y <= this.photo.height;
  }

  clamp([x, y]) {
    return [Math.min(Math.max(x, 0), this.photo.width), Math.min(Math.max(y, 0), this.photo.height)];
  }

  down(event) {
    if (!this.photo || event.button > 1) return;
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    this.pointers.set(event.pointerId, { start: place, last: place, still: event.button === 0 }); // the middle one moves
    if (this.pointers.size === 2 && this.stroking) {
      this.stroking = false; // a second finger: it is a pinch, not a stroke
      this.options.paint.cancel();
    } else if (this.pointers.size === 1 && event.button === 0 && this.options.paint && this.options.paint.wanted()) {
      this.stroking = true;
      this.options.paint.start(this.toPhoto(place));
    }
  }

  moved(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) {
      if (this.photo && this.options.onHover) this.options.onHover(this.toPhoto(this.place(event)));
      return;
    }
    const place = this.place(event);
    if (Math.hypot(place[0] - pointer.start[0], place[1] - pointer.start[1]) > STILL) pointer.still = false;
    if (this.stroking) {
      const passed = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      for (const one of passed.length ? passed : [event]) this.options.paint.move(this.toPhoto(this.place(one)));
    } else if (this.pointers.size === 2) {
      const [other] = [...this.pointers.entries()].filter(([id]) => id !== event.pointerId).map(([, one]) => one.last);
      const before = Math.hypot(pointer.last[0] - other[0], pointer.last[1] - other[1]);
      const now = Math.hypot(place[0] - other[0], place[1] - other[1]);
      if (before > 0) this.zoom(now / before, (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
    } else if (!pointer.still) {
      this.left += place[0] - pointer.last[0];
      this.top += place[1] - pointer.last[1];
      this.whole = false;
      this.draw();
    }
    pointer.last = place;
  }

  up(event, cancelled) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    this.pointers.delete(event.pointerId);
    if (this.stroking) {
      this.stroking = false;
      if (cancelled) this.options.paint.cancel();
      else this.options.paint.end();
    } else if (pointer.still && !cancelled && this.options.onPoint) {
      const point = this.toPhoto(this.place(event));
      if (this.contains(point)) this.options.onPoint(point);
    }
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 300), ...this.place(event));
  }

  key(event) {
    if (!this.photo) return;
    const own = { "+": () => this.zoom(2), "=": () => this.zoom(2), "-": () => this.zoom(0.5), 0: () => this.fit() };
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (own[event.key]) own[event.key]();
    else if (arrows[event.key] && this.options.onArrow) {
      const step = event.shiftKey ? 10 : 1;
      this.reveal(this.options.onArrow(arrows[event.key].map((one) => one * step)));
    } else if (arrows[event.key] && !this.whole) {
      const [dx, dy] = arrows[event.key];
      this.left -= (dx * this.width) / 8;
      this.top -= (dy * this.height) / 8;
      this.draw();
    } else if (!this.options.onKey || !this.options.onKey(event)) return;
    event.preventDefault();
  }

  draw() {
    if (!this.photo || !this.width) return;
    const context = this.canvas.getContext("2d");
    const [across, down] = [this.canvas.width / this.width, this.canvas.height / this.height];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(across * this.scale, 0, 0, down * this.scale, across * this.left, down * this.top);
    context.imageSmoothingEnabled = this.scale * across < 3; // from there on, pixels are seen as squares
    context.imageSmoothingQuality = "high";
    context.drawImage(this.photo.bitmap, 0, 0, this.photo.width, this.photo.height);
    if (this.options.draw) this.options.draw(context, this);
    this.canvas.style.touchAction = this.options.paint || !this.whole ? "none" : "pan-y"; // a finger scrolls the page
    this.canvas.tabIndex = this.options.focusable || !this.whole ? 0 : -1; // arrow keys move a zoomed picture
    Object.assign(this.canvas.dataset, { scale: this.scale, left: this.left, top: this.top });
  }

  /** Lay a small canvas or bitmap over the whole photo. */
  over(context, picture, opacity, smooth = true) {
    context.save();
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = smooth;
    context.drawImage(picture, 0, 0, this.photo.width, this.photo.height);
    context.restore();
  }

  /** Mark a point with a ring that has the same size at every zoom. */
  ring(context, [x, y], colour = "#fff", radius = 8) {
    context.save();
    for (const [ink, wide] of [["#000", 5], [colour, 2.5]]) {
      context.beginPath();
      context.arc(x, y, radius / this.scale, 0, 2 * Math.PI);
      context.lineWidth = wide / this.scale;
      context.strokeStyle = ink;
      context.stroke();
    }
    context.beginPath();
    context.arc(x, y, 1.5 / this.scale, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    context.restore();
  }
}

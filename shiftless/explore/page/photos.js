// The photos: their pictures, fetched once, and the strip that chooses among them.

import { ask } from "./api.js";

const KEPT = 24; // bitmaps that stay in memory
const bitmaps = new Map();

/** A photo's picture and its original size: { id, name, bitmap, width, height }. */
export async function load({ id, name }) {
  if (!bitmaps.has(id)) {
    const loading = (async () => {
      const answer = await ask(`/api/photos/${id}/picture`);
      const [width, height] = ["x-photo-width", "x-photo-height"].map((key) => Number(answer.headers.get(key)));
      return { id, name, width, height, bitmap: await createImageBitmap(await answer.blob()) };
    })();
    bitmaps.set(id, loading);
    loading.catch(() => bitmaps.delete(id));
    for (const old of bitmaps.keys()) {
      if (bitmaps.size <= KEPT) break;
      bitmaps.delete(old);
    }
  }
  return bitmaps.get(id);
}

export class Strip {
  /** app.photos holds { id, name }; onChange is called when the current or the ticked photos change. */
  constructor(list, app, onChange) {
    this.list = list;
    this.app = app;
    this.onChange = onChange;
    this.current = null;
    this.ticked = new Set();
    this.items = new Map();
  }

  add(photo) {
    if (this.items.has(photo.id)) return;
    const item = document.createElement("li");
    item.dataset.testid = `photo-${photo.id}`;
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Choose ${photo.name}`);
    const image = Object.assign(document.createElement("img"), { alt: "", loading: "lazy", draggable: false });
    image.src = `/api/photos/${photo.id}/picture?side=184`;
    button.append(image);
    button.addEventListener("click", () => this.choose(photo.id));
    const label = document.createElement("label");
    const tick = Object.assign(document.createElement("input"), { type: "checkbox" });
    tick.setAttribute("aria-label", `Show ${photo.name}`);
    tick.addEventListener("change", () => {
      if (tick.checked) this.ticked.add(photo.id);
      else this.ticked.delete(photo.id);
      this.onChange();
    });
    const name = Object.assign(document.createElement("span"), { textContent: photo.name, title: photo.name });
    label.append(tick, name);
    const badge = document.createElement("em");
    item.append(button, label, badge);
    this.list.append(item);
    this.items.set(photo.id, { item, button, tick, badge });
  }

  tick(id) {
    this.ticked.add(id);
    this.items.get(id).tick.checked = true;
  }

  /** Make a photo the current one, without telling anybody. */
  mark(id) {
    this.current = id;
    for (const [one, { button }] of this.items) button.setAttribute("aria-current", String(one === id));
  }

  /** Make a photo the current one, and show it; returns when it is shown. */
  choose(id) {
    this.mark(id);
    return this.onChange();
  }

  /** Photos that are ticked, in the strip's order. */
  shown() {
    return this.app.photos.filter(({ id }) => this.ticked.has(id));
  }

  photo(id = this.current) {
    return this.app.photos.find((one) => one.id === id) || null;
  }

  /** Write below each photo what a Map from ids says, and mark those to paint on next. */
  badges(texts, next = []) {
    for (const [id, { item, badge }] of this.items) {
      badge.textContent = texts.get(id) || "";
      item.classList.toggle("next", next.includes(id));
    }
  }
}

// Search: a point or a box of the chosen photo, and where it is in all photos of the store.

import { ask, askJson } from "./api.js";
import { load } from "./photos.js";
import { View } from "./view.js";

export class Search {
  constructor(app) {
    this.app = app;
    this.byId = (name) => document.getElementById(`search-${name}`);
    this.part = null; // { point } or { region }
    this.views = [];
    this.number = 0;
    this.corner = null;
    this.cursor = null; // where a corner of the box is put by keyboard
    this.down = false; // whether the first corner is put
    this.view = new View(this.byId("source"), {
      name: "The photo that shows the part", testid: "search-view", focusable: true,
      onPoint: (point) => this.seek({ point }),
      onArrow: ([dx, dy]) => this.move(dx, dy),
      onKey: (event) => this.key(event),
      paint: {
        wanted: () => this.byId("box").checked,
        start: (point) => {
          this.corner = this.view.clamp(point);
          [this.cursor, this.down] = [null, false];
        },
        move: (point) => {
          this.part = { region: this.boxTo(point) };
          this.view.draw();
        },
        end: () => this.part?.region && this.seek(this.part),
        cancel: () => {
          this.part = null;
          this.view.draw();
        },
      },
      draw: (context, view) => this.draw(context, view),
    });
    if (app.state.store) this.byId("store").textContent = `${app.state.store.photos} photos of ${app.state.store.name}`;
    this.byId("box").addEventListener("change", () => this.forgetCursor());
    this.byId("top").addEventListener("change", () => this.part && this.seek(this.part));
  }

  async refresh() {
    const current = this.app.strip.photo();
    if (!current) return;
    if (this.chosen !== current.id) {
      this.part = null;
      this.forgetCursor();
    }
    this.chosen = current.id;
    await this.app.attempt(async () => {
      const photo = await load(current);
      if (this.chosen === photo.id) this.view.show(photo);
    });
  }

  boxTo(point) {
    const [[x0, y0], [x1, y1]] = [this.corner, this.view.clamp(point)];
    return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  }

  forgetCursor() {
    [this.cursor, this.down] = [null, false];
    this.view.draw();
  }

  middle() {
    const { width, height } = this.view.photo;
    return [width / 2, height / 2];
  }

  /** Move the point, or, where a box is drawn, the corner that is to be put. */
  move(dx, dy) {
    const boxed = this.byId("box").checked;
    const [x, y] = (boxed ? this.cursor : this.part?.point) || [this.middle()[0] - dx, this.middle()[1] - dy];
    const point = this.view.clamp([x + dx, y + dy]);
    if (!boxed) this.seek({ point });
    else {
      this.cursor = point;
      if (this.down) this.part = { region: this.boxTo(point) };
      this.view.draw();
    }
    return point;
  }

  /** Space puts one corner of a box, and then the other one. */
  key({ key, repeat }) {
    if (key !== " " || !this.byId("box").checked) return false;
    if (repeat) return true;
    this.cursor ||= this.middle();
    if (!this.down) [this.corner, this.part] = [this.cursor, null];
    else if (this.part) this.seek(this.part);
    this.down = !this.down;
    this.view.draw();
    return true;
  }

  draw(context, view) {
    const ring = this.cursor || this.part?.point;
    if (ring) view.ring(context, ring, "#ffc400");
    if (!this.part?.region) return;
    const [x0, y0, x1, y1] = this.part.region;
    for (const [ink, wide] of [["#000", 5], ["#ffc400", 2.5]]) {
      context.strokeStyle = ink;
      context.lineWidth = wide / view.scale;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }

  async seek(part) {
    this.part = part;
    if (part.point) [this.cursor, this.down] = [null, false];
    this.view.draw();
    const { region } = part;
    if (region && (region[2] - region[0] < 1 || region[3] - region[1] < 1)) return;
    this.view.text.textContent = (part.point || region).map((one) => one.toFixed(1)).join(", ");
    const [number, began] = [(this.number += 1), performance.now()];
    await this.app.attempt(async () => {
      const json = { photo: this.chosen, top: Number(this.byId("top").value), ...part };
      const { hits } = await this.app.during(askJson("/api/search", { json }));
      if (number !== this.number) return; // a newer one was asked for meanwhile
      this.app.say(`${hits.length} hits in ${Math.round(performance.now() - began)} ms`);
      for (const view of this.views) view.remove();
      this.views = hits.map((hit, i) => {
        const view = new View(this.byId("hits"), {
          name: `Hit ${i + 1}`, testid: `hit-${i}`, title: hit.photo,
          draw: (context, one) => one.ring(context, hit.point),
        });
        view.text.textContent = `${hit.point.map((one) => one.toFixed(1)).join(", ")} · cosine ${hit.score.toFixed(3)}`;
        Object.assign(view.figure.dataset, { number: hit.number, point: hit.point.join(",") });
        return view;
      });
      await Promise.all(hits.map((hit, i) => this.showHit(hit, this.views[i])));
    });
  }

  async showHit(hit, view) {
    const answer = await ask(`/api/search/${hit.number}/picture?side=512`);
    const [width, height] = ["x-photo-width", "x-photo-height"].map((key) => Number(answer.headers.get(key)));
    view.show({ id: hit.number, name: hit.photo, width, height, bitmap: await createImageBitmap(await answer.blob()) });
  }
}

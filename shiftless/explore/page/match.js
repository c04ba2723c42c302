// Match: a point of the chosen photo, and where it lies in the ticked ones by each recipe.

import { askJson, askPacked } from "./api.js";
import { heatCanvas } from "./colours.js";
import { load } from "./photos.js";
import { View } from "./view.js";

export class Match {
  constructor(app) {
    this.app = app;
    this.point = null;
    this.number = 0;
    this.matches = new Map(); // "photo recipe" -> { point, score, low, high, heat }
    this.views = new Map();
    this.source = new View(document.getElementById("match-source"), {
      name: "The photo to point at", testid: "match-view", focusable: true,
      onPoint: (point) => this.pointAt(point),
      onHover: (point) => this.hover(point),
      onArrow: ([dx, dy]) => this.move(dx, dy),
      draw: (context, view) => this.point && view.ring(context, this.point, "#ffc400"),
    });
    this.follow = document.getElementById("match-follow");
    this.heat = document.getElementById("match-heat");
    this.heat.addEventListener("input", () => this.redraw());
    this.recipes = new Set(app.state.recipes.map(({ id }) => id));
    const box = document.getElementById("match-recipes");
    for (const recipe of app.state.recipes) {
      const label = document.createElement("label");
      const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
      tick.dataset.testid = `match-recipe-${recipe.id}`;
      tick.addEventListener("change", () => {
        if (tick.checked) this.recipes.add(recipe.id);
        else this.recipes.delete(recipe.id);
        this.refresh();
      });
      label.append(tick, document.createTextNode(recipe.name));
      box.append(label);
    }
    box.hidden = app.state.recipes.length < 2;
  }

  columns() {
    return this.app.state.recipes.filter(({ id }) => this.recipes.has(id));
  }

  targets() {
    return this.app.strip.shown().filter(({ id }) => id !== this.app.strip.current);
  }

  /** Show the chosen photos anew: called when the panel opens, and when the choice of photos or recipes changes. */
  async refresh() {
    const source = this.app.strip.photo();
    if (!source) return;
    if (this.chosen !== source.id) {
      this.chosen = source.id;
      this.point = null;
      this.matches.clear();
    }
    await this.app.attempt(async () => {
      const photo = await load(source);
      if (this.chosen === photo.id) this.source.show(photo);
    });
    this.say();
    await this.layOut();
    if (this.point) this.ask();
    else this.readAhead();
  }

  async layOut() {
    const host = document.getElementById("match-targets");
    for (const view of this.views.values()) view.remove();
    this.views.clear();
    host.replaceChildren();
    for (const target of this.targets()) {
      if (this.columns().length > 1) {
        host.append(Object.assign(document.createElement("h3"), { textContent: target.name }));
      }
      for (const recipe of this.columns()) {
        const key = `${target.id} ${recipe.id}`;
        const view = new View(host, {
          name: recipe.name, testid: `match-${target.id}-${recipe.id}`,
          title: this.columns().length > 1 ? recipe.name : target.name,
          draw: (context, one) => this.drawMatch(context, one, key),
        });
        this.views.set(key, view);
        this.app.attempt(async () => view.show(await load(target)));
        this.sayMatch(key);
      }
    }
  }

  drawMatch(context, view, key) {
    const match = this.matches.get(key);
    if (!match) return;
    view.over(context, match.heat, Number(this.heat.value) / 100);
    view.ring(context, match.point);
  }

  sayMatch(key) {
    const [match, view] = [this.matches.get(key), this.views.get(key)];
    if (!view) return;
    view.figure.dataset.point = match ? match.point.map((one) => one.toFixed(3)).join(",") : "";
    view.text.textContent = match
      ? `${match.point.map((one) => one.toFixed(1)).join(", ")} · cosine ${match.score.toFixed(3)}`
      : "";
  }

  say() {
    this.source.figure.dataset.point = this.point ? this.point.map((one) => one.toFixed(3)).join(",") : "";
    this.source.text.textContent = this.point ? this.point.map((one) => one.toFixed(1)).join(", ") : "no point yet";
  }

  move(dx, dy) {
    const { width, height } = this.source.photo;
    const [x, y] = this.point || [width / 2 - dx, height / 2 - dy];
    this.pointAt([x + dx, y + dy]);
    return this.point;
  }

  pointAt(point) {
    this.point = this.source.clamp(point);
    this.say();
    this.source.draw();
    return this.ask();
  }

  /** Follow the pointer, one request at a time: the newest place is asked for when the last answer is there. */
  async hover(point) {
    if (!this.follow.checked || !this.source.contains(point)) return;
    const busy = Boolean(this.newest);
    this.newest = point;
    if (busy) return;
    let sent = null;
    while (sent !== this.newest) {
      sent = this.newest;
      await this.pointAt(sent);
    }
    this.newest = null;
  }

  async ask() {
    const [targets, recipes] = [this.targets().map(({ id }) => id), this.columns().map(({ id }) => id)];
    if (!targets.length || !recipes.length) return;
    const number = (this.number += 1);
    const [photo, point, began] = [this.chosen, this.point, performance.now()];
    await this.app.attempt(async () => {
      const answer = askPacked("/api/match", { json: { photo, point, targets, recipes } });
      const { about, arrays } = await this.app.during(answer);
      if (number !== this.number || photo !== this.chosen) return; // a newer click was made meanwhile
      about.matches.forEach((one, i) => {
        this.matches.set(`${one.photo} ${one.recipe}`, { ...one, heat: heatCanvas(arrays[i]) });
      });
      this.redraw();
      if (about.failed.length) this.app.fail(about.failed.join(" · "));
      this.app.say(`${about.matches.length} matches in ${Math.round(performance.now() - began)} ms`);
    });
  }

  redraw() {
    for (const [key, view] of this.views) {
      this.sayMatch(key);
      view.draw();
    }
  }

  /** Read the shown photos before anybody clicks, so that the first click is answered at once too. */
  async readAhead() {
    const photos = [this.chosen, ...this.targets().map(({ id }) => id)];
    const recipes = this.columns().map(({ id }) => id);
    if (!recipes.length) return;
    await this.app.attempt(async () => {
      await this.app.during(askJson("/api/read", { json: { photos, recipes } }));
      if (!this.point) this.app.say("ready: click a point"); // who clicked meanwhile reads what was matched
    });
  }
}

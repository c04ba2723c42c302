// Look: the features of the ticked photos as colours.

import { askPacked } from "./api.js";
import { heatCanvas, pictureCanvas } from "./colours.js";
import { load } from "./photos.js";
import { View } from "./view.js";

const WAIT = 200; // milliseconds after the last change before features are asked for

export class Look {
  constructor(app) {
    this.app = app;
    this.views = new Map();
    this.pictures = new Map();
    this.number = 0;
    const byId = (id) => document.getElementById(id);
    [this.recipe, this.tap, this.timestep, this.mix] =
      ["look-recipe", "look-tap", "look-timestep", "look-mix"].map(byId);
    this.value = byId("look-timestep-value");
    this.segments = byId("look-segments");
    this.words = byId("look-words");
    this.word = ""; // the one whose attention is shown
    this.segments.addEventListener("change", () => this.soon());
    for (const recipe of app.state.recipes) this.recipe.append(new Option(recipe.name, recipe.id));
    for (const tap of app.state.taps) this.tap.append(new Option(tap, tap));
    this.recipe.addEventListener("change", () => {
      this.word = "";
      this.begin();
    });
    this.tap.addEventListener("change", () => {
      this.word = "";
      this.soon();
    });
    this.timestep.addEventListener("input", () => {
      this.value.textContent = this.timestep.value;
      this.soon();
    });
    this.mix.addEventListener("input", () => this.redraw());
    this.begin(false);
  }

  /** Take the recipe's own tap and timestep. */
  begin(ask = true) {
    const recipe = this.app.state.recipes[Number(this.recipe.value || 0)];
    if (this.app.state.taps.includes(recipe.taps[0])) this.tap.value = recipe.taps[0];
    this.timestep.value = recipe.timestep;
    this.value.textContent = recipe.timestep;
    if (ask) this.soon();
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), WAIT);
  }

  photos() {
    const shown = this.app.strip.shown();
    const current = this.app.strip.photo();
    return shown.length || !current ? shown : [current];
  }

  async refresh() {
    const [photos, host, number] = [this.photos(), document.getElementById("look-photos"), (this.number += 1)];
    for (const [id, view] of this.views) {
      if (!photos.some((one) => one.id === id)) {
        view.remove();
        this.views.delete(id);
      }
    }
    if (!photos.length) return;
    for (const photo of photos) {
      if (!this.views.has(photo.id)) {
        const view = new View(host, {
          name: "Features", testid: `look-${photo.id}`,
          draw: (context, one) => {
            const picture = this.pictures.get(photo.id);
            if (picture) one.over(context, picture, 1 - Number(this.mix.value) / 100, false);
          },
        });
        this.views.set(photo.id, view);
        this.app.attempt(async () => view.show(await load(photo)));
      }
    }
    await this.app.attempt(async () => {
      const json = {
        photos: photos.map(({ id }) => id), recipe: Number(this.recipe.value), tap: this.tap.value,
        timestep: Number(this.timestep.value), word: this.word,
        segments: Number(this.segments.value) || 0, cuts: this.segments.value === "cuts",
      };
      const { about, arrays } = await this.app.during(askPacked("/api/look", { json }));
      if (number !== this.number) return;
      about.photos.forEach((id, i) => {
        const draw = arrays[i].shape.length === 2 ? heatCanvas : pictureCanvas;
        this.pictures.set(id, draw(arrays[i]));
        const view = this.views.get(id);
        if (view) {
          view.text.textContent = `${arrays[i].shape[1]} × ${arrays[i].shape[0]} cells`;
          view.figure.dataset.ready = this.tap.value;
          view.figure.dataset.shows = json.word || (json.cuts ? "cuts" : json.segments) || "colours";
        }
      });
      this.listWords([...new Set(about.words.flat())]);
      this.redraw();
      this.app.say(`${this.tap.value} at t = ${json.timestep}`);
    });
  }

  /** Buttons for the words of the photos' prompts; one that is pressed again is let go. */
  listWords(words) {
    const had = this.words.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.words.hidden = !words.length;
    this.words.replaceChildren(
      ...words.map((word) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: word });
        button.setAttribute("aria-pressed", String(word === this.word));
        button.addEventListener("click", () => {
          this.word = word === this.word ? "" : word;
          this.refresh();
        });
        return button;
      }),
    );
    [...this.words.children].find((one) => one.textContent === had)?.focus();
  }

  redraw() {
    for (const view of this.views.values()) view.draw();
  }
}

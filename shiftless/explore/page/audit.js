// Audit: how far each technique's reading has shifted, and where, in the ticked photos.

import { askBitmap, askJson } from "./api.js";
import { View } from "./view.js";

export class Audit {
  constructor(app) {
    this.app = app;
    this.answer = null;
    this.views = new Map();
    this.pictures = new Map(); // "photo kind recipe" -> bitmap, of the last answer
    this.byId = (name) => document.getElementById(`audit-${name}`);
    for (const recipe of app.state.recipes) this.byId("recipe").append(new Option(recipe.name, recipe.id));
    this.byId("recipe").addEventListener("change", () => this.begin());
    this.byId("timestep").addEventListener("input", () => this.sayTimestep());
    this.byId("measure").addEventListener("click", () => this.measure());
    this.byId("wipe").addEventListener("input", () => this.redraw());
    for (const one of document.querySelectorAll("input[name=audit-show]")) {
      one.addEventListener("change", () => this.fetchPictures());
    }
    this.begin();
  }

  begin() {
    this.byId("timestep").value = this.app.state.recipes[Number(this.byId("recipe").value || 0)].timestep;
    this.sayTimestep();
  }

  sayTimestep() {
    this.byId("timestep-value").textContent = this.byId("timestep").value;
  }

  /** Measuring takes a while, so that it is done when somebody asks; other photos leave the last answer as it is. */
  refresh() {
    for (const view of this.views.values()) view.resize();
  }

  async measure() {
    const { strip } = this.app;
    const photos = (strip.shown().length ? strip.shown() : [strip.photo()]).filter(Boolean).map(({ id }) => id);
    this.byId("measure").disabled = true;
    await this.app.attempt(async () => {
      const json = {
        photos, recipe: Number(this.byId("recipe").value), timestep: Number(this.byId("timestep").value),
      };
      this.answer = await this.app.during(askJson("/api/audit", { json }));
      this.pictures.clear();
      this.chosen = this.answer.recipes[0].id;
      this.say();
      await this.layOut();
      this.app.say(`${this.answer.recipes.length} recipes on ${this.answer.photos.length} photos`);
      if (this.answer.failed.length) this.app.fail(this.answer.failed.join(" · "));
    });
    this.byId("measure").disabled = false;
  }

  /** The audit's sentences, and a row for each recipe with its intervals. */
  say() {
    const { recipes, sentences, measure, digits } = this.answer;
    this.byId("sentences").replaceChildren(
      ...sentences.map((text) => Object.assign(document.createElement("p"), { textContent: text })),
    );
    this.byId("what").textContent = `${measure}, 0 is none`;
    const share = (value) => `${value > 0 ? "+" : ""}${Math.round(100 * value)}%`;
    const rows = recipes.map(({ id, label, value, saved }) => {
      const row = document.createElement("tr");
      row.dataset.testid = `audit-row-${id}`;
      const name = document.createElement("label");
      const radio = Object.assign(document.createElement("input"), {
        type: "radio", name: "audit-recipe-shown", checked: id === this.chosen,
      });
      radio.addEventListener("change", () => {
        this.chosen = id;
        this.fetchPictures();
      });
      name.append(radio, label);
      const head = Object.assign(document.createElement("th"), { scope: "row" });
      head.append(name);
      row.append(head);
      const [mean, low, high] = value.map((one) => one.toFixed(digits));
      for (const text of [
        `${mean} (${low} to ${high})`,
        saved ? `${share(saved[0])} (${share(saved[1])} to ${share(saved[2])})` : "the bare reading",
      ]) {
        row.append(Object.assign(document.createElement("td"), { textContent: text }));
      }
      return row;
    });
    this.byId("rows").replaceChildren(...rows);
    this.byId("answer").hidden = false;
  }

  async layOut() {
    for (const view of this.views.values()) view.remove();
    this.views.clear();
    for (const id of this.answer.photos) {
      const view = new View(this.byId("photos"), {
        name: "Predicted clean image", testid: `audit-${id}`, title: this.app.strip.photo(id)?.name,
        draw: (context, one) => this.draw(context, one, id),
      });
      this.views.set(id, view);
      const bitmap = await askBitmap(`/api/audit/${id}/photo/0`);
      const name = this.app.strip.photo(id)?.name || String(id);
      view.show({ id, name, bitmap, width: bitmap.width, height: bitmap.height });
    }
    await this.fetchPictures();
  }

  shows() {
    return document.querySelector("input[name=audit-show]:checked").value;
  }

  async fetchPictures() {
    const { answer } = this;
    if (!answer) return;
    const [kind, recipe] = [this.shows(), this.chosen];
    await this.app.attempt(async () => {
      for (const id of answer.photos) {
        const key = `${id} ${kind} ${recipe}`;
        if (!this.pictures.has(key)) {
          const bitmap = await askBitmap(`/api/audit/${id}/${kind}/${recipe}`);
          if (answer !== this.answer) return;
          this.pictures.set(key, bitmap);
        }
        const view = this.views.get(id);
        const row = answer.recipes.find((one) => one.id === recipe);
        view.text.textContent = `${answer.measure} ${row.photos[answer.photos.indexOf(id)].toFixed(answer.digits)}`;
        view.figure.dataset.ready = `${kind} ${recipe}`;
        view.draw();
      }
    });
  }

  /** To the left of the slider what the model predicts, or where it shifted; to the right the photo. */
  draw(context, view, id) {
    const picture = this.pictures.get(`${id} ${this.shows()} ${this.chosen}`);
    if (!picture) return;
    const edge = (view.photo.width * Number(this.byId("wipe").value)) / 100;
    context.save();
    context.beginPath();
    context.rect(0, 0, edge, view.photo.height);
    context.clip();
    view.over(context, picture, 1);
    context.restore();
    context.fillStyle = "#fff";
    context.fillRect(edge - 0.75 / view.scale, 0, 1.5 / view.scale, view.photo.height);
  }

  redraw() {
    for (const view of this.views.values()) view.draw();
  }
}

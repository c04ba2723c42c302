// Label: paint strokes of classes, fit an ensemble on them, and see the masks of all photos.

import { ask, askBitmap, askJson } from "./api.js";
import { load } from "./photos.js";
import { ERASER, Strokes } from "./strokes.js";
import { View } from "./view.js";

// Colours of classes that are added: far apart in hue, at several lightnesses.
const COLOURS = ["#e85854", "#22f1aa", "#6731a8", "#d4a017", "#2f9be0", "#c2459b", "#5fa83a", "#f08c3c", "#4653c9"];

export class Label {
  constructor(app) {
    this.app = app;
    this.classes = app.state.classes.map((one) => ({ ...one }));
    this.strokes = new Strokes(() => this.classes);
    this.label = 1;
    this.answer = null;
    this.pictures = new Map(); // "mask 3" -> bitmap, of the last fit
    this.cursor = null;
    this.stroke = null;
    this.down = false; // the brush, by keyboard
    this.byId = (name) => document.getElementById(`label-${name}`);
    this.view = new View(this.byId("view"), {
      name: "The photo to paint on", testid: "label-view", focusable: true,
      paint: {
        wanted: () => this.tool() !== "move" && this.classes.length > 0,
        start: (point) => this.begin(point),
        move: (point) => this.extend(point),
        end: () => this.end(),
        cancel: () => this.cancel(),
      },
      onHover: (point) => this.moveCursor(point),
      onArrow: ([dx, dy]) => this.moveBy(dx, dy),
      onKey: (event) => this.key(event),
      draw: (context, view) => this.draw(context, view),
    });
    for (const recipe of app.state.recipes) this.byId("recipe").append(new Option(recipe.name, recipe.id));
    this.byId("add").addEventListener("click", () => this.addClass());
    this.byId("undo").addEventListener("click", () => this.step(false));
    this.byId("redo").addEventListener("click", () => this.step(true));
    this.byId("fit").addEventListener("click", () => this.fit());
    this.byId("export").addEventListener("click", () => this.export());
    this.byId("import").addEventListener("change", (event) => this.import(event.target));
    this.byId("opacity").addEventListener("input", () => this.view.draw());
    this.byId("radius").addEventListener("input", () => this.sayRadius());
    for (const one of document.querySelectorAll("input[name=show]")) {
      one.addEventListener("change", () => this.refresh());
    }
    document.getElementById("panel-label").addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      if (event.target.type === "text") return; // its own undo
      event.preventDefault();
      this.step(event.shiftKey);
    });
    this.listClasses();
    this.sayUndo();
  }

  tool() {
    return document.querySelector("input[name=tool]:checked").value;
  }

  setTool(value) {
    document.querySelector(`input[name=tool][value=${value}]`).checked = true;
  }

  shows() {
    return document.querySelector("input[name=show]:checked").value;
  }

  show(value) {
    document.querySelector(`input[name=show][value=${value}]`).checked = true;
  }

  /** The brush's radius in the photo's pixels: the slider is in thousandths of its longer side. */
  radius() {
    const { width, height } = this.view.photo;
    return Math.max(0.5, (Number(this.byId("radius").value) * Math.max(width, height)) / 1000);
  }

  sayRadius() {
    this.byId("radius-value").textContent = this.view.photo ? `${this.radius().toFixed(1)} px` : "";
    this.view.draw();
  }

  async refresh() {
    const current = this.app.strip.photo();
    if (!current) return;
    this.chosen = current.id;
    await this.app.attempt(async () => {
      const photo = await load(current);
      if (this.chosen !== photo.id) return;
      if (this.view.photo && this.view.photo.id !== photo.id) {
        this.cursor = null;
        this.stroke = null;
        this.down = false;
      }
      this.view.show(photo);
      this.sayRadius();
      const kind = this.shows();
      if (this.answer && kind !== "strokes") await this.fetchPicture(kind, photo.id);
      this.view.draw();
    });
    this.badges();
  }

  async fetchPicture(kind, photo) {
    const key = `${kind} ${photo}`;
    const answer = this.answer;
    if (this.pictures.has(key) || !answer.photos.some(({ id }) => id === photo)) return;
    const bitmap = await askBitmap(`/api/label/${kind}/${photo}`);
    if (answer === this.answer) this.pictures.set(key, bitmap);
  }

  draw(context, view) {
    const [opacity, kind] = [Number(this.byId("opacity").value) / 100, this.shows()];
    const picture = this.pictures.get(`${kind} ${view.photo.id}`);
    if (kind === "strokes") view.over(context, this.strokes.layer(view.photo).canvas, opacity, false);
    else if (picture) view.over(context, picture, opacity, kind === "uncertainty");
    if (kind === "uncertainty" && this.answer) {
      const answered = this.answer.photos.find(({ id }) => id === view.photo.id);
      if (answered) view.ring(context, answered.spot, "#7ef", 14);
    }
    if (this.cursor && this.tool() !== "move") {
      context.save();
      context.beginPath();
      context.arc(...this.cursor, this.radius(), 0, 2 * Math.PI);
      context.lineWidth = 1.5 / view.scale;
      context.strokeStyle = this.tool() === "eraser" ? "#fff" : this.classes[this.label].colour;
      context.stroke();
      context.restore();
    }
  }

  // --- strokes

  begin(point) {
    if (this.shows() !== "strokes") {
      this.show("strokes");
    }
    const label = this.tool() === "eraser" ? ERASER : this.label;
    this.stroke = { label, radius: this.radius(), points: [point] };
    this.cursor = point;
    this.strokes.paint(this.strokes.layer(this.view.photo), this.stroke);
    this.view.draw();
  }

  extend(point) {
    if (!this.stroke) return;
    this.cursor = point;
    const last = this.stroke.points[this.stroke.points.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < this.stroke.radius / 4) return;
    this.stroke.points.push(point);
    this.strokes.paint(this.strokes.layer(this.view.photo), { ...this.stroke, points: [last, point] });
    this.view.draw();
  }

  end() {
    if (!this.stroke) return;
    const { points } = this.stroke;
    if (this.cursor && this.cursor !== points[points.length - 1]) points.push(this.cursor);
    this.strokes.add(this.view.photo, this.stroke);
    this.stroke = null;
    this.view.draw();
    this.sayUndo();
    this.badges();
  }

  cancel() {
    this.stroke = null;
    this.strokes.layers.delete(this.view.photo.id);
    this.view.draw();
  }

  step(redo) {
    const photo = this.strokes.step(redo);
    if (photo === null) return;
    this.show("strokes");
    this.sayUndo();
    if (photo !== this.chosen) this.app.strip.choose(photo);
    else this.refresh();
  }

  sayUndo() {
    this.byId("undo").disabled = !this.strokes.done.length;
    this.byId("redo").disabled = !this.strokes.undone.length;
    this.view.figure.dataset.strokes = String(this.strokes.done.length);
  }

  moveCursor(point) {
    this.cursor = this.view.contains(point) ? point : null;
    this.view.draw();
  }

  moveBy(dx, dy) {
    const { width, height } = this.view.photo;
    const [x, y] = this.cursor || [width / 2, height / 2];
    this.cursor = this.view.clamp([x + dx, y + dy]);
    if (this.down) this.extend(this.cursor);
    this.view.draw();
    return this.cursor;
  }

  key(event) {
    const { key } = event;
    const radius = this.byId("radius");
    if (key === " ") {
      if (event.repeat) return true;
      if (this.down) this.end();
      else if (this.tool() !== "move") this.begin(this.cursor || [this.view.photo.width / 2, this.view.photo.height / 2]);
      this.down = !this.down && this.tool() !== "move";
    } else if (/^[1-9]$/.test(key) && Number(key) <= this.classes.length) {
      this.choose(Number(key) - 1);
    } else if (key === "[" || key === "]") {
      radius.value = Number(radius.value) + (key === "]" ? 2 : -2);
      this.sayRadius();
    } else if ("bem".includes(key.toLowerCase())) {
      this.setTool({ b: "brush", e: "eraser", m: "move" }[key.toLowerCase()]);
      this.view.draw();
    } else return false;
    return true;
  }

  // --- classes

  choose(label) {
    this.label = label;
    if (this.tool() !== "brush") this.setTool("brush");
    const radio = this.byId("list").querySelectorAll("input[type=radio]")[label];
    if (radio) radio.checked = true;
    this.view.draw();
  }

  listClasses() {
    const list = this.byId("list");
    list.replaceChildren();
    this.label = Math.min(this.label, this.classes.length - 1);
    this.classes.forEach((one, number) => {
      const item = document.createElement("li");
      item.dataset.testid = `class-${number}`;
      const make = (type, values, name) => {
        const input = Object.assign(document.createElement("input"), { type, ...values });
        input.setAttribute("aria-label", name);
        item.append(input);
        return input;
      };
      const radio = make("radio", { name: "class", checked: number === this.label }, `Paint ${one.name}`);
      radio.addEventListener("change", () => this.choose(number));
      const colour = make("color", { value: one.colour }, `Colour of ${one.name}`);
      colour.addEventListener("change", () => {
        one.colour = colour.value;
        this.strokes.layers.clear();
        this.forgetAnswer();
        this.loadBases();
      });
      const name = make("text", { value: one.name, maxLength: 60 }, `Name of class ${number + 1}`);
      name.addEventListener("change", () => {
        one.name = name.value.trim();
        this.forgetAnswer();
        this.listClasses();
      });
      const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
      remove.setAttribute("aria-label", `Remove ${one.name}`);
      remove.disabled = this.classes.length <= 2 || this.strokes.bases.size > 0;
      remove.addEventListener("click", () => this.removeClass(number));
      item.append(remove);
      list.append(item);
    });
    this.byId("add").disabled = this.classes.length >= this.app.state.limits.classes;
  }

  addClass() {
    let number = this.classes.length;
    while (this.classes.some(({ name }) => name === `class ${number}`)) number += 1;
    const used = this.classes.map(({ colour }) => colour);
    const colour = COLOURS.find((one) => !used.includes(one)) || COLOURS[number % COLOURS.length];
    this.classes.push({ name: `class ${number}`, colour });
    this.forgetAnswer();
    this.label = this.classes.length - 1;
    this.listClasses();
    this.byId("list").lastElementChild.querySelector("input[type=text]").select();
  }

  removeClass(number) {
    this.classes.splice(number, 1);
    this.strokes.removeClass(number);
    this.listClasses(); // first, as it chooses a class that is there
    this.forgetAnswer();
    this.sayUndo();
    this.refresh();
  }

  /** Masks are of the classes that they were fitted with; once those change, they are not shown any more. */
  forgetAnswer() {
    this.answer = null;
    this.pictures.clear();
    this.show("strokes");
    for (const kind of ["mask", "uncertainty"]) document.querySelector(`input[name=show][value=${kind}]`).disabled = true;
    this.byId("answer").textContent = "";
    this.view.draw();
    this.badges();
  }

  // --- fit, export, import

  request() {
    return { classes: this.classes, labels: this.strokes.all(), recipe: Number(this.byId("recipe").value) };
  }

  async fit() {
    this.byId("fit").disabled = true;
    await this.app.attempt(async () => {
      const answer = await this.app.during(askJson("/api/label/fit", { json: this.request() }));
      this.answer = answer;
      this.pictures.clear();
      for (const kind of ["mask", "uncertainty"]) document.querySelector(`input[name=show][value=${kind}]`).disabled = false;
      this.show("mask");
      const names = answer.paint_next.map((id) => this.app.strip.photo(id)?.name || id);
      this.byId("answer").textContent =
        `${answer.photos.length} photos segmented; fitted in ${answer.seconds.toFixed(1)} s.` +
        (names.length ? ` Paint next on: ${names.join(", ")}.` : "");
      this.app.say("masks are ready");
      await this.refresh();
      this.view.figure.dataset.fitted = String(answer.photos.length);
    });
    this.byId("fit").disabled = false;
  }

  badges() {
    if (!this.app.strip || this.app.panel !== "label") return;
    const texts = new Map();
    for (const { photo } of this.strokes.done) texts.set(photo, "painted");
    for (const photo of this.strokes.bases.keys()) texts.set(photo, "imported");
    for (const one of this.answer ? this.answer.photos : []) {
      const painted = texts.get(one.id);
      texts.set(one.id, `${painted ? `${painted}, ` : ""}± ${one.uncertainty.toFixed(3)}`);
    }
    this.app.strip.badges(texts, this.answer ? this.answer.paint_next : []);
  }

  async export() {
    await this.app.attempt(async () => {
      const format = this.byId("format").value;
      const answer = await ask("/api/label/export", { json: { ...this.request(), format } });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = `shiftless-masks-${format}.zip`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      this.app.say("exported");
    });
  }

  async import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    await this.app.attempt(async () => {
      const about = await askJson("/api/label/import", { body: file });
      this.classes = about.classes;
      this.strokes.clear();
      this.strokes.bases = new Map(about.photos.map((id) => [id, null]));
      this.listClasses();
      this.forgetAnswer();
      this.sayUndo();
      await this.loadBases();
      const ignored = about.ignored.length ? `; no photo here for ${about.ignored.join(", ")}` : "";
      this.app.say(`${about.photos.length} masks imported${ignored}`);
    });
  }

  /** Fetch the imported masks in the colours that the classes have now. */
  async loadBases() {
    for (const id of this.strokes.bases.keys()) {
      const json = { classes: this.classes, labels: [], recipe: 0 };
      this.strokes.bases.set(id, await askBitmap(`/api/label/painted/${id}`, { json }));
    }
    this.strokes.layers.clear();
    await this.refresh();
  }
}

// The page: tabs, the strip of photos, and what is said above them. A further tab is an entry of PANELS.

import { ask, askJson, Refused } from "./api.js";
import { Audit } from "./audit.js";
import { Label } from "./label.js";
import { Look } from "./look.js";
import { Match } from "./match.js";
import { Strip } from "./photos.js";
import { Search } from "./search.js";

const PANELS = { match: Match, look: Look, audit: Audit, search: Search, label: Label };
const TICKED = 4; // photos that are shown at first
const POLL = 400; // milliseconds between two questions of how far the work is

const byId = (id) => document.getElementById(id);

const app = {
  state: null,
  photos: [],
  strip: null,
  panel: "match",
  panels: {},
  words: "", // what was said last; how far work is stands in its place until no answer is waited for
  waiting: 0,

  say(text) {
    app.words = text;
    byId("status").textContent = text;
  },

  fail(text) {
    byId("error").textContent = text;
    byId("error").hidden = !text;
  },

  /** Do something that may be refused; what the server says is shown, and that a newer click took its place is not. */
  async attempt(work) {
    try {
      app.fail("");
      return await work();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!error.stale) app.fail(error.message);
      return undefined;
    }
  },

  /** Wait for an answer, and show meanwhile how far the work for it is; after the last one the last words are back. */
  async during(promise) {
    let over = false;
    app.waiting += 1;
    const poll = async () => {
      if (over) return;
      try {
        const { jobs } = await askJson("/api/progress");
        const [job] = jobs;
        if (!over && job) byId("status").textContent = `${job.doing || "waiting"} ${job.done} of ${job.total}`;
      } catch {
        // the answer itself says what is wrong
      }
      if (!over) timer = setTimeout(poll, POLL);
    };
    let timer = setTimeout(poll, POLL);
    try {
      return await promise;
    } finally {
      over = true;
      clearTimeout(timer);
      app.waiting -= 1;
      if (!app.waiting) byId("status").textContent = app.words;
    }
  },
};

/** The tabs that are there: one searches a store only where one was given. */
const tabs = () => Object.keys(PANELS).filter((name) => name !== "search" || app.state.store);

function open(name, focus = false) {
  app.panel = name;
  for (const one of Object.keys(PANELS)) {
    const [tab, panel] = [byId(`tab-${one}`), byId(`panel-${one}`)];
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    panel.hidden = one !== name;
  }
  if (focus) byId(`tab-${name}`).focus();
  app.strip.badges(new Map());
  history.replaceState(null, "", `#${name}`);
  app.panels[name].refresh();
}

function listenToTabs() {
  const names = tabs();
  byId("tab-search").hidden = !app.state.store;
  for (const name of names) byId(`tab-${name}`).addEventListener("click", () => open(name));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    open(names[(names.indexOf(app.panel) + step + names.length) % names.length], true);
  });
}

/** Add photos; what is refused is said once all of them were tried, and does not keep the others out. */
async function upload(files) {
  const refused = [];
  for (const file of files) {
    try {
      if (file.size > app.state.limits.upload_bytes) {
        throw new Refused(`${file.name}: over ${app.state.limits.upload_bytes >> 20} MB; give a smaller copy`, 0, false);
      }
      const answer = await ask(`/api/photos?name=${encodeURIComponent(file.name)}`, { body: file });
      const photo = await answer.json();
      if (!app.photos.some(({ id }) => id === photo.id)) app.photos.push(photo);
      app.strip.add(photo);
      app.strip.tick(photo.id);
      if (app.strip.current === null) app.strip.mark(photo.id);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused.push(error.message);
    }
  }
  if (refused.length < files.length) await app.strip.choose(app.strip.current);
  if (refused.length) app.fail(refused.join(" · "));
}

async function begin() {
  app.state = await askJson("/api/state");
  app.photos = app.state.photos;
  byId("model").textContent = app.state.model;
  byId("note").textContent = [app.state.note, ...app.state.left_out].filter(Boolean).join(" · ");
  byId("note").hidden = !byId("note").textContent;
  app.strip = new Strip(byId("photos"), app, () => app.panels[app.panel].refresh());
  for (const photo of app.photos) app.strip.add(photo);
  for (const { id } of app.photos.slice(0, TICKED)) app.strip.tick(id);
  for (const [name, Panel] of Object.entries(PANELS)) app.panels[name] = new Panel(app);
  listenToTabs();
  byId("add").addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await upload(files);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    upload([...event.dataTransfer.files].filter(({ type }) => type.startsWith("image/")));
  });
  const named = location.hash.slice(1);
  if (app.photos.length) app.strip.mark(app.photos[0].id);
  else app.say("add photos to begin");
  open(tabs().includes(named) ? named : "match");
  document.body.dataset.ready = "true";
}

app.attempt(begin);

"""The page: plain modules that Node accepts, what they compute, and nothing that another host would be asked for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from shiftless.explore.app import page_files
from shiftless.explore.packing import pack

CHECKS = """
const { View } = await import("./view.js");
const { Strokes, ERASER } = await import("./strokes.js");
const { askPacked, CLIENT, Refused } = await import("./api.js");
for (const name of ["audit", "label", "look", "match", "search"]) await import(`./${name}.js`);

const out = { client: CLIENT };
const box = { left: 7, top: 11, width: 400, height: 300 };
const view = Object.assign(Object.create(View.prototype), {
  options: {}, canvas: { dataset: {}, style: {}, getBoundingClientRect: () => box },
  photo: { width: 1000, height: 500 }, width: 400, height: 300, draw() {},
});
view.fit();
const round = (point) => point.map((one) => Math.round(one * 1e6) / 1e6);
const at = (x, y) => round(view.toPhoto(view.place({ clientX: x + 7, clientY: y + 11 })));
out.whole = [at(0, 50), at(400, 250), at(200, 150)];
out.zoomed = [];
for (const factor of [2, 8, 100]) {
  view.fit();
  const point = view.toPhoto([130, 90]);
  view.zoom(factor, 130, 90);
  out.zoomed.push([view.scale, round(view.toPhoto([130, 90])).join() === round(point).join()]);
}
view.zoom(4, 0, 0);
const onCanvas = (x, y) => round([view.left + x * view.scale, view.top + y * view.scale]);
view.reveal([1000, 500]);
out.revealed = [onCanvas(1000, 500)];
view.reveal([0, 250]);
out.revealed.push(onCanvas(0, 250));
view.fit();
view.reveal([1000, 500]); // nothing to move: all is seen
out.revealed.push(onCanvas(0, 0));
Object.assign(box, { left: 0, top: 0, width: 200, height: 150 }); // a page scaled by half
view.fit();
out.scaled = round(view.toPhoto(view.place({ clientX: 100, clientY: 75 })));
out.clamped = view.clamp([-3, 900]);

const strokes = new Strokes(() => []);
strokes.layer = () => ({}); strokes.paint = () => {};
const paint = (photo, label) => strokes.add({ id: photo }, { label, radius: 1, points: [[1, 1]] });
paint(0, 0); paint(1, 1); paint(0, 2); paint(0, ERASER);
out.painted = strokes.all().map(({ photo, strokes: own }) => [photo, own.map(({ label }) => label)]);
out.undone = [strokes.step(false), strokes.step(false), strokes.step(true), strokes.all()[0].strokes.length];
paint(1, 2);
out.redo = strokes.step(true);
strokes.removeClass(1);
out.removed = strokes.all().map(({ photo, strokes: own }) => [photo, own.map(({ label }) => label)]);

const packed = Uint8Array.from(JSON.parse(process.argv[2]));
globalThis.fetch = async (path, { headers, method }) => {
  out.sent = [path, method, headers["X-Shiftless-Client"] === CLIENT];
  out.numbers = [...(out.numbers || []), headers["X-Shiftless-Number"]];
  return new Response(packed);
};
const { about, arrays } = await askPacked("/api/match", { json: {} });
await askPacked("/api/match", { json: {} });
out.packed = [about.n, arrays.map(({ shape, data }) => [shape, [...data]])];
globalThis.fetch = async () => new Response('{"error": "no"}', { status: 409 });
try { await askPacked("/api/match", {}); } catch (error) { out.refused = [error instanceof Refused, error.message]; }
globalThis.fetch = async () => new Response(null, { status: 204, headers: { "x-shiftless-stale": "yes" } });
try { await askPacked("/api/match", {}); } catch (error) { out.stale = [error instanceof Refused, error.stale]; }
console.log(JSON.stringify(out));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """What Node computed with the page's modules."""
    if shutil.which("node") is None:
        pytest.skip("needs Node, which runs the page's modules")
    place = tmp_path_factory.mktemp("page")
    for name, (content, _) in page_files().items():
        (place / name).write_bytes(content)
    (place / "package.json").write_text('{"type": "module"}')
    (place / "checks.js").write_text(CHECKS)
    for name in ("main.js", "checks.js"):
        checked = subprocess.run(["node", "--check", name], cwd=place, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
    packed = pack({"n": 5}, [np.arange(6).reshape(2, 3), np.full((1, 1, 3), 255)])
    given = json.dumps(list(packed))
    done = subprocess.run(["node", "checks.js", given], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_places_become_the_photo_s_own_pixels_at_any_zoom(node):
    assert node["whole"] == [[0, 0], [1000, 500], [500, 250]]  # 1000 x 500 in 400 x 300, at 0.4
    assert node["zoomed"] == [[0.8, True], [3.2, True], [40, True]]
    assert node["scaled"] == [500, 250]
    assert node["revealed"][0] == [350, 262.5]  # an eighth of 400 x 300 from the edges
    assert node["revealed"][1][0] == 50
    assert node["revealed"][2] == [0, 50]
    assert node["clamped"] == [0, 500]


def test_strokes_are_undone_and_done_again(node):
    assert node["painted"] == [[0, [0, 2, 255]], [1, [1]]]
    assert node["undone"] == [0, 0, 0, 2]
    assert node["redo"] is None  # a new stroke takes the place of what was undone
    assert node["removed"] == [[0, [0, 1]], [1, [1]]]  # class 1 went, class 2 is now 1


def test_the_page_reads_what_the_server_packs(node):
    assert node["packed"] == [5, [[[2, 3], [0, 1, 2, 3, 4, 5]], [[1, 1, 3], [255, 255, 255]]]]
    assert node["sent"] == ["/api/match", "POST", True]
    assert node["numbers"] == ["1", "2"]
    assert node["refused"] == [True, "no"]
    assert node["stale"] == [True, True]
    assert re.fullmatch("[0-9a-f]{24}", node["client"])


def test_nothing_on_the_page_names_another_host_or_is_written_inline():
    files = {name: content.decode() for name, (content, _) in page_files().items()}
    for name, text in files.items():
        found = set(re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]{2,}", text))
        assert found <= {"http://www.w3.org"}, name  # the namespace of SVG
    index = files["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", index)  # its policy would not let them run
    local = re.findall(r'(?:src|href)="([^"]+)"', index)
    assert {one.removeprefix("/page/") for one in local} <= set(files)
    for name, text in files.items():
        imports = re.findall(r'from "\./([\w.]+)"', text)
        assert set(imports) <= set(files), name


def test_every_element_that_the_modules_look_for_is_on_the_page():
    files = {name: content.decode() for name, (content, _) in page_files().items()}
    there = set(re.findall(r'\bid="([\w-]+)"', files["index.html"]))
    asked = set()
    for name, text in files.items():
        if name.endswith(".js"):
            asked |= set(re.findall(r'getElementById\("([\w-]+)"\)', text))
            prefix = {"label.js": "label-", "audit.js": "audit-", "search.js": "search-"}.get(name, "")
            asked |= {prefix + one for one in re.findall(r'[. ]byId\("([\w-]+)"\)', text)}
    assert asked <= there
    assert len(asked) > 20

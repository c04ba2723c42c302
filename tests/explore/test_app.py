"""The web app: what a page asks for and gets, and what nobody gets."""

from __future__ import annotations

import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.explore.album import Entry
from shiftless.explore.clicks import quantised
from shiftless.explore.explorer import Explorer
from shiftless.explore.packing import unpack
from shiftless.presets import Preset
from shiftless.reading.counted import Counted
from shiftless.taps.attention import word_columns
from shiftless.tasks.cuts import affinities, normalised_cuts
from tests.explore.conftest import HALF, LIMITS, PLAIN, by_http, two_coloured

CLASSES = [{"name": "blue", "colour": "#1428b4"}, {"name": "yellow", "colour": "#d2c81e"}]
SOUND = {"photo": 0, "point": [30.25, 17.5], "targets": [1, 2], "recipes": [0, 1]}


def stroke(label, *points, radius=4.0):
    return {"label": label, "radius": radius, "points": [list(point) for point in points]}


PAINTED = [
    {"photo": 0, "strokes": [stroke(0, (10, 8), (24, 40)), stroke(1, (54, 8), (50, 40))]},
    {"photo": 1, "strokes": [stroke(1, (10, 8), (24, 40)), stroke(0, (54, 8), (50, 40))]},
]


def png_of(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def matches_of(response):
    assert response.status_code == 200, response.text
    about, heats = unpack(response.content)
    return about, heats


def test_a_click_answers_as_match_does_and_the_next_one_needs_no_denoiser_call(web, model, folder):
    calls: list[int] = []
    web.explorer.readings.model = Counted(model, calls.append)
    about, heats = matches_of(web.post("/api/match", json=SOUND))
    assert [(one["photo"], one["recipe"]) for one in about["matches"]] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert not about["cached"]
    assert len(calls) >= 3
    maps = shiftless.extract(model, [folder / name for name in ("a.png", "b.png", "inner/c.png")], PLAIN)
    for place, target in ((0, 1), (2, 2)):
        expected = shiftless.match(maps[0], maps[target], [SOUND["point"]])
        np.testing.assert_allclose(about["matches"][place]["point"], expected.points[0])
        assert about["matches"][place]["score"] == pytest.approx(expected.scores[0], abs=1e-5)
        assert heats[place].shape == (64, 64)
        assert heats[place].max() == 255
    calls.clear()
    about, _ = matches_of(web.post("/api/match", json={**SOUND, "point": [5, 40], "photo": 2, "targets": [0]}))
    assert about["cached"]
    assert calls == []


def test_a_look_has_the_tap_s_own_grid_and_shares_colours(web):
    response = web.post("/api/look", json={"photos": [0, 1], "recipe": 0, "tap": "up2", "timestep": 60})
    _, pictures = matches_of(response)
    assert [picture.shape for picture in pictures] == [(8, 8, 3)] * 2
    for wrong in ({"tap": "up9"}, {"timestep": 1000}, {"tap": 5}):
        answer = web.post("/api/look", json={"photos": [0], "recipe": 0, **wrong})
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_a_word_s_attention_is_that_of_its_tokens_and_segments_are_few_colours(model, folder):
    recipe = PLAIN.but(prompt="a giraffe eating", taps=("up1",))
    web = by_http(Explorer.of(model, [folder], [Preset("worded", "", (recipe,), "")], limits=LIMITS))
    tap = next(one.name for one in model.taps if one.name.endswith("cross.map"))
    asked = {"photos": [0, 1], "recipe": 0, "tap": tap}
    about, pictures = matches_of(web.post("/api/look", json=asked))
    assert about["words"] == [["a", "giraffe", "eating"]] * 2
    assert pictures[0].ndim == 3
    _, heats = matches_of(web.post("/api/look", json={**asked, "word": "giraffe"}))
    maps = shiftless.extract(model, folder / "a.png", recipe.but(taps=(tap,)))
    columns = word_columns(maps.words, "giraffe")
    expected = quantised(maps[tap][0, columns].mean(0).numpy())[0]
    np.testing.assert_allclose(heats[0].astype(int), expected, atol=1)
    assert heats[0].std() > 0
    unknown = web.post("/api/look", json={**asked, "word": "zebra"})
    assert (unknown.status_code, "does not hold the word 'zebra'" in unknown.json()["error"]) == (400, True)
    assert "cross.map" in web.post("/api/look", json={**asked, "tap": "up1", "word": "a"}).json()["error"]
    _, parted = matches_of(web.post("/api/look", json={**asked, "tap": "up1", "segments": 3}))
    colours = np.unique(np.concatenate([one.reshape(-1, 3) for one in parted]), axis=0)
    assert 2 <= len(colours) <= 3
    assert web.post("/api/look", json={**asked, "segments": 99}).status_code == 400
    _, cuts = matches_of(web.post("/api/look", json={**asked, "tap": "up1", "cuts": True}))
    for one, photo in zip(cuts, "ab"):
        features = shiftless.extract(model, folder / f"{photo}.png", recipe)["up1"]
        labels = normalised_cuts(affinities(features[0]), most=24).numpy()
        shown = one.reshape(-1, 3)
        assert all((shown[labels == k] == shown[labels == k][0]).all() for k in range(labels.max() + 1))
    web.explorer.close()


def test_from_painted_strokes_to_a_mask_that_is_right(trained):
    asked = {"classes": CLASSES, "labels": PAINTED, "recipe": 0}
    fitted = trained.post("/api/label/fit", json=asked)
    assert fitted.status_code == 200, fitted.text
    about = fitted.json()
    assert [one["id"] for one in about["photos"]] == [0, 1, 2]
    assert about["paint_next"] == [2]
    assert all(0 <= one["spot"][0] <= 64 and 0 <= one["spot"][1] <= 48 for one in about["photos"])
    assert all(sum(one["areas"]) == 64 * 48 for one in about["photos"])
    exported = trained.post("/api/label/export", json=asked)
    with zipfile.ZipFile(io.BytesIO(exported.content)) as file:
        assert sorted(file.namelist()) == [
            "classes.json", "labels/a.png", "labels/b.png", "masks/a.png", "masks/b.png", "masks/inner/c.png",
        ]  # fmt: skip
        mask = np.array(Image.open(io.BytesIO(file.read("masks/inner/c.png"))))
        painted = np.array(Image.open(io.BytesIO(file.read("labels/a.png"))))
    truth = np.broadcast_to(np.arange(64) >= HALF, (48, 64))
    iou = ((mask == 1) & truth).sum() / ((mask == 1) | truth).sum()
    assert iou > 0.95
    assert set(np.unique(painted)) == {0, 1, 255}
    for kind, size in (("mask", (64, 48)), ("uncertainty", (64, 48))):
        assert Image.open(io.BytesIO(trained.get(f"/api/label/{kind}/2").content)).size == size
    assert trained.get("/api/label/mask/7").status_code == 400

    other = trained.tab("tab-1111")
    taken = other.post("/api/label/import", content=exported.content)
    assert taken.json() == {"classes": CLASSES, "photos": [0, 1], "ignored": []}
    again = other.post("/api/label/painted/0", json={**asked, "labels": []})
    drawn = Image.open(io.BytesIO(again.content))
    np.testing.assert_array_equal(np.array(drawn), painted)
    assert other.post("/api/label/painted/2", json={**asked, "labels": []}).status_code == 204
    assert other.get("/api/label/mask/0").status_code == 400  # the first tab's fit is not the second's
    assert trained.get("/api/label/mask/0").status_code == 200


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_answered(web, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    web.explorer.album.entries.append(Entry("broken.png", tmp_path / "broken.png"))
    about, _ = matches_of(web.post("/api/match", json={**SOUND, "targets": [3, 1], "recipes": [0]}))
    assert [one["photo"] for one in about["matches"]] == [1]
    assert "broken.png: not a picture" in about["failed"][0]
    assert web.post("/api/read", json={"photos": [0, 3], "recipes": [0]}).json()["read"] == 1
    alone = web.post("/api/match", json={**SOUND, "targets": [3]})
    assert (alone.status_code, "broken.png" in alone.json()["error"]) == (400, True)
    assert str(tmp_path) not in web.get("/api/photos/3/picture").json()["error"]


def test_fit_says_what_is_missing(shared):
    only = [{"photo": 0, "strokes": [stroke(0, (10, 8))]}]
    answer = shared.post("/api/label/fit", json={"classes": CLASSES, "labels": only})
    assert (answer.status_code, answer.json()["error"]) == (
        400, "paint at least two classes; nothing is painted as yellow yet",
    )  # fmt: skip
    nothing = shared.post("/api/label/export", json={"classes": CLASSES, "labels": []})
    assert nothing.status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1:8765"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example:8765"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "localhost:8765", "Origin": "http://localhost:8765"}, 200),
    ],
)
def test_requests_of_other_sites_are_refused(shared, headers, status):
    for answer in (shared.get("/api/state", headers=headers), shared.get("/", headers=headers)):
        assert answer.status_code == status
    posted = shared.post("/api/read", json={"photos": [], "recipes": [0]}, headers=headers)
    assert posted.status_code == (400 if status == 200 else 403)


def test_a_post_without_the_tab_s_header_is_refused(shared):
    answer = shared.post("/api/read", json={"photos": [0], "recipes": [0]}, headers={"X-Shiftless-Client": ""})
    assert (answer.status_code, "X-Shiftless-Client" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "/page/..%2f..%2fapp.py", "/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/app.py",
        "/api/photos/..%2f..%2fsecret.png/picture", "/api/photos/-1/picture", "/api/photos/3/picture",
        "/api/photos/99999999999999999999/picture", "/docs", "/openapi.json",
    ],
)  # fmt: skip
def test_no_path_leaves_the_folder(shared, path):
    answer = shared.get(path)
    assert answer.status_code in (400, 404)
    assert set(answer.json()) == {"error"}
    names = [photo["name"] for photo in shared.get("/api/state").json()["photos"]]
    assert names == ["a.png", "b.png", "inner/c.png"]  # not the link to a file outside


def test_answers_forbid_other_hosts_to_the_page(shared):
    policy = shared.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert shared.get("/api/state").headers["x-content-type-options"] == "nosniff"


def test_photos_are_sent_pixel_for_pixel(shared):
    answer = shared.get("/api/photos/0/picture")
    assert (answer.headers["x-photo-width"], answer.headers["x-photo-height"]) == ("64", "48")
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(answer.content))), two_coloured(0))
    assert Image.open(io.BytesIO(shared.get("/api/photos/0/picture?side=16").content)).size == (16, 12)


def test_uploads_are_limited_and_become_photos(web):
    small = two_coloured(5)
    added = web.post("/api/photos?name=../../x/new.png", content=png_of(small))
    assert added.json() == {"id": 3, "name": "new.png"}
    assert web.post("/api/photos?name=again.png", content=png_of(small)).json()["id"] == 3
    assert web.get("/api/photos/3/picture").status_code == 200
    large = web.post("/api/photos", content=bytes(LARGE := 20_001))
    assert (large.status_code, "MB" in large.json()["error"]) == (413, True)

    def pieces():
        yield bytes(LARGE // 2)
        yield bytes(LARGE)

    assert web.post("/api/photos", content=pieces()).status_code == 413  # no length was announced
    many = web.post("/api/photos?name=wide.png", content=png_of(np.zeros((101, 100, 3), np.uint8)))
    assert (many.status_code, "wide.png: 10,100 pixels" in many.json()["error"]) == (400, True)
    assert web.post("/api/photos", content=b"no picture").status_code == 400


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("match", {**SOUND, "point": [64.5, 2]}),
        ("match", {**SOUND, "point": ["1", 2]}),
        ("match", {**SOUND, "point": [1, 2, 3]}),
        ("match", {**SOUND, "targets": [7]}),
        ("match", {**SOUND, "targets": []}),
        ("match", {**SOUND, "photo": True}),
        ("match", {**SOUND, "recipes": [4]}),
        ("match", {**SOUND, "recipes": [0] * 5}),
        ("label/fit", {"classes": CLASSES[:1], "labels": PAINTED}),
        ("label/fit", {"classes": CLASSES, "labels": [{"photo": 0, "strokes": [stroke(2, (1, 1))]}]}),
        ("label/fit", {"classes": CLASSES, "labels": [{"photo": 0, "strokes": [stroke(1, (1, 1), radius=-1)]}]}),
        ("label/fit", {"classes": CLASSES, "labels": [{"photo": 9, "strokes": [stroke(1, (1, 1))]}]}),
        ("label/import", {}),
    ],
)
def test_bad_requests_are_told_in_one_line(shared, path, asked):
    answer = shared.post(f"/api/{path}", json=asked)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


def test_ten_tabs_at_once_get_their_own_answers(web, model, folder):
    maps = shiftless.extract(model, [folder / name for name in ("a.png", "b.png", "inner/c.png")], PLAIN)
    asked = [(n % 3, (n + 1) % 3, (3.5 + 5 * n, 4.5 + 4 * n)) for n in range(10)]

    def click(n):
        photo, target, point = asked[n]
        tab = web.tab(f"tab-{n:04d}")
        answer = tab.post("/api/match", json={"photo": photo, "point": point, "targets": [target], "recipes": [0]})
        return matches_of(answer)[0]["matches"][0]

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(click, range(10)))
    for (photo, target, point), one in zip(asked, answers):
        assert one["photo"] == target
        np.testing.assert_allclose(one["point"], shiftless.match(maps[photo], maps[target], [point]).points[0])


def test_a_newer_click_of_a_tab_takes_the_place_of_an_older_one(web, model):
    entered, go_on = threading.Event(), threading.Event()

    def gate(_):
        entered.set()
        assert go_on.wait(20)

    web.explorer.readings.model = Counted(model, gate)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lambda: web.tab().post("/api/match", json=SOUND))
        assert entered.wait(20)
        second = pool.submit(lambda: web.tab().post("/api/match", json={**SOUND, "recipes": [0], "targets": [1]}))
        other = pool.submit(lambda: web.tab("tab-1111").post("/api/match", json={**SOUND, "recipes": [0]}))
        while sum(len(web.explorer.worker.steps(name)) for name in ("tab-0000", "tab-1111")) < 3:
            threading.Event().wait(0.01)
        go_on.set()
        assert first.result().status_code == 204  # an error would be logged in red in the browser's console
        assert first.result().headers["x-shiftless-stale"] == "yes"
        assert second.result().status_code == 200
        assert other.result().status_code == 200  # another tab's click is its own


def test_a_token_is_asked_for_and_leaves_the_address(explorer):
    pytest.importorskip("fastapi", reason='needs the extra "app", which `make venv` installs')
    from starlette.testclient import TestClient

    from shiftless.explore.app import create_app
    from shiftless.explore.guard import Access

    app = create_app(explorer, Access(host="0.0.0.0", token="0123456789abcdef"))
    tab = TestClient(app, base_url="http://192.168.1.5:8765", follow_redirects=False)
    assert tab.get("/api/state").status_code == 401
    assert tab.get("/?token=wrong").status_code == 401
    entered = tab.get("/?token=0123456789abcdef")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert "SameSite=Strict" in entered.headers["set-cookie"]
    assert tab.get("/api/state").status_code == 200
    assert TestClient(app, base_url="http://evil.example").get("/?token=0123456789abcdef").status_code == 403

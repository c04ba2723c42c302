"""The audit of the explorer: its numbers are those of `shiftless.auditing.audit`, and its pictures are the photos'."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from shiftless.auditing import audit
from shiftless.errors import BadInput
from shiftless.explore.shifts import ShiftRequest, techniques


def test_an_audit_of_two_photos_has_the_numbers_of_the_command(web, model, folder):
    asked = {"photos": [0, 2], "recipe": 0, "timestep": 300}
    response = web.post("/api/audit", json=asked)
    assert response.status_code == 200, response.text
    about = response.json()
    recipes = techniques(web.explorer.readings, ShiftRequest((0, 2), 0, 300))
    expected = audit(model, [folder / "a.png", folder / "inner/c.png"], recipes, finish=0)
    assert [one["label"] for one in about["recipes"]] == [expected.recipes[k].label for k in expected.ranked()]
    assert len(about["recipes"]) >= 2
    for row in about["recipes"]:
        np.testing.assert_allclose(row["value"], expected.value(row["id"]), rtol=1e-4)
        np.testing.assert_allclose(row["photos"], expected.scores[expected.headline][:, row["id"]], rtol=1e-4)
        bare = expected.baselines[row["id"]] == row["id"]
        assert (row["saved"] is None) == bare
        if not bare:
            np.testing.assert_allclose(row["saved"], expected.saved(row["id"]), rtol=1e-3, atol=1e-4)
    assert any(row["saved"] is None for row in about["recipes"])
    assert "2 photos" in about["sentences"][0]

    k = about["recipes"][-1]["id"]
    pictures = {}
    for kind in ("photo", "copy", "predicted", "where"):
        answer = web.get(f"/api/audit/2/{kind}/{k}")
        assert answer.status_code == 200
        pictures[kind] = np.array(Image.open(io.BytesIO(answer.content))).astype(int)
    assert len({picture.shape for picture in pictures.values()}) == 1
    h, w = pictures["photo"].shape[:2]
    blue, yellow = pictures["photo"][h // 2, w // 4], pictures["photo"][h // 2, 7 * w // 8]
    assert blue[2] > blue[0] + 60
    assert yellow[0] > yellow[2] + 60
    assert not (pictures["predicted"] == pictures["copy"]).all()
    for path in (f"2/whole/{k}", "1/photo/0", "2/photo/99"):  # photo 1 was not audited
        assert "press Measure" in web.get(f"/api/audit/{path}").json()["error"]
    assert "press Measure" in web.tab("tab-9999").get("/api/audit/2/photo/0").json()["error"]


def test_a_timestep_out_of_range_and_too_many_photos_are_refused(shared):
    for wrong in ({"timestep": 1000}, {"timestep": -1}, {"photos": []}, {"photos": list(range(40))}, {"recipe": 7}):
        answer = shared.post("/api/audit", json={"photos": [0], "recipe": 0, **wrong})
        assert answer.status_code == 400, wrong
        assert "\n" not in answer.json()["error"]


def test_a_column_s_own_recipe_is_among_what_is_tried_at_the_timestep_asked_for(shared):
    readings = shared.explorer.readings
    tried = techniques(readings, ShiftRequest((0,), 0, 250))
    assert tried[0] == readings.column(0).recipes[0].but(timestep=250)
    assert {one.timestep for one in tried} == {250}
    assert len(tried) == len(set(tried)) >= 2
    with pytest.raises(BadInput, match="no recipe"):
        techniques(readings, ShiftRequest((0,), 9))

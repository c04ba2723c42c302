"""Masks that a head proposes, named by the head and by a CLIP together."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from shiftless.backbones.clip_folder import Cells
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.reading.together import Reader
from shiftless.segmenting import Odise
from shiftless.tasks.openvocab import mask_pooled
from shiftless.tasks.scenehead import SceneHead
from tests.training.scenedata import CLASSES, kept

ONE = kept(0, 1)
PHOTO, READINGS = open_photo(ONE.labelled[0].photo, "scene 0"), ONE.buckets[0]


class Named:
    """A stand-in of a CLIP: names are vectors, and cells of 4 pixels are the colours of the photo."""

    name, fingerprint = "named", "1f"

    def words(self, names, templates=()):
        return torch.stack([F.normalize(torch.tensor([len(n), n.count("a"), 1.0]), dim=0) for n in names])

    def cells(self, photo):
        pixels = torch.from_numpy(photo.array / 255).permute(2, 0, 1)[None].float()
        return Cells(F.avg_pool2d(pixels, 4), torch.zeros(1))


class Known:
    fingerprint = "2e"


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    proposals = {"queries": 4, "layers": 1, "words": 3, "clip": "1f"}
    made = SceneHead(ONE.levels, CLASSES, "mask2former", width=64, source=ONE.source, proposals=proposals).eval()
    made.decoder.set_words(Named().words(CLASSES))
    return made


def odise(head, classes=CLASSES, clip=None, **options):
    return Odise(head, Reader(Known(), ()), clip or Named(), classes, **options)


def test_without_clip_the_head_s_own_names_are_answered_as_by_the_head(head):
    ours, described = odise(head, alpha=0).logits((PHOTO, READINGS))
    theirs, descriptor = head.logits(READINGS)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert torch.equal(described, descriptor)


def test_other_names_are_told_by_clip_as_much_as_beta_says(head):
    names = ["tram", "sky"]
    method = odise(head, names, alpha=0, beta=1)
    assert method.trained.tolist() == [False, True]
    with torch.no_grad():
        proposals = head.proposals(head.features(READINGS), method.names)
        masks, own = proposals.masks[-1], proposals.classes[-1].softmax(-1)
        pooled = mask_pooled(Named().cells(PHOTO).dense, masks)
    by_clip = (100 * F.cosine_similarity(pooled[:, :, None], Named().words(names)[None, None], dim=-1)).softmax(-1)
    known = own[..., :2] / own[..., :2].sum(-1, keepdim=True)
    shares = torch.stack([by_clip[..., 0], known[..., 1]], -1)
    classes = (1 - own[..., 2:]) * shares / shares.sum(-1, keepdim=True)
    large = F.interpolate(masks, (32, 48), mode="bilinear").sigmoid()
    expected = torch.einsum("bql,bqhw->blhw", classes, large)
    torch.testing.assert_close(method.logits((PHOTO, READINGS))[0].exp(), expected, atol=1e-5, rtol=1e-3)


def test_its_mark_tells_apart_all_that_changes_an_answer(head):
    made = [odise(head), odise(head, CLASSES[::-1]), odise(head, alpha=0.5), odise(head, beta=0.5)]
    assert len({one.mark for one in made}) == 4


def test_what_does_not_belong_together_is_refused(head):
    other = Named()
    other.fingerprint = "3d"
    with pytest.raises(BadInput, match="named: another CLIP than the head was trained with"):
        odise(head, clip=other)
    with pytest.raises(BadInput, match="the head knows no words; train one with segment train --head mask2former"):
        odise(SceneHead(ONE.levels, CLASSES, "linear"))
    with pytest.raises(BadInput, match=r"alpha=2, beta=0\.7"):
        odise(head, alpha=2)

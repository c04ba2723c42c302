"""The picture beside the attention bench: its first horse, read with every technique."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from miniworld.tables.attention import AttentionShares, observe_attention, riders, subjects
from miniworld.tables.techniques import CONTROL, OTHER, PROMPT, WORD, techniques
from miniworld.world.picture import Picture
from shiftless.backbones.base import Backbone, steerable
from shiftless.image import open_photo, plan, to_pixels
from shiftless.recipe import Recipe
from shiftless.view import Column, Outline, enlarge, method_picture
from shiftless.view.method import outlined

HORSE, RIDER = (255, 255, 255), (90, 200, 250)
ROWS = ("features", f'attention\nto "{WORD}"', f'where "{WORD}"\nacts')


@dataclass(frozen=True, eq=False)
class AttentionPicture:
    """One drawn horse and its attention shares by technique; `edges` H W 3 are the ControlNet's input."""

    picture: Picture
    shares: dict[str, AttentionShares]
    edges: np.ndarray | None = None

    def draw(self, theme: str = "light", height: int = 200) -> Image.Image:
        """Draw it: features, attention to the word, and where the word acts, a column a technique."""
        outlines = [Outline(mask, ink) for mask, ink in zip(subjects(self.picture), (HORSE, RIDER))]
        columns = []
        for name, one in self.shares.items():
            shares = one.shares(self.picture)
            captions = [
                f"horse {100 * horse:.1f}%\nrider {100 * rider:.1f}%" for horse, rider in (shares[:2], shares[2:])
            ]
            columns.append(Column(name, one.read.dense(_plain(one)), [one.attention, one.effect], captions))
        area = [100 * mask.mean() for mask in subjects(self.picture)]
        ground = np.array(enlarge(self.picture.image, height))
        beside = [
            self.picture.image,
            (
                outlined(ground, outlines),
                f"the horse (white) is\n{area[0]:.1f}% of it,\nthe rider (blue) {area[1]:.1f}%",
            ),
            None if self.edges is None else (self.edges, "its edges, shown to the ControlNet"),
        ]
        return method_picture(
            self.picture.image,
            columns,
            ROWS,
            beside=beside,
            outlines=outlines,
            note=self.note(),
            height=height,
            theme=theme,
        )

    def note(self) -> str:
        """Explain how to read the maps, and give the fine prompt."""
        lines = [
            "Colours of features are fitted on horse and rider, for all columns together. Percentages are shares of a "
            "map's mass; an even map would have the shares of the areas. All maps of a row are on one scale. The "
            "embedded model was told where words are, in a last, short stage of its training. Where "
            f'"{WORD}" acts: how far the features move when the prompt says "{OTHER}" in its place.'
        ]
        if PROMPT in self.shares:
            lines.append(f"The fine prompt: {self.shares[PROMPT].read.prompt}.")
        return "\n".join(lines)


def attention_picture(model: Backbone, recipe: Recipe, look: str = "photo", *, index: int = 0) -> AttentionPicture:
    """Read one of the bench's pictures with every technique at hand: the first, without selection, or by index."""
    picture = riders(index + 1, look)[index]
    photo = open_photo(picture.image, name=f"horse-{index:02d}")
    chosen, _ = techniques(model, recipe, look)
    shares = next(observe_attention(model, [photo], chosen))
    edges = None
    if CONTROL in chosen:
        frame = plan(photo.hw, recipe.size or model.spec.size, model.spec.multiple, recipe.fit)
        drawn = steerable(model, "control").control(chosen[CONTROL].control[0]).draw(to_pixels(photo, frame))
        edges = (drawn[0].permute(1, 2, 0).float().cpu().numpy() * 255).round().astype(np.uint8)
    return AttentionPicture(picture, shares, edges)


def _plain(shares: AttentionShares) -> list[str]:
    return [tap for tap in shares.read if f":{WORD}" not in tap]

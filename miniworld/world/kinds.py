"""The creatures as data: proportions in units of the height at the withers, coats and manners by kind."""

from __future__ import annotations

from dataclasses import dataclass

#: named points of every creature; near is the viewer's side, so near matches near when a picture is mirrored
KEYPOINTS = (
    "nose", "mouth", "eye", "ear", "poll", "throat", "withers", "back", "rump", "tail_base", "tail_tip", "chest",
    "belly", "near_fore_elbow", "near_fore_knee", "near_fore_hoof", "far_fore_knee", "far_fore_hoof",
    "near_hind_stifle", "near_hind_hock", "near_hind_hoof", "far_hind_hock", "far_hind_hoof",
)  # fmt: skip

COLOURS: dict[str, tuple[int, int, int]] = {
    "brown": (124, 78, 44), "black": (48, 46, 48), "white": (238, 234, 226), "gray": (146, 147, 152),
    "golden": (206, 152, 78), "orange": (214, 124, 54), "cream": (226, 204, 164), "pink": (234, 164, 158),
    "tan": (186, 146, 100), "red": (194, 52, 46), "blue": (52, 96, 178), "green": (62, 138, 84),
    "yellow": (236, 190, 60), "purple": (122, 74, 146),
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Proportions of one kind; lengths in withers heights, angles in degrees."""

    coats: tuple[str, ...]
    patterns: tuple[tuple[str, float], ...] = (("plain", 1.0),)
    second: tuple[str, ...] = ("white",)
    length: float = 0.95  # hip joint to shoulder joint
    barrel: tuple[float, float, float, float] = (0.2, 0.205, 0.215, 0.2)  # radii: rump, loin, girth, chest
    spine: tuple[float, float, float, float] = (0.80, 0.77, 0.77, 0.78)  # heights of the barrel's middle line
    elbow: float = 0.60
    stifle: float = 0.62
    leg: tuple[float, float, float] = (0.075, 0.042, 0.032)  # radii: top, knee, pastern
    hoof: float = 0.045
    hoof_colour: str = "black"
    neck: float = 0.52
    neck_angle: float = 48
    neck_r: tuple[float, float] = (0.16, 0.088)
    neck_from: float = 0.04  # height of the neck's root above the barrel's middle line
    head: float = 0.36
    head_angle: float = -48
    head_r: tuple[float, float] = (0.098, 0.062)
    ear: tuple[float, float] = (0.12, 0.035)
    ear_angle: float = 80
    eye: float = 0.02
    tail: float = 0.6
    tail_angle: float = -75
    tail_r: tuple[float, float] = (0.045, 0.05)
    graze_to: float = -48  # neck angle with the head down
    graze_odds: float = 0.3
    stride: float = 0.16
    extras: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "horse": Kind(
        ("brown", "black", "white", "gray", "golden", "orange"),
        (("plain", 0.72), ("patched", 0.2), ("spotted", 0.08)),
        extras=("mane", "hair_tail", "hooves"),
    ),
    "cow": Kind(
        ("brown", "black", "white", "orange", "cream"),
        (("plain", 0.4), ("patched", 0.6)),
        ("white",),
        1.02, (0.215, 0.25, 0.25, 0.21), (0.76, 0.71, 0.71, 0.74), 0.5, 0.52, (0.088, 0.052, 0.042), 0.052, "black",
        0.34, 18, (0.19, 0.125), 0.06, 0.33, -50, (0.118, 0.092), (0.15, 0.045), 176, 0.021,
        0.62, -84, (0.026, 0.02), -66, 0.3, 0.12, ("horns", "udder", "muzzle", "tuft", "hooves"),
    ),
    "dog": Kind(
        ("brown", "black", "white", "golden", "tan", "gray"),
        (("plain", 0.6), ("patched", 0.25), ("spotted", 0.15)),
        ("white",),
        0.84, (0.185, 0.165, 0.225, 0.205), (0.78, 0.78, 0.74, 0.76), 0.54, 0.58, (0.082, 0.048, 0.04), 0.055, "coat",
        0.36, 56, (0.15, 0.12), 0.06, 0.33, -14, (0.148, 0.075), (0.26, 0.075), -104, 0.028,
        0.46, 48, (0.048, 0.022), -20, 0.06, 0.22, ("snout", "flop_ear"),
    ),
    "cat": Kind(
        ("orange", "black", "white", "gray", "cream", "brown"),
        (("plain", 0.45), ("striped", 0.4), ("patched", 0.15)),
        ("black", "white"),
        1.0, (0.235, 0.23, 0.23, 0.22), (0.73, 0.73, 0.72, 0.73), 0.50, 0.52, (0.10, 0.064, 0.055), 0.068, "coat",
        0.24, 42, (0.17, 0.15), 0.06, 0.17, -16, (0.225, 0.12), (0.19, 0.095), 84, 0.045,
        1.05, 62, (0.05, 0.04), -10, 0.0, 0.2, ("whiskers", "curl_tail", "round"),
    ),
    "sheep": Kind(
        ("white", "cream", "gray", "black"), (("plain", 1.0),), ("black",),
        0.78, (0.27, 0.29, 0.29, 0.27), (0.74, 0.75, 0.74, 0.74), 0.44, 0.44, (0.075, 0.046, 0.042), 0.05, "black",
        0.26, 34, (0.2, 0.16), 0.1, 0.29, -44, (0.125, 0.08), (0.17, 0.05), 196, 0.026,
        0.16, -70, (0.06, 0.055), -62, 0.35, 0.1, ("wool", "hooves"),
    ),
    "elephant": Kind(
        ("gray", "gray", "brown"), (("plain", 1.0),), ("white",),
        0.74, (0.27, 0.31, 0.31, 0.28), (0.72, 0.70, 0.69, 0.74), 0.5, 0.5, (0.15, 0.12, 0.115), 0.125, "skin",
        0.3, 24, (0.24, 0.2), 0.06, 0.14, -60, (0.225, 0.13), (0.3, 0.25), 200, 0.024,
        0.45, -78, (0.03, 0.018), 8, 0.15, 0.1, ("trunk", "tusk", "big_ear", "pillars"),
    ),
    "giraffe": Kind(
        ("golden", "tan", "orange", "brown"), (("netted", 1.0),), ("cream",),
        0.56, (0.145, 0.16, 0.175, 0.165), (0.76, 0.80, 0.83, 0.86), 0.66, 0.6, (0.07, 0.036, 0.028), 0.04, "black",
        0.98, 66, (0.13, 0.062), 0.05, 0.24, -36, (0.075, 0.048), (0.11, 0.033), 150, 0.018,
        0.4, -80, (0.022, 0.016), 20, 0.15, 0.13, ("ossicones", "crest", "tuft", "hooves"),
    ),
    "pig": Kind(
        ("pink", "black", "tan", "white"), (("plain", 0.6), ("spotted", 0.2), ("patched", 0.2)), ("black", "pink"),
        1.0, (0.285, 0.31, 0.31, 0.27), (0.70, 0.69, 0.68, 0.69), 0.38, 0.38, (0.10, 0.062, 0.055), 0.06, "black",
        0.2, 2, (0.25, 0.21), 0.0, 0.30, -26, (0.215, 0.105), (0.18, 0.09), 40, 0.026,
        0.2, 60, (0.026, 0.018), -24, 0.35, 0.1, ("disc", "pigtail", "hooves"),
    ),
    "camel": Kind(
        ("tan", "golden", "cream", "brown"), (("plain", 1.0),), ("white",),
        0.78, (0.16, 0.19, 0.2, 0.18), (0.78, 0.76, 0.75, 0.76), 0.58, 0.6, (0.072, 0.045, 0.034), 0.058, "coat",
        0.62, 50, (0.12, 0.075), -0.02, 0.27, -14, (0.085, 0.062), (0.06, 0.03), 110, 0.02,
        0.42, -80, (0.03, 0.018), -30, 0.15, 0.16, ("hump", "swan", "tuft", "muzzle"),
    ),
    "zebra": Kind(
        ("white",), (("striped", 1.0),), ("black",),
        0.9, (0.2, 0.21, 0.215, 0.2), (0.79, 0.76, 0.76, 0.77), 0.58, 0.6, (0.074, 0.043, 0.034), 0.045, "black",
        0.46, 46, (0.165, 0.1), 0.04, 0.33, -46, (0.1, 0.066), (0.13, 0.042), 84, 0.02,
        0.5, -78, (0.026, 0.03), -46, 0.3, 0.15, ("crest", "tuft", "hooves", "dark_muzzle"),
    ),
}  # fmt: skip

"""Draw the sandbox's two clips, a walk along a path by day and in fog: `python -m luma_mcp.release.drawn_clips`.

Needs PyAV, which the extra `preview` and the tests bring. Everything is painted from far to near in flat colours, each
mixed with the colour of the air by its distance, on a canvas of twice the size, which makes the edges smooth.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame

from luma_mcp.cli.console import print_result

FOLDER = Path(__file__).parents[1] / "sandbox"
VIDEO_SIZE = (640, 360)
WIDTH, HEIGHT = 1280, 720  # of the canvas
FRAMES_PER_SECOND = 24
FRAMES = 4 * FRAMES_PER_SECOND
HORIZON = 310.0  # its row
FOCUS = 1000.0  # how large a metre is at one metre
EYES = 1.7  # metres above the ground
STRIDE = 0.1  # metres a frame
NEAREST, FARTHEST = 1.2, 90.0  # metres
PATH_HALF = 1.1  # of its width
BAND = 1.6  # metres; ground further on is a little lighter or darker
ENCODER = {"crf": "30", "preset": "veryslow", "threads": "1"}

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Light:
    """The colours of the place at an hour, and how quickly the air hides what is far."""

    sky: Colour
    air: Colour
    haze: float  # the share of the air in a colour, for each metre
    sun: Colour
    glow: float
    grass: Colour
    path: Colour
    hills: Sequence[Colour]
    trunk: Colour
    leaves: Sequence[Colour]
    needles: Colour
    flowers: Sequence[Colour]
    shadow: float


DAY = Light(
    sky=(74, 144, 217), air=(205, 226, 240), haze=0.006, sun=(255, 244, 200), glow=0.5,
    grass=(112, 168, 72), path=(214, 187, 140), hills=((134, 172, 190), (108, 158, 128)),
    trunk=(104, 74, 50), leaves=((74, 140, 58), (96, 158, 60), (58, 122, 62)), needles=(44, 100, 70),
    flowers=((250, 240, 240), (240, 200, 70), (214, 90, 110)), shadow=0.3,
)  # fmt: skip
FOG = Light(
    sky=(176, 180, 186), air=(203, 204, 203), haze=0.045, sun=(244, 236, 214), glow=0.35,
    grass=(134, 132, 84), path=(178, 160, 130), hills=((196, 198, 199), (188, 191, 191)),
    trunk=(78, 62, 52), leaves=((186, 104, 42), (204, 142, 52), (158, 76, 44)), needles=(70, 92, 76),
    flowers=((206, 132, 50), (180, 92, 46), (214, 168, 80)), shadow=0.08,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plant:
    """Something that grows at a place, in metres: to the right of the middle, and forward."""

    kind: str  # tree, fir or flower
    right: float
    forward: float
    height: float
    shade: int


class Canvas:
    """Rows of pixels, painted in spans."""

    def __init__(self) -> None:
        self.rows = [bytearray(3 * WIDTH) for _ in range(HEIGHT)]

    def span(self, row: int, left: float, right: float, colour: Colour) -> None:
        begin, end = max(0, round(left)), min(WIDTH, round(right))
        if 0 <= row < HEIGHT and begin < end:
            self.rows[row][3 * begin : 3 * end] = bytes(colour) * (end - begin)

    def ellipse(self, x: float, y: float, radius: float, height: float, colour: Colour) -> None:
        """Fill an ellipse, `height` being half of its own."""
        for row in rows_between(y - height, y + height):
            half = radius * math.sqrt(max(0.0, 1 - ((row - y) / height) ** 2))
            self.span(row, x - half, x + half, colour)

    def taper(self, x: float, top: tuple[float, float], bottom: tuple[float, float], colour: Colour) -> None:
        """Fill a shape that is as wide at its top and bottom (row and half of the width) as they say."""
        for row in rows_between(top[0], bottom[0]):
            half = top[1] + (bottom[1] - top[1]) * (row - top[0]) / max(1.0, bottom[0] - top[0])
            self.span(row, x - half, x + half, colour)

    def frame(self) -> VideoFrame:
        """Give a picture in the size of the video."""
        picture = VideoFrame(WIDTH, HEIGHT, "rgb24")
        picture.planes[0].update(b"".join(self.rows))
        return picture.reformat(*VIDEO_SIZE, format="yuv420p", interpolation="AREA")


def rows_between(top: float, bottom: float) -> range:
    return range(max(0, math.floor(top)), min(HEIGHT, math.ceil(bottom)))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Give `one` with a share of `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def bend(forward: float) -> float:
    """Say how far to the right the path is."""
    return 1.5 * math.sin(forward / 8.0) + 0.8 * math.sin(forward / 19.0)


def plants() -> list[Plant]:
    """Let things grow beside the path, the same at every run, the farthest first."""
    dice = random.Random(12)  # noqa: S311 - a picture, no secret
    grown: list[Plant] = []
    for step in range(130):
        forward = 3.0 + step * 0.75
        side = dice.choice((-1, 1)) * (2.2 + PATH_HALF + dice.expovariate(0.16))
        kind = "fir" if dice.random() < 0.35 else "tree"
        grown.append(Plant(kind, bend(forward) + side, forward, dice.uniform(3.6, 6.5), dice.randrange(3)))
    for _ in range(700):
        forward = dice.uniform(1.0, 50.0)
        side = dice.choice((-1, 1)) * (PATH_HALF + 0.15 + dice.expovariate(0.5))
        grown.append(Plant("flower", bend(forward) + side, forward, dice.uniform(0.1, 0.28), dice.randrange(3)))
    return sorted(grown, key=lambda plant: -plant.forward)


class Painter:
    """Paints what is seen from a place on the path, at an hour."""

    def __init__(self, light: Light, walked: float) -> None:
        self._light = light
        self._walked = walked
        self._right = bend(walked + 1.5)
        self._swing = 3.0 * math.sin(walked * 4.0)  # rows: who walks bobs
        self._canvas = Canvas()

    def paint(self, grown: Sequence[Plant]) -> VideoFrame:
        self._paint_sky()
        self._paint_hills()
        self._paint_ground()
        for plant in grown:
            distance = plant.forward - self._walked
            if NEAREST < distance < FARTHEST:
                self._paint_plant(plant, distance)
        return self._canvas.frame()

    @property
    def _horizon(self) -> float:
        return HORIZON + self._swing

    def _at(self, colour: Colour, distance: float) -> Colour:
        return mix(colour, self._light.air, 1 - math.exp(-self._light.haze * distance))

    def _sky(self, row: float) -> Colour:
        return mix(self._light.sky, self._light.air, min(1.0, row / self._horizon) ** 1.4)

    def _paint_sky(self) -> None:
        for row in range(HEIGHT):
            self._canvas.span(row, 0, WIDTH, self._sky(row))
        x, y = 930 - 12 * self._right, 120 + self._swing
        for ring in range(24, -1, -1):
            radius, share = 46 + 8 * ring, self._light.glow * (1 - ring / 25) ** 2 if ring else 1.0
            for row in rows_between(y - radius, y + radius):
                half = math.sqrt(max(0.0, radius**2 - (row - y) ** 2))
                self._canvas.span(row, x - half, x + half, mix(self._sky(row), self._light.sun, share))
        for cloud, (left, top, size) in enumerate(((180, 105, 60), (560, 60, 42), (1180, 190, 46))):
            white = mix(self._sky(top), (255, 255, 255), 0.75 * (1 - self._light.shadow) * (self._light.haze < 0.02))
            for puff in range(-2, 3):
                height = size * (0.5 - 0.08 * abs(puff))
                drift = left - 6 * self._right + 0.5 * self._walked * (cloud + 1)
                self._canvas.ellipse(drift + puff * size * 0.8, top - height * 0.4, size * 0.8, height, white)

    def _paint_hills(self) -> None:
        for layer, colour in enumerate(self._light.hills):
            scale, high = 1.0 + 0.6 * layer, 74 - 34 * layer
            for column in range(0, WIDTH, 2):
                place = (column + (8 + 14 * layer) * self._right) * scale / 170 + 5 * layer
                top = self._horizon - high * (0.62 + 0.28 * math.sin(place) + 0.14 * math.sin(2.3 * place + 1))
                for row in rows_between(top, self._horizon + 2):
                    self._canvas.span(row, column, column + 2, colour)

    def _paint_ground(self) -> None:
        for row in rows_between(self._horizon + 1, HEIGHT):
            distance = FOCUS * EYES / (row + 0.5 - self._horizon)
            forward = self._walked + distance
            band = 0.05 if int(forward / BAND) % 2 else 0.0
            grass = self._at(mix(self._light.grass, (20, 40, 10), band), distance)
            path = self._at(mix(self._light.path, (90, 60, 30), band), distance)
            self._canvas.span(row, 0, WIDTH, grass)
            middle, half = self._column(bend(forward), distance), FOCUS * PATH_HALF / distance
            edge = half * (1.0 + 0.06 * math.sin(forward * 5.0))
            self._canvas.span(row, middle - edge - half * 0.12, middle + edge + half * 0.12, mix(grass, path, 0.5))
            self._canvas.span(row, middle - edge, middle + edge, path)

    def _column(self, right: float, distance: float) -> float:
        return WIDTH / 2 + FOCUS * (right - self._right) / distance

    def _paint_plant(self, plant: Plant, distance: float) -> None:
        x, metre = self._column(plant.right, distance), FOCUS / distance
        foot, tall = self._horizon + EYES * metre, plant.height * metre
        if not -tall < x < WIDTH + tall:
            return
        if plant.kind == "flower":
            colour = self._at(self._light.flowers[plant.shade], distance)
            stem = self._at(mix(self._light.grass, (30, 60, 10), 0.3), distance)
            self._canvas.taper(x, (foot - tall, 0.008 * metre), (foot, 0.012 * metre), stem)
            self._canvas.ellipse(x, foot - tall, 0.035 * metre, 0.03 * metre, colour)
            return
        shade = self._at(mix(self._light.grass, (10, 24, 20), self._light.shadow), distance)
        self._canvas.ellipse(x - 0.25 * tall, foot, 0.42 * tall, 0.05 * tall, shade)
        trunk = self._at(self._light.trunk, distance)
        self._canvas.taper(x, (foot - 0.55 * tall, 0.02 * tall), (foot, 0.04 * tall), trunk)
        (self._paint_fir if plant.kind == "fir" else self._paint_crown)(plant, x, foot, tall, distance)

    def _paint_fir(self, plant: Plant, x: float, foot: float, tall: float, distance: float) -> None:
        for tier in range(4):
            top, bottom = foot - tall * (0.42 + 0.2 * tier), foot - tall * (0.14 + 0.19 * tier)
            half, dark = tall * (0.25 - 0.045 * tier), 0.28 - 0.07 * tier
            colour = self._at(mix(self._light.needles, (8, 20, 24), dark + 0.04 * plant.shade), distance)
            lit = self._at(mix(self._light.needles, self._light.sun, 0.12), distance)
            self._canvas.taper(x, (top, 0), (bottom, half), colour)
            self._canvas.taper(x + half * 0.28, (top + (bottom - top) * 0.3, 0), (bottom, half * 0.5), lit)

    def _paint_crown(self, plant: Plant, x: float, foot: float, tall: float, distance: float) -> None:
        dice = random.Random(round(plant.forward * 1000))  # noqa: S311 - as above
        leaf = self._light.leaves[plant.shade]
        for tone, spread in ((0.3, 0.2), (0.0, 0.16), (-0.25, 0.1)):
            base = mix(leaf, (12, 24, 20), tone) if tone > 0 else mix(leaf, self._light.sun, -tone)
            colour = self._at(base, distance)
            for _ in range(7):
                turn, far = dice.uniform(0, math.tau), dice.random() ** 0.5
                side = math.cos(turn) * far * spread * tall + 0.06 * tall * (0.3 - tone)
                up = 0.68 * tall + math.sin(turn) * far * spread * 0.85 * tall + 0.05 * tall * (0.3 - tone)
                size = tall * (0.15 if tone > 0 else 0.11 if tone == 0 else 0.06)
                self._canvas.ellipse(x + side, foot - up, size, size * 0.85, colour)


def pictures(light: Light) -> Iterator[VideoFrame]:
    grown = plants()
    for number in range(FRAMES):
        yield Painter(light, number * STRIDE).paint(grown)


def write_clip(path: Path, light: Light) -> None:
    """Encode a clip as H.264, with what players need first at the beginning of the file."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
        stream = file.add_stream("libx264", rate=FRAMES_PER_SECOND, options=ENCODER)
        stream.width, stream.height = VIDEO_SIZE
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures(light)):
            picture.pts, picture.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            file.mux(stream.encode(picture))
        file.mux(stream.encode())


def main() -> None:
    """Draw both clips anew."""
    for name, light in (("clip.mp4", DAY), ("foggy.mp4", FOG)):
        write_clip(FOLDER / name, light)
        print_result(str(FOLDER / name))


if __name__ == "__main__":
    main()

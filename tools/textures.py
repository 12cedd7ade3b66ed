"""Draws photographs of textures with painted defects and their masks: what the embedded network is fitted and measured on.

Everything is procedural and seeded; no data set is read. Kinds in `HELD_OUT_KINDS` are never drawn for fitting.
"""

import math
import multiprocessing

import cv2
import numpy as np
from PIL import Image

cv2.setNumThreads(1)

SIDE = 320  # pixels; UTAD resizes the shorter side to this
NATIVE_SIDES = (250, 256, 320, 320, 400, 512)  # pixels; sizes at which images are drawn

# ------------------------------------------------------------------------------------------------
# Small pieces shared by the textures
# ------------------------------------------------------------------------------------------------


def log_uniform(rng, low, high):
    """One number between low and high, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smoothstep(low, high, x):
    """0 below low, 1 above high, a cubic between; low may exceed high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise_tile(rng, spectrum, size=256):
    """Periodic Gaussian noise [size, size], mean 0, deviation 1.

    `spectrum(fx, fy)` gives the amplitude for frequencies in cycles per tile sample.
    """
    fy = np.fft.fftfreq(size)[:, None]
    fx = np.fft.rfftfreq(size)[None]
    shaped = np.fft.rfft2(rng.standard_normal((size, size))) * spectrum(fx, fy)
    shaped[0, 0] = 0
    tile = np.fft.irfft2(shaped, (size, size)).astype(np.float32)
    return tile / (tile.std() + 1e-9)


def sample_tile(tile, x, y):
    """Bilinear values of a periodic tile at coordinates in tile samples."""
    height, width = tile.shape
    padded = np.pad(tile, ((0, 1), (0, 1)), mode="wrap")
    return cv2.remap(padded, np.mod(x, width).astype(np.float32), np.mod(y, height).astype(np.float32), cv2.INTER_LINEAR)


def band(centre, width):
    """Isotropic band-pass amplitude around `centre` cycles per sample; `width` in octaves."""
    def spectrum(fx, fy):
        f = np.hypot(fx, fy) + 1e-6
        return np.exp(-0.5 * (np.log2(f / centre) / width) ** 2)
    return spectrum


def power_law(exponent, angle=0.0, stretch=1.0, cut=0.0):
    """Amplitude f^-exponent, compressed by `stretch` along `angle`; flat below `cut`."""
    c, s = math.cos(angle), math.sin(angle)
    def spectrum(fx, fy):
        f = np.hypot((c * fx + s * fy) * stretch, (-s * fx + c * fy) / stretch)
        return np.maximum(f, max(cut, 1 / 256)) ** -exponent
    return spectrum


def squash(x, gain=1.0):
    """Maps a unit-variance field to 0..1."""
    return 0.5 + 0.5 * np.tanh(gain * x)


def hash_table(rng, size=64):
    """Random numbers 0..1 [size, size], to be looked up by integer cell coordinates."""
    return rng.random((size, size)).astype(np.float32)


def look_up(table, i, j):
    size = table.shape[0]
    return table[np.mod(i, size).astype(np.int32), np.mod(j, size).astype(np.int32)]


# ------------------------------------------------------------------------------------------------
# Textures: each function draws its parameters and returns field(u, v) → (height, hue), both 0..1
# [rows, cols]. u and v are in pixels, so a defect can bend them.
# ------------------------------------------------------------------------------------------------


def weave_field(rng, over, period):
    """Threads under and over each other; `over[i, j]` is 1 where the warp thread i is on top."""
    over = np.asarray(over)
    ratio = rng.uniform(0.8, 1.25)
    gap = rng.uniform(0.55, 1.1)
    dip = rng.uniform(0.1, 0.5)
    unevenness = rng.uniform(0, 0.25)
    along, across = rng.random(64).astype(np.float32), rng.random(64).astype(np.float32)
    fibre = noise_tile(rng, band(rng.uniform(0.1, 0.4), 0.8))
    fuzz = rng.uniform(0, 0.15)

    def field(u, v):
        x, y = u / period, v / (period * ratio)
        i, j = np.floor(x), np.floor(y)
        fx, fy = x - i - 0.5, y - j - 0.5
        top = over[np.mod(i, over.shape[0]).astype(np.int32), np.mod(j, over.shape[1]).astype(np.int32)]
        warp = np.clip(np.cos(np.pi * fx * gap), 0, 1) * (1 - dip + dip * np.cos(np.pi * fy))
        weft = np.clip(np.cos(np.pi * fy * gap), 0, 1) * (1 - dip + dip * np.cos(np.pi * fx))
        warp = warp * (1 - unevenness * along[np.mod(i, 64).astype(np.int32)])
        weft = weft * (1 - unevenness * across[np.mod(j, 64).astype(np.int32)])
        height = np.where(top > 0, warp, weft) + fuzz * sample_tile(fibre, u * 1.3, v * 1.3)
        return np.clip(height, 0, 1), top.astype(np.float32)
    return field


def plain_weave(rng):
    return weave_field(rng, [[1, 0], [0, 1]], log_uniform(rng, 3, 14))


def twill(rng):
    n = int(rng.integers(3, 6))
    k = int(rng.integers(1, n))
    over = [[int((i + j) % n < k) for j in range(n)] for i in range(n)]
    return weave_field(rng, over, log_uniform(rng, 3, 12))


def satin(rng):
    n, step = [(5, 2), (7, 3), (8, 3)][rng.integers(3)]
    over = [[int((i * step + j) % n == 0) for j in range(n)] for i in range(n)]
    return weave_field(rng, over, log_uniform(rng, 3, 10))


def jacquard(rng):
    n, m = rng.integers(3, 9, 2)
    return weave_field(rng, rng.integers(0, 2, (n, m)), log_uniform(rng, 3, 10))


def stripes(rng):
    period = log_uniform(rng, 5, 48)
    coefficients = rng.standard_normal(4) / np.arange(1, 5) ** rng.uniform(0.5, 2)
    phases = rng.uniform(0, 2 * np.pi, 4)
    sharpness = rng.uniform(0.5, 3)
    wave, wave_period = rng.uniform(0, 0.15) * period, log_uniform(rng, 30, 150)

    def field(u, v):
        x = 2 * np.pi * (u + wave * np.sin(2 * np.pi * v / wave_period)) / period
        s = sum(c * np.sin((k + 1) * x + p) for k, (c, p) in enumerate(zip(coefficients, phases)))
        return squash(s / np.abs(coefficients).sum() * 2, sharpness), None
    return field


def plaid(rng):
    period = log_uniform(rng, 16, 60)
    steps = rng.random((2, 12)).astype(np.float32)
    thread = log_uniform(rng, 2.5, 6)
    depth = rng.uniform(0, 0.4)

    def field(u, v):
        a = steps[0][np.mod(u / period * 12, 12).astype(np.int32) % 12]
        b = steps[1][np.mod(v / period * 12, 12).astype(np.int32) % 12]
        rib = 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * (u + v) / thread))
        return a * 0.5 * rib + b * 0.5 * rib, a
    return field


def grid(rng):
    period, ratio = log_uniform(rng, 8, 36), rng.uniform(0.6, 1.6)
    line, soft = rng.uniform(0.05, 0.3), rng.uniform(0.3, 1.5)

    def field(u, v):
        dx = np.abs(np.mod(u / period, 1) - 0.5) * period
        dy = np.abs(np.mod(v / period / ratio, 1) - 0.5) * period * ratio
        half = line * period / 2
        return 1 - smoothstep(half - soft, half + soft, np.minimum(dx, dy)), None
    return field


def bricks(rng):
    width, height = log_uniform(rng, 16, 70), log_uniform(rng, 8, 30)
    offset = rng.choice([0, 0.5, 0.33])
    grout, soft = rng.uniform(0.8, 3), rng.uniform(0.4, 1.5)
    tones, variation = hash_table(rng), rng.uniform(0, 0.25)
    grain, rough = noise_tile(rng, power_law(rng.uniform(0.3, 1.2))), rng.uniform(0, 0.15)

    def field(u, v):
        y = v / height
        j = np.floor(y)
        x = u / width + offset * j
        i = np.floor(x)
        edge = np.minimum(0.5 - np.abs(x - i - 0.5), (0.5 - np.abs(y - j - 0.5)) * height / width) * width
        stone = smoothstep(grout - soft, grout + soft, edge)
        tone = 1 - variation * look_up(tones, i, j) + rough * sample_tile(grain, u, v)
        return np.clip(stone * tone, 0, 1), stone
    return field


def checker(rng):
    period, soft = log_uniform(rng, 8, 40), rng.uniform(1, 6)

    def field(u, v):
        s = np.sin(np.pi * u / period) * np.sin(np.pi * v / period)
        return squash(s, soft * 2), None
    return field


def dots(rng):
    period = log_uniform(rng, 7, 36)
    radius, soft = rng.uniform(0.15, 0.42), rng.uniform(0.5, 2)
    is_hexagonal, jitter = rng.random() < 0.5, rng.uniform(0, 0.12) * (rng.random() < 0.5)
    table_x, table_y = hash_table(rng), hash_table(rng)

    def field(u, v):
        y = v / (period * (0.866 if is_hexagonal else 1))
        j = np.floor(y)
        x = u / period + (0.5 * np.mod(j, 2) if is_hexagonal else 0)
        i = np.floor(x)
        dx = x - i - 0.5 + jitter * (look_up(table_x, i, j) - 0.5)
        dy = (y - j - 0.5 + jitter * (look_up(table_y, i, j) - 0.5)) * (0.866 if is_hexagonal else 1)
        d = np.hypot(dx, dy) * period
        return 1 - smoothstep(radius * period - soft, radius * period + soft, d), None
    return field


def diamonds(rng):
    period, ratio, soft = log_uniform(rng, 8, 36), rng.uniform(0.5, 2), rng.uniform(0.03, 0.4)
    level = rng.uniform(0.3, 0.7)

    def field(u, v):
        d = np.abs(np.mod(u / period, 1) - 0.5) + np.abs(np.mod(v / period / ratio, 1) - 0.5)
        return smoothstep(level - soft, level + soft, d), None
    return field


def fish_scales(rng):
    period, soft = log_uniform(rng, 10, 36), rng.uniform(0.04, 0.2)

    def field(u, v):
        y = v / period * 2
        best = np.full_like(u, 9.0)
        j = np.floor(y)
        for row in (1, 0):
            k = j + row
            x = u / period + 0.5 * np.mod(k, 2)
            d = np.hypot(x - np.floor(x) - 0.5, (y - k) / 2)
            best = np.where(d < 0.62, d, best)
        return np.clip(1 - smoothstep(0.62 - soft * 2, 0.62, best) * 0.8 - 0.3 * best.clip(0, 1), 0, 1), None
    return field


def ripples(rng):
    period, bend = log_uniform(rng, 7, 30), rng.uniform(0.2, 1.2)
    other, gain = log_uniform(rng, 15, 60), rng.uniform(0.6, 3)

    def field(u, v):
        zigzag = np.abs(np.mod(v / other, 1) - 0.5) * 2 * bend * other
        return squash(np.sin(2 * np.pi * (u + zigzag) / period), gain), None
    return field


def band_noise(rng):
    tile = noise_tile(rng, band(log_uniform(rng, 0.03, 0.3), rng.uniform(0.2, 0.8)))
    gain = rng.uniform(0.4, 2.5)
    return lambda u, v: (squash(sample_tile(tile, u, v), gain), None)


def oriented_noise(rng):
    angle, centre = rng.uniform(0, np.pi), log_uniform(rng, 0.05, 0.3)
    spread, width = rng.uniform(0.05, 0.35), rng.uniform(0.3, 1.0)

    def spectrum(fx, fy):
        f = np.hypot(fx, fy) + 1e-6
        turn = np.angle(np.exp(2j * (np.arctan2(fy, fx) - angle))) / 2
        return np.exp(-0.5 * (np.log2(f / centre) / width) ** 2 - 0.5 * (turn / spread) ** 2)
    tile, gain = noise_tile(rng, spectrum), rng.uniform(0.3, 1.5)
    return lambda u, v: (squash(sample_tile(tile, u, v), gain), None)


def brushed_metal(rng):
    angle = rng.uniform(0, np.pi)
    tile = noise_tile(rng, power_law(rng.uniform(0.1, 0.7), angle, rng.uniform(3, 8), 0.05))
    gain = rng.uniform(0.2, 0.8)
    return lambda u, v: (squash(sample_tile(tile, u, v), gain), None)


def power_noise(rng):
    angle = rng.uniform(0, np.pi)
    coarse = noise_tile(rng, power_law(rng.uniform(0.6, 1.7), angle, rng.uniform(1, 2.5), rng.uniform(0.01, 0.06)))
    fine = rng.standard_normal((256, 256)).astype(np.float32)
    mix, gain = rng.uniform(0, 0.7), rng.uniform(0.3, 1.2)
    return lambda u, v: (squash((1 - mix) * sample_tile(coarse, u, v) + mix * sample_tile(fine, u, v), gain), None)


def clouds(rng):
    tile = noise_tile(rng, power_law(rng.uniform(1.0, 1.6), cut=rng.uniform(0.015, 0.06)))
    gain = rng.uniform(0.3, 1.2)
    return lambda u, v: (squash(sample_tile(tile, u, v), gain), None)


def marble(rng):
    tile = noise_tile(rng, power_law(1.5, cut=0.02))
    period, strength, gain = log_uniform(rng, 10, 40), rng.uniform(0.5, 2.0), rng.uniform(0.6, 3)
    return lambda u, v: (squash(np.sin(2 * np.pi * u / period + strength * sample_tile(tile, u, v)), gain), None)


def speckle(rng):
    tile = noise_tile(rng, band(log_uniform(rng, 0.05, 0.3), rng.uniform(0.4, 1)))
    other = noise_tile(rng, band(log_uniform(rng, 0.05, 0.3), rng.uniform(0.4, 1)))
    level, soft = rng.uniform(0.2, 1.2), rng.uniform(0.05, 0.6)

    def field(u, v):
        first = smoothstep(level - soft, level + soft, sample_tile(tile, u, v))
        second = smoothstep(level - soft, level + soft, sample_tile(other, v, u))
        return 0.5 + 0.5 * first - 0.5 * second, first
    return field


def carpet(rng):
    """Short fibres: noise smeared along an angle that itself wanders."""
    tiles = [noise_tile(rng, power_law(0.2, a, rng.uniform(2, 4), 0.08)) for a in (0.0, 0.8, 1.6, 2.4)]
    choice = noise_tile(rng, band(rng.uniform(0.05, 0.15), 0.5))
    gain = rng.uniform(0.4, 1.2)

    def field(u, v):
        pick = sample_tile(choice, u, v)
        s = np.where(pick > 0, np.where(pick > 0.7, sample_tile(tiles[0], u, v), sample_tile(tiles[1], u, v)),
                     np.where(pick < -0.7, sample_tile(tiles[2], u, v), sample_tile(tiles[3], u, v)))
        return squash(s, gain), None
    return field


def random_tile(rng):
    """One smooth random motif repeated on a lattice."""
    n = int(rng.integers(10, 40))
    aspect = rng.uniform(0.6, 1.6)
    rows = max(6, int(n * aspect))
    motif = cv2.GaussianBlur(np.tile(rng.standard_normal((rows, n)).astype(np.float32), (3, 3)), (0, 0), rng.uniform(0.6, n / 8))
    motif = motif[rows:2 * rows, n:2 * n]
    motif = (motif - motif.mean()) / (motif.std() + 1e-6)
    zoom, gain, shift = rng.uniform(0.8, 1.3), rng.uniform(0.4, 3), rng.choice([0, 0, 0.5]) * n

    def field(u, v):
        return squash(sample_tile(motif, u * zoom + shift * np.floor(v * zoom / rows), v * zoom), gain), None
    return field


def spots(rng):
    """Band noise bent through a random smooth curve: cells, worms and islands."""
    tile = noise_tile(rng, band(log_uniform(rng, 0.03, 0.15), rng.uniform(0.15, 0.4)))
    frequency, phase = rng.uniform(1, 4), rng.uniform(0, 6)
    return lambda u, v: (0.5 + 0.5 * np.sin(frequency * sample_tile(tile, u, v) + phase), None)


# ---- kinds held out of training ----


def herringbone(rng):
    n, flip = 4, int(rng.integers(4, 10))
    over = [[int(((i if i < flip else 2 * flip - 1 - i) + j) % n < 2) for j in range(n)] for i in range(2 * flip)]
    return weave_field(rng, over, log_uniform(rng, 3, 9))


def knit(rng):
    period, lean, soft = log_uniform(rng, 8, 26), rng.uniform(0.5, 1.1), rng.uniform(0.5, 1.0)
    fibre, fuzz = noise_tile(rng, band(0.3, 0.8)), rng.uniform(0, 0.15)

    def field(u, v):
        x = np.mod(u / period, 1) - 0.5
        y = np.mod(v / period * 1.3 + lean * np.abs(x) * 2, 1) - 0.5
        stitch = np.cos(np.pi * y).clip(0) ** soft * np.abs(np.cos(np.pi * (np.abs(x) - 0.25) * 1.8)) ** soft
        return np.clip(stitch + fuzz * sample_tile(fibre, u, v), 0, 1), None
    return field


def hexagons(rng):
    period, line, soft = log_uniform(rng, 10, 34), rng.uniform(0.05, 0.2), rng.uniform(0.4, 1.5)
    tones, variation = hash_table(rng), rng.uniform(0, 0.2)

    def field(u, v):
        x, y = u / period, v / period / 1.7320508
        ax, ay = np.floor(x) + 0.5, np.floor(y) + 0.5
        bx, by = np.round(x), np.round(y)
        pa = np.hypot(x - ax, (y - ay) * 1.7320508)
        pb = np.hypot(x - bx, (y - by) * 1.7320508)
        first = pa < pb
        dx, dy = np.where(first, x - ax, x - bx), np.where(first, y - ay, y - by) * 1.7320508
        d = np.maximum(np.abs(dx), np.abs(dx) * 0.5 + np.abs(dy) * 0.8660254)
        edge = (0.5 - d) * period
        tone = look_up(tones, np.where(first, ax * 2, bx * 2), np.where(first, ay * 2, by * 2))
        return smoothstep(line * period / 2 - soft, line * period / 2 + soft, edge) * (1 - variation * tone), None
    return field


def wood(rng):
    tile = noise_tile(rng, power_law(1.4, cut=0.01))
    grain = noise_tile(rng, power_law(0.3, 0.0, 6.0, 0.05))
    period, wander, fine = log_uniform(rng, 7, 24), rng.uniform(0.5, 2), rng.uniform(0.1, 0.4)

    def field(u, v):
        ring = np.mod(v / period + wander * 0.5 * sample_tile(tile, u * 0.25, v * 0.5), 1)
        return np.clip(ring ** 1.5 * 0.7 + 0.15 + fine * 0.5 * sample_tile(grain, v * 0.7, u * 0.7), 0, 1), None
    return field


def worley(u, v, period, table_x, table_y):
    """Distances to the nearest and second nearest jittered point, in periods, and the nearest's cell."""
    x, y = u / period, v / period
    i, j = np.floor(x), np.floor(y)
    first, second = np.full_like(x, 9.0), np.full_like(x, 9.0)
    cell_i, cell_j = i, j
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            px = i + a + 0.1 + 0.8 * look_up(table_x, i + a, j + b)
            py = j + b + 0.1 + 0.8 * look_up(table_y, i + a, j + b)
            d = np.hypot(x - px, y - py)
            nearer = d < first
            second = np.where(nearer, first, np.minimum(second, d))
            first = np.where(nearer, d, first)
            cell_i, cell_j = np.where(nearer, i + a, cell_i), np.where(nearer, j + b, cell_j)
    return first, second, cell_i, cell_j


def leather(rng):
    period, crease = log_uniform(rng, 7, 22), rng.uniform(0.08, 0.3)
    table_x, table_y = hash_table(rng), hash_table(rng)
    pores, rough = noise_tile(rng, band(0.25, 0.8)), rng.uniform(0, 0.1)

    def field(u, v):
        first, second, _, _ = worley(u, v, period, table_x, table_y)
        return np.clip(smoothstep(0, crease, second - first) * (1 - 0.3 * first) + rough * sample_tile(pores, u, v), 0, 1), None
    return field


def terrazzo(rng):
    period, level = log_uniform(rng, 6, 16), rng.uniform(0.15, 0.5)
    table_x, table_y, tones = hash_table(rng), hash_table(rng), hash_table(rng)

    def field(u, v):
        first, second, i, j = worley(u, v, period, table_x, table_y)
        chip = smoothstep(0.05, 0.15, second - first) * (look_up(tones, i, j) > level)
        return chip * look_up(tones, j, i), chip * look_up(tones, i + 7, j)
    return field


def wire_mesh(rng):
    period, radius, soft = log_uniform(rng, 8, 26), rng.uniform(0.28, 0.42), rng.uniform(0.5, 1.5)
    shine = rng.uniform(0, 0.4)

    def field(u, v):
        x, y = u / period + 0.5 * np.mod(np.floor(v / period), 2), v / period
        fx, fy = np.mod(x, 1) - 0.5, np.mod(y, 1) - 0.5
        d = (np.abs(fx) ** 4 + np.abs(fy) ** 4) ** 0.25 * period
        metal = smoothstep(radius * period - soft, radius * period + soft, d)
        return metal * (1 - shine * (0.5 + fx)), metal
    return field


TRAIN_KINDS = dict(
    plain_weave=plain_weave, twill=twill, satin=satin, jacquard=jacquard, stripes=stripes, plaid=plaid, grid=grid,
    bricks=bricks, checker=checker, dots=dots, diamonds=diamonds, fish_scales=fish_scales, ripples=ripples,
    band_noise=band_noise, oriented_noise=oriented_noise, brushed_metal=brushed_metal, power_noise=power_noise,
    clouds=clouds, marble=marble, speckle=speckle, carpet=carpet, random_tile=random_tile, spots=spots,
)
HELD_OUT_KINDS = dict(
    herringbone=herringbone, knit=knit, hexagons=hexagons, wood=wood, leather=leather, terrazzo=terrazzo, wire_mesh=wire_mesh,
)

# ------------------------------------------------------------------------------------------------
# From field to picture
# ------------------------------------------------------------------------------------------------


class Scene:
    """One texture with its colours and its view; `render(u, v)` gives RGB 0..1 [rows, cols, 3]."""

    def __init__(self, rng, kind, side):
        makers = {**TRAIN_KINDS, **HELD_OUT_KINDS}
        self.side = side
        self.field = makers[kind](rng)
        self.colours = self._palette(rng)
        self.fuzz = noise_tile(rng, power_law(rng.uniform(0, 0.8)))
        self.fuzz_strength = rng.uniform(0, 0.05)
        self.u, self.v, self.angle = self._view(rng, side)

    @staticmethod
    def _palette(rng):
        """Three colours [3, 3] with a luminance difference between the first two; often grey."""
        low = rng.uniform(0.05, 0.65)
        contrast = rng.uniform(0.12, 0.7)
        levels = np.array([low, min(low + contrast, 0.97), rng.uniform(0.1, 0.9)])
        if rng.random() < 0.5:
            levels[[0, 1]] = levels[[1, 0]]
        base = rng.uniform(-1, 1, 3)
        own = rng.uniform(-1, 1, (3, 3))
        tint = rng.choice([0.0, 0.12, 0.3])
        colours = levels[:, None] * (1 + tint * (base + rng.choice([0.2, 1.0]) * own))
        return np.clip(colours, 0.02, 0.98).astype(np.float32)

    @staticmethod
    def _view(rng, side):
        """Texture coordinates of each pixel: rotation, mild perspective, mild bending."""
        y, x = np.mgrid[0:side, 0:side].astype(np.float32) - side / 2
        angle = rng.choice([0, np.pi / 2, rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.1)])
        tilt = rng.uniform(-1, 1, 2) * (0.12 if rng.random() < 0.3 else 0)
        depth = 1 + (tilt[0] * x + tilt[1] * y) / side
        x, y = x / depth, y / depth
        u = math.cos(angle) * x + math.sin(angle) * y
        v = -math.sin(angle) * x + math.cos(angle) * y
        if rng.random() < 0.5:
            bend = rng.uniform(0.3, 4)
            wave = log_uniform(rng, 80, 300)
            phase = rng.uniform(0, 6.3, 2)
            u, v = u + bend * np.sin(2 * np.pi * v / wave + phase[0]), v + bend * np.sin(2 * np.pi * u / wave + phase[1])
        return (u + 2000 + rng.uniform(0, 97)).astype(np.float32), (v + 2000 + rng.uniform(0, 97)).astype(np.float32), angle

    def render(self, u, v):
        height, hue = self.field(u, v)
        height = np.clip(height + self.fuzz_strength * sample_tile(self.fuzz, u, v), 0, 1)[..., None]
        image = self.colours[0] * (1 - height) + self.colours[1] * height
        if hue is not None:
            image = image * (1 - 0.5 * hue[..., None]) + 0.5 * hue[..., None] * height * self.colours[2]
        return image.astype(np.float32)


def photograph(rng, image, side=SIDE):
    """Uneven light, blur, sensor noise, a resize to `side` with Lanczos, JPEG; returns u8 RGB."""
    size = image.shape[0]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    slope = rng.uniform(-1, 1, 2) * rng.choice([0, 0.1, 0.35])
    bulge = rng.uniform(-0.4, 0.1) * (rng.random() < 0.3)
    light = 1 + slope[0] * x + slope[1] * y + bulge * (x * x + y * y) * 2
    image = image * light[..., None] * rng.uniform(0.8, 1.1)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.1))
    noise = rng.choice([0, 0.008, 0.02, 0.04]) * rng.uniform(0.5, 1.2)
    if noise:
        is_grey = rng.random() < 0.5
        image = image + noise * rng.standard_normal((size, size, 1 if is_grey else 3)).astype(np.float32)
    if rng.random() < 0.12:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2)
    image = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(60, 97))
        image = cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)[..., ::-1]
    if size != side:
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.LANCZOS))
    return np.ascontiguousarray(image)


# ------------------------------------------------------------------------------------------------
# Defects: each takes (rng, scene, image, scale) and returns (image, mask); mask is bool
# [rows, cols]; `scale` is native pixels per pixel of the 320 image.
# ------------------------------------------------------------------------------------------------


def centre_of_defect(rng, side):
    return rng.uniform(0.05, 0.95, 2) * side


def blob_alpha(rng, side, radius, softness=1.0):
    """A lumpy disc, 1 inside and 0 outside, with an edge `softness` pixels wide."""
    cx, cy = centre_of_defect(rng, side)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    turn, stretch = rng.uniform(0, np.pi), log_uniform(rng, 0.45, 1)
    dx = math.cos(turn) * (x - cx) + math.sin(turn) * (y - cy)
    dy = (-math.sin(turn) * (x - cx) + math.cos(turn) * (y - cy)) / stretch
    angle = np.arctan2(dy, dx)
    lumps = rng.uniform(0, 0.35)
    edge = 1 + lumps * sum(rng.uniform(-1, 1) / k * np.sin(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5))
    return smoothstep(softness, -softness, np.hypot(dx, dy) - radius * edge)


def curve_alpha(rng, side, width, length, bend):
    """A smooth line of the given width and length in pixels."""
    cx, cy = centre_of_defect(rng, side)
    t = np.linspace(-0.5, 0.5, 40)
    turn = rng.uniform(0, 2 * np.pi)
    sideways = bend * length * (rng.uniform(-1, 1) * 2 * t * t + rng.uniform(-1, 1) * 0.3 * np.sin(2 * np.pi * t * 1.5))
    x = cx + length * t * math.cos(turn) - sideways * math.sin(turn)
    y = cy + length * t * math.sin(turn) + sideways * math.cos(turn)
    canvas = np.zeros((side, side), np.uint8)
    points = (np.stack([x, y], 1) * 8).round().astype(np.int32)
    thin = max(1, int(round(width)))
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], False, 255, thin, cv2.LINE_AA, 3)
    return canvas.astype(np.float32) / 255


def other_colour(rng, image, alpha):
    """A colour that differs visibly from the mean colour under alpha."""
    weight = alpha.sum() + 1e-6
    mean = (image * alpha[..., None]).sum((0, 1)) / weight
    if rng.random() < 0.5:
        delta = rng.uniform(0.15, 0.5) * rng.choice([-1, 1])
        return np.clip(mean + delta, 0, 1)
    for _ in range(8):
        colour = rng.random(3)
        if np.abs(colour - mean).max() > 0.2:
            break
    return colour


def mix(image, other, alpha):
    return image * (1 - alpha[..., None]) + other * alpha[..., None]


def scratch(rng, scene, image, scale):
    alpha = curve_alpha(rng, scene.side, log_uniform(rng, 1, 5) * scale, log_uniform(rng, 25, 220) * scale, rng.uniform(0, 0.5))
    strength = rng.uniform(0.5, 1)
    if rng.random() < 0.5:
        painted = image + rng.choice([-1, 1]) * rng.uniform(0.2, 0.6)
    else:
        painted = other_colour(rng, image, alpha) * np.ones_like(image)
    return mix(image, painted, alpha * strength), alpha > 0.4


def blob(rng, scene, image, scale):
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 4, 36) * scale, log_uniform(rng, 0.5, 3))
    painted = other_colour(rng, image, alpha) * np.ones_like(image)
    return mix(image, painted, alpha * rng.uniform(0.6, 1)), alpha > 0.4


def missing_thread(rng, scene, image, scale):
    """A band along one texture axis, as wide as a thread, that lost its thread."""
    is_warp = rng.random() < 0.5
    a, b = (scene.u, scene.v) if is_warp else (scene.v, scene.u)
    cx, cy = centre_of_defect(rng, scene.side).astype(int)
    width, length = log_uniform(rng, 2.5, 10) * scale, log_uniform(rng, 40, 500) * scale
    across, along = a - a[cy, cx], np.abs(b - b[cy, cx])
    inside = smoothstep(width / 2 + 0.6, width / 2 - 0.6, np.abs(across)) * smoothstep(length / 2 + 1, length / 2 - 1, along)
    mode = rng.integers(5)
    if mode == 0:
        painted = image * rng.uniform(0.15, 0.6)
    elif mode == 1:
        painted = image.mean((0, 1)) * rng.uniform(0.4, 1.2) * np.ones_like(image)
    elif mode == 2:
        frozen = np.where(np.abs(across) < width, a[cy, cx], a).astype(np.float32)
        painted = scene.render(frozen, scene.v) if is_warp else scene.render(scene.u, frozen)
        painted = painted * rng.uniform(0.7, 1.1)
    elif mode == 3:
        moved = (b + width * rng.uniform(0.5, 1.5)).astype(np.float32)
        painted = (scene.render(scene.u, moved) if is_warp else scene.render(moved, scene.v)) * rng.uniform(0.6, 0.9)
    else:
        painted = cv2.GaussianBlur(image, (0, 0), width) * rng.choice([rng.uniform(0.5, 0.85), rng.uniform(1.1, 1.4)])
    return mix(image, painted, inside), inside > 0.4


def stain(rng, scene, image, scale):
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 8, 45) * scale, log_uniform(rng, 1, 8) * scale)
    tint = 1 + rng.choice([-1, -1, 1]) * rng.uniform(0.12, 0.5) * (1 + rng.uniform(-0.5, 0.5, 3))
    return mix(image, np.clip(image * tint, 0, 1), alpha), alpha > 0.4


def colour_shift(rng, scene, image, scale):
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 6, 45) * scale, log_uniform(rng, 0.5, 6) * scale)
    shift = rng.uniform(-1, 1, 3)
    shift = shift - shift.mean() * rng.uniform(0, 1)
    shift = shift / (np.abs(shift).max() + 1e-6) * rng.uniform(0.07, 0.3)
    return mix(image, np.clip(image + shift, 0, 1), alpha), alpha > 0.4


def hole(rng, scene, image, scale):
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 3, 18) * scale, 1.0)
    rim = np.clip(cv2.GaussianBlur(alpha, (0, 0), 2 * scale) * 2, 0, 1)
    painted = mix(image, image * rng.uniform(0.6, 1.3), rim)
    return mix(painted, np.ones_like(image) * rng.uniform(0, 0.15), alpha), alpha > 0.4


def warp(rng, scene, image, scale):
    radius = log_uniform(rng, 12, 40) * scale
    alpha = blob_alpha(rng, scene.side, radius, radius * 0.5)
    push = rng.uniform(-1, 1, 2) * rng.uniform(0.2, 0.6) * radius
    painted = scene.render((scene.u + alpha * push[0]).astype(np.float32), (scene.v + alpha * push[1]).astype(np.float32))
    return painted, alpha > 0.3


def contrast(rng, scene, image, scale):
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 6, 40) * scale, log_uniform(rng, 1, 5))
    mean = cv2.GaussianBlur(image, (0, 0), 6 * scale)
    gain = rng.choice([rng.uniform(0.1, 0.6), rng.uniform(1.5, 2.5)])
    return mix(image, np.clip(mean + gain * (image - mean), 0, 1), alpha), alpha > 0.4


def misplaced(rng, scene, image, scale):
    """The same texture, turned, scaled or shifted inside a patch."""
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 8, 36) * scale, 1.0)
    turn, zoom = rng.uniform(0.3, 1.57), rng.choice([1.0, rng.uniform(0.5, 0.75), rng.uniform(1.35, 2)])
    u0, v0 = float(scene.u.mean()), float(scene.v.mean())
    x, y = (scene.u - u0) * zoom, (scene.v - v0) * zoom
    u = math.cos(turn) * x + math.sin(turn) * y + u0
    v = -math.sin(turn) * x + math.cos(turn) * y + v0
    return mix(image, scene.render(u.astype(np.float32), v.astype(np.float32)), alpha), alpha > 0.4


def foreign(rng, scene, image, scale):
    """A patch of another texture with the mean colour of this one."""
    kind = list(TRAIN_KINDS)[rng.integers(len(TRAIN_KINDS))]
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 6, 36) * scale, 1.0)
    other = Scene(rng, kind, scene.side)
    painted = other.render(other.u, other.v)
    if rng.random() < 0.7:
        painted = painted - painted.mean((0, 1)) + image.mean((0, 1))
    if rng.random() < 0.5:
        painted = image.mean((0, 1)) + (painted - painted.mean((0, 1))) * image.std() / (painted.std() + 1e-6)
    return mix(image, np.clip(painted, 0, 1), alpha), alpha > 0.4


def graininess(rng, scene, image, scale):
    """A small patch whose pixels are noisier, or replaced by noise of the same mean and deviation."""
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 4, 25) * scale, 1.0)
    noise = rng.standard_normal((scene.side, scene.side, 1)).astype(np.float32)
    if rng.random() < 0.4:
        noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.2))[..., None]
        noise = noise / noise.std()
    keep = rng.choice([0.0, 1.0, rng.random()])
    local = cv2.GaussianBlur(image, (0, 0), 8 * scale)
    painted = local + keep * (image - local) + noise * max(float(image.std()), 0.05) * rng.uniform(0.5, 1.5)
    return mix(image, np.clip(painted, 0, 1), alpha), alpha > 0.4


def smear(rng, scene, image, scale):
    alpha = blob_alpha(rng, scene.side, log_uniform(rng, 6, 36) * scale, 1.5)
    return mix(image, cv2.GaussianBlur(image, (0, 0), rng.uniform(1.2, 5) * scale), alpha), alpha > 0.4


DEFECTS = dict(scratch=scratch, blob=blob, missing_thread=missing_thread, stain=stain, colour_shift=colour_shift, hole=hole,
               warp=warp, contrast=contrast, misplaced=misplaced, foreign=foreign, graininess=graininess, smear=smear)
MEASURED_DEFECTS = ("scratch", "blob", "missing_thread", "stain", "colour_shift")


def is_visible(defect, clean, image, mask, scale):
    """Whether an eye could find the defect: its change must pass 0.05 of the range and, for painted defects,
    its smoothed change must pass 0.7 of the texture's own smoothed deviation."""
    if mask.sum() < 12 * scale * scale or np.abs(image - clean)[mask].mean() < 0.05:
        return False
    if defect not in MEASURED_DEFECTS:
        return True
    smooth = cv2.GaussianBlur(clean, (0, 0), 2 * scale)
    change = cv2.GaussianBlur(image.astype(np.float32) - clean, (0, 0), 2 * scale)
    return np.abs(change)[mask].max(1).mean() > max(0.03, 0.7 * smooth.std((0, 1)).max())


def draw_example(seed, kind, defect, side=SIDE):
    """One photograph: u8 RGB [side, side, 3] and u8 mask 0/1 [side, side].

    `defect` is a name in DEFECTS or None. A defect that is not visible is drawn again, up to 12 times.
    """
    rng = np.random.default_rng(seed)
    native = int(rng.choice(NATIVE_SIDES))
    scale = native / side
    scene = Scene(rng, kind, native)
    clean = scene.render(scene.u, scene.v)
    image, mask = clean, np.zeros((native, native), bool)
    if defect is not None:
        for _ in range(12):
            image, mask = DEFECTS[defect](rng, scene, clean, scale)
            if is_visible(defect, clean, image, mask, scale):
                break
    picture = photograph(rng, image.astype(np.float32), side)
    if native != side:
        mask = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) > 0.4
    return picture, mask.astype(np.uint8)


NOISE_SHARE = 0.3  # of the pool; irregular noise with a weak grainy defect is the hardest case


def draw_training_example(seed):
    rng = np.random.default_rng([seed, 77])
    if rng.random() < NOISE_SHARE:
        kind, names, good = "power_noise", ["graininess"] * 3 + ["contrast", "misplaced", "blob", "scratch"], 0.4
    else:
        kinds = list(TRAIN_KINDS)
        kind, names, good = kinds[rng.integers(len(kinds))], list(DEFECTS) + list(MEASURED_DEFECTS), 0.25
    defect = None if rng.random() < good else names[rng.integers(len(names))]
    return draw_example([seed, 1], kind, defect)


def draw_pool(seed, count, workers):
    """Training images u8 [count, 320, 320, 3] and masks u8 [count, 320, 320]; the same for any `workers`."""
    seeds = range(seed * 1_000_000, seed * 1_000_000 + count)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        drawn = pool.map(draw_training_example, seeds, chunksize=25)
    return np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])

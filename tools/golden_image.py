"""Writes the goldens of `src/image` to tests/golden/image: outputs of Pillow, OpenCV, SciPy and PyTorch for small inputs.

pip install pillow opencv-python-headless scipy torch numpy; then: python tools/golden_image.py
`resize.json`: one CRC-32 per case, of the output's bytes (u8, or f32 little-endian); PyTorch's cases hold the values.
`decode.json`: image files and the RGB that Pillow reads from them, both as hexadecimal text.
"""

import io
import json
import platform
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
import scipy
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

OUT = Path(__file__).parent.parent / "tests/golden/image"
VERSIONS = {"python": platform.python_version(), "pillow": PIL.__version__, "opencv": cv2.__version__,
            "scipy": scipy.__version__, "numpy": np.__version__, "torch": torch.__version__}

# (height, width) in and out: down, up, mixed, halved, doubled, one row, one column, long and thin, unchanged,
# and around the size from which Pillow 13 passes over the columns first.
SIZES = [((10, 13), (5, 7)), ((10, 13), (16, 20)), ((97, 131), (24, 24)), ((50, 64), (80, 103)), ((20, 20), (20, 9)),
         ((64, 64), (32, 32)), ((20, 20), (33, 9)), ((20, 20), (9, 33)), ((14, 22), (28, 44)), ((30, 20), (15, 20)),
         ((1, 1), (4, 5)), ((1, 9), (4, 20)), ((9, 1), (20, 3)), ((1, 100), (1, 7)), ((3, 5000), (20, 300)),
         ((5000, 3), (7, 7)), ((7, 7), (1, 1)), ((13, 10), (13, 10)), ((250, 250), (240, 240)), ((101, 67), (320, 212)),
         ((292, 30), (69, 23)), ((60, 20), (40, 10)), ((60, 20), (39, 10))]
PILLOW = {"nearest": Image.NEAREST, "box": Image.BOX, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC,
          "lanczos": Image.LANCZOS}


def photo(height, width):
    """p(y, x, c) = (37y + 91x + 53c + 7xy) mod 256."""
    y, x, c = np.ogrid[:height, :width, :3]
    return ((37 * y + 91 * x + 53 * c + 7 * x * y) % 256).astype(np.uint8)


def scores(height, width):
    """(p(y, x, 0) - 128) / 64: exact in f32."""
    return (photo(height, width)[:, :, 0].astype(np.float32) - 128) / 64


def crc(array):
    return format(zlib.crc32(np.ascontiguousarray(array).tobytes()), "08x")


def resize_cases():
    cv2.ipp.setUseIPP(False)  # IPP's float resize differs by some 1e-5; its u8 resize is not used by OpenCV.
    for (height, width), (to_height, to_width) in SIZES:
        def case(operation, **result):
            return {"operation": operation, "from": [height, width], "to": [to_height, to_width], **result}

        image, size = photo(height, width), (to_width, to_height)
        for name, resample in PILLOW.items():
            yield case(f"pillow_{name}", crc=crc(Image.fromarray(image).resize(size, resample)))
        yield case("opencv", crc=crc(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)))
        yield case("opencv_map", crc=crc(cv2.resize(scores(height, width), size, interpolation=cv2.INTER_LINEAR)))
        if to_height * to_width <= 600:
            tensor = torch.from_numpy(scores(height, width))[None, None]
            values = torch.nn.functional.interpolate(tensor, (to_height, to_width), mode="bilinear")
            yield case("torch", values=[float(format(value, ".9g")) for value in values.flatten().tolist()])


def blur_cases():
    for height, width, sigma in [(10, 13, 4.0), (97, 131, 4.0), (1, 1, 2.0), (1, 9, 1.0), (9, 1, 0.5), (3, 500, 6.5)]:
        result = gaussian_filter(scores(height, width), sigma)
        yield {"operation": "gaussian", "from": [height, width], "sigma": sigma, "crc": crc(result)}


def pillow_file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opencv_file(array, extension):
    return cv2.imencode(extension, array)[1].tobytes()


def grey_png(bits, samples):
    """A PNG of one row of grey samples of 1, 2, 4 or 16 bits, which Pillow does not write."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = int("".join(format(s, f"0{bits}b") for s in samples), 2).to_bytes(len(samples) * bits // 8, "big")
    header = struct.pack(">IIBBBBB", len(samples), 1, bits, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row))
            + chunk(b"IEND", b""))


def decode_files():
    rgb = Image.fromarray(photo(5, 7))
    alpha = Image.fromarray(photo(5, 7)[:, :, 1])
    y, x = np.mgrid[:20, :24]
    smooth = Image.fromarray(np.stack([8 * x + 20, 9 * y + 30, 255 - 5 * x - 4 * y], 2).astype(np.uint8))
    wide = (np.arange(5 * 7 * 3).reshape(5, 7, 3) * 621).astype(np.uint16)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif {orientation} png", pillow_file(rgb, "PNG", exif=exif), 0
    exif[0x0112] = 6
    yield "exif 6 jpeg", pillow_file(smooth, "JPEG", quality=95, subsampling=0, exif=exif), 2
    yield "exif 6 webp", pillow_file(rgb, "WEBP", lossless=True, exif=exif.tobytes()), 0
    for bits, samples in [(1, [0, 1, 1, 0, 1, 0, 0, 1]), (2, [0, 1, 2, 3]), (4, [0, 1, 7, 15])]:
        yield f"grey {bits} bits png", grey_png(bits, samples), 0
    yield "grey 16 bits png", grey_png(16, [0, 1, 127, 128, 254, 255, 256, 257, 4660, 65535]), 0
    yield "grey 16 bits tiff", opencv_file(wide[:, :, 0], ".tiff"), 0
    yield "rgb 16 bits png", opencv_file(wide, ".png"), 0
    yield "rgb 16 bits tiff", opencv_file(wide, ".tiff"), 0
    yield "rgba 16 bits png", opencv_file(np.dstack([wide, wide[:, :, 1]]), ".png"), 0
    translucent = rgb.copy()
    translucent.putalpha(alpha)
    for kind in ["PNG", "TIFF", "BMP"]:
        yield f"rgba {kind.lower()}", pillow_file(translucent, kind), 0
    yield "rgba webp", pillow_file(translucent, "WEBP", lossless=True, exact=True), 0
    yield "grey alpha png", pillow_file(translucent.convert("LA"), "PNG"), 0
    palette = rgb.quantize(5)
    for kind in ["PNG", "BMP"]:
        yield f"palette {kind.lower()}", pillow_file(palette, kind), 0
    yield "palette transparent png", pillow_file(palette, "PNG", transparency=2), 0
    for kind in ["PNG", "BMP", "TIFF"]:
        yield f"grey {kind.lower()}", pillow_file(alpha, kind), 0
        yield f"one bit {kind.lower()}", pillow_file(alpha.convert("1"), kind), 0
    for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        yield f"rgb {compression}", pillow_file(rgb, "TIFF", compression=compression), 0
    yield "cmyk tiff", pillow_file(rgb.convert("CMYK"), "TIFF"), 0
    yield "grey jpeg", pillow_file(smooth.convert("L"), "JPEG", quality=90), 1
    # Decoders differ in the rounding of the inverse cosine transform, and more where chroma is enlarged.
    for name, subsampling, tolerance in [("444", 0, 2), ("422", 1, 3), ("420", 2, 6)]:
        yield f"rgb {name} jpeg", pillow_file(smooth, "JPEG", quality=90, subsampling=subsampling), tolerance
    yield "progressive jpeg", pillow_file(smooth, "JPEG", quality=90, progressive=True), 6
    narrow = smooth.resize((6, 40))  # Up to 4 pixels wide, libjpeg repeats chroma instead of interpolating it.
    yield "narrow jpeg", pillow_file(narrow, "JPEG", quality=90, subsampling=2), 6
    yield "flat jpeg", pillow_file(narrow.transpose(Image.ROTATE_90), "JPEG", quality=90, subsampling=2), 6
    yield "one pixel jpeg", pillow_file(smooth.crop((0, 0, 1, 1)), "JPEG", quality=90, subsampling=2), 2
    yield "cmyk jpeg", pillow_file(smooth.convert("CMYK"), "JPEG", quality=95), 2
    yield "lossy webp", pillow_file(smooth, "WEBP", quality=90), 2


def decode_cases():
    for name, file, tolerance in decode_files():
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
        yield {"name": name, "tolerance": tolerance, "width": image.width, "height": image.height,
               "file": file.hex(), "rgb": image.tobytes().hex()}


def write(name, cases):
    lines = ",\n".join(json.dumps(case) for case in cases)
    (OUT / name).write_text(f'{{"versions": {json.dumps(VERSIONS)},\n"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write("resize.json", [*resize_cases(), *blur_cases()])
    write("decode.json", decode_cases())

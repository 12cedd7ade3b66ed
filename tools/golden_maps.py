"""Anomaly maps and masks as other programs write them, for tests of the readers: tests/golden/maps and tests/golden/masks.

    pip install numpy pillow tifffile imagecodecs; apt-get install libtiff-tools
    python tools/golden_maps.py

Every map is 18×20 with the value row + column / 32, which 16 bits hold exactly; whole numbers are given below. The files were made with NumPy 2.4,
Pillow 13, tifffile 2026.3 and tiffcp of LibTIFF 4.5.
"""

import pathlib
import subprocess

import numpy
import tifffile
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
MAPS, MASKS = ROOT / "maps", ROOT / "masks"
ROWS, COLUMNS = 18, 20


def tiffcp(source, target, *options):
    subprocess.run(["tiffcp", *options, MAPS / source, MAPS / target], check=True)


def maps():
    MAPS.mkdir(exist_ok=True)
    rows, columns = numpy.mgrid[:ROWS, :COLUMNS]
    values = (rows + columns / 32).astype(numpy.float64)
    f16, f32 = values.astype(numpy.float16), values.astype(numpy.float32)

    # As MVTec AD 2 wants them.
    tifffile.imwrite(MAPS / "tifffile_f16.tiff", f16)
    tifffile.imwrite(MAPS / "tifffile_f16_deflate_predictor3.tiff", f16, compression="zlib", predictor=3, rowsperstrip=5)
    tifffile.imwrite(MAPS / "tifffile_f32_bigtiff_lzw.tiff", f32, compression="lzw", bigtiff=True, rowsperstrip=7)
    tifffile.imwrite(MAPS / "tifffile_f64_big_endian_tiles.tiff", values, byteorder=">", tile=(16, 16))
    tifffile.imwrite(MAPS / "tifffile_f64_deflate_predictor3.tiff", values, compression="zlib", predictor=3)
    Image.fromarray(f32).save(MAPS / "pillow_f32.TIFF", format="TIFF")
    tiffcp("pillow_f32.TIFF", "libtiff_f32_lzw_predictor3.tif", "-c", "lzw:3", "-r", "4")
    tiffcp("pillow_f32.TIFF", "libtiff_f32_big_endian_deflate_tiles.tif", "-B", "-c", "zip", "-t", "-w", "16", "-l", "16")
    tiffcp("pillow_f32.TIFF", "libtiff_f32_lzw_predictor3_tiles.tif", "-c", "lzw:3", "-t", "-w", "16", "-l", "32")

    numpy.save(MAPS / "numpy_f4.npy", f32)
    numpy.save(MAPS / "numpy_f2.npy", f16)
    numpy.save(MAPS / "numpy_f8_fortran.npy", numpy.asfortranarray(values))
    numpy.save(MAPS / "numpy_f4_big_endian.npy", f32.astype(">f4"))
    numpy.save(MAPS / "numpy_f2_big_endian_fortran_1hw.npy", numpy.asfortranarray(f16.astype(">f2")[None]))
    numpy.save(MAPS / "numpy_f4_hw1.npy", f32[..., None])

    # Whole numbers: row · 12 + column, and 257 times that.
    whole = rows * 12 + columns
    Image.fromarray(whole.astype(numpy.uint8)).save(MAPS / "whole_8.png")
    Image.fromarray((whole * 257).astype(numpy.uint16)).save(MAPS / "whole_16.png")
    tifffile.imwrite(MAPS / "whole_16.tiff", (whole * 257).astype(numpy.uint16))

    bad = f32.copy()
    bad[7, 3] = numpy.nan
    numpy.save(MAPS / "refused_nan.npy", bad)
    bad[7, 3] = -numpy.inf
    tifffile.imwrite(MAPS / "refused_infinite.tiff", bad)
    numpy.save(MAPS / "refused_beyond_f32.npy", values * 1e300)
    numpy.save(MAPS / "refused_three_maps.npy", numpy.stack([f16] * 3))
    numpy.save(MAPS / "refused_whole.npy", whole.astype(numpy.uint8))
    tifffile.imwrite(MAPS / "refused_two_pages.tiff", numpy.stack([f16] * 2), photometric="minisblack")
    Image.fromarray(numpy.stack([whole.astype(numpy.uint8)] * 3, axis=-1)).save(MAPS / "refused_colours.png")
    Image.fromarray(whole.astype(numpy.uint8)).save(MAPS / "refused_format.bmp")


def masks():
    """5×4 pixels, of which (1, 1), (2, 1) and (2, 2) as column and row are marked."""
    MASKS.mkdir(exist_ok=True)
    marks = numpy.zeros((4, 5), numpy.uint8)
    marks[1, 1] = marks[1, 2] = marks[2, 2] = 1
    kinds = marks.copy()
    kinds[2, 2] = 3

    def save(name, array, mode=None):
        image = Image.fromarray(array)
        (image if mode is None else image.convert(mode)).save(MASKS / name)

    save("grey_255.png", marks * 255)
    save("grey_255.bmp", marks * 255)
    save("grey_1.png", marks)
    save("one_bit.png", marks * 255, "1")
    save("sixteen_bit_1.png", marks.astype(numpy.uint16))
    save("sixteen_bit_1.tiff", marks.astype(numpy.uint16))
    save("one_bit.tiff", marks * 255, "1")
    save("kinds.png", kinds)
    tifffile.imwrite(MASKS / "white_is_zero.tiff", 255 - marks * 255, photometric="miniswhite")
    tifffile.imwrite(MASKS / "float.tiff", marks.astype(numpy.float32))
    save("rgb.png", numpy.stack([marks * 255, marks * 0, marks * 0], axis=-1))
    opaque = numpy.full_like(marks, 255)
    save("rgba_opaque.png", numpy.stack([marks * 255] * 3 + [opaque], axis=-1))
    save("rgba_marked_opaque.png", numpy.stack([marks * 255] * 3 + [marks * 255], axis=-1))
    save("rgba_marked_transparent.png", numpy.stack([marks * 255] * 3 + [opaque - marks * 255], axis=-1))
    save("la_opaque.png", numpy.stack([marks * 255, opaque], axis=-1))

    def palette(name, indices, colors):
        image = Image.fromarray(indices).convert("L")
        image.putpalette(sum(colors, []))
        image.save(MASKS / name)

    black, white, red, green = [0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]
    palette("palette_black_first.png", kinds, [black, red, white, green])
    palette("palette_black_first.tiff", kinds, [black, red, white, green])
    # Colours mark what indices do not: an optimiser may order them so.
    palette("palette_white_first.png", 1 - marks, [white, black])
    # Indices mark what colours do not tell: index 0 is shown green.
    palette("palette_green_first.png", marks, [green, red])

    grey = (marks * 255).astype(numpy.float64)
    grey[0, 1] = 7
    save("antialiased.png", grey.astype(numpy.uint8))
    save("empty.png", marks * 0)
    # Stored lying on its side; upright it is the mask.
    turned = Image.fromarray(numpy.rot90(marks * 255))
    exif = Image.Exif()
    exif[274] = 6
    turned.save(MASKS / "orientation6.png", exif=exif)


if __name__ == "__main__":
    maps()
    masks()

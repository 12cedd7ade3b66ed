//! window: where the taps of a convolution lie, for an implicit matrix product whose sizes are constants; k counts (kernel row, kernel column,
//! channel). The kernel binds `params` and says whether the inner axis has WHOLE_SLABS.
//! set: CHANNELS_IN, HEIGHT, HEIGHT_OUT, KERNEL_HEIGHT, KERNEL_WIDTH, PADDING, STRIDE, WIDTH_OUT

const INNER: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * CHANNELS_IN;

/// A tap below every image, where the inner positions past the last one read.
const BELOW: i32 = 0x3fffffff;

fn pixels() -> u32 {
    return params.batch * HEIGHT_OUT * WIDTH_OUT;
}

/// First input row of the image in the batch, and the top left corner of the pixel's window; of the last pixel past the edge.
fn a_origin(pixel: u32) -> vec3<i32> {
    let at = min(pixel, pixels() - 1u);
    let line = at / WIDTH_OUT;
    let top = i32(line % HEIGHT_OUT * STRIDE) - i32(PADDING);
    let left = i32(at % WIDTH_OUT * STRIDE) - i32(PADDING);
    return vec3(i32(line / HEIGHT_OUT * HEIGHT), top, left);
}

/// Row and column of a tap, and the first of four channels.
fn a_step(k: u32) -> vec3<i32> {
    let tap = k / CHANNELS_IN;
    let row = select(BELOW, i32(tap / KERNEL_WIDTH), WHOLE_SLABS || k < INNER);
    return vec3(row, i32(tap % KERNEL_WIDTH), i32(k % CHANNELS_IN));
}

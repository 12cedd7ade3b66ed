//! place: where a line of a resized image lies between two lines of its source, as PyTorch's `interpolate` places it (`align_corners=False`).

/// Two neighbouring input positions and the part that the second one gets.
struct Place { before: u32, after: u32, part: f32 }

/// The place of line `at`; `scale` is input over output size, divided on the host, where division rounds correctly. Pixel centres lie at halves.
fn place(at: u32, scale: f32, size: u32) -> Place {
    let position = max((f32(at) + 0.5) * scale - 0.5, 0.0);
    let before = min(u32(position), size - 1u);
    return Place(before, min(before + 1u, size - 1u), position - f32(before));
}

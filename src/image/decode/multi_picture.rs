//! Multi-Picture Format (CIPA DC-007): further pictures behind the first of a JPEG, as stereo and panorama cameras write them.

use super::ifd::Directories;

/// How the segment with the index of pictures begins.
const SIGNATURE: &[u8] = b"MPF\0";

/// Tag of the list of pictures.
const ENTRIES: u16 = 0xb002;

/// Bytes of an entry; the first four are its attribute.
const ENTRY_BYTES: usize = 16;

/// Class of pictures that show something of their own: panorama, stereo, other angles.
const MULTI_FRAME: u32 = 2;

/// Number of pictures beside the first that show something of their own, by the body of an APP2 segment; 0 for another segment.
///
/// Previews of the first picture are of class 1; gain maps and depth maps of phones have no class. Neither is counted.
pub(super) fn further_pictures(segment: &[u8]) -> usize {
    let class = |big_endian: bool, entry: &[u8]| {
        let attribute = [entry[0], entry[1], entry[2], entry[3]];
        let attribute = if big_endian { u32::from_be_bytes(attribute) } else { u32::from_le_bytes(attribute) };
        attribute >> 16 & 0xff
    };
    let count = || {
        let index = Directories::new(segment.strip_prefix(SIGNATURE)?)?;
        let entries = index.first()?.bytes(ENTRIES)?;
        let others = entries.chunks_exact(ENTRY_BYTES).skip(1);
        Some(others.filter(|entry| class(index.is_big_endian(), entry) == MULTI_FRAME).count())
    };
    count().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of pictures of these attributes.
    fn index(attributes: &[u32]) -> Vec<u8> {
        let mut bytes = b"MPF\0MM\0*\0\0\0\x08".to_vec();
        let length = (attributes.len() * ENTRY_BYTES) as u32;
        // One entry of the directory: tag, type 7 (undefined), length, offset behind the directory of 2 + 12 + 4 bytes.
        bytes.extend([0, 1, 0xb0, 0x02, 0, 7]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(26_u32.to_be_bytes());
        bytes.extend([0; 4]);
        for attribute in attributes {
            bytes.extend(attribute.to_be_bytes());
            bytes.extend([0; ENTRY_BYTES - 4]);
        }
        bytes
    }

    #[test]
    fn pictures_of_their_own_are_counted_and_previews_and_gain_maps_are_not() {
        assert_eq!(further_pictures(&index(&[0x0002_0002, 0x0002_0002])), 1, "stereo");
        assert_eq!(further_pictures(&index(&[0x2003_0000, 0x4001_0002, 0])), 0, "a preview and a gain map");
        assert_eq!(further_pictures(&index(&[0x2003_0000, 0x0002_0001, 0x0002_0003])), 2);
        let whole = index(&[0x0002_0002, 0x0002_0002]);
        assert!((0..whole.len()).all(|len| further_pictures(&whole[..len]) == 0), "torn");
        assert_eq!(further_pictures(b"ICC_PROFILE\0"), 0);
    }
}

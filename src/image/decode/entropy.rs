//! Completeness check of a JPEG's entropy-coded data: each scan is parsed, symbol by symbol, to see that it holds all of its blocks.
//!
//! Like libjpeg, `jpeg-decoder` pads a scan that ends early: an image whose transfer was interrupted, with an end marker put behind it,
//! would be scored with half of it grey. Only the lengths of symbols are decoded here, no values (ITU-T T.81, F.2 and G.2), of sequential
//! and progressive frames with Huffman coding; others are not checked.

use super::undecodable;
use crate::error::{Error, Result};

/// Coefficients of a block.
const BLOCK: usize = 64;

/// A component of the frame.
struct Component {
    id: u8,
    /// Blocks of an MCU, across and down.
    across: usize,
    down: usize,
    /// Blocks that hold the image, across and down, without what fills up the last MCU.
    columns: usize,
    rows: usize,
    /// Blocks of a row of MCUs.
    stride: usize,
    /// For each block the coefficients that are not zero, which decides on the bits of a refinement; of progressive frames only.
    nonzero: Vec<u64>,
}

/// State of the check: the tables and the frame that were read so far.
#[derive(Default)]
pub(super) struct Entropy {
    /// Huffman tables by class (0 is DC, 1 is AC) and number.
    tables: [[Option<Huffman>; 4]; 2],
    restart_interval: usize,
    components: Vec<Component>,
    mcus_across: usize,
    mcus_down: usize,
    is_progressive: bool,
}

/// Huffman lookup table: for each 16 bits the symbol that they begin with, and its length: `length << 8 | symbol`, 0 where there is none.
struct Huffman(Vec<u16>);

/// The coefficients that a scan holds, from its header.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    last: usize,
    is_refinement: bool,
}

fn damaged() -> Error {
    undecodable("a table, header or scan of the JPEG is damaged")
}

impl Entropy {
    /// Takes the tables of a DHT segment.
    pub(super) fn add_tables(&mut self, mut body: &[u8]) -> Result<()> {
        while let Some((&head, rest)) = body.split_first() {
            let (counts, rest) = rest.split_at_checked(16).ok_or_else(damaged)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(damaged)?;
            let slot = self.tables.get_mut(usize::from(head >> 4)).and_then(|class| class.get_mut(usize::from(head & 15)));
            *slot.ok_or_else(damaged)? = Some(Huffman::new(counts, symbols)?);
            body = rest;
        }
        Ok(())
    }

    /// Takes the number of MCUs between restarts from a DRI segment.
    pub(super) fn set_restart_interval(&mut self, body: &[u8]) -> Result<()> {
        self.restart_interval = body.first_chunk().map(|&interval| u16::from_be_bytes(interval).into()).ok_or_else(damaged)?;
        Ok(())
    }

    /// Takes a frame's size and its components: identifier, sampling factors, quantisation table.
    pub(super) fn set_frame(&mut self, width: u16, height: u16, entries: &[u8], is_progressive: bool) -> Result<()> {
        let factors = |entry: &[u8]| (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
        if entries
            .chunks_exact(3)
            .map(factors)
            .any(|(across, down)| !(1..=4).contains(&across) || !(1..=4).contains(&down))
        {
            return Err(damaged());
        }
        let most_across = entries.chunks_exact(3).map(|entry| factors(entry).0).max().unwrap_or(1);
        let most_down = entries.chunks_exact(3).map(|entry| factors(entry).1).max().unwrap_or(1);
        let (width, height) = (usize::from(width), usize::from(height));
        self.mcus_across = width.div_ceil(8 * most_across);
        self.mcus_down = height.div_ceil(8 * most_down);
        self.is_progressive = is_progressive;
        let component = |entry: &[u8]| {
            let (across, down) = factors(entry);
            let stride = self.mcus_across * across;
            Component {
                id: entry[0],
                across,
                down,
                columns: (width * across).div_ceil(most_across).div_ceil(8),
                rows: (height * down).div_ceil(most_down).div_ceil(8),
                stride,
                nonzero: if is_progressive { vec![0; stride * self.mcus_down * down] } else { Vec::new() },
            }
        };
        self.components = entries.chunks_exact(3).map(component).collect();
        Ok(())
    }

    /// Walks a scan: its header without the length, and its data up to the next marker that is no restart.
    pub(super) fn check_scan(&mut self, header: &[u8], data: &[u8]) -> Result<()> {
        let (&count, rest) = header.split_first().ok_or_else(damaged)?;
        let (entries, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(damaged)?;
        let &[first, last, approximation, ..] = rest else { return Err(damaged()) };
        let band = match self.is_progressive {
            true => Band { first: first.into(), last: last.into(), is_refinement: approximation >> 4 != 0 },
            false => Band { first: 0, last: BLOCK - 1, is_refinement: false },
        };
        if band.last >= BLOCK || band.first > band.last {
            return Err(damaged());
        }
        let Entropy { tables, components, .. } = self;
        let table = |class: usize, number: u8| tables[class].get(usize::from(number)).and_then(Option::as_ref);
        // Index of the component, and its tables.
        let mut members = Vec::new();
        for entry in entries.chunks_exact(2) {
            let index = components.iter().position(|component| component.id == entry[0]).ok_or_else(damaged)?;
            members.push((index, table(0, entry[1] >> 4), table(1, entry[1] & 15)));
        }
        let is_alone = members.len() == 1;
        let (across, down) = match members.first() {
            Some(&(index, ..)) if is_alone => (components[index].columns, components[index].rows),
            _ => (self.mcus_across, self.mcus_down),
        };
        let mut bits = Bits { data, at: 0, held: 0, count: 0 };
        let mut run = 0;
        for mcu in 0..across * down {
            if self.restart_interval > 0 && mcu > 0 && mcu % self.restart_interval == 0 {
                bits.restart()?;
                run = 0;
            }
            let (x, y) = (mcu % across, mcu / across);
            for &(index, dc, ac) in &members {
                let component = &mut components[index];
                let (wide, high) = if is_alone { (1, 1) } else { (component.across, component.down) };
                for block in 0..wide * high {
                    let place = (y * high + block / wide) * component.stride + x * wide + block % wide;
                    match component.nonzero.get_mut(place) {
                        Some(nonzero) => bits.skip_progressive(band, (dc, ac), nonzero, &mut run)?,
                        None => bits.skip_sequential(dc.ok_or_else(damaged)?, ac.ok_or_else(damaged)?)?,
                    }
                }
            }
        }
        Ok(())
    }
}

impl Huffman {
    fn new(counts: &[u8], symbols: &[u8]) -> Result<Huffman> {
        let mut table = vec![0; 1 << 16];
        let mut symbols = symbols.iter();
        let mut code = 0;
        for (length, &count) in (1_u16..).zip(counts) {
            for &symbol in symbols.by_ref().take(count.into()) {
                let start = code << (16 - length);
                let entries = table.get_mut(start..start + (1 << (16 - length))).ok_or_else(damaged)?;
                entries.fill(length << 8 | u16::from(symbol));
                code += 1;
            }
            code <<= 1;
        }
        Ok(Huffman(table))
    }
}

/// Entropy-coded data, bit by bit.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// Bits that were read, the next one uppermost.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Reads bytes until a marker or the end, as many as fit.
    fn fill(&mut self) {
        while self.count <= 56
            && let Some(&byte) = self.data.get(self.at)
        {
            let is_stuffed = byte == 0xff;
            if is_stuffed && self.data.get(self.at + 1) != Some(&0) {
                return;
            }
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += 1 + usize::from(is_stuffed);
        }
    }

    /// Takes up to 16 bits.
    fn take(&mut self, length: u32) -> Result<usize> {
        if self.count < length {
            self.fill();
            if self.count < length {
                return Err(undecodable("a scan ends before its last block"));
            }
        }
        let bits = if length == 0 { 0 } else { self.held >> (64 - length) };
        self.held <<= length;
        self.count -= length;
        Ok(bits as usize)
    }

    fn symbol(&mut self, table: &Huffman) -> Result<u16> {
        if self.count < 16 {
            self.fill();
        }
        let entry = table.0[(self.held >> 48) as usize];
        if entry == 0 {
            // With less than 16 bits left, what follows them here are zeros.
            return Err(if self.count < 16 { undecodable("a scan ends before its last block") } else { damaged() });
        }
        self.take(u32::from(entry >> 8))?;
        Ok(entry & 0xff)
    }

    /// Passes over a restart marker.
    fn restart(&mut self) -> Result<()> {
        (self.held, self.count) = (0, 0);
        let rest = self.data.get(self.at..).unwrap_or_default();
        let marker = rest.windows(2).position(|pair| pair[0] == 0xff && matches!(pair[1], 0xd0..=0xd7));
        self.at += marker.ok_or_else(|| undecodable("a restart marker is missing"))? + 2;
        Ok(())
    }

    fn skip_sequential(&mut self, dc: &Huffman, ac: &Huffman) -> Result<()> {
        let length = self.symbol(dc)?;
        self.take(u32::from(length).min(16))?;
        let mut at = 1;
        while at < BLOCK {
            let symbol = self.symbol(ac)?;
            let (run, length) = (usize::from(symbol >> 4), symbol & 15);
            if length == 0 && run < 15 {
                break;
            }
            self.take(length.into())?;
            at += run + 1;
        }
        if at > BLOCK { Err(damaged()) } else { Ok(()) }
    }

    /// Passes over a block of a progressive scan; `run` counts the blocks without anything that follow.
    fn skip_progressive(
        &mut self,
        band: Band,
        tables: (Option<&Huffman>, Option<&Huffman>),
        nonzero: &mut u64,
        run: &mut usize,
    ) -> Result<()> {
        if band.first == 0 {
            let length = if band.is_refinement { 1 } else { u32::from(self.symbol(tables.0.ok_or_else(damaged)?)?).min(16) };
            return self.take(length).map(drop);
        }
        let table = tables.1.ok_or_else(damaged)?;
        if band.is_refinement { self.skip_refinement(band, table, nonzero, run) } else { self.skip_band(band, table, nonzero, run) }
    }

    fn skip_band(&mut self, band: Band, table: &Huffman, nonzero: &mut u64, run: &mut usize) -> Result<()> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut at = band.first;
        while at <= band.last {
            let symbol = self.symbol(table)?;
            let (zeros, length) = (usize::from(symbol >> 4), symbol & 15);
            if length == 0 && zeros < 15 {
                *run = (1 << zeros) - 1 + self.take(zeros as u32)?;
                break;
            }
            at += zeros;
            if length > 0 {
                self.take(length.into())?;
                *nonzero |= 1_u64.checked_shl(at as u32).ok_or_else(damaged)?;
            }
            at += 1;
        }
        Ok(())
    }

    fn skip_refinement(&mut self, band: Band, table: &Huffman, nonzero: &mut u64, run: &mut usize) -> Result<()> {
        let is_nonzero = |nonzero: u64, at: usize| nonzero >> at & 1 == 1;
        let mut at = band.first;
        while *run == 0 && at <= band.last {
            let symbol = self.symbol(table)?;
            let (mut zeros, length) = (usize::from(symbol >> 4), symbol & 15);
            if length == 0 && zeros < 15 {
                *run = (1 << zeros) + self.take(zeros as u32)?;
                break;
            }
            // The sign of a new coefficient; then a bit for each known one before its position.
            self.take(u32::from(length > 0))?;
            while at <= band.last {
                if is_nonzero(*nonzero, at) {
                    self.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if length > 0 && at <= band.last {
                *nonzero |= 1 << at;
            }
            at += 1;
        }
        if *run > 0 {
            let known = (at..=band.last).filter(|&at| is_nonzero(*nonzero, at)).count();
            for _ in 0..known {
                self.take(1)?;
            }
            *run -= 1;
        }
        Ok(())
    }
}
